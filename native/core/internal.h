/* What the files that make up executables and their runs share. Private to the runtime. */
#ifndef GRAPHFLOW_INTERNAL_H
#define GRAPHFLOW_INTERNAL_H

#include <stdatomic.h>

#include "graphflow/arena.h"
#include "graphflow/executable.h"
#include "sync.h"

enum { BINDINGS_KEPT = 16, THREADS_TOLD_APART = 64 };

/* What one set of symbols amounts to. Counted: a run may use it after the cache has dropped it. */
typedef struct gf_binding {
    int32_t holders; /* guarded by the executable's mutex */
    uint64_t serial; /* distinguishes bindings over the executable's life */
    uint64_t last_used;
    int64_t *symbols;
    int64_t *values;
    int64_t *offsets; /* of each arena buffer */
    gf_arena_size size;
} gf_binding;

/* What is kept from run to run, of certain versions of variables. Counted: runs that began before
 * a newer one took its place go on using it. */
typedef struct gf_kept {
    int32_t holders;  /* guarded by the executable's mutex */
    int32_t complete; /* set by the run that fills it, before any other gets it */
    gf_buffer *memory;
    uint64_t versions[]; /* of the description's sources */
} gf_kept;

typedef struct gf_room {
    char *data;
    int64_t bytes;
} gf_room;

struct gf_executable {
    gf_description d;
    gf_step_code code;
    int32_t pointer_count;
    int32_t scalar_count; /* outputs of rank 0, which need no buffer */
    int32_t planned;      /* offsets were given */
    int32_t *roots;       /* for each arena buffer, the one whose memory it has */
    int64_t kept_bytes;

    gf_mutex mutex; /* guards what follows */
    gf_run *idle;
    gf_binding *bindings[BINDINGS_KEPT];
    uint64_t clock;
    int64_t planned_count;
    gf_kept *kept; /* the latest */
    int64_t preparations;
    int64_t run_count;
    int64_t run_bytes;
    gf_arena_size last_size;
};

struct gf_run {
    gf_frame frame;
    gf_executable *executable;
    gf_run *next; /* among the idle ones */
    gf_pool *pool;
    gf_host host;
    void **pointers;
    int64_t *symbols;
    const int64_t **feed_dims;
    gf_use *uses;
    gf_buffer **outputs;
    int64_t **output_dims;
    char *scalars;  /* 64 bytes for each output of rank 0 */
    gf_room *given; /* for each output, memory of the caller's */

    gf_binding *binding;
    uint64_t filled; /* serial of the binding that the arena pointers are for */
    char *arena;
    int64_t arena_bytes;
    gf_room lent; /* an arena of the caller's */

    gf_kept *kept;

    gf_heap *heap;
    int64_t *values; /* the sizes of this run, where it finds some of them out itself */
    gf_room *rooms;  /* of late buffers, then of stacks */

    gf_store *store;
    gf_ticket ticket;
    int32_t pinned; /* a transaction is open */
    gf_problem problem;
    _Atomic int32_t failing;

    gf_mutex records_mutex;
    gf_record *records;
    int64_t record_count, record_capacity;
    gf_thread threads[THREADS_TOLD_APART]; /* that left records, in order of appearance */
    int32_t thread_count;
};

extern const gf_table gf_runtime_table;

/* The binding for these symbols, held for the caller. Fills `problem` on failure. */
int32_t gf_binding_find(gf_executable *executable, const int64_t *symbols, gf_binding **binding,
                        gf_problem *problem);
void gf_binding_drop(gf_executable *executable, gf_binding *binding);
/* Frees the cache; for gf_executable_destroy. */
void gf_bindings_free(gf_executable *executable);

/* Gives the run what is kept, with its memory, or memory to fill, from `heap`. */
int32_t gf_kept_provide(gf_run *run, gf_heap *heap);
/* The step has filled it: others may have it. */
void gf_kept_publish(gf_run *run);
void gf_kept_drop(gf_executable *executable, gf_kept *kept);

static inline int64_t gf_size_under(const gf_binding *binding, gf_size size)
{
    return size >= 0 ? size : binding->values[~size];
}

/* Sizes that a run finds out itself: at its beginning none is known; `bind` is told one, and
 * provides what depends on it; `grow` makes room for a row. GF_OK or GF_NO_MEMORY. */
int32_t gf_late_begin(gf_run *run);
int32_t gf_late_provide(gf_run *run);
int32_t gf_late_bind(gf_run *run, int32_t symbol, int64_t value);
int32_t gf_stack_grow(gf_run *run, int32_t stack, int64_t row);
void gf_rooms_free(gf_run *run);

/* Frees a run that is idle. */
void gf_run_free(gf_run *run);

#endif
