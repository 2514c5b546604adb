/* Pools: whose threads run a loop. One loop of a pool runs on its threads at a time; others, which
 * are nested in that one or belong to other callers, run on the threads they were called on.
 * Chunks depend on none of that. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdlib.h>

#include "floating.h"
#include "graphflow/threads.h"
#include "sync.h"
#include "workers.h"

#ifndef GF_NO_THREADS
#include <sched.h>
#include <unistd.h>
#endif

struct gf_pool {
    int32_t threads;
    gf_workers *workers;  /* NULL: the threads are the host's, or there is one */
    gf_parallel parallel; /* of the host; NULL: it has none */
    void *host;
    /* Fork generation << 1 | a loop is running: taken by whoever runs a loop on the threads. */
    _Atomic uint64_t owner;
};

int32_t gf_processor_count(void)
{
#ifdef GF_NO_THREADS
    return 1;
#else
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        return CPU_COUNT(&allowed);
    }
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
#endif
}

static gf_pool *new_pool(int32_t threads)
{
    gf_pool *pool = calloc(1, sizeof *pool);
    gf_watch_forks();
    if (pool != NULL) {
        pool->threads = threads > 0 ? threads : gf_processor_count();
        atomic_store(&pool->owner, (uint64_t)gf_fork_generation() << 1);
    }
    return pool;
}

gf_pool *gf_pool_create(int32_t threads, int32_t spin_us)
{
#ifdef GF_NO_THREADS
    threads = 1;
#endif
    gf_pool *pool = new_pool(threads);
    if (pool != NULL && pool->threads > 1) {
        pool->workers = gf_workers_create(pool->threads - 1, (int64_t)spin_us * 1000);
        if (pool->workers == NULL) {
            free(pool);
            return NULL;
        }
    }
    return pool;
}

gf_pool *gf_pool_hosted(void *host, int32_t threads, gf_parallel parallel)
{
    gf_pool *pool = new_pool(threads);
    if (pool != NULL) {
        pool->host = host;
        pool->parallel = parallel;
    }
    return pool;
}

void gf_pool_destroy(gf_pool *pool)
{
    if (pool != NULL) {
        gf_workers_destroy(pool->workers, atomic_load(&pool->owner) >> 1 == gf_fork_generation());
        free(pool);
    }
}

int32_t gf_pool_threads(const gf_pool *pool)
{
    return pool->threads;
}

/* Takes the threads for one loop, unless they are busy. A pool that came through a fork is taken
 * whatever its state was, and starts over. */
static int take(gf_pool *pool)
{
    uint64_t generation = gf_fork_generation();
    uint64_t owner = atomic_load_explicit(&pool->owner, memory_order_relaxed);
    if ((owner >> 1) == generation && (owner & 1)) {
        return 0;
    }
    if (!atomic_compare_exchange_strong(&pool->owner, &owner, generation << 1 | 1)) {
        return 0;
    }
    if ((owner >> 1) != generation && pool->workers != NULL) {
        gf_workers_reset(pool->workers);
    }
    return 1;
}

static void give_back(gf_pool *pool)
{
    atomic_store(&pool->owner, (uint64_t)gf_fork_generation() << 1);
}

/* A loop on the host's threads. It lives on the stack of its caller, who waits for all tasks. */
typedef struct hosted_loop {
    gf_loop loop;
    _Atomic int64_t next; /* the first chunk that nobody has taken */
} hosted_loop;

static void hosted_task(void *data, int32_t index)
{
    hosted_loop *hosted = data;
    uint64_t mode = gf_mode_enter();
    int64_t chunk;
    (void)index;
    while ((chunk = atomic_fetch_add(&hosted->next, 1)) < hosted->loop.chunks) {
        gf_loop_run(&hosted->loop, chunk);
    }
    gf_mode_leave(mode);
}

static void run_hosted(gf_pool *pool, const gf_loop *loop)
{
    hosted_loop hosted = {.loop = *loop};
    int32_t tasks = loop->chunks < pool->threads ? (int32_t)loop->chunks : pool->threads;
    pool->parallel(pool->host, tasks, hosted_task, &hosted);
}

/* Iterations of a chunk: at most `grain`, and no more than it takes to have as many chunks. */
static int64_t even(int64_t count, int64_t grain)
{
    int64_t least = (count - 1) / GF_MOST_CHUNKS + 1;
    grain = grain > least ? grain : least;
    int64_t chunks = (count - 1) / grain + 1;
    return (count - 1) / chunks + 1;
}

void gf_pool_for(gf_pool *pool, gf_frame *frame, gf_body body, void *context, int64_t count,
                 int64_t grain)
{
    if (count <= 0) {
        return;
    }
    gf_loop loop = {frame, body, context, count, even(count, grain), 0};
    loop.chunks = (count - 1) / loop.grain + 1;
    if (loop.chunks > 1 && pool != NULL && pool->threads > 1 && take(pool)) {
        if (pool->parallel != NULL) {
            run_hosted(pool, &loop);
        } else {
            gf_workers_run(pool->workers, &loop);
        }
        give_back(pool);
        return;
    }
    for (int64_t chunk = 0; chunk < loop.chunks; chunk++) {
        gf_loop_run(&loop, chunk);
    }
}
