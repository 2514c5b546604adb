/* A compiled step and its runs.
 *
 * An executable is immutable: machine code and a description of what the step takes and gives. A
 * run is one trip through it, in this order:
 *
 *     gf_run_begin, gf_run_feed for each feed, gf_run_pin, gf_run_bind, gf_run_step,
 *     gf_run_output for each output and gf_run_commit if the step succeeded, gf_run_end.
 *
 * gf_run_end may follow at any point and undoes whatever was not committed. Runs of one
 * executable may be under way in many threads; each has its own arena, kept for later runs.
 */
#ifndef GRAPHFLOW_EXECUTABLE_H
#define GRAPHFLOW_EXECUTABLE_H

#include <stddef.h>

#include "graphflow/frame.h"
#include "graphflow/memory.h"
#include "graphflow/store.h"
#include "graphflow/threads.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A dimension or a number of bytes: itself if >= 0, else the value slot ~size of gf_sizes. */
typedef int64_t gf_size;

typedef struct gf_shape {
    int32_t item_bytes;
    int32_t rank;
    const gf_size *dims;
    const int32_t *binds; /* a symbol for each dimension, or -1; NULL: none */
} gf_shape;

typedef struct gf_feed_spec {
    int32_t pointer;
    gf_shape shape;
} gf_feed_spec;

/* symbol = element `element` of the (int32 or int64) feed `feed` */
typedef struct gf_value_bind {
    int32_t symbol;
    int32_t feed;
    int64_t element;
} gf_value_bind;

typedef struct gf_constant_spec {
    int32_t pointer;
    const void *data;
} gf_constant_spec;

/* shape.dims: of the new version; shape.binds: symbols from the dimensions of the old one */
typedef struct gf_state_spec {
    int32_t slot;
    int32_t pointer_in;  /* -1: not read */
    int32_t pointer_out; /* -1: not written */
    int32_t in_place;    /* both pointers may be the same memory */
    gf_shape shape;
} gf_state_spec;

enum gf_source {
    GF_FROM_BUFFER = 0,    /* memory of its own, which the step fills */
    GF_FROM_STATE_IN = 1,  /* the version that state `index` had before the step */
    GF_FROM_STATE_OUT = 2, /* the version it has after it */
    GF_FROM_FEED = 3,      /* feed `index` itself */
    GF_FROM_CONSTANT = 4,  /* constant `index` */
};

typedef struct gf_output_spec {
    int32_t pointer; /* for GF_FROM_BUFFER */
    int32_t source;
    int32_t index;
    gf_shape shape; /* of GF_FROM_BUFFER */
    int32_t late;   /* its shape is known only when the step has bound a symbol */
} gf_output_spec;

typedef struct gf_buffer_spec {
    int32_t pointer;
    int32_t alias_of; /* shares the memory of that earlier or later buffer; -1: has its own */
    gf_size bytes;
    int32_t first, last; /* moments between which it is alive, inclusive */
    int64_t offset;      /* -1: to be planned when sizes bind; all or none have one */
} gf_buffer_spec;

/* Keeps its contents from run to run: the step fills it where frame->prepared is 0. */
typedef struct gf_kept_spec {
    int32_t pointer;
    int64_t bytes;
} gf_kept_spec;

/* A block whose bytes are known only when the step has bound a symbol. */
typedef struct gf_late_spec {
    int32_t pointer;
    gf_size bytes;
} gf_late_spec;

/* Rows that the step adds one by one. */
typedef struct gf_stack_spec {
    int32_t pointer;
    gf_size row_bytes;
} gf_stack_spec;

/* The sizes a and b must be equal. */
typedef struct gf_check_spec {
    gf_size a, b;
    int32_t message;
} gf_check_spec;

#define GF_OVER_BUDGET (-2)

typedef struct gf_description {
    int32_t symbol_count, late_count; /* the last symbols are late: the step binds them */
    int32_t value_count, moment_count;
    int32_t feed_count, value_bind_count, constant_count, state_count, output_count, buffer_count,
        late_buffer_count, stack_count, row_count, kept_count, source_count, check_count;
    const gf_feed_spec *feeds;
    const gf_value_bind *value_binds;
    const gf_constant_spec *constants;
    const gf_state_spec *states;
    const gf_output_spec *outputs;
    const gf_buffer_spec *buffers;
    const gf_late_spec *late;
    const gf_stack_spec *stacks;
    const int32_t *rows; /* pointers that only the step itself sets */
    const gf_kept_spec *kept;
    const int32_t *sources; /* the states that the kept buffers are made of */
    const gf_check_spec *checks;
    /* What a run needs beside its arena, and how much it may need in all; a budget of 0 is none.
     * More is a GF_SIZE_MISMATCH of message GF_OVER_BUDGET, found before anything runs. */
    gf_size outside_bytes;
    int64_t budget;
} gf_description;

typedef struct gf_executable gf_executable;
typedef struct gf_run gf_run;

/* The functions of a step (see frame.h), linked into the program or mapped by loader.h. */
typedef struct gf_step_code {
    void (*sizes)(const int64_t *symbols, int64_t *values); /* NULL: no size is symbolic */
    int32_t (*step)(gf_frame *frame);
    int64_t bytes; /* for reports; 0: unknown */
    void *owner;   /* given to `release` when the executable goes */
    void (*release)(void *owner);
} gf_step_code;

/* Checks and copies the description and takes `code` over (on failure too). The data of constants
 * stays the caller's. GF_OK, GF_NO_MEMORY, GF_BAD_DESCRIPTION or GF_BAD_OBJECT, with a message. */
int32_t gf_executable_create(const gf_description *description, const gf_step_code *code,
                             gf_executable **executable, char *message, size_t message_bytes);

/* No run may be under way. NULL is allowed. */
void gf_executable_destroy(gf_executable *executable);

typedef struct gf_executable_report {
    int64_t code_bytes;
    int64_t arena_bytes;       /* of the sizes bound last */
    int64_t arena_lower_bound; /* the largest live set for them */
    int64_t arenas;            /* arenas that exist */
    int64_t arena_total_bytes; /* memory they hold */
    int64_t bindings;          /* sets of sizes that were planned, ever */
    int64_t kept_bytes;
    int64_t preparations; /* how often what is kept was computed, ever */
} gf_executable_report;

gf_executable_report gf_executable_inspect(gf_executable *executable);

/* Nonzero: the run is to stop. */
typedef int32_t (*gf_interrupted)(void *data, gf_run *run);

/* The arena that a run with these symbols will have; GF_OK, GF_NO_MEMORY, GF_BAD_SIZE, or
 * GF_SIZE_MISMATCH for symbols that no run may have. */
int32_t gf_executable_arena(gf_executable *executable, const int64_t *symbols, int64_t *bytes,
                            int64_t *lower_bound);

/* What the runtime needs of whoever runs steps. */
typedef struct gf_host {
    void *data;
    int32_t (*call)(void *data, gf_run *run, int32_t call); /* NULL: host calls fail */
    gf_interrupted interrupted; /* asked only while *attention is nonzero; NULL: never stops */
    const volatile int *attention;
} gf_host;

typedef struct gf_record {
    int32_t launch;
    int32_t thread; /* 0: the thread that runs the step; others in order of appearance */
    int64_t begin_ns, end_ns;
} gf_record;

/* What is wrong, after a status other than GF_OK. */
typedef struct gf_problem {
    int32_t index; /* GF_SIZE_MISMATCH: message; GF_FEED_MISMATCH: feed */
    int32_t axis;  /* GF_FEED_MISMATCH: dimension, or -1 for the rank; GF_SIZE_MISMATCH: -1 */
    int64_t actual, expected;
} gf_problem;

typedef struct gf_output {
    void *data;
    gf_buffer *buffer; /* to be released by the receiver; NULL: `data` is not the receiver's */
    int32_t rank;
    const int64_t *dims; /* both dims and data without a buffer are valid until gf_run_end */
} gf_output;

/* NULL: no memory. `pool` may be NULL, and `host` too. */
gf_run *gf_run_begin(gf_executable *executable, gf_pool *pool, const gf_host *host);
/* `dims` (as many as the feed has) and `data` must stay until gf_run_end. */
int32_t gf_run_feed(gf_run *run, int32_t feed, const void *data, int32_t rank, const int64_t *dims);
/* The other way to feed, for callers who know the sizes: once every symbol is set (those that are
 * late do not count), no feed needs dimensions. */
void gf_run_symbol(gf_run *run, int32_t symbol, int64_t value);
void gf_run_feed_data(gf_run *run, int32_t feed, const void *data);
/* Memory of the caller's for an output, of at least `bytes`, until gf_run_end. Used where the step
 * fills memory for that output and knows its size beforehand: gf_run_output tells by its `data`. */
void gf_run_receive(gf_run *run, int32_t output, void *data, int64_t bytes);
/* Memory of the caller's for the arena, 64-byte aligned, until gf_run_end. gf_run_bind gives
 * GF_ARENA_TOO_SMALL, and the problem says how much is there and needed. */
void gf_run_lend_arena(gf_run *run, void *arena, int64_t bytes);
/* Opens the transaction on the variables; see gf_store_begin for the statuses. */
int32_t gf_run_pin(gf_run *run, gf_store *store, int64_t wait_us);
/* Binds the sizes and provides arena, outputs and new versions (from `heap`). */
int32_t gf_run_bind(gf_run *run, gf_heap *heap);
/* Without a step to follow: provides what a later run with the same symbols will find again,
 * variables aside. */
int32_t gf_run_reserve(gf_run *run, gf_heap *heap);
/* The bytes of the arena for the symbols that are set; nothing is provided. */
int32_t gf_run_measure(gf_run *run, int64_t *arena_bytes);
/* Lets the step ask whether to stop; for hosts that decide after gf_run_begin. */
void gf_run_allow_interrupts(gf_run *run, gf_interrupted interrupted);
/* Runs the step. `profile` nonzero: keeps a record of each launch. */
int32_t gf_run_step(gf_run *run, int32_t profile);
/* An output of a step that succeeded, before the commit, so that whatever its receiver does with it
 * may still fail. Each output once. */
gf_output gf_run_output(gf_run *run, int32_t output);
/* Makes the new versions current. Cannot fail. */
void gf_run_commit(gf_run *run);
void gf_run_end(gf_run *run);

const gf_frame *gf_run_frame(const gf_run *run);
const gf_problem *gf_run_problem(const gf_run *run);
/* Use `index` of the transaction, in the order of the description's states. */
const gf_use *gf_run_use(const gf_run *run, int32_t index);
const gf_record *gf_run_records(const gf_run *run, int64_t *count);
/* A size under this run's symbols. */
int64_t gf_run_size(const gf_run *run, gf_size size);

#ifdef __cplusplus
}
#endif
#endif
