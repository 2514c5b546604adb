/* Waiting for a limited time; and forks, whose child has one thread, and the locks and loops of all
 * others as they were. */
#define _GNU_SOURCE
#include "sync.h"

#include "graphflow/threads.h"

#ifndef GF_NO_THREADS

#include <errno.h>
#include <stdatomic.h>

struct timespec gf_deadline(int64_t wait_us)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t ns = until.tv_nsec + wait_us % 1000000 * 1000;
    until.tv_sec += (time_t)(wait_us / 1000000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    return until;
}

int gf_wait_until(gf_condition *condition, gf_mutex *mutex, const struct timespec *until)
{
    return pthread_cond_timedwait(condition, mutex, until) != ETIMEDOUT;
}

/* The only global of the threads: what a forked child cannot know otherwise. */
static atomic_uint generation;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    atomic_fetch_add(&generation, 1);
}

static void watch(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

void gf_watch_forks(void)
{
    pthread_once(&once, watch);
}

uint32_t gf_fork_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

#else

struct timespec gf_deadline(int64_t wait_us)
{
    (void)wait_us;
    return (struct timespec){0};
}

int gf_wait_until(gf_condition *condition, gf_mutex *mutex, const struct timespec *until)
{
    (void)condition;
    (void)mutex;
    (void)until;
    return 0; /* there is nobody to wait for */
}

void gf_watch_forks(void)
{
}

uint32_t gf_fork_generation(void)
{
    return 0; /* the only thread goes on in the child */
}

#endif
