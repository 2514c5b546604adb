/* Runs of models: arguments in, results out, and what went wrong in words. */
#include <stdio.h>
#include <string.h>

#include "model_internal.h"

enum { WAIT_US = 1000000 };

/* One run under way. */
typedef struct gf_trip {
    gf_model *model;
    const gf_signature_spec *signature;
    const gf_step_spec *step;
    gf_run *run;
} gf_trip;

static int32_t begin(gf_model *model, int32_t signature, const int64_t *sizes, int needs_sizes,
                     gf_trip *trip)
{
    if (model == NULL) {
        return gf_say(GF_BAD_ARGUMENT, "there is no model: its pointer is NULL");
    }
    const gf_model_spec *spec = model->spec;
    if (signature < 0 || signature >= spec->signature_count) {
        return gf_say(GF_BAD_ARGUMENT, "%s has %d signatures, and no number %d", spec->name,
                         spec->signature_count, signature);
    }
    trip->signature = &spec->signatures[signature];
    if (sizes == NULL && needs_sizes && trip->signature->size_count > 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s.%s: its sizes are NULL", spec->name,
                         trip->signature->name);
    }
    trip->model = model;
    trip->step = &model->variant->steps[signature];
    for (int32_t i = 0; sizes != NULL && i < trip->signature->size_count; i++) {
        if (sizes[i] < 0) {
            return gf_say(GF_BAD_SIZE, "%s.%s: size %s is negative: %lld", spec->name,
                             trip->signature->name, trip->signature->sizes[i],
                             (long long)sizes[i]);
        }
    }
    trip->run = gf_run_begin(model->executables[signature], model->pool, NULL);
    if (trip->run == NULL) {
        return gf_say(GF_NO_MEMORY, "%s.%s: no memory for a run", spec->name,
                         trip->signature->name);
    }
    if (model->arena != NULL) {
        gf_mutex_lock(&model->arena_turn);
        gf_run_lend_arena(trip->run, model->arena, model->arena_bytes);
    }
    for (int32_t i = 0; sizes != NULL && i < trip->signature->symbol_count; i++) {
        int64_t symbol = trip->signature->symbols[i];
        gf_run_symbol(trip->run, i, symbol >= 0 ? symbol : sizes[~symbol]);
    }
    return GF_OK;
}

static void end(gf_trip *trip)
{
    gf_run_end(trip->run);
    if (trip->model->arena != NULL) {
        gf_mutex_unlock(&trip->model->arena_turn);
    }
}

static int32_t pin(gf_trip *trip)
{
    int32_t status;
    do {
        status = gf_run_pin(trip->run, trip->model->store, WAIT_US);
    } while (status == GF_WOULD_BLOCK);
    return status;
}

/* What a message of a check says, with the values in place of {0} and {1}. */
static void insert(char *to, int32_t room, const char *message, const int64_t values[2])
{
    int32_t used = 0;
    while (*message != 0 && used + 1 < room) {
        if (message[0] == '{' && (message[1] == '0' || message[1] == '1') && message[2] == '}') {
            int32_t written = snprintf(to + used, (size_t)(room - used), "%lld",
                                       (long long)values[message[1] - '0']);
            used = written < room - used ? used + written : room - 1;
            message += 3;
        } else {
            to[used++] = *message++;
        }
    }
    to[used] = 0;
}

/* Puts a status of the run into words. */
static int32_t explain(const gf_trip *trip, int32_t status)
{
    const gf_problem *problem = gf_run_problem(trip->run);
    const gf_signature_spec *signature = trip->signature;
    const char *model = trip->model->spec->name, *name = signature->name;
    const gf_frame *frame = gf_run_frame(trip->run);
    switch (status) {
    case GF_FEED_MISMATCH:
        return gf_say(status, "%s.%s: axis %d of feed %s has size %lld, it must be %lld", model,
                         name, problem->axis, signature->feeds[problem->index].name,
                         (long long)problem->actual, (long long)problem->expected);
    case GF_SIZE_MISMATCH: {
        int known = problem->index >= 0 && problem->index < trip->step->check_count;
        return gf_say(status, "%s.%s: two sizes must be equal but are %lld and %lld%s%s", model,
                         name, (long long)problem->actual, (long long)problem->expected,
                         known ? ": " : "", known ? trip->step->checks[problem->index] : "");
    }
    case GF_ARENA_TOO_SMALL:
        return gf_say(status, "%s.%s: the arena has %lld bytes, a run of these sizes needs %lld",
                         model, name, (long long)problem->actual, (long long)problem->expected);
    case GF_BAD_SIZE:
        return gf_say(status, "%s.%s: a size of this run is negative or too large", model, name);
    case GF_NO_MEMORY:
        return gf_say(status, "%s.%s: memory for this run could not be had", model, name);
    case GF_UNINITIALIZED:
        for (int32_t i = 0; i < trip->step->description->state_count; i++) {
            const gf_use *use = gf_run_use(trip->run, i);
            if (use->reads && use->before == NULL) {
                return gf_say(status, "%s.%s: variable %s has no value yet", model, name,
                                 trip->model->spec->variables[use->slot].tensor.name);
            }
        }
        break;
    case GF_FAILED:
        if (frame->site >= 0 && frame->site < trip->step->site_count) {
            int32_t room;
            char *text = gf_message_room(&room);
            int32_t used = snprintf(text, (size_t)room, "%s.%s: ", model, name);
            if (used < room) {
                insert(text + used, room - used, trip->step->sites[frame->site],
                       frame->fail_values);
            }
            return status;
        }
        break;
    default:
        break;
    }
    return gf_say(status, "%s.%s: the step stopped with status %d", model, name, status);
}

/* Bytes of an output whose shape is known once sizes are bound. */
static int64_t output_bytes(const gf_trip *trip, int32_t output)
{
    const gf_shape *shape = &trip->step->description->outputs[output].shape;
    int64_t bytes = shape->item_bytes;
    for (int32_t i = 0; i < shape->rank; i++) {
        bytes *= gf_run_size(trip->run, shape->dims[i]);
    }
    return bytes;
}

static int32_t check_room(const gf_trip *trip, int32_t output, const gf_result *result)
{
    int64_t needed = output_bytes(trip, output);
    if (result->data == NULL || result->bytes >= needed) {
        return GF_OK;
    }
    return gf_say(GF_BAD_ARGUMENT, "%s.%s: output %s takes %lld bytes, there is room for %lld",
                     trip->model->spec->name, trip->signature->name,
                     trip->signature->outputs[output].name, (long long)needed,
                     (long long)result->bytes);
}

/* Checks the outputs whose shapes the step finds out, or all others. Every shape is told, so that
 * a caller who gave too little room learns how much it takes. */
static int32_t check_rooms(const gf_trip *trip, int32_t late, const gf_result *results)
{
    const gf_description *d = trip->step->description;
    for (int32_t i = 0; i < d->output_count; i++) {
        const gf_shape *shape = &d->outputs[i].shape;
        for (int32_t k = 0; d->outputs[i].late == late && results[i].dims && k < shape->rank; k++) {
            results[i].dims[k] = gf_run_size(trip->run, shape->dims[k]);
        }
    }
    for (int32_t i = 0; i < d->output_count; i++) {
        int32_t status = d->outputs[i].late == late ? check_room(trip, i, &results[i]) : GF_OK;
        if (status != GF_OK) {
            return status;
        }
    }
    return GF_OK;
}

/* Everything that can be wrong with arguments, before anything is computed. */
static int32_t check_arguments(const gf_trip *trip, const gf_argument *feeds, const gf_result *results)
{
    const gf_description *d = trip->step->description;
    for (int32_t i = 0; i < d->feed_count; i++) {
        if (feeds[i].data == NULL &&
            gf_run_frame(trip->run)->pointers[d->feeds[i].pointer] == NULL) {
            return gf_say(GF_BAD_ARGUMENT, "%s.%s: feed %s is NULL", trip->model->spec->name,
                             trip->signature->name, trip->signature->feeds[i].name);
        }
    }
    return check_rooms(trip, 0, results);
}

static int32_t deliver(const gf_trip *trip, const gf_result *results)
{
    const gf_description *d = trip->step->description;
    int32_t status = check_rooms(trip, 1, results);
    if (status != GF_OK) {
        return status;
    }
    for (int32_t i = 0; i < d->output_count; i++) {
        gf_output output = gf_run_output(trip->run, i);
        if (results[i].data != NULL && results[i].data != output.data) {
            memcpy(results[i].data, output.data, (size_t)output_bytes(trip, i));
        }
        gf_buffer_release(output.buffer);
    }
    return GF_OK;
}

static int32_t feed(gf_trip *trip, const int64_t *sizes, const gf_argument *feeds)
{
    const gf_signature_spec *signature = trip->signature;
    if (feeds == NULL && signature->feed_count > 0) {
        return gf_say(GF_BAD_ARGUMENT, "%s.%s: its feeds are NULL", trip->model->spec->name,
                         signature->name);
    }
    for (int32_t i = 0; i < signature->feed_count; i++) {
        const gf_tensor_spec *tensor = &signature->feeds[i];
        if (feeds[i].dims == NULL && sizes == NULL && tensor->rank > 0) {
            return gf_say(GF_BAD_ARGUMENT, "%s.%s: feed %s has no shape, and no sizes are given",
                             trip->model->spec->name, signature->name, tensor->name);
        }
        if (feeds[i].dims == NULL) {
            gf_run_feed_data(trip->run, i, feeds[i].data);
            continue;
        }
        for (int32_t k = 0; k < tensor->rank; k++) {
            if (feeds[i].dims[k] < 0) {
                return gf_say(GF_BAD_SIZE, "%s.%s: axis %d of feed %s is negative: %lld",
                              trip->model->spec->name, signature->name, k, tensor->name,
                              (long long)feeds[i].dims[k]);
            }
        }
        int32_t status =
            gf_run_feed(trip->run, i, feeds[i].data, tensor->rank, feeds[i].dims);
        if (status != GF_OK) {
            return explain(trip, status);
        }
    }
    return GF_OK;
}

/* A run up to its commit. Whatever is wrong has been said. */
static int32_t attempt(gf_trip *trip, const gf_argument *feeds, const gf_result *results)
{
    int32_t status = pin(trip);
    status = status == GF_OK ? gf_run_bind(trip->run, trip->model->heap) : status;
    if (status != GF_OK) {
        return explain(trip, status);
    }
    status = check_arguments(trip, feeds, results);
    if (status != GF_OK) {
        return status;
    }
    status = gf_run_step(trip->run, 0);
    return status == GF_OK ? deliver(trip, results) : explain(trip, status);
}

int32_t gf_model_run(gf_model *model, int32_t signature, const int64_t *sizes,
                     const gf_argument *feeds, const gf_result *results)
{
    gf_trip trip;
    int32_t status = begin(model, signature, sizes, 0, &trip);
    if (status != GF_OK) {
        return status;
    }
    const gf_description *d = trip.step->description;
    if (results == NULL && d->output_count > 0) {
        status = gf_say(GF_BAD_ARGUMENT, "%s.%s: its results are NULL", model->spec->name,
                        trip.signature->name);
        end(&trip);
        return status;
    }
    for (int32_t i = 0; i < d->output_count; i++) {
        if (results[i].data != NULL) {
            gf_run_receive(trip.run, i, results[i].data, results[i].bytes);
        }
    }
    status = feed(&trip, sizes, feeds);
    status = status == GF_OK ? attempt(&trip, feeds, results) : status;
    if (status == GF_OK) {
        gf_run_commit(trip.run);
    }
    end(&trip);
    return status;
}

/* A whole binding, which only a signature's first run under way gets: whatever it writes is its
 * alone until it ends. */
static int32_t bind_first(gf_trip *trip)
{
    for (int32_t i = 0; i < trip->signature->feed_count; i++) {
        gf_run_feed_data(trip->run, i, NULL);
    }
    int32_t status = pin(trip);
    return status == GF_OK ? gf_run_bind(trip->run, trip->model->heap) : status;
}

/* Opens runs one inside the other, so that all of them have their memory at once. */
static int32_t reserve(gf_model *model, int32_t signature, const int64_t *sizes, int32_t runs,
                       int first)
{
    gf_trip trip;
    int32_t status = begin(model, signature, sizes, 1, &trip);
    if (status != GF_OK) {
        return status;
    }
    status = first ? bind_first(&trip) : gf_run_reserve(trip.run, model->heap);
    status = status == GF_OK ? GF_OK : explain(&trip, status);
    if (status == GF_OK && runs > 1 && model->arena == NULL) {
        status = reserve(model, signature, sizes, runs - 1, 0);
    }
    end(&trip);
    return status;
}

int32_t gf_model_reserve(gf_model *model, int32_t signature, const int64_t *sizes, int32_t runs)
{
    return runs < 1 ? GF_OK : reserve(model, signature, sizes, runs, 1);
}

int32_t gf_model_arena_bytes(gf_model *model, int32_t signature, const int64_t *sizes,
                             int64_t *bytes)
{
    gf_trip trip;
    int32_t status = begin(model, signature, sizes, 1, &trip);
    if (status != GF_OK) {
        return status;
    }
    status = gf_run_measure(trip.run, bytes);
    status = status == GF_OK ? GF_OK : explain(&trip, status);
    end(&trip);
    return status;
}
