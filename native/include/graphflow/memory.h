/* Counted buffers, and the heap that keeps freed ones warm.
 *
 * Touching 40 MB of fresh memory for the first time costs several times what writing it again
 * does, so buffers that go to callers come from a heap that keeps what returns to it, up to a
 * limit.
 */
#ifndef GRAPHFLOW_MEMORY_H
#define GRAPHFLOW_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gf_heap gf_heap;
typedef struct gf_buffer gf_buffer;

typedef struct gf_heap_report {
    int64_t live_bytes;     /* asked for, in buffers that somebody holds */
    int64_t peak_bytes;     /* the most of them at once since gf_heap_forget_peak */
    int64_t retained_bytes; /* in freed buffers kept for the next taker */
    int64_t live_buffers;
    int64_t taken;  /* buffers handed out, ever */
    int64_t reused; /* of these, the warm ones */
} gf_heap_report;

/* A heap that keeps at most `retained_bytes` of freed memory. NULL when there is no memory. */
gf_heap *gf_heap_create(size_t retained_bytes);

/* Gives the heap up: frees what it keeps, and itself once the last of its buffers is released. */
void gf_heap_close(gf_heap *heap);

/* Changes the limit; frees the longest unused first until it holds. */
void gf_heap_retain(gf_heap *heap, size_t retained_bytes);

gf_heap_report gf_heap_inspect(gf_heap *heap);
/* Starts to look for the peak anew. */
void gf_heap_forget_peak(gf_heap *heap);

/* A buffer of at least `bytes`, counted once, 64-byte aligned, not cleared. NULL: no memory. */
gf_buffer *gf_buffer_take(gf_heap *heap, size_t bytes);
/* A buffer, counted once, over memory that its lender keeps and nobody writes. NULL: no memory. */
gf_buffer *gf_buffer_borrow(gf_heap *heap, const void *data, size_t bytes);
void gf_buffer_retain(gf_buffer *buffer);
/* NULL is allowed. */
void gf_buffer_release(gf_buffer *buffer);
/* How many hold it, the lender of a borrowed one among them; exact only where nobody else can take or drop a hold meanwhile. */
int32_t gf_buffer_holders(const gf_buffer *buffer);
void *gf_buffer_data(gf_buffer *buffer);
size_t gf_buffer_bytes(const gf_buffer *buffer);

/* Plain memory, 64-byte aligned (in huge pages where it is large); freed with free(). */
void *gf_aligned_memory(size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
