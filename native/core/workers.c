/* Threads for loops. One loop runs at a time. Its chunks are shared out evenly: each thread claims
 * those of its own share from the front, and when there are none, those of others from the back. So
 * a thread comes to the same part of a loop that runs again, whose memory may still be in its cache,
 * and threads that are awake meet only at the end.
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

/* Chunks of a thread that nobody has taken: the first one << 32 | the one after the last. */
typedef struct share {
    _Alignas(64) _Atomic uint64_t left;
} share;

typedef struct worker {
    gf_thread thread;
    gf_workers *all;
    int32_t number; /* of its share; the caller's is 0 */
} worker;

struct gf_workers {
    int32_t count;
    int32_t started; /* threads running */
    int64_t spin_ns;
    worker *threads;
    share *shares; /* count + 1 */

    gf_loop loop; /* the current one */
    _Alignas(64) _Atomic uint64_t loops; /* handed out so far: a new number tells of new work */
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

/* Claims a chunk of a share; -1 if there is none. */
static int64_t claim(share *from, int at_front)
{
    uint64_t left = atomic_load_explicit(&from->left, memory_order_relaxed);
    for (;;) {
        uint64_t begin = left >> 32, end = left & UINT32_MAX;
        if (begin >= end) {
            return -1;
        }
        uint64_t chunk = at_front ? begin++ : --end;
        if (atomic_compare_exchange_weak(&from->left, &left, begin << 32 | end)) {
            return (int64_t)chunk;
        }
    }
}

/* Runs chunks of the current loop until none is left to claim: its own ones, then those of others.
 */
static void run_chunks(gf_workers *workers, int32_t number)
{
    int64_t done = 0;
    for (int32_t i = 0; i <= workers->count; i++) {
        share *from = &workers->shares[(number + i) % (workers->count + 1)];
        int64_t chunk;
        while ((chunk = claim(from, i == 0)) >= 0) {
            gf_loop_run(&workers->loop, chunk);
            done++;
        }
    }
    if (done > 0 && atomic_fetch_sub(&workers->unfinished, done) == done &&
        atomic_load(&workers->caller_sleeps)) {
        gf_mutex_lock(&workers->mutex);
        gf_wake_one(&workers->done);
        gf_mutex_unlock(&workers->mutex);
    }
}

/* Waits for another loop than those `seen`, at first awake. Returns whether there may be more. */
static int await_work(gf_workers *workers, uint64_t seen)
{
    int64_t until = now_ns() + workers->spin_ns;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&workers->loops, memory_order_relaxed) != seen) {
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
    while (atomic_load(&workers->loops) == seen && !atomic_load(&workers->stopping)) {
        gf_wait(&workers->work, &workers->mutex);
    }
    atomic_fetch_sub(&workers->sleepers, 1);
    gf_mutex_unlock(&workers->mutex);
    return !atomic_load(&workers->stopping);
}

static void *work(void *argument)
{
    worker *self = argument;
    gf_workers *workers = self->all;
    uint64_t seen = 0;
    (void)gf_mode_enter();
    while (await_work(workers, seen)) {
        seen = atomic_load(&workers->loops);
        run_chunks(workers, self->number);
    }
    return NULL;
}

/* Fewer threads than wished for is no error: loops just run on those there are. */
static void start(gf_workers *workers)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the host's: its threads handle them, never ours */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (workers->started < workers->count) {
        worker *next = &workers->threads[workers->started];
        *next = (worker){.all = workers, .number = workers->started + 1};
        if (pthread_create(&next->thread, NULL, work, next) != 0) {
            break;
        }
        workers->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void gf_workers_reset(gf_workers *workers)
{
    workers->started = 0;
    for (int32_t i = 0; i <= workers->count; i++) {
        atomic_store(&workers->shares[i].left, 0);
    }
    atomic_store(&workers->loops, 0);
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
    size_t bytes = ((size_t)count + 1) * sizeof *workers->shares;
    int failed = posix_memalign(&memory, _Alignof(share), bytes);
    workers->shares = failed ? NULL : memory;
    if (workers->threads == NULL || workers->shares == NULL) {
        free(workers->threads);
        free(workers->shares);
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
            pthread_join(workers->threads[i].thread, NULL);
        }
        gf_mutex_destroy(&workers->mutex);
        gf_condition_destroy(&workers->work);
        gf_condition_destroy(&workers->done);
    }
    free(workers->threads);
    free(workers->shares);
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
    int64_t parts = loop->chunks <= workers->count ? loop->chunks : workers->count + 1;
    for (int64_t i = 0; i < parts; i++) {
        uint64_t begin = (uint64_t)(loop->chunks * i / parts);
        uint64_t end = (uint64_t)(loop->chunks * (i + 1) / parts);
        atomic_store(&workers->shares[i].left, begin << 32 | end);
    }
    atomic_fetch_add(&workers->loops, 1);
    if (atomic_load(&workers->sleepers) > 0) {
        gf_mutex_lock(&workers->mutex);
        if (loop->chunks - 1 == 1) {
            gf_wake_one(&workers->work);
        } else {
            gf_wake_all(&workers->work);
        }
        gf_mutex_unlock(&workers->mutex);
    }
    run_chunks(workers, 0);
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
