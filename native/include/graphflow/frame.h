/* The contract between generated code and the runtime.
 *
 * A compiled graph is one object file without external symbols. It exports two functions:
 *
 *     void    gf_sizes(const int64_t *symbols, int64_t *values);
 *     int32_t gf_step(gf_frame *frame);
 *
 * gf_sizes evaluates, for the symbolic sizes of one run, every derived size the runtime needs
 * (dimensions of outputs, bytes of buffers, both sides of equality checks) and every size the
 * step reads itself. gf_step runs the whole step and returns 0 or the status it stored in the frame.
 * Everything the step needs of its host it reaches through frame->table.
 */
#ifndef GRAPHFLOW_FRAME_H
#define GRAPHFLOW_FRAME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GF_ABI_VERSION 3

typedef struct gf_frame gf_frame;

/* One chunk [begin, end) of a parallel loop; `context` is the caller's stack record. */
typedef void (*gf_body)(gf_frame *frame, void *context, int64_t begin, int64_t end);

enum {
    GF_OK = 0,
    GF_FAILED = 1,      /* gf_table.fail was called: see frame->site */
    GF_INTERRUPTED = 2, /* poll found an interrupt */
    GF_NO_MEMORY = 3,   /* an allocation inside the step failed */
    GF_HOST_ERROR = 4,  /* a host call raised */
};

typedef struct gf_table {
    uint32_t abi_version;
    uint32_t reserved;
    /* Runs body over [0, count) in chunks of at most `grain` iterations, as few and as even as that
     * allows, whatever the number of threads; returns when all are done. Nested calls run on the
     * calling thread. */
    void (*parallel_for)(gf_frame *frame, gf_body body, void *context, int64_t count,
                         int64_t grain);
    /* Records a failed check (the first one wins) with two values for its message. Any thread. */
    void (*fail)(gf_frame *frame, int32_t site, int64_t value0, int64_t value1);
    /* Calls back into the host: print, py_func. Returns GF_OK or GF_HOST_ERROR. */
    int32_t (*host_call)(gf_frame *frame, int32_t call);
    /* Nonzero when the run should stop (Ctrl-C). Called between launches, before the first
     * in-place write only. */
    int32_t (*poll)(gf_frame *frame);
    /* Called around each launch when frame->profile is nonzero, else never. */
    void (*launch_begin)(gf_frame *frame, int32_t launch);
    void (*launch_end)(gf_frame *frame, int32_t launch);
    /* Makes room for a row of a stack that a loop adds rows to: pointers[] of the stack then is
     * its memory. GF_OK or GF_NO_MEMORY. */
    int32_t (*grow)(gf_frame *frame, int32_t stack, int64_t row);
    /* A size that only the step knows, such as how many iterations a loop had: values[] then has
     * everything that depends on it, pointers[] the memory. GF_OK or GF_NO_MEMORY. */
    int32_t (*bind)(gf_frame *frame, int32_t symbol, int64_t value);
    void *reserved_functions[8];
} gf_table;

struct gf_frame {
    const gf_table *table;
    void **pointers;       /* one per buffer id of the Plan: feeds, constants, states, … */
    const int64_t *values; /* what gf_sizes wrote for this run's symbols; see `bind` */
    int32_t status;        /* GF_*, set by fail/poll/host_call; read after launches that can fail */
    int32_t profile;       /* nonzero: report launches */
    int32_t site;          /* valid when status == GF_FAILED */
    int32_t launch;        /* index of the launch that failed, for messages */
    int64_t fail_values[2];
    void *runtime;         /* private to the runtime */
    int32_t prepared;      /* nonzero: what is kept from run to run is there, and still right */
    int32_t reserved;
};

#ifdef __cplusplus
}
#endif
#endif
