/* Threads for loops. One loop runs at a time; its chunks are claimed from one atomic counter.
 *
 * A thread reads the loop's fields only after it has claimed a chunk, and the caller does not
 * return (nor change the fields) before every claimed chunk is done: so a thread that wakes late
 * finds either nothing to claim or a chunk of whatever loop is current, and both are right.
 */
#define _GNU_SOURCE
#include "workers.h"

#include <stdlib.h>

#ifndef GF_NO_THREADS

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "floating.h"
#include "sync.h"

struct gf_workers {
    int32_t count;
    int32_t started; /* threads running */
    int64_t spin_ns;
    gf_thread *threads;

    gf_loop loop; /* the current one */
    _Alignas(64) _Atomic int64_t unclaimed; /* chunks nobody has taken */
    _Alignas(64) _Atomic int64_t unfinished;

    /* Sleeping. Sleepers are counted before they look a last time, callers look for sleepers after
     * they have published work; both are sequentially consistent, so no wake-up is lost. */
    _Alignas(64) _Atomic int32_t sleepers;
    _Atomic int32_t caller_sleeps;
    _Atomic int32_t stopping;
    gf_mutex mutex;
    gf_condition work;
    gf_condition done;
};

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
static void run_chunks(gf_workers *workers)
{
    int64_t left = atomic_load(&workers->unclaimed);
    while (left > 0) {
        if (!atomic_compare_exchange_weak(&workers->unclaimed, &left, left - 1)) {
            continue;
        }
        gf_loop_run(&workers->loop, workers->loop.chunks - left);
        if (atomic_fetch_sub(&workers->unfinished, 1) == 1 && atomic_load(&workers->caller_sleeps)) {
            gf_mutex_lock(&workers->mutex);
            gf_wake_one(&workers->done);
            gf_mutex_unlock(&workers->mutex);
        }
        left = atomic_load(&workers->unclaimed);
    }
}

/* Waits for work, at first awake. Returns whether there may be more. */
static int await_work(gf_workers *workers)
{
    int64_t until = now_ns() + workers->spin_ns;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&workers->unclaimed, memory_order_relaxed) > 0) {
                return 1;
            }
            pause_briefly();
        }
        if (atomic_load_explicit(&workers->stopping, memory_order_relaxed)) {
            return 0;
        }
    } while (now_ns() < until);
    gf_mutex_lock(&workers->mutex);
    atomic_fetch_add(&workers->sleepers, 1);
    while (atomic_load(&workers->unclaimed) <= 0 && !atomic_load(&workers->stopping)) {
        gf_wait(&workers->work, &workers->mutex);
    }
    atomic_fetch_sub(&workers->sleepers, 1);
    gf_mutex_unlock(&workers->mutex);
    return !atomic_load(&workers->stopping);
}

static void *work(void *argument)
{
    gf_workers *workers = argument;
    (void)gf_mode_enter();
    while (await_work(workers)) {
        run_chunks(workers);
    }
    return NULL;
}

/* Fewer threads than wished for is no error: loops just run on those there are. */
static void start(gf_workers *workers)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the host's: its threads handle them, never ours */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (workers->started < workers->count &&
           pthread_create(&workers->threads[workers->started], NULL, work, workers) == 0) {
        workers->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void gf_workers_reset(gf_workers *workers)
{
    workers->started = 0;
    atomic_store(&workers->unclaimed, 0);
    atomic_store(&workers->unfinished, 0);
    atomic_store(&workers->sleepers, 0);
    atomic_store(&workers->caller_sleeps, 0);
    atomic_store(&workers->stopping, 0);
    gf_mutex_init(&workers->mutex);
    gf_condition_init(&workers->work);
    gf_condition_init(&workers->done);
}

gf_workers *gf_workers_create(int32_t count, int64_t spin_ns)
{
    void *memory;
    if (posix_memalign(&memory, _Alignof(gf_workers), sizeof(gf_workers)) != 0) {
        return NULL;
    }
    gf_workers *workers = memory;
    *workers = (gf_workers){.count = count, .spin_ns = spin_ns};
    workers->threads = calloc((size_t)count, sizeof *workers->threads);
    if (workers->threads == NULL) {
        free(workers);
        return NULL;
    }
    gf_workers_reset(workers);
    return workers;
}

void gf_workers_destroy(gf_workers *workers, int32_t alive)
{
    if (workers == NULL) {
        return;
    }
    if (alive) {
        gf_mutex_lock(&workers->mutex);
        atomic_store(&workers->stopping, 1);
        gf_wake_all(&workers->work);
        gf_mutex_unlock(&workers->mutex);
        for (int32_t i = 0; i < workers->started; i++) {
            pthread_join(workers->threads[i], NULL);
        }
        gf_mutex_destroy(&workers->mutex);
        gf_condition_destroy(&workers->work);
        gf_condition_destroy(&workers->done);
    }
    free(workers->threads);
    free(workers);
}

static void await_done(gf_workers *workers)
{
    int64_t until = now_ns() + workers->spin_ns;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load(&workers->unfinished) == 0) {
                return;
            }
            pause_briefly();
        }
    } while (now_ns() < until);
    gf_mutex_lock(&workers->mutex);
    atomic_store(&workers->caller_sleeps, 1);
    while (atomic_load(&workers->unfinished) != 0) {
        gf_wait(&workers->done, &workers->mutex);
    }
    atomic_store(&workers->caller_sleeps, 0);
    gf_mutex_unlock(&workers->mutex);
}

void gf_workers_run(gf_workers *workers, const gf_loop *loop)
{
    if (workers->started < workers->count) {
        start(workers);
    }
    workers->loop = *loop;
    atomic_store(&workers->unfinished, loop->chunks);
    atomic_store(&workers->unclaimed, loop->chunks);
    if (atomic_load(&workers->sleepers) > 0) {
        gf_mutex_lock(&workers->mutex);
        if (loop->chunks - 1 == 1) {
            gf_wake_one(&workers->work);
        } else {
            gf_wake_all(&workers->work);
        }
        gf_mutex_unlock(&workers->mutex);
    }
    run_chunks(workers);
    await_done(workers);
}

#else

/* Pools of one thread need no others. */

gf_workers *gf_workers_create(int32_t count, int64_t spin_ns)
{
    (void)count;
    (void)spin_ns;
    return NULL;
}

void gf_workers_run(gf_workers *workers, const gf_loop *loop)
{
    (void)workers;
    (void)loop;
}

void gf_workers_reset(gf_workers *workers)
{
    (void)workers;
}

void gf_workers_destroy(gf_workers *workers, int32_t alive)
{
    (void)workers;
    (void)alive;
}

#endif
