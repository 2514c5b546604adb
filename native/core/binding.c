/* Sizes of a run: from symbols to every derived size and to offsets in the arena, remembered for
 * the symbols met most recently. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static void free_binding(gf_binding *binding)
{
    if (binding != NULL) {
        free(binding->symbols);
        free(binding);
    }
}

static gf_binding *new_binding(const gf_description *d, const int64_t *symbols)
{
    gf_binding *binding = calloc(1, sizeof *binding);
    size_t words = (size_t)d->symbol_count + (size_t)d->value_count + (size_t)d->buffer_count;
    if (binding == NULL || (binding->symbols = calloc(words + 1, sizeof(int64_t))) == NULL) {
        free(binding);
        return NULL;
    }
    binding->values = binding->symbols + d->symbol_count;
    binding->offsets = binding->values + d->value_count;
    if (d->symbol_count > 0) {
        memcpy(binding->symbols, symbols, (size_t)d->symbol_count * sizeof *symbols);
    }
    return binding;
}

/* Offsets of all buffers: planned for those with memory of their own, copied to their aliases. */
static int32_t assign_offsets(const gf_executable *executable, gf_binding *binding)
{
    const gf_description *d = &executable->d;
    gf_block *blocks = malloc(((size_t)d->buffer_count + 1) * sizeof *blocks);
    if (blocks == NULL) {
        return GF_NO_MEMORY;
    }
    /* An alias makes its root at least as large and as long-lived as itself, and is left with an
     * empty block. */
    for (int32_t i = 0; i < d->buffer_count; i++) {
        blocks[i] = (gf_block){0, d->buffers[i].first, d->buffers[i].last,
                               executable->planned ? d->buffers[i].offset : 0};
    }
    int32_t status = GF_OK;
    for (int32_t i = 0; i < d->buffer_count; i++) {
        gf_block *root = &blocks[executable->roots[i]];
        int64_t bytes = gf_size_under(binding, d->buffers[i].bytes);
        if (bytes < 0) {
            status = GF_BAD_SIZE;
        }
        root->bytes = bytes > root->bytes ? bytes : root->bytes;
        root->first = d->buffers[i].first < root->first ? d->buffers[i].first : root->first;
        root->last = d->buffers[i].last > root->last ? d->buffers[i].last : root->last;
    }
    if (status == GF_OK) {
        status = executable->planned
                     ? gf_arena_measure(blocks, d->buffer_count, d->moment_count, &binding->size)
                     : gf_arena_plan(blocks, d->buffer_count, d->moment_count, &binding->size);
    }
    for (int32_t i = 0; i < d->buffer_count && status == GF_OK; i++) {
        binding->offsets[i] = blocks[executable->roots[i]].offset;
    }
    free(blocks);
    return status;
}

static int32_t compute(const gf_executable *executable, gf_binding *binding, gf_problem *problem)
{
    const gf_description *d = &executable->d;
    if (executable->code.sizes != NULL) {
        executable->code.sizes(binding->symbols, binding->values);
    }
    for (int32_t i = 0; i < d->check_count; i++) {
        int64_t a = gf_size_under(binding, d->checks[i].a);
        int64_t b = gf_size_under(binding, d->checks[i].b);
        if (a != b) {
            *problem = (gf_problem){d->checks[i].message, -1, a, b};
            return GF_SIZE_MISMATCH;
        }
    }
    int32_t status = assign_offsets(executable, binding);
    int64_t needed = binding->size.bytes + gf_size_under(binding, d->outside_bytes);
    if (status == GF_OK && d->budget > 0 && needed > d->budget) {
        *problem = (gf_problem){GF_OVER_BUDGET, -1, needed, d->budget};
        return GF_SIZE_MISMATCH;
    }
    return status;
}

/* Puts a binding into the cache, in place of the one that was not used for longest. */
static void keep(gf_executable *executable, gf_binding *binding)
{
    int oldest = 0;
    for (int i = 0; i < BINDINGS_KEPT; i++) {
        if (executable->bindings[i] == NULL) {
            oldest = i;
            break;
        }
        if (executable->bindings[i]->last_used < executable->bindings[oldest]->last_used) {
            oldest = i;
        }
    }
    gf_binding *dropped = executable->bindings[oldest];
    if (dropped != NULL && --dropped->holders == 0) {
        free_binding(dropped);
    }
    executable->bindings[oldest] = binding;
}

static gf_binding *cached(const gf_executable *executable, const int64_t *symbols)
{
    size_t bytes = (size_t)executable->d.symbol_count * sizeof *symbols;
    for (int i = 0; i < BINDINGS_KEPT && executable->bindings[i] != NULL; i++) {
        if (bytes == 0 || memcmp(executable->bindings[i]->symbols, symbols, bytes) == 0) {
            return executable->bindings[i];
        }
    }
    return NULL;
}

int32_t gf_binding_find(gf_executable *executable, const int64_t *symbols, gf_binding **binding,
                        gf_problem *problem)
{
    int32_t status = GF_OK;
    gf_mutex_lock(&executable->mutex);
    gf_binding *found = cached(executable, symbols);
    if (found == NULL) {
        found = new_binding(&executable->d, symbols);
        status = found ? compute(executable, found, problem) : GF_NO_MEMORY;
        if (status != GF_OK) {
            free_binding(found);
            found = NULL;
        } else {
            found->holders = 1;
            found->serial = (uint64_t)++executable->planned_count;
            keep(executable, found);
        }
    }
    if (found != NULL) {
        found->last_used = ++executable->clock;
        found->holders++;
        executable->last_size = found->size;
    }
    gf_mutex_unlock(&executable->mutex);
    *binding = found;
    return status;
}

void gf_binding_drop(gf_executable *executable, gf_binding *binding)
{
    gf_mutex_lock(&executable->mutex);
    int last = --binding->holders == 0;
    gf_mutex_unlock(&executable->mutex);
    if (last) {
        free_binding(binding);
    }
}

void gf_bindings_free(gf_executable *executable)
{
    for (int i = 0; i < BINDINGS_KEPT; i++) {
        free_binding(executable->bindings[i]);
    }
}
