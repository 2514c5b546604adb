/* Counted buffers and their heap. */
#define _GNU_SOURCE
#include "graphflow/memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "sync.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

enum {
    ALIGNMENT = 64,
    SMALLEST = 6, /* log2 of the smallest capacity */
    STEPS = 4,    /* capacities between two powers of two: at most a quarter is unused */
    CLASSES = (48 - SMALLEST) * STEPS,
    BORROWED = -2, /* the class of a buffer over the caller's memory */
};

#define HUGE_PAGE ((size_t)2 << 20)

struct gf_buffer {
    gf_heap *heap;
    size_t bytes;
    size_t capacity;
    int32_t class_index;
    _Atomic int32_t holders;
    union {
        void *data; /* while held */
        /* While retained: neighbours among those of its class... */
        gf_buffer *class_next;
    };
    gf_buffer *class_previous;
    gf_buffer *newer, *older; /* ...and in order of return to the heap */
};

/* So that what is added to a size never wraps around. */
#if SIZE_MAX > UINT32_MAX
#define LARGEST ((size_t)1 << 46)
#else
#define LARGEST ((size_t)PTRDIFF_MAX)
#endif

#define HEADER (((sizeof(gf_buffer) + ALIGNMENT - 1) / ALIGNMENT) * ALIGNMENT)

struct gf_heap {
    gf_mutex mutex;
    gf_buffer *classes[CLASSES];
    gf_buffer *newest, *oldest;
    size_t limit;
    gf_heap_report report;
    int closed;
};

void *gf_aligned_memory(size_t bytes)
{
    void *memory;
    int large = bytes >= 2 * HUGE_PAGE;
    if (posix_memalign(&memory, large ? HUGE_PAGE : ALIGNMENT, bytes ? bytes : 1) != 0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (large) {
        /* Only whole huge pages; where the system refuses, ordinary pages serve. */
        (void)madvise(memory, bytes & ~(HUGE_PAGE - 1), MADV_HUGEPAGE);
    }
#endif
    return memory;
}

/* The class of the smallest capacity that holds `bytes`; -1 beyond all of them. */
static int32_t class_of(size_t bytes, size_t *capacity)
{
    if (bytes <= (size_t)1 << SMALLEST) {
        *capacity = (size_t)1 << SMALLEST;
        return 0;
    }
    int power = 63 - __builtin_clzll((unsigned long long)(bytes - 1));
    size_t step = ((size_t)1 << power) / STEPS;
    size_t steps = (bytes - 1 - ((size_t)1 << power)) / step + 1;
    int32_t index = (int32_t)((size_t)(power - SMALLEST) * STEPS + steps);
    *capacity = ((size_t)1 << power) + steps * step;
    return index < CLASSES ? index : -1;
}

gf_heap *gf_heap_create(size_t retained_bytes)
{
    gf_heap *heap = calloc(1, sizeof *heap);
    if (heap != NULL) {
        gf_mutex_init(&heap->mutex);
        heap->limit = retained_bytes;
    }
    return heap;
}

static void unlink_buffer(gf_heap *heap, gf_buffer *buffer)
{
    if (buffer->class_previous) {
        buffer->class_previous->class_next = buffer->class_next;
    } else {
        heap->classes[buffer->class_index] = buffer->class_next;
    }
    if (buffer->class_next) {
        buffer->class_next->class_previous = buffer->class_previous;
    }
    *(buffer->newer ? &buffer->newer->older : &heap->newest) = buffer->older;
    *(buffer->older ? &buffer->older->newer : &heap->oldest) = buffer->newer;
    heap->report.retained_bytes -= (int64_t)buffer->capacity;
}

static void link_buffer(gf_heap *heap, gf_buffer *buffer)
{
    buffer->class_previous = NULL;
    buffer->class_next = heap->classes[buffer->class_index];
    if (buffer->class_next) {
        buffer->class_next->class_previous = buffer;
    }
    heap->classes[buffer->class_index] = buffer;
    buffer->newer = NULL;
    buffer->older = heap->newest;
    *(heap->newest ? &heap->newest->newer : &heap->oldest) = buffer;
    heap->newest = buffer;
    heap->report.retained_bytes += (int64_t)buffer->capacity;
}

static void trim(gf_heap *heap, size_t limit)
{
    while ((size_t)heap->report.retained_bytes > limit) {
        gf_buffer *oldest = heap->oldest;
        unlink_buffer(heap, oldest);
        free(oldest);
    }
}

/* Unlocks; a closed heap goes with its last buffer. */
static void leave(gf_heap *heap)
{
    int last = heap->closed && heap->report.live_buffers == 0;
    gf_mutex_unlock(&heap->mutex);
    if (last) {
        gf_mutex_destroy(&heap->mutex);
        free(heap);
    }
}

void gf_heap_close(gf_heap *heap)
{
    gf_mutex_lock(&heap->mutex);
    heap->closed = 1;
    heap->limit = 0;
    trim(heap, 0);
    leave(heap);
}

void gf_heap_retain(gf_heap *heap, size_t retained_bytes)
{
    gf_mutex_lock(&heap->mutex);
    heap->limit = retained_bytes;
    trim(heap, retained_bytes);
    leave(heap);
}

gf_heap_report gf_heap_inspect(gf_heap *heap)
{
    gf_mutex_lock(&heap->mutex);
    gf_heap_report report = heap->report;
    gf_mutex_unlock(&heap->mutex);
    return report;
}

void gf_heap_forget_peak(gf_heap *heap)
{
    gf_mutex_lock(&heap->mutex);
    heap->report.peak_bytes = heap->report.live_bytes;
    gf_mutex_unlock(&heap->mutex);
}

/* One more buffer is held; the heap's mutex is too. */
static void count_live(gf_heap *heap, int64_t bytes)
{
    heap->report.live_buffers++;
    heap->report.live_bytes += bytes;
    if (heap->report.live_bytes > heap->report.peak_bytes) {
        heap->report.peak_bytes = heap->report.live_bytes;
    }
}

gf_buffer *gf_buffer_take(gf_heap *heap, size_t bytes)
{
    size_t capacity;
    if (bytes > LARGEST) {
        return NULL;
    }
    int32_t index = class_of(bytes, &capacity);
    gf_mutex_lock(&heap->mutex);
    gf_buffer *buffer = index >= 0 ? heap->classes[index] : NULL;
    if (buffer != NULL) {
        unlink_buffer(heap, buffer);
        heap->report.reused++;
    } else {
        buffer = gf_aligned_memory(HEADER + capacity);
        if (buffer == NULL) {
            /* What is kept for later may be what is missing now. */
            trim(heap, 0);
            buffer = gf_aligned_memory(HEADER + capacity);
        }
        if (buffer == NULL) {
            gf_mutex_unlock(&heap->mutex);
            return NULL;
        }
        buffer->heap = heap;
        buffer->capacity = capacity;
        buffer->class_index = index;
    }
    buffer->bytes = bytes;
    buffer->data = (char *)buffer + HEADER;
    atomic_store_explicit(&buffer->holders, 1, memory_order_relaxed);
    heap->report.taken++;
    count_live(heap, (int64_t)bytes);
    gf_mutex_unlock(&heap->mutex);
    return buffer;
}

gf_buffer *gf_buffer_borrow(gf_heap *heap, const void *data, size_t bytes)
{
    gf_buffer *buffer = gf_aligned_memory(sizeof *buffer);
    if (buffer != NULL) {
        *buffer = (gf_buffer){.heap = heap,
                              .bytes = bytes,
                              .class_index = BORROWED,
                              .data = (void *)(uintptr_t)data};
        atomic_store_explicit(&buffer->holders, 1, memory_order_relaxed);
        gf_mutex_lock(&heap->mutex);
        count_live(heap, 0);
        gf_mutex_unlock(&heap->mutex);
    }
    return buffer;
}

void gf_buffer_retain(gf_buffer *buffer)
{
    atomic_fetch_add_explicit(&buffer->holders, 1, memory_order_relaxed);
}

void gf_buffer_release(gf_buffer *buffer)
{
    if (buffer == NULL ||
        atomic_fetch_sub_explicit(&buffer->holders, 1, memory_order_acq_rel) != 1) {
        return;
    }
    gf_heap *heap = buffer->heap;
    gf_mutex_lock(&heap->mutex);
    heap->report.live_buffers--;
    heap->report.live_bytes -= buffer->class_index == BORROWED ? 0 : (int64_t)buffer->bytes;
    if (buffer->class_index < 0 || buffer->capacity > heap->limit) {
        free(buffer);
    } else {
        trim(heap, heap->limit - buffer->capacity);
        link_buffer(heap, buffer);
    }
    leave(heap);
}

int32_t gf_buffer_holders(const gf_buffer *buffer)
{
    int32_t lender = buffer->class_index == BORROWED;
    return atomic_load_explicit(&buffer->holders, memory_order_acquire) + lender;
}

void *gf_buffer_data(gf_buffer *buffer)
{
    return buffer->data;
}

size_t gf_buffer_bytes(const gf_buffer *buffer)
{
    return buffer->bytes;
}
