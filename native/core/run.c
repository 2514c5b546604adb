/* Runs: one trip through an executable. See executable.h for the order of calls. */
#include <stdlib.h>
#include <string.h>

#include "floating.h"
#include "internal.h"

enum { SCALAR_BYTES = 64 };

/* Making and keeping runs. */

void gf_run_free(gf_run *run)
{
    if (run == NULL) {
        return;
    }
    if (run->binding != NULL) {
        gf_binding_drop(run->executable, run->binding);
    }
    gf_kept_drop(run->executable, run->kept);
    gf_rooms_free(run);
    free(run->values);
    if (run->output_dims != NULL) {
        free(run->output_dims[0]);
    }
    free(run->pointers);
    free(run->symbols);
    free(run->feed_dims);
    free(run->uses);
    free(run->outputs);
    free(run->output_dims);
    free(run->scalars);
    free(run->given);
    free(run->arena);
    free(run->records);
    gf_mutex_destroy(&run->records_mutex);
    free(run);
}

/* Fills what stays the same in all runs: constants, scalars, what each use of a variable is. */
static void prepare(gf_run *run)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->constant_count; i++) {
        run->pointers[d->constants[i].pointer] = (void *)d->constants[i].data;
    }
    for (int32_t i = 0; i < d->state_count; i++) {
        run->uses[i].slot = d->states[i].slot;
        run->uses[i].reads = d->states[i].pointer_in >= 0;
        run->uses[i].writes = d->states[i].pointer_out >= 0;
    }
    int64_t *dims = run->output_dims[0];
    int32_t scalars = 0;
    for (int32_t i = 0; i < d->output_count; i++) {
        run->output_dims[i] = dims;
        dims += d->outputs[i].shape.rank;
        if (d->outputs[i].shape.rank == 0) {
            char *scalar = run->scalars + SCALAR_BYTES * scalars++;
            if (d->outputs[i].source == GF_FROM_BUFFER) {
                run->pointers[d->outputs[i].pointer] = scalar;
            }
        }
    }
}

static gf_run *new_run(gf_executable *executable)
{
    const gf_description *d = &executable->d;
    size_t dims = 1;
    for (int32_t i = 0; i < d->output_count; i++) {
        dims += (size_t)d->outputs[i].shape.rank;
    }
    gf_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        return NULL;
    }
    gf_mutex_init(&run->records_mutex);
    run->executable = executable;
    run->pointers = calloc((size_t)executable->pointer_count + 1, sizeof *run->pointers);
    run->symbols = calloc((size_t)d->symbol_count + 1, sizeof *run->symbols);
    run->feed_dims = calloc((size_t)d->feed_count + 1, sizeof *run->feed_dims);
    run->uses = calloc((size_t)d->state_count + 1, sizeof *run->uses);
    run->outputs = calloc((size_t)d->output_count + 1, sizeof *run->outputs);
    run->output_dims = calloc((size_t)d->output_count + 1, sizeof *run->output_dims);
    run->values = calloc((size_t)d->value_count + 1, sizeof *run->values);
    run->rooms = calloc((size_t)d->late_buffer_count + (size_t)d->stack_count + 1, sizeof *run->rooms);
    run->given = calloc((size_t)d->output_count + 1, sizeof *run->given);
    run->scalars = gf_aligned_memory(SCALAR_BYTES * ((size_t)executable->scalar_count + 1));
    if (run->output_dims != NULL) {
        run->output_dims[0] = calloc(dims, sizeof **run->output_dims);
    }
    if (!run->pointers || !run->symbols || !run->values || !run->rooms || !run->feed_dims ||
        !run->uses || !run->outputs || !run->output_dims || !run->output_dims[0] || !run->given ||
        !run->scalars) {
        gf_run_free(run);
        return NULL;
    }
    prepare(run);
    run->frame.table = &gf_runtime_table;
    run->frame.pointers = run->pointers;
    run->frame.runtime = run;
    return run;
}

gf_run *gf_run_begin(gf_executable *executable, gf_pool *pool, const gf_host *host)
{
    gf_mutex_lock(&executable->mutex);
    gf_run *run = executable->idle;
    if (run != NULL) {
        executable->idle = run->next;
    } else {
        run = new_run(executable);
        executable->run_count += run != NULL;
    }
    gf_mutex_unlock(&executable->mutex);
    if (run != NULL) {
        run->pool = pool;
        run->host = host ? *host : (gf_host){0};
    }
    return run;
}

/* Feeds, variables, sizes. */

/* What empty feeds point at: code that clamps an index may read where there is no element, and
 * discards what it read. */
static const char nothing[4096];

int32_t gf_run_feed(gf_run *run, int32_t feed, const void *data, int32_t rank, const int64_t *dims)
{
    const gf_feed_spec *spec = &run->executable->d.feeds[feed];
    if (rank != spec->shape.rank) {
        run->problem = (gf_problem){feed, -1, rank, spec->shape.rank};
        return GF_FEED_MISMATCH;
    }
    for (int32_t i = 0; i < rank; i++) {
        if (spec->shape.dims[i] >= 0 && spec->shape.dims[i] != dims[i]) {
            run->problem = (gf_problem){feed, i, dims[i], spec->shape.dims[i]};
            return GF_FEED_MISMATCH;
        }
        if (spec->shape.binds != NULL && spec->shape.binds[i] >= 0) {
            run->symbols[spec->shape.binds[i]] = dims[i];
        }
        if (dims[i] == 0) {
            data = nothing;
        }
    }
    run->pointers[spec->pointer] = (void *)data;
    run->feed_dims[feed] = dims;
    return GF_OK;
}

void gf_run_symbol(gf_run *run, int32_t symbol, int64_t value)
{
    run->symbols[symbol] = value;
}

void gf_run_feed_data(gf_run *run, int32_t feed, const void *data)
{
    run->pointers[run->executable->d.feeds[feed].pointer] = (void *)(uintptr_t)data;
    run->feed_dims[feed] = NULL;
}

void gf_run_receive(gf_run *run, int32_t output, void *data, int64_t bytes)
{
    run->given[output] = (gf_room){data, bytes};
}

void gf_run_lend_arena(gf_run *run, void *arena, int64_t bytes)
{
    run->lent = (gf_room){arena, bytes};
}

int32_t gf_run_pin(gf_run *run, gf_store *store, int64_t wait_us)
{
    const gf_description *d = &run->executable->d;
    if (d->state_count == 0) {
        return GF_OK;
    }
    for (int32_t i = 0; i < d->state_count; i++) {
        run->uses[i].in_place = d->states[i].in_place;
    }
    run->store = store;
    int32_t status = gf_store_begin(store, run->uses, d->state_count, &run->ticket, wait_us);
    run->pinned = status == GF_OK;
    return status;
}

/* Bytes of a shape under a binding; -1 when negative or too large. */
static int64_t shape_bytes(const gf_binding *binding, const gf_shape *shape, int64_t *dims)
{
    int64_t bytes = shape->item_bytes;
    for (int32_t i = 0; i < shape->rank; i++) {
        dims[i] = gf_size_under(binding, shape->dims[i]);
        if (dims[i] < 0 || __builtin_mul_overflow(bytes, dims[i], &bytes)) {
            return -1;
        }
    }
    return bytes <= PTRDIFF_MAX ? bytes : -1;
}

static void bind_symbols(gf_run *run)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->state_count; i++) {
        const gf_shape *shape = &d->states[i].shape;
        for (int32_t k = 0; shape->binds != NULL && k < run->uses[i].rank; k++) {
            if (k < shape->rank && shape->binds[k] >= 0) {
                run->symbols[shape->binds[k]] = run->uses[i].dims[k];
            }
        }
    }
    for (int32_t i = 0; i < d->value_bind_count; i++) {
        const gf_value_bind *bind = &d->value_binds[i];
        const gf_feed_spec *feed = &d->feeds[bind->feed];
        const char *data = run->pointers[feed->pointer];
        if (feed->shape.item_bytes == 8) {
            memcpy(&run->symbols[bind->symbol], data + 8 * bind->element, 8);
        } else {
            int32_t value;
            memcpy(&value, data + 4 * bind->element, 4);
            run->symbols[bind->symbol] = value;
        }
    }
}

/* Whether a value bind would read past the end of what was fed. */
static int32_t check_value_binds(gf_run *run)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->value_bind_count; i++) {
        const gf_value_bind *bind = &d->value_binds[i];
        int64_t elements = 1;
        if (run->feed_dims[bind->feed] == NULL) {
            continue; /* whose caller gave the symbols themselves */
        }
        for (int32_t k = 0; k < d->feeds[bind->feed].shape.rank; k++) {
            elements *= run->feed_dims[bind->feed][k];
        }
        if (bind->element >= elements) {
            run->problem = (gf_problem){bind->feed, 0, elements, bind->element + 1};
            return GF_FEED_MISMATCH;
        }
    }
    return GF_OK;
}

/* The dimensions that a value slot describes, against what was fed. */
static int32_t check_feeds(gf_run *run)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->feed_count; i++) {
        const gf_shape *shape = &d->feeds[i].shape;
        for (int32_t k = 0; k < shape->rank; k++) {
            int64_t expected = gf_size_under(run->binding, shape->dims[k]);
            if (run->feed_dims[i] == NULL) {
                if (expected == 0) {
                    run->pointers[d->feeds[i].pointer] = (void *)(uintptr_t)nothing;
                }
                continue;
            }
            if (run->feed_dims[i][k] != expected) {
                run->problem = (gf_problem){i, k, run->feed_dims[i][k], expected};
                return GF_FEED_MISMATCH;
            }
        }
    }
    return GF_OK;
}

static void lay_out_arena(gf_run *run, char *arena)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->buffer_count; i++) {
        run->pointers[d->buffers[i].pointer] = arena + run->binding->offsets[i];
    }
}

static int32_t use_lent_arena(gf_run *run)
{
    run->filled = 0;
    if (run->lent.bytes < run->binding->size.bytes) {
        run->problem = (gf_problem){-1, -1, run->lent.bytes, run->binding->size.bytes};
        return GF_ARENA_TOO_SMALL;
    }
    lay_out_arena(run, run->lent.data);
    return GF_OK;
}

static int32_t provide_arena(gf_run *run)
{
    const gf_executable *executable = run->executable;
    const gf_description *d = &executable->d;
    if (run->lent.data != NULL) {
        return use_lent_arena(run);
    }
    if (run->filled == run->binding->serial || d->buffer_count == 0) {
        return GF_OK;
    }
    run->filled = 0;
    if (run->arena_bytes < run->binding->size.bytes || run->arena == NULL) {
        char *grown = gf_aligned_memory((size_t)run->binding->size.bytes);
        if (grown == NULL) {
            return GF_NO_MEMORY;
        }
        free(run->arena);
        run->arena = grown;
        gf_mutex_lock(&run->executable->mutex);
        run->executable->run_bytes += run->binding->size.bytes - run->arena_bytes;
        gf_mutex_unlock(&run->executable->mutex);
        run->arena_bytes = run->binding->size.bytes;
    }
    lay_out_arena(run, run->arena);
    run->filled = run->binding->serial;
    return GF_OK;
}

static int32_t provide_outputs(gf_run *run, gf_heap *heap)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->output_count; i++) {
        const gf_output_spec *output = &d->outputs[i];
        if (output->source != GF_FROM_BUFFER || output->shape.rank == 0 || output->late) {
            continue;
        }
        int64_t bytes = shape_bytes(run->binding, &output->shape, run->output_dims[i]);
        if (bytes < 0) {
            return GF_BAD_SIZE;
        }
        if (run->given[i].data != NULL && run->given[i].bytes >= bytes) {
            run->pointers[output->pointer] = run->given[i].data;
            continue;
        }
        run->outputs[i] = gf_buffer_take(heap, (size_t)bytes);
        if (run->outputs[i] == NULL) {
            return GF_NO_MEMORY;
        }
        run->pointers[output->pointer] = gf_buffer_data(run->outputs[i]);
    }
    return GF_OK;
}

static int32_t provide_versions(gf_run *run, gf_heap *heap)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->state_count; i++) {
        const gf_state_spec *state = &d->states[i];
        gf_use *use = &run->uses[i];
        if (use->reads) {
            run->pointers[state->pointer_in] = gf_buffer_data(use->before);
        }
        if (!use->writes) {
            continue;
        }
        int64_t bytes = shape_bytes(run->binding, &state->shape, use->new_dims);
        if (bytes < 0) {
            return GF_BAD_SIZE;
        }
        use->new_rank = state->shape.rank;
        if (use->in_place && gf_buffer_bytes(use->before) == (size_t)bytes) {
            use->after = use->before;
        } else {
            /* The store may still think it is in place, which only makes readers wait. */
            use->in_place = 0;
            use->after = gf_buffer_take(heap, (size_t)bytes);
            if (use->after == NULL) {
                return GF_NO_MEMORY;
            }
        }
        run->pointers[state->pointer_out] = gf_buffer_data(use->after);
    }
    return GF_OK;
}

/* What the run's symbols amount to, kept from the last run: most have the sizes of the one before. */
static int32_t find_binding(gf_run *run)
{
    gf_executable *executable = run->executable;
    for (int32_t i = 1; i <= executable->d.late_count; i++) {
        run->symbols[executable->d.symbol_count - i] = 0;
    }
    size_t bytes = (size_t)executable->d.symbol_count * sizeof *run->symbols;
    if (run->binding != NULL &&
        (bytes == 0 || memcmp(run->binding->symbols, run->symbols, bytes) == 0)) {
        return GF_OK;
    }
    gf_binding *found;
    int32_t status = gf_binding_find(executable, run->symbols, &found, &run->problem);
    if (status != GF_OK) {
        return status;
    }
    if (run->binding != NULL) {
        gf_binding_drop(executable, run->binding);
    }
    run->binding = found;
    return GF_OK;
}

int32_t gf_run_bind(gf_run *run, gf_heap *heap)
{
    int32_t status = check_value_binds(run);
    if (status != GF_OK) {
        return status;
    }
    if (run->executable->d.symbol_count > 0) {
        bind_symbols(run);
    }
    run->heap = heap;
    status = find_binding(run);
    status = status == GF_OK ? gf_late_begin(run) : status;
    status = status == GF_OK ? check_feeds(run) : status;
    status = status == GF_OK ? provide_arena(run) : status;
    status = status == GF_OK ? provide_versions(run, heap) : status;
    status = status == GF_OK ? gf_kept_provide(run, heap) : status;
    return status == GF_OK ? provide_outputs(run, heap) : status;
}

int32_t gf_run_reserve(gf_run *run, gf_heap *heap)
{
    run->heap = heap;
    int32_t status = find_binding(run);
    if (status != GF_OK) {
        return status;
    }
    status = gf_late_begin(run);
    status = status == GF_OK ? provide_arena(run) : status;
    return status == GF_OK ? provide_outputs(run, heap) : status;
}

int32_t gf_run_measure(gf_run *run, int64_t *arena_bytes)
{
    int32_t status = find_binding(run);
    if (status == GF_OK) {
        *arena_bytes = run->binding->size.bytes;
    }
    return status;
}

/* The step and what follows it. */

void gf_run_allow_interrupts(gf_run *run, gf_interrupted allowed)
{
    run->host.interrupted = allowed;
}

int32_t gf_run_step(gf_run *run, int32_t profile)
{
    gf_frame *frame = &run->frame;
    run->record_count = 0;
    run->thread_count = 0;
    frame->status = GF_OK;
    frame->profile = profile;
    frame->site = -1;
    frame->launch = -1;
    atomic_store_explicit(&run->failing, 0, memory_order_relaxed);
    uint64_t mode = gf_mode_enter();
    int32_t status = run->executable->code.step(frame);
    gf_mode_leave(mode);
    status = status != GF_OK ? status : frame->status;
    if (status == GF_OK) {
        gf_kept_publish(run);
    }
    return status;
}

static void end_transaction(gf_run *run, int32_t commit)
{
    if (run->pinned) {
        gf_store_end(run->store, run->uses, run->executable->d.state_count, commit);
        run->pinned = 0;
    }
}

gf_output gf_run_output(gf_run *run, int32_t index)
{
    const gf_description *d = &run->executable->d;
    const gf_output_spec *output = &d->outputs[index];
    /* What is fetched may be a view: the same elements in another shape. */
    gf_output result = {NULL, NULL, output->shape.rank, run->output_dims[index]};
    const gf_use *use = &run->uses[output->index];
    if (output->source != GF_FROM_BUFFER) {
        for (int32_t i = 0; i < output->shape.rank; i++) {
            run->output_dims[index][i] = gf_run_size(run, output->shape.dims[i]);
        }
    }
    switch (output->source) {
    case GF_FROM_BUFFER:
        result.data = run->pointers[output->pointer];
        result.buffer = run->outputs[index];
        run->outputs[index] = NULL;
        return result;
    case GF_FROM_STATE_IN:
        result.buffer = use->before;
        break;
    case GF_FROM_STATE_OUT:
        result.buffer = use->after;
        break;
    case GF_FROM_FEED:
        result.data = run->pointers[d->feeds[output->index].pointer];
        return result;
    default:
        result.data = (void *)d->constants[output->index].data;
        return result;
    }
    gf_buffer_retain(result.buffer);
    result.data = gf_buffer_data(result.buffer);
    return result;
}

void gf_run_commit(gf_run *run)
{
    end_transaction(run, 1);
}

void gf_run_end(gf_run *run)
{
    gf_executable *executable = run->executable;
    if (run->ticket.queued) {
        gf_store_drop_ticket(run->store, &run->ticket);
    }
    end_transaction(run, 0);
    for (int32_t i = 0; i < executable->d.output_count; i++) {
        if (run->outputs[i] != NULL) {
            gf_buffer_release(run->outputs[i]);
            run->outputs[i] = NULL;
        }
        run->given[i] = (gf_room){NULL, 0};
    }
    run->lent = (gf_room){NULL, 0};
    gf_mutex_lock(&executable->mutex);
    run->next = executable->idle;
    executable->idle = run;
    gf_mutex_unlock(&executable->mutex);
}

const gf_frame *gf_run_frame(const gf_run *run)
{
    return &run->frame;
}

const gf_problem *gf_run_problem(const gf_run *run)
{
    return &run->problem;
}

const gf_use *gf_run_use(const gf_run *run, int32_t index)
{
    return &run->uses[index];
}

const gf_record *gf_run_records(const gf_run *run, int64_t *count)
{
    *count = run->record_count;
    return run->records;
}

int64_t gf_run_size(const gf_run *run, gf_size size)
{
    return size >= 0 ? size : run->frame.values[~size];
}
