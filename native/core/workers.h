/* Threads that wait for parallel loops. Private to the runtime; pools share them out. */
#ifndef GRAPHFLOW_WORKERS_H
#define GRAPHFLOW_WORKERS_H

#include "graphflow/frame.h"

enum { GF_MOST_CHUNKS = 1 << 30 }; /* of a loop */

/* A parallel loop in at most GF_MOST_CHUNKS chunks of `grain` iterations. */
typedef struct gf_loop {
    gf_frame *frame;
    gf_body body;
    void *context;
    int64_t count;
    int64_t grain;
    int64_t chunks;
} gf_loop;

/* Runs a chunk; they have the numbers from 0 on. */
static inline void gf_loop_run(const gf_loop *loop, int64_t chunk)
{
    int64_t begin = chunk * loop->grain;
    int64_t end = loop->count - begin > loop->grain ? begin + loop->grain : loop->count;
    loop->body(loop->frame, loop->context, begin, end);
}

typedef struct gf_workers gf_workers;

/* `count` threads, which start with the first loop. NULL when there is no memory. */
gf_workers *gf_workers_create(int32_t count, int64_t spin_ns);

/* Runs a loop on the threads and the caller's; for one caller at a time. */
void gf_workers_run(gf_workers *workers, const gf_loop *loop);

/* Forgets the threads: after a fork there are none. */
void gf_workers_reset(gf_workers *workers);

/* Ends the threads if they are `alive`, in the process that started them. NULL is allowed. */
void gf_workers_destroy(gf_workers *workers, int32_t alive);

#endif
