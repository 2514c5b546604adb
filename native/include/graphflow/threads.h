/* Pools of threads for the parallel loops of generated code. */
#ifndef GRAPHFLOW_THREADS_H
#define GRAPHFLOW_THREADS_H

#include "graphflow/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gf_pool gf_pool;

/* A pool that runs loops on `threads` threads, the caller among them; 0 means one for each
 * processor this process may use. Idle threads look for work for `spin_us` microseconds before they
 * sleep. Threads start with the first loop that wants them. NULL when there is no memory.
 *
 * After a fork the child has no threads but its own; the pool notices and starts new ones.
 * Compiled with GF_NO_THREADS the runtime has none: such a pool runs loops on their callers. */
gf_pool *gf_pool_create(int32_t threads, int32_t spin_us);

/* A host's own way to run things side by side: calls task(data, index) for each index below `tasks`
 * on whatever threads it has, the caller's among them if it likes, in any order, and returns when
 * all of these calls have returned. */
typedef void (*gf_task)(void *data, int32_t index);
typedef void (*gf_parallel)(void *host, int32_t tasks, gf_task task, void *data);

/* A pool that hands loops to a host, as up to `threads` tasks; 0 means one for each processor this
 * process may use. `parallel` is called by one thread at a time, and never by one of its own tasks.
 * NULL when there is no memory. */
gf_pool *gf_pool_hosted(void *host, int32_t threads, gf_parallel parallel);

/* Ends the threads. No loop may be running. NULL is allowed. */
void gf_pool_destroy(gf_pool *pool);

int32_t gf_pool_threads(const gf_pool *pool);

/* Processors this process may use. */
int32_t gf_processor_count(void);

/* What gf_table.parallel_for promises. A loop that finds the pool busy, because it is nested in
 * another or because another caller came first, runs on its own thread alone, in the same chunks.
 */
void gf_pool_for(gf_pool *pool, gf_frame *frame, gf_body body, void *context, int64_t count,
                 int64_t grain);

/* Counts the forks between this process and the one that loaded the runtime. */
uint32_t gf_fork_generation(void);

#ifdef __cplusplus
}
#endif
#endif
