/* Executables: a description, checked once so that runs need not check, and the code. */
#include "graphflow/executable.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { MOST_POINTERS = 1 << 24, MOST_SIZES = 1 << 24 };

typedef struct report {
    char *message;
    size_t bytes;
} report;

__attribute__((format(printf, 2, 3))) static int32_t refuse(const report *to, const char *format,
                                                            ...)
{
    if (to->bytes > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(to->message, to->bytes, format, arguments);
        va_end(arguments);
    }
    return GF_BAD_DESCRIPTION;
}

/* The table of pointers is as long as its largest index, which must not be a wild one. */
static int pointer_exists(int32_t pointer)
{
    return pointer >= 0 && pointer < MOST_POINTERS;
}

static int size_exists(const gf_description *d, gf_size size)
{
    return size >= 0 || ~size < d->value_count;
}

static int shape_is_sound(const gf_description *d, const gf_shape *shape)
{
    if (shape->rank < 0 || shape->rank > GF_MAX_RANK || shape->item_bytes < 0 ||
        shape->item_bytes > 64) {
        return 0;
    }
    for (int32_t i = 0; i < shape->rank; i++) {
        if (!size_exists(d, shape->dims[i]) ||
            (shape->binds != NULL &&
             (shape->binds[i] < -1 || shape->binds[i] >= d->symbol_count))) {
            return 0;
        }
    }
    return 1;
}

/* Every symbol must get its value from some feed or variable. */
static int32_t check_symbols(const gf_description *d, const report *to)
{
    char *bound = calloc((size_t)d->symbol_count + 1, 1);
    if (bound == NULL) {
        return GF_NO_MEMORY;
    }
    for (int32_t i = 0; i < d->feed_count + d->state_count; i++) {
        const gf_shape *shape =
            i < d->feed_count ? &d->feeds[i].shape : &d->states[i - d->feed_count].shape;
        for (int32_t k = 0; shape->binds != NULL && k < shape->rank; k++) {
            if (shape->binds[k] >= 0) {
                bound[shape->binds[k]] = 1;
            }
        }
    }
    for (int32_t i = 0; i < d->value_bind_count; i++) {
        bound[d->value_binds[i].symbol] = 1;
    }
    int32_t status = GF_OK;
    for (int32_t i = 0; i < d->symbol_count - d->late_count && status == GF_OK; i++) {
        if (!bound[i]) {
            status = refuse(to, "nothing binds symbol %d", i);
        }
    }
    free(bound);
    return status;
}

static int32_t check_states(const gf_description *d, const report *to)
{
    for (int32_t i = 0; i < d->state_count; i++) {
        const gf_state_spec *state = &d->states[i];
        if (!shape_is_sound(d, &state->shape) || state->slot < 0 ||
            (state->pointer_in != -1 && !pointer_exists(state->pointer_in)) ||
            (state->pointer_out != -1 && !pointer_exists(state->pointer_out)) ||
            (state->in_place && (state->pointer_in < 0 || state->pointer_out < 0))) {
            return refuse(to, "state %d is not sound", i);
        }
        for (int32_t k = 0; k < i; k++) {
            if (d->states[k].slot == state->slot) {
                return refuse(to, "states %d and %d have the same slot", k, i);
            }
        }
    }
    return GF_OK;
}

static int32_t check_outputs(const gf_description *d, const report *to)
{
    for (int32_t i = 0; i < d->output_count; i++) {
        const gf_output_spec *output = &d->outputs[i];
        int32_t limit = output->source == GF_FROM_FEED       ? d->feed_count
                        : output->source == GF_FROM_CONSTANT ? d->constant_count
                                                             : d->state_count;
        int sound = output->source >= GF_FROM_BUFFER && output->source <= GF_FROM_CONSTANT &&
                    shape_is_sound(d, &output->shape);
        if (sound && output->source != GF_FROM_BUFFER) {
            sound = output->index >= 0 && output->index < limit;
        }
        if (sound && output->source == GF_FROM_STATE_IN) {
            sound = d->states[output->index].pointer_in >= 0;
        }
        if (sound && output->source == GF_FROM_STATE_OUT) {
            sound = d->states[output->index].pointer_out >= 0;
        }
        if (sound && output->source == GF_FROM_BUFFER) {
            sound = pointer_exists(output->pointer);
            for (int32_t k = 0; k < i; k++) {
                sound &= d->outputs[k].source != GF_FROM_BUFFER ||
                         d->outputs[k].pointer != output->pointer;
            }
        }
        if (!sound) {
            return refuse(to, "output %d is not sound", i);
        }
    }
    return GF_OK;
}

static int32_t check_buffers(const gf_description *d, const report *to)
{
    for (int32_t i = 0; i < d->buffer_count; i++) {
        const gf_buffer_spec *buffer = &d->buffers[i];
        if (!pointer_exists(buffer->pointer) || !size_exists(d, buffer->bytes) ||
            buffer->alias_of < -1 || buffer->alias_of >= d->buffer_count || buffer->alias_of == i ||
            buffer->first < 0 || buffer->last < buffer->first || buffer->last > d->moment_count ||
            buffer->offset < -1 || buffer->offset % GF_ARENA_ALIGNMENT > 0 ||
            (buffer->offset < 0) != (d->buffers[0].offset < 0)) {
            return refuse(to, "buffer %d is not sound", i);
        }
    }
    return GF_OK;
}

static int32_t check_kept(const gf_description *d, const report *to)
{
    int64_t total = 0;
    for (int32_t i = 0; i < d->kept_count; i++) {
        if (!pointer_exists(d->kept[i].pointer) || d->kept[i].bytes < 0 ||
            d->kept[i].bytes > INT64_MAX - 2 * GF_ARENA_ALIGNMENT ||
            __builtin_add_overflow(total, gf_arena_aligned(d->kept[i].bytes), &total) ||
            total > PTRDIFF_MAX) {
            return refuse(to, "kept buffer %d is not sound", i);
        }
    }
    for (int32_t i = 0; i < d->source_count; i++) {
        int32_t source = d->sources[i];
        if (source < 0 || source >= d->state_count || d->states[source].pointer_in < 0) {
            return refuse(to, "source %d of the kept buffers is not sound", i);
        }
    }
    return GF_OK;
}

static int32_t check_late(const gf_description *d, const report *to)
{
    for (int32_t i = 0; i < d->late_buffer_count; i++) {
        if (!pointer_exists(d->late[i].pointer) || !size_exists(d, d->late[i].bytes)) {
            return refuse(to, "late buffer %d is not sound", i);
        }
    }
    for (int32_t i = 0; i < d->stack_count; i++) {
        if (!pointer_exists(d->stacks[i].pointer) || !size_exists(d, d->stacks[i].row_bytes)) {
            return refuse(to, "stack %d is not sound", i);
        }
    }
    for (int32_t i = 0; i < d->row_count; i++) {
        if (!pointer_exists(d->rows[i])) {
            return refuse(to, "row %d is not sound", i);
        }
    }
    return GF_OK;
}

static int32_t check(const gf_description *d, const report *to)
{
    if (d->late_count < 0 || d->late_count > d->symbol_count) {
        return refuse(to, "the number of late symbols is not sound");
    }
    if (d->symbol_count < 0 || d->value_count < 0 || d->moment_count < 0) {
        return refuse(to, "a count is negative");
    }
    if (d->symbol_count > MOST_SIZES || d->value_count > MOST_SIZES) {
        return refuse(to, "there are too many sizes");
    }
    for (int32_t i = 0; i < d->feed_count; i++) {
        if (!pointer_exists(d->feeds[i].pointer) || !shape_is_sound(d, &d->feeds[i].shape)) {
            return refuse(to, "feed %d is not sound", i);
        }
    }
    for (int32_t i = 0; i < d->constant_count; i++) {
        if (!pointer_exists(d->constants[i].pointer)) {
            return refuse(to, "constant %d is not sound", i);
        }
    }
    for (int32_t i = 0; i < d->value_bind_count; i++) {
        const gf_value_bind *bind = &d->value_binds[i];
        if (bind->symbol < 0 || bind->symbol >= d->symbol_count || bind->feed < 0 ||
            bind->feed >= d->feed_count || bind->element < 0 ||
            (d->feeds[bind->feed].shape.item_bytes != 4 &&
             d->feeds[bind->feed].shape.item_bytes != 8)) {
            return refuse(to, "value bind %d is not sound", i);
        }
    }
    if (!size_exists(d, d->outside_bytes)) {
        return refuse(to, "the bytes beside the arena are not sound");
    }
    for (int32_t i = 0; i < d->check_count; i++) {
        const gf_check_spec *equality = &d->checks[i];
        if (!size_exists(d, equality->a) || !size_exists(d, equality->b)) {
            return refuse(to, "check %d is not sound", i);
        }
    }
    int32_t status = check_states(d, to);
    status = status == GF_OK ? check_outputs(d, to) : status;
    status = status == GF_OK ? check_buffers(d, to) : status;
    status = status == GF_OK ? check_kept(d, to) : status;
    status = status == GF_OK ? check_late(d, to) : status;
    return status == GF_OK ? check_symbols(d, to) : status;
}

/* Copies an array; remembers failure in `*status`, so that callers check once. */
static void *copy(const void *from, int32_t count, size_t item, int32_t *status)
{
    void *to = (size_t)count < PTRDIFF_MAX / item ? malloc((size_t)count * item + 1) : NULL;
    if (to == NULL) {
        *status = GF_NO_MEMORY;
    } else if (count > 0) {
        memcpy(to, from, (size_t)count * item);
    }
    return to;
}

static void copy_shape(gf_shape *shape, int32_t *status)
{
    shape->dims = copy(shape->dims, shape->rank, sizeof *shape->dims, status);
    if (shape->binds != NULL) {
        shape->binds = copy(shape->binds, shape->rank, sizeof *shape->binds, status);
    }
}

static void free_shape(const gf_shape *shape)
{
    free((void *)shape->dims);
    free((void *)shape->binds);
}

static int32_t copy_description(gf_description *to, const gf_description *d)
{
    int32_t status = GF_OK;
    *to = *d;
    gf_feed_spec *feeds = copy(d->feeds, d->feed_count, sizeof *feeds, &status);
    gf_state_spec *states = copy(d->states, d->state_count, sizeof *states, &status);
    gf_output_spec *outputs = copy(d->outputs, d->output_count, sizeof *outputs, &status);
    to->feeds = feeds;
    to->states = states;
    to->outputs = outputs;
    to->value_binds = copy(d->value_binds, d->value_bind_count, sizeof *d->value_binds, &status);
    to->constants = copy(d->constants, d->constant_count, sizeof *d->constants, &status);
    to->buffers = copy(d->buffers, d->buffer_count, sizeof *d->buffers, &status);
    to->late = copy(d->late, d->late_buffer_count, sizeof *d->late, &status);
    to->stacks = copy(d->stacks, d->stack_count, sizeof *d->stacks, &status);
    to->kept = copy(d->kept, d->kept_count, sizeof *d->kept, &status);
    to->sources = copy(d->sources, d->source_count, sizeof *d->sources, &status);
    to->rows = copy(d->rows, d->row_count, sizeof *d->rows, &status);
    to->checks = copy(d->checks, d->check_count, sizeof *d->checks, &status);
    if (status != GF_OK) {
        /* No shape was copied yet: free only the arrays. */
        to->feed_count = to->state_count = to->output_count = 0;
        return status;
    }
    for (int32_t i = 0; i < d->feed_count; i++) {
        copy_shape(&feeds[i].shape, &status);
    }
    for (int32_t i = 0; i < d->state_count; i++) {
        copy_shape(&states[i].shape, &status);
    }
    for (int32_t i = 0; i < d->output_count; i++) {
        copy_shape(&outputs[i].shape, &status);
        /* Who fetches the old version needs it to stay what it is. */
        if (outputs[i].source == GF_FROM_STATE_IN) {
            states[outputs[i].index].in_place = 0;
        }
    }
    return status;
}

static void free_description(const gf_description *d)
{
    for (int32_t i = 0; i < d->feed_count; i++) {
        free_shape(&d->feeds[i].shape);
    }
    for (int32_t i = 0; i < d->state_count; i++) {
        free_shape(&d->states[i].shape);
    }
    for (int32_t i = 0; i < d->output_count; i++) {
        free_shape(&d->outputs[i].shape);
    }
    free((void *)d->feeds);
    free((void *)d->states);
    free((void *)d->outputs);
    free((void *)d->value_binds);
    free((void *)d->constants);
    free((void *)d->buffers);
    free((void *)d->late);
    free((void *)d->stacks);
    free((void *)d->kept);
    free((void *)d->sources);
    free((void *)d->rows);
    free((void *)d->checks);
}

static void count_pointer(gf_executable *executable, int32_t pointer)
{
    if (pointer >= executable->pointer_count) {
        executable->pointer_count = pointer + 1;
    }
}

static void count_pointers(gf_executable *executable)
{
    const gf_description *d = &executable->d;
    for (int32_t i = 0; i < d->feed_count; i++) {
        count_pointer(executable, d->feeds[i].pointer);
    }
    for (int32_t i = 0; i < d->constant_count; i++) {
        count_pointer(executable, d->constants[i].pointer);
    }
    for (int32_t i = 0; i < d->state_count; i++) {
        count_pointer(executable, d->states[i].pointer_in);
        count_pointer(executable, d->states[i].pointer_out);
    }
    for (int32_t i = 0; i < d->output_count; i++) {
        count_pointer(executable, d->outputs[i].pointer);
        executable->scalar_count += d->outputs[i].shape.rank == 0;
    }
    for (int32_t i = 0; i < d->buffer_count; i++) {
        count_pointer(executable, d->buffers[i].pointer);
    }
    for (int32_t i = 0; i < d->late_buffer_count; i++) {
        count_pointer(executable, d->late[i].pointer);
    }
    for (int32_t i = 0; i < d->stack_count; i++) {
        count_pointer(executable, d->stacks[i].pointer);
    }
    for (int32_t i = 0; i < d->row_count; i++) {
        count_pointer(executable, d->rows[i]);
    }
    for (int32_t i = 0; i < d->kept_count; i++) {
        count_pointer(executable, d->kept[i].pointer);
        executable->kept_bytes += gf_arena_aligned(d->kept[i].bytes);
    }
}

/* Follows aliases to the buffer that has memory; a cycle of aliases is refused. */
static int32_t find_roots(gf_executable *executable, const report *to)
{
    const gf_description *d = &executable->d;
    for (int32_t i = 0; i < d->buffer_count; i++) {
        int32_t root = i, steps = 0;
        while (d->buffers[root].alias_of >= 0 && steps++ <= d->buffer_count) {
            root = d->buffers[root].alias_of;
        }
        if (d->buffers[root].alias_of >= 0) {
            return refuse(to, "buffer %d is its own alias", i);
        }
        executable->roots[i] = root;
    }
    return GF_OK;
}

static void release_code(const gf_step_code *code)
{
    if (code->release != NULL) {
        code->release(code->owner);
    }
}

int32_t gf_executable_create(const gf_description *description, const gf_step_code *code,
                             gf_executable **executable, char *message, size_t message_bytes)
{
    report to = {message, message_bytes};
    int32_t status = check(description, &to);
    gf_executable *new = NULL;
    *executable = NULL;
    if (status == GF_OK && (new = calloc(1, sizeof *new)) == NULL) {
        status = GF_NO_MEMORY;
    }
    if (status != GF_OK) {
        release_code(code);
        return status;
    }
    gf_mutex_init(&new->mutex);
    new->code = *code;
    status = copy_description(&new->d, description);
    new->roots = calloc((size_t)new->d.buffer_count + 1, sizeof *new->roots);
    if (new->roots == NULL) {
        status = GF_NO_MEMORY;
    }
    if (status == GF_OK) {
        count_pointers(new);
        new->planned = new->d.buffer_count > 0 && new->d.buffers[0].offset >= 0;
        status = find_roots(new, &to);
    }
    int symbolic = new->d.value_count > 0 || new->d.late_count > 0;
    if (status == GF_OK && (code->step == NULL || (code->sizes == NULL && symbolic))) {
        refuse(&to, "the object does not define %s", code->step == NULL ? "gf_step" : "gf_sizes");
        status = GF_BAD_OBJECT;
    }
    if (status != GF_OK) {
        gf_executable_destroy(new);
        return status;
    }
    *executable = new;
    return GF_OK;
}

void gf_executable_destroy(gf_executable *executable)
{
    if (executable == NULL) {
        return;
    }
    while (executable->idle != NULL) {
        gf_run *run = executable->idle;
        executable->idle = run->next;
        gf_run_free(run);
    }
    gf_bindings_free(executable);
    gf_kept_drop(executable, executable->kept);
    free_description(&executable->d);
    free(executable->roots);
    release_code(&executable->code);
    gf_mutex_destroy(&executable->mutex);
    free(executable);
}

gf_executable_report gf_executable_inspect(gf_executable *executable)
{
    gf_mutex_lock(&executable->mutex);
    gf_executable_report result = {
        executable->code.bytes, executable->last_size.bytes, executable->last_size.lower_bound,
        executable->run_count, executable->run_bytes,       executable->planned_count,
        executable->kept_bytes, executable->preparations};
    gf_mutex_unlock(&executable->mutex);
    return result;
}

int32_t gf_executable_arena(gf_executable *executable, const int64_t *symbols, int64_t *bytes,
                            int64_t *lower_bound)
{
    gf_binding *binding;
    gf_problem problem;
    int32_t status = gf_binding_find(executable, symbols, &binding, &problem);
    if (status == GF_OK) {
        *bytes = binding->size.bytes;
        *lower_bound = binding->size.lower_bound;
        gf_binding_drop(executable, binding);
    }
    return status;
}
