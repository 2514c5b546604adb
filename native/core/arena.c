/* Offsets for buffers with known lifetimes: dynamic storage allocation, by greedy best fit.
 *
 * Placing the largest first and looking only at what is alive at the same time is within a few
 * percent of the lower bound on networks' graphs (Pisarchyk and Lee, "Efficient Memory Management
 * for Deep Neural Net Inference", 2020).
 */
#include "graphflow/arena.h"

#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"

#if SIZE_MAX > UINT32_MAX
#define LARGEST_ARENA ((int64_t)1 << 46)
#else
#define LARGEST_ARENA ((int64_t)PTRDIFF_MAX)
#endif

typedef struct item {
    int64_t key;   /* descending */
    int64_t bytes; /* rounded up */
    int32_t index;
    int32_t first, last;
    int64_t offset;
} item;

static int by_key(const void *left, const void *right)
{
    const item *a = left, *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? 1 : -1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

enum { BY_SIZE, BY_AREA, BY_START, ORDERS };

static int64_t key_of(const item *it, int order)
{
    switch (order) {
    case BY_SIZE:
        return it->bytes;
    case BY_AREA:
        return it->bytes / GF_ARENA_ALIGNMENT * (it->last - it->first + 1);
    default:
        return -(int64_t)it->first;
    }
}

/* Places items in their order. `placed` lists those done, by offset. Returns the end. */
static int64_t place(item *items, int32_t count, int32_t *placed)
{
    int64_t end = 0;
    for (int32_t i = 0; i < count; i++) {
        item *new = &items[i];
        int64_t free_from = 0, best = -1, best_gap = INT64_MAX;
        for (int32_t k = 0; k < i; k++) {
            const item *other = &items[placed[k]];
            if (other->last < new->first || other->first > new->last) {
                continue;
            }
            int64_t gap = other->offset - free_from;
            if (gap >= new->bytes && gap < best_gap) {
                best = free_from;
                best_gap = gap;
            }
            if (other->offset + other->bytes > free_from) {
                free_from = other->offset + other->bytes;
            }
        }
        new->offset = best >= 0 ? best : free_from;
        if (new->offset + new->bytes > end) {
            end = new->offset + new->bytes;
        }
        int32_t at = i;
        while (at > 0 && items[placed[at - 1]].offset > new->offset) {
            placed[at] = placed[at - 1];
            at--;
        }
        placed[at] = i;
    }
    return end;
}

/* The largest live set. Fails on sizes that do not add up within the address space. */
static int32_t largest_live_set(const gf_block *blocks, int32_t count, int32_t launches,
                                int64_t *largest)
{
    int64_t *change = calloc((size_t)launches + 2, sizeof *change);
    int64_t total = 0;
    *largest = 0;
    if (change == NULL) {
        return GF_NO_MEMORY;
    }
    for (int32_t i = 0; i < count; i++) {
        const gf_block *block = &blocks[i];
        if (block->bytes < 0 || block->bytes > LARGEST_ARENA || block->first < 0 ||
            block->last < block->first || block->last > launches ||
            (total += block->bytes + GF_ARENA_ALIGNMENT) > LARGEST_ARENA) {
            free(change);
            return GF_BAD_SIZE;
        }
        int64_t bytes = gf_arena_aligned(block->bytes);
        change[block->first] += bytes;
        change[block->last + 1] -= bytes;
    }
    int64_t live = 0;
    for (int32_t i = 0; i <= launches; i++) {
        live += change[i];
        *largest = live > *largest ? live : *largest;
    }
    free(change);
    return GF_OK;
}

int32_t gf_arena_plan(gf_block *blocks, int32_t count, int32_t launches, gf_arena_size *size)
{
    int32_t status = largest_live_set(blocks, count, launches, &size->lower_bound);
    size->bytes = 0;
    if (status != GF_OK || count == 0) {
        return status;
    }
    item *items = malloc((size_t)count * sizeof *items);
    int32_t *placed = malloc((size_t)count * sizeof *placed);
    if (items == NULL || placed == NULL) {
        free(items);
        free(placed);
        return GF_NO_MEMORY;
    }
    size->bytes = INT64_MAX;
    for (int order = 0; order < ORDERS && size->bytes > size->lower_bound; order++) {
        int32_t used = 0;
        for (int32_t i = 0; i < count; i++) {
            if (blocks[i].bytes == 0) {
                blocks[i].offset = 0;
                continue;
            }
            item *it = &items[used++];
            it->bytes = gf_arena_aligned(blocks[i].bytes);
            it->index = i;
            it->first = blocks[i].first;
            it->last = blocks[i].last;
            it->key = key_of(it, order);
        }
        qsort(items, (size_t)used, sizeof *items, by_key);
        int64_t end = place(items, used, placed);
        if (end < size->bytes) {
            size->bytes = end;
            for (int32_t i = 0; i < used; i++) {
                blocks[items[i].index].offset = items[i].offset;
            }
        }
    }
    free(items);
    free(placed);
    return GF_OK;
}

int32_t gf_arena_measure(const gf_block *blocks, int32_t count, int32_t launches,
                         gf_arena_size *size)
{
    int32_t status = largest_live_set(blocks, count, launches, &size->lower_bound);
    size->bytes = 0;
    for (int32_t i = 0; i < count && status == GF_OK; i++) {
        int64_t end = gf_arena_aligned(blocks[i].offset + blocks[i].bytes);
        if (blocks[i].offset < 0 || blocks[i].offset > LARGEST_ARENA) {
            status = GF_BAD_SIZE;
        } else if (end > size->bytes) {
            size->bytes = end;
        }
    }
    return status;
}
