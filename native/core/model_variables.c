/* The variables of models: read, written, saved and loaded, each at one moment. */
#include <stdlib.h>
#include <string.h>

#include "graphflow/weights.h"
#include "model_internal.h"

enum { WAIT_US = 1000000 };

int32_t gf_model_begin(gf_model *model, gf_use *uses, int32_t count)
{
    gf_ticket ticket = {0};
    int32_t status;
    do {
        status = gf_store_begin(model->store, uses, count, &ticket, WAIT_US);
    } while (status == GF_WOULD_BLOCK);
    return status;
}

static const gf_variable_spec *find(const gf_model *model, int32_t variable)
{
    if (model == NULL) {
        gf_say(GF_BAD_ARGUMENT, "there is no model: its pointer is NULL");
        return NULL;
    }
    if (variable < 0 || variable >= model->spec->variable_count) {
        gf_say(GF_BAD_ARGUMENT, "%s has %d variables, and no number %d", model->spec->name,
                  model->spec->variable_count, variable);
        return NULL;
    }
    return &model->spec->variables[variable];
}

int32_t gf_model_get(gf_model *model, int32_t variable, void *data, int64_t bytes, int64_t *dims)
{
    const gf_variable_spec *spec = find(model, variable);
    if (spec == NULL) {
        return GF_BAD_ARGUMENT;
    }
    gf_use use = {.slot = variable, .reads = 1};
    int32_t status = gf_model_begin(model, &use, 1);
    if (status == GF_UNINITIALIZED) {
        return gf_say(status, "%s: variable %s has no value yet", model->spec->name,
                         spec->tensor.name);
    }
    if (status != GF_OK) {
        return gf_say(status, "%s: variable %s cannot be read", model->spec->name,
                         spec->tensor.name);
    }
    int64_t held = (int64_t)gf_buffer_bytes(use.before);
    if (data == NULL && held > 0) {
        status = gf_say(GF_BAD_ARGUMENT, "%s: no place for variable %s: the pointer is NULL",
                           model->spec->name, spec->tensor.name);
    } else if (bytes < held) {
        status = gf_say(GF_BAD_ARGUMENT, "%s: variable %s takes %lld bytes, there is room for %lld",
                           model->spec->name, spec->tensor.name, (long long)held, (long long)bytes);
    } else if (held > 0) {
        memcpy(data, gf_buffer_data(use.before), (size_t)held);
    }
    if (dims != NULL) { /* even where there is too little room: it says how much it takes */
        memcpy(dims, use.dims, (size_t)use.rank * sizeof *dims);
    }
    gf_store_end(model->store, &use, 1, 0);
    return status;
}

/* Whether a shape is one that the variable may have. */
static int32_t check_shape(const gf_model *model, const gf_variable_spec *spec,
                           const int64_t *dims, int64_t bytes)
{
    int64_t needed = gf_dtype_bytes(spec->tensor.dtype);
    for (int32_t i = 0; i < spec->tensor.rank; i++) {
        int64_t declared = spec->tensor.dims[i];
        if (dims[i] < 0 || (declared >= 0 && declared != dims[i])) {
            return gf_say(GF_BAD_ARGUMENT, "%s: variable %s is [%s]; size %lld on axis %d",
                             model->spec->name, spec->tensor.name, spec->tensor.shape,
                             (long long)dims[i], i);
        }
        if (__builtin_mul_overflow(needed, dims[i], &needed)) {
            return gf_say(GF_BAD_SIZE, "%s: variable %s would be too large", model->spec->name,
                             spec->tensor.name);
        }
    }
    if (needed != bytes) {
        return gf_say(GF_BAD_ARGUMENT, "%s: variable %s takes %lld bytes, there are %lld",
                         model->spec->name, spec->tensor.name, (long long)needed,
                         (long long)bytes);
    }
    return GF_OK;
}

/* Fills in a write that gf_model_begin has opened. */
static int32_t provide(gf_model *model, gf_use *use, const void *data, int64_t bytes, int32_t rank,
                       const int64_t *dims)
{
    use->after = gf_buffer_take(model->heap, (size_t)bytes);
    if (use->after == NULL) {
        return GF_NO_MEMORY;
    }
    if (bytes > 0) {
        memcpy(gf_buffer_data(use->after), data, (size_t)bytes);
    }
    use->new_rank = rank;
    for (int32_t i = 0; i < rank; i++) {
        use->new_dims[i] = dims[i];
    }
    return GF_OK;
}

int32_t gf_model_set(gf_model *model, int32_t variable, const void *data, int64_t bytes,
                     const int64_t *dims)
{
    const gf_variable_spec *spec = find(model, variable);
    if (spec == NULL) {
        return GF_BAD_ARGUMENT;
    }
    if (dims == NULL && gf_variable_bytes(spec) < 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s: variable %s is [%s]: which sizes has its value?",
                         model->spec->name, spec->tensor.name, spec->tensor.shape);
    }
    if (data == NULL && bytes > 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s: the value of variable %s is NULL", model->spec->name,
                         spec->tensor.name);
    }
    dims = dims ? dims : spec->tensor.dims;
    int32_t status = check_shape(model, spec, dims, bytes);
    if (status != GF_OK) {
        return status;
    }
    gf_use use = {.slot = variable, .writes = 1};
    status = gf_model_begin(model, &use, 1);
    if (status == GF_OK) {
        status = provide(model, &use, data, bytes, spec->tensor.rank, dims);
        gf_store_end(model->store, &use, 1, status == GF_OK);
    }
    return status == GF_OK ? GF_OK
                           : gf_say(status, "%s: no memory for variable %s", model->spec->name,
                                       spec->tensor.name);
}

/* Reads all variables that have a value: as many as `*count` then says, with uses in `uses`. */
static int32_t read_all(gf_model *model, gf_use *uses, int32_t *count)
{
    *count = 0;
    for (int32_t i = 0; i < model->spec->variable_count; i++) {
        if (gf_store_initialized(model->store, i)) {
            uses[(*count)++] = (gf_use){.slot = i, .reads = 1};
        }
    }
    return gf_model_begin(model, uses, *count);
}

int32_t gf_model_save(gf_model *model, const char *path)
{
    int32_t count, room;
    if (model == NULL || path == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "save: the %s is NULL", model ? "path" : "model");
    }
    size_t all = (size_t)model->spec->variable_count + 1;
    gf_use *uses = calloc(all, sizeof *uses);
    gf_weight *weights = calloc(all, sizeof *weights);
    int32_t status = uses && weights ? read_all(model, uses, &count) : GF_NO_MEMORY;
    if (status == GF_OK) {
        for (int32_t i = 0; i < count; i++) {
            const gf_tensor_spec *tensor = &model->spec->variables[uses[i].slot].tensor;
            weights[i] = (gf_weight){.name = tensor->name,
                                     .dtype = tensor->dtype,
                                     .rank = uses[i].rank,
                                     .dims = uses[i].dims,
                                     .data = gf_buffer_data(uses[i].before),
                                     .bytes = (int64_t)gf_buffer_bytes(uses[i].before)};
        }
        const char *metadata[] = {"model", model->spec->name, NULL};
        char *message = gf_message_room(&room);
        status = gf_weights_write(path, weights, count, metadata, message, (size_t)room);
        gf_store_end(model->store, uses, count, 0);
    } else {
        gf_say(status, "%s: its variables cannot be read", model->spec->name);
    }
    free(uses);
    free(weights);
    return status;
}

/* Whether the file has every variable, as it is declared. */
static int32_t check_file(const gf_model *model, const gf_weights *file, const char *path)
{
    for (int32_t i = 0; i < model->spec->variable_count; i++) {
        const gf_tensor_spec *tensor = &model->spec->variables[i].tensor;
        int32_t found = gf_weights_find(file, tensor->name);
        if (found < 0 && model->spec->variables[i].optional) {
            continue;
        }
        if (found < 0) {
            return gf_say(GF_BAD_FILE, "%s: %s has no variable %s: is it of another model?",
                             model->spec->name, path, tensor->name);
        }
        gf_weight weight = gf_weights_at(file, found);
        if (weight.dtype != tensor->dtype || weight.rank != tensor->rank) {
            return gf_say(GF_BAD_FILE,
                             "%s: variable %s of %s is %s of rank %d, it must be %s[%s]",
                             model->spec->name, tensor->name, path, gf_dtype_name(weight.dtype),
                             weight.rank, gf_dtype_name(tensor->dtype), tensor->shape);
        }
        for (int32_t k = 0; k < tensor->rank; k++) {
            if (tensor->dims[k] >= 0 && tensor->dims[k] != weight.dims[k]) {
                return gf_say(GF_BAD_FILE,
                                 "%s: variable %s of %s has size %lld on axis %d, it must be [%s]",
                                 model->spec->name, tensor->name, path, (long long)weight.dims[k],
                                 k, tensor->shape);
            }
        }
    }
    return GF_OK;
}

static int32_t replace_all(gf_model *model, const gf_weights *file, gf_use *uses)
{
    int32_t count = 0;
    for (int32_t i = 0; i < model->spec->variable_count; i++) {
        if (gf_weights_find(file, model->spec->variables[i].tensor.name) >= 0) {
            uses[count++] = (gf_use){.slot = i, .writes = 1};
        }
    }
    int32_t status = gf_model_begin(model, uses, count);
    if (status != GF_OK) {
        return status;
    }
    for (int32_t i = 0; i < count && status == GF_OK; i++) {
        const char *name = model->spec->variables[uses[i].slot].tensor.name;
        gf_weight weight = gf_weights_at(file, gf_weights_find(file, name));
        status = provide(model, &uses[i], weight.data, weight.bytes, weight.rank, weight.dims);
    }
    gf_store_end(model->store, uses, count, status == GF_OK);
    return status;
}

int32_t gf_model_load(gf_model *model, const char *path)
{
    gf_weights *file;
    int32_t room;
    if (model == NULL || path == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "load: the %s is NULL", model ? "path" : "model");
    }
    char *message = gf_message_room(&room);
    int32_t status = gf_weights_open(path, &file, message, (size_t)room);
    if (status != GF_OK) {
        return status;
    }
    status = gf_weights_verify(file, message, (size_t)room);
    status = status == GF_OK ? check_file(model, file, path) : status;
    if (status == GF_OK) {
        gf_use *uses = calloc((size_t)model->spec->variable_count + 1, sizeof *uses);
        status = uses ? replace_all(model, file, uses) : GF_NO_MEMORY;
        free(uses);
        if (status != GF_OK) {
            gf_say(status, "%s: no memory for the variables of %s", model->spec->name, path);
        }
    }
    gf_weights_close(file);
    return status;
}
