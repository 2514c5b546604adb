/* Where the buffers of one step lie in one block of memory. */
#ifndef GRAPHFLOW_ARENA_H
#define GRAPHFLOW_ARENA_H

#include <stdint.h>

#include "graphflow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GF_ARENA_ALIGNMENT 64

/* Bytes rounded up to whole lines. */
static inline int64_t gf_arena_aligned(int64_t bytes)
{
    return (bytes + GF_ARENA_ALIGNMENT - 1) & -(int64_t)GF_ARENA_ALIGNMENT;
}

/* A block that is alive from launch `first` to launch `last`, both inclusive. */
typedef struct gf_block {
    int64_t bytes;
    int32_t first;
    int32_t last;
    int64_t offset; /* the result */
} gf_block;

typedef struct gf_arena_size {
    int64_t bytes;       /* of the arena */
    int64_t lower_bound; /* the most bytes alive at one launch, each block rounded up to 64 */
} gf_arena_size;

/* Gives each block a 64-byte aligned offset so that blocks alive at the same launch do not
 * overlap. Greedy best fit, in several orders, of which the smallest result counts; the result
 * depends on the blocks alone. Returns GF_OK, GF_NO_MEMORY or GF_BAD_SIZE (a negative size, or a
 * sum too large). */
int32_t gf_arena_plan(gf_block *blocks, int32_t count, int32_t launches, gf_arena_size *size);

/* The size of an arena whose offsets are given. */
int32_t gf_arena_measure(const gf_block *blocks, int32_t count, int32_t launches,
                         gf_arena_size *size);

#ifdef __cplusplus
}
#endif
#endif
