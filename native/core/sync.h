/* The few things the runtime wants of threads. Where a host has none (GF_NO_THREADS), there is one
 * thread: locks keep nobody out, and whoever would wait would do so forever. Private. */
#ifndef GRAPHFLOW_SYNC_H
#define GRAPHFLOW_SYNC_H

#include <stdint.h>
#include <time.h>

#ifndef GF_NO_THREADS

#include <pthread.h>

typedef pthread_mutex_t gf_mutex;
typedef pthread_cond_t gf_condition;
typedef pthread_t gf_thread;

static inline void gf_mutex_init(gf_mutex *mutex)
{
    pthread_mutex_init(mutex, NULL);
}

static inline void gf_mutex_destroy(gf_mutex *mutex)
{
    pthread_mutex_destroy(mutex);
}

static inline void gf_mutex_lock(gf_mutex *mutex)
{
    pthread_mutex_lock(mutex);
}

static inline void gf_mutex_unlock(gf_mutex *mutex)
{
    pthread_mutex_unlock(mutex);
}

static inline void gf_condition_init(gf_condition *condition)
{
    pthread_cond_init(condition, NULL);
}

static inline void gf_condition_destroy(gf_condition *condition)
{
    pthread_cond_destroy(condition);
}

static inline void gf_wake_one(gf_condition *condition)
{
    pthread_cond_signal(condition);
}

static inline void gf_wake_all(gf_condition *condition)
{
    pthread_cond_broadcast(condition);
}

static inline void gf_wait(gf_condition *condition, gf_mutex *mutex)
{
    pthread_cond_wait(condition, mutex);
}

static inline gf_thread gf_thread_self(void)
{
    return pthread_self();
}

static inline int gf_thread_equal(gf_thread a, gf_thread b)
{
    return pthread_equal(a, b);
}

#else

typedef char gf_mutex;
typedef char gf_condition;
typedef char gf_thread;

static inline void gf_mutex_init(gf_mutex *mutex)
{
    *mutex = 0;
}

static inline void gf_mutex_destroy(gf_mutex *mutex)
{
    (void)mutex;
}

static inline void gf_mutex_lock(gf_mutex *mutex)
{
    (void)mutex;
}

static inline void gf_mutex_unlock(gf_mutex *mutex)
{
    (void)mutex;
}

static inline void gf_condition_init(gf_condition *condition)
{
    *condition = 0;
}

static inline void gf_condition_destroy(gf_condition *condition)
{
    (void)condition;
}

static inline void gf_wake_all(gf_condition *condition)
{
    (void)condition;
}

static inline gf_thread gf_thread_self(void)
{
    return 0;
}

static inline int gf_thread_equal(gf_thread a, gf_thread b)
{
    return a == b;
}

#endif

/* When a wait that begins now and takes so many microseconds ends. */
struct timespec gf_deadline(int64_t wait_us);

/* Waits for one to wake it; whether that was before the time was over. */
int gf_wait_until(gf_condition *condition, gf_mutex *mutex, const struct timespec *until);

/* Counts forks from now on: see gf_fork_generation. */
void gf_watch_forks(void);

#endif
