/* Memory whose size a run finds out on its way: rows that a loop adds one by one, and what is
 * computed of them once it has ended. It belongs to the run and is kept for later ones. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

void gf_rooms_free(gf_run *run)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; run->rooms != NULL && i < d->late_buffer_count + d->stack_count; i++) {
        free(run->rooms[i].data);
    }
    free(run->rooms);
}

/* Makes a room at least so large; its first `used` bytes stay what they are. */
static int32_t enlarge(gf_run *run, gf_room *room, int64_t bytes, int64_t used)
{
    if (room->data != NULL && room->bytes >= bytes) {
        return GF_OK;
    }
    if (bytes < 0 || bytes >= PTRDIFF_MAX) {
        return GF_NO_MEMORY;
    }
    char *grown = gf_aligned_memory((size_t)bytes + 1);
    if (grown == NULL) {
        return GF_NO_MEMORY;
    }
    if (used > 0) {
        memcpy(grown, room->data, (size_t)used);
    }
    free(room->data);
    gf_mutex_lock(&run->executable->mutex);
    run->executable->run_bytes += bytes - room->bytes;
    gf_mutex_unlock(&run->executable->mutex);
    room->data = grown;
    room->bytes = bytes;
    return GF_OK;
}

int32_t gf_stack_grow(gf_run *run, int32_t stack, int64_t row)
{
    const gf_description *d = &run->executable->d;
    gf_room *room = &run->rooms[d->late_buffer_count + stack];
    int64_t row_bytes = gf_run_size(run, d->stacks[stack].row_bytes), needed;
    if (row_bytes < 0 || __builtin_mul_overflow(row_bytes, row + 1, &needed)) {
        return GF_NO_MEMORY;
    }
    if (room->data == NULL || needed > room->bytes) {
        /* Twice as much as before, so that all the copying is in proportion to the rows. */
        int64_t doubled = needed < INT64_MAX / 8 ? 2 * needed : needed;
        int64_t bytes = doubled > 4096 ? doubled : 4096;
        /* Rows may have been of several elements each, which is what `row` counts then. */
        int64_t used = row * row_bytes < room->bytes ? row * row_bytes : room->bytes;
        int32_t status = enlarge(run, room, bytes, used);
        if (status != GF_OK) {
            return status;
        }
    }
    run->pointers[d->stacks[stack].pointer] = room->data;
    return GF_OK;
}

/* What is fetched is memory of its own. */
static int32_t provide_output(gf_run *run, int32_t index)
{
    const gf_output_spec *output = &run->executable->d.outputs[index];
    int64_t bytes = output->shape.item_bytes;
    for (int32_t i = 0; i < output->shape.rank; i++) {
        int64_t dim = gf_run_size(run, output->shape.dims[i]);
        run->output_dims[index][i] = dim;
        if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
            return GF_NO_MEMORY;
        }
    }
    if (bytes > PTRDIFF_MAX) {
        return GF_NO_MEMORY;
    }
    if (run->outputs[index] != NULL && gf_buffer_bytes(run->outputs[index]) == (size_t)bytes) {
        return GF_OK;
    }
    gf_buffer *taken = gf_buffer_take(run->heap, (size_t)bytes);
    if (taken == NULL) {
        return GF_NO_MEMORY;
    }
    if (run->outputs[index] != NULL) {
        gf_buffer_release(run->outputs[index]);
    }
    run->outputs[index] = taken;
    run->pointers[output->pointer] = gf_buffer_data(taken);
    return GF_OK;
}

int32_t gf_late_provide(gf_run *run)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->late_buffer_count; i++) {
        gf_room *room = &run->rooms[i];
        int32_t status = enlarge(run, room, gf_run_size(run, d->late[i].bytes), room->bytes);
        if (status != GF_OK) {
            return status;
        }
        run->pointers[d->late[i].pointer] = room->data;
    }
    for (int32_t i = 0; i < d->output_count; i++) {
        int32_t status = d->outputs[i].late ? provide_output(run, i) : GF_OK;
        if (status != GF_OK) {
            return status;
        }
    }
    return GF_OK;
}

int32_t gf_late_bind(gf_run *run, int32_t symbol, int64_t value)
{
    run->symbols[symbol] = value;
    run->executable->code.sizes(run->symbols, run->values);
    return gf_late_provide(run);
}

int32_t gf_late_begin(gf_run *run)
{
    const gf_executable *executable = run->executable;
    const gf_description *d = &executable->d;
    if (d->late_count == 0) {
        run->frame.values = run->binding->values;
        /* A stack may be one whose height nobody asks for. */
        return GF_OK;
    }
    if (d->value_count > 0) {
        memcpy(run->values, run->binding->values, (size_t)d->value_count * sizeof *run->values);
    }
    run->frame.values = run->values;
    /* Where there is nothing yet, there still is something to point at. */
    return gf_late_provide(run);
}
