/* The thread pool. One loop runs at a time; its chunks are claimed from one atomic counter.
 *
 * A thread reads the loop's fields only after it has claimed a chunk, and the caller does not
 * return (nor change the fields) before every claimed chunk is done: so a thread that wakes late
 * finds either nothing to claim or a chunk of whatever loop is current, and both are right.
 */
#define _GNU_SOURCE
#include "graphflow/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "floating.h"

struct gf_pool {
    int32_t threads;
    int64_t spin_ns;
    /* fork generation << 1 | a loop is running: taken by whoever runs a loop on the threads. */
    _Atomic uint64_t owner;
    pthread_t *workers;
    int32_t started; /* workers running; written by the owner only */

    /* The current loop. */
    gf_frame *frame;
    gf_body body;
    void *context;
    int64_t count;
    int64_t grain;
    int64_t chunks;
    _Alignas(64) _Atomic int64_t unclaimed; /* chunks nobody has taken */
    _Alignas(64) _Atomic int64_t unfinished;

    /* Sleeping. Sleepers are counted before they look a last time, callers look for sleepers after
     * they have published work; both are sequentially consistent, so no wake-up is lost. */
    _Alignas(64) _Atomic int32_t sleepers;
    _Atomic int32_t caller_sleeps;
    _Atomic int32_t stopping;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    pthread_cond_t done;
};

/* The only global of the runtime: what a forked child cannot know otherwise. */
static atomic_uint fork_generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    atomic_fetch_add(&fork_generation, 1);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

uint32_t gf_fork_generation(void)
{
    return atomic_load_explicit(&fork_generation, memory_order_relaxed);
}

int32_t gf_processor_count(void)
{
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        return CPU_COUNT(&allowed);
    }
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Runs chunk after chunk of the current loop until none is left to claim. */
static void run_chunks(gf_pool *pool)
{
    int64_t left = atomic_load(&pool->unclaimed);
    while (left > 0) {
        if (!atomic_compare_exchange_weak(&pool->unclaimed, &left, left - 1)) {
            continue;
        }
        int64_t begin = (pool->chunks - left) * pool->grain;
        int64_t end = pool->count - begin > pool->grain ? begin + pool->grain : pool->count;
        pool->body(pool->frame, pool->context, begin, end);
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
        left = atomic_load(&pool->unclaimed);
    }
}

/* Waits for work, at first awake. Returns whether the pool goes on. */
static int await_work(gf_pool *pool)
{
    int64_t until = now_ns() + pool->spin_ns;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&pool->unclaimed, memory_order_relaxed) > 0) {
                return 1;
            }
            pause_briefly();
        }
        if (atomic_load_explicit(&pool->stopping, memory_order_relaxed)) {
            return 0;
        }
    } while (now_ns() < until);
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->unclaimed) <= 0 && !atomic_load(&pool->stopping)) {
        pthread_cond_wait(&pool->work, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return !atomic_load(&pool->stopping);
}

static void *work(void *argument)
{
    gf_pool *pool = argument;
    (void)gf_mode_enter();
    while (await_work(pool)) {
        run_chunks(pool);
    }
    return NULL;
}

/* Fewer threads than wished for is no error: loops just run on those there are. */
static void start_workers(gf_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the host's: its threads handle them, never ours */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->started < pool->threads - 1 &&
           pthread_create(&pool->workers[pool->started], NULL, work, pool) == 0) {
        pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void reset(gf_pool *pool)
{
    pool->started = 0;
    atomic_store(&pool->unclaimed, 0);
    atomic_store(&pool->unfinished, 0);
    atomic_store(&pool->sleepers, 0);
    atomic_store(&pool->caller_sleeps, 0);
    atomic_store(&pool->stopping, 0);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
}

gf_pool *gf_pool_create(int32_t threads, int32_t spin_us)
{
    gf_pool *pool;
    pthread_once(&fork_once, watch_forks);
    if (posix_memalign((void **)&pool, _Alignof(gf_pool), sizeof *pool) != 0) {
        return NULL;
    }
    *pool = (gf_pool){.threads = threads > 0 ? threads : gf_processor_count(),
                      .spin_ns = (int64_t)spin_us * 1000};
    pool->workers = calloc((size_t)pool->threads, sizeof *pool->workers);
    if (pool->workers == NULL) {
        free(pool);
        return NULL;
    }
    atomic_store(&pool->owner, (uint64_t)gf_fork_generation() << 1);
    reset(pool);
    return pool;
}

void gf_pool_destroy(gf_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    if (atomic_load(&pool->owner) >> 1 == gf_fork_generation()) {
        pthread_mutex_lock(&pool->mutex);
        atomic_store(&pool->stopping, 1);
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->mutex);
        for (int32_t i = 0; i < pool->started; i++) {
            pthread_join(pool->workers[i], NULL);
        }
        pthread_mutex_destroy(&pool->mutex);
        pthread_cond_destroy(&pool->work);
        pthread_cond_destroy(&pool->done);
    }
    free(pool->workers);
    free(pool);
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
    if ((owner >> 1) != generation) {
        reset(pool);
    }
    if (pool->started < pool->threads - 1) {
        start_workers(pool);
    }
    return 1;
}

static void await_done(gf_pool *pool)
{
    int64_t until = now_ns() + pool->spin_ns;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load(&pool->unfinished) == 0) {
                return;
            }
            pause_briefly();
        }
    } while (now_ns() < until);
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, 1);
    while (atomic_load(&pool->unfinished) != 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    atomic_store(&pool->caller_sleeps, 0);
    pthread_mutex_unlock(&pool->mutex);
}

static void run_alone(gf_frame *frame, gf_body body, void *context, int64_t count, int64_t grain)
{
    for (int64_t begin = 0; begin < count; begin += grain) {
        body(frame, context, begin, count - begin > grain ? begin + grain : count);
    }
}

void gf_pool_for(gf_pool *pool, gf_frame *frame, gf_body body, void *context, int64_t count,
                 int64_t grain)
{
    if (grain < 1) {
        grain = 1;
    }
    if (count <= grain || pool == NULL || pool->threads == 1 || !take(pool)) {
        run_alone(frame, body, context, count, grain);
        return;
    }
    int64_t chunks = (count - 1) / grain + 1;
    pool->frame = frame;
    pool->body = body;
    pool->context = context;
    pool->count = count;
    pool->grain = grain;
    pool->chunks = chunks;
    atomic_store(&pool->unfinished, chunks);
    atomic_store(&pool->unclaimed, chunks);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        if (chunks - 1 == 1) {
            pthread_cond_signal(&pool->work);
        } else {
            pthread_cond_broadcast(&pool->work);
        }
        pthread_mutex_unlock(&pool->mutex);
    }
    run_chunks(pool);
    await_done(pool);
    atomic_store(&pool->owner, (uint64_t)gf_fork_generation() << 1);
}
