/* Runs by name, and the table of all functions. */
#include <stdlib.h>
#include <string.h>

#include "model_internal.h"

static const gf_named *find(const gf_named *rows, int32_t count, const char *name)
{
    for (int32_t i = 0; i < count; i++) {
        if (rows[i].name != NULL && strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static const gf_tensor_spec *find_tensor(const gf_tensor_spec *rows, int32_t count,
                                         const char *name)
{
    for (int32_t i = 0; name != NULL && i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* Whether every name is one of the signature's, and its dtype and rank are right. */
static int32_t check(const gf_signature_spec *signature, const char *what,
                     const gf_tensor_spec *tensors, int32_t tensor_count, const gf_named *rows,
                     int32_t count)
{
    if (rows == NULL && count > 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s: its %ss are NULL", signature->name, what);
    }
    for (int32_t i = 0; i < count; i++) {
        const gf_tensor_spec *tensor = find_tensor(tensors, tensor_count, rows[i].name);
        if (tensor == NULL) {
            return gf_say(GF_BAD_ARGUMENT, "%s has no %s %s", signature->name, what,
                          rows[i].name ? rows[i].name : "without a name");
        }
        if (find(rows, i, rows[i].name) != NULL) {
            return gf_say(GF_BAD_ARGUMENT, "%s: %s %s is given twice", signature->name, what,
                          tensor->name);
        }
        if (rows[i].dtype != tensor->dtype || rows[i].rank != tensor->rank) {
            const char *dtype = gf_dtype_name(rows[i].dtype);
            return gf_say(GF_BAD_ARGUMENT, "%s: %s %s is %s of rank %d, it must be %s[%s]",
                          signature->name, what, tensor->name, dtype ? dtype : "of no dtype",
                          rows[i].rank, gf_dtype_name(tensor->dtype), tensor->shape);
        }
    }
    return GF_OK;
}

static int32_t gather_feed(const gf_signature_spec *signature, const gf_tensor_spec *tensor,
                           const gf_named *named, gf_argument *feed)
{
    static const int64_t no_dims[1];
    int64_t bytes = gf_dtype_bytes(tensor->dtype);
    if (named == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "%s: feed %s is missing", signature->name, tensor->name);
    }
    if (named->dims == NULL && tensor->rank > 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s: feed %s has no shape", signature->name, tensor->name);
    }
    for (int32_t i = 0; i < tensor->rank; i++) {
        if (named->dims[i] < 0 || __builtin_mul_overflow(bytes, named->dims[i], &bytes)) {
            return gf_say(GF_BAD_SIZE, "%s: axis %d of feed %s is negative or too large",
                          signature->name, i, tensor->name);
        }
    }
    if (bytes != named->bytes) {
        return gf_say(GF_BAD_ARGUMENT, "%s: feed %s has %lld bytes, its shape takes %lld",
                      signature->name, tensor->name, (long long)named->bytes, (long long)bytes);
    }
    *feed = (gf_argument){named->data, named->dims ? named->dims : no_dims};
    return GF_OK;
}

static int32_t run(gf_model *model, int32_t number, const gf_named *feeds, int32_t feed_count,
                   const gf_named *results, int32_t result_count, gf_argument *arguments,
                   gf_result *places)
{
    const gf_signature_spec *signature = &model->spec->signatures[number];
    int32_t status = check(signature, "feed", signature->feeds, signature->feed_count, feeds,
                           feed_count);
    if (status == GF_OK) {
        status = check(signature, "result", signature->outputs, signature->output_count, results,
                       result_count);
    }
    for (int32_t i = 0; i < signature->feed_count && status == GF_OK; i++) {
        const gf_tensor_spec *tensor = &signature->feeds[i];
        status = gather_feed(signature, tensor, find(feeds, feed_count, tensor->name),
                             &arguments[i]);
    }
    for (int32_t i = 0; i < signature->output_count && status == GF_OK; i++) {
        const gf_named *named = find(results, result_count, signature->outputs[i].name);
        if (named != NULL) {
            places[i] = (gf_result){named->data, named->bytes, named->dims};
        }
    }
    return status == GF_OK ? gf_model_run(model, number, NULL, arguments, places) : status;
}

int32_t gf_model_run_named(gf_model *model, const char *signature, const gf_named *feeds,
                           int32_t feed_count, const gf_named *results, int32_t result_count)
{
    if (model == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "there is no model: its pointer is NULL");
    }
    int32_t number = gf_model_signature(model, signature);
    if (number < 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s has no signature %s", model->spec->name,
                      signature ? signature : "without a name");
    }
    const gf_signature_spec *spec = &model->spec->signatures[number];
    gf_argument *arguments = calloc((size_t)spec->feed_count + 1, sizeof *arguments);
    gf_result *places = calloc((size_t)spec->output_count + 1, sizeof *places);
    int32_t status = GF_NO_MEMORY;
    if (arguments != NULL && places != NULL) {
        status = run(model, number, feeds, feed_count, results, result_count, arguments, places);
    } else {
        gf_say(status, "%s.%s: no memory for a run", model->spec->name, signature);
    }
    free(arguments);
    free(places);
    return status;
}

const gf_model_functions gf_model_all_functions = {
    .form = GF_MODEL_FORM,
    .create = gf_model_create,
    .destroy = gf_model_destroy,
    .instruction_set = gf_model_instruction_set,
    .run = gf_model_run,
    .run_named = gf_model_run_named,
    .reserve = gf_model_reserve,
    .arena_bytes = gf_model_arena_bytes,
    .get = gf_model_get,
    .set = gf_model_set,
    .save = gf_model_save,
    .load = gf_model_load,
    .message = gf_message,
};
