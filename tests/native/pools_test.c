/* Pools on whatever machine this is compiled for: their own threads, a host's, or none. Exits with
 * 0, or says what went wrong. */
#include <fenv.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/threads.h"
#include "sync.h"

enum { CELLS = 1000, GRAIN = 7, CHUNKS = (CELLS + GRAIN - 1) / GRAIN, MOST = 8 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* What a loop left in its cells: who did what, in which chunks. */
typedef struct trace {
    int64_t counts[CELLS];
    int64_t ends[CELLS]; /* where a chunk begins: its end */
} trace;

/* Whether sums are rounded to the nearest number, as generated code wants it. */
static int rounds_to_nearest(void)
{
    volatile float one = 1.0f, little = 1e-10f;
    return one + little == one;
}

static void body(gf_frame *frame, void *context, int64_t begin, int64_t end)
{
    trace *t = context;
    CHECK(frame == NULL);
    CHECK(rounds_to_nearest());
    t->ends[begin] = end;
    for (int64_t i = begin; i < end; i++) {
        t->counts[i]++;
    }
}

static void check_loop(gf_pool *pool, int64_t count, int64_t grain)
{
    trace t = {{0}, {0}};
    gf_pool_for(pool, NULL, body, &t, count, grain);
    if (count > 0) { /* as few chunks as the grain allows, as even as can be */
        int64_t chunks = (count - 1) / grain + 1;
        grain = (count - 1) / chunks + 1;
    }
    for (int64_t i = 0; i < CELLS; i++) {
        int64_t end = i + grain < count ? i + grain : count;
        CHECK(t.counts[i] == (i < count));
        CHECK(t.ends[i] == (i < count && i % grain == 0 ? end : 0));
    }
}

static void check_loops(gf_pool *pool)
{
    for (int round = 0; round < 20; round++) {
        check_loop(pool, CELLS, GRAIN);
        check_loop(pool, CELLS, CELLS);
        check_loop(pool, CELLS - 1, 1);
        check_loop(pool, 1, 1);
        check_loop(pool, 0, 1);
    }
}

/* A loop inside each chunk of a loop. */
typedef struct nest {
    gf_pool *pool;
    _Atomic int64_t sums[CELLS];
} nest;

static void inner(gf_frame *frame, void *context, int64_t begin, int64_t end)
{
    (void)frame;
    atomic_fetch_add((_Atomic int64_t *)context, end - begin);
}

static void outer(gf_frame *frame, void *context, int64_t begin, int64_t end)
{
    nest *n = context;
    for (int64_t i = begin; i < end; i++) {
        gf_pool_for(n->pool, frame, inner, &n->sums[i], CELLS, GRAIN);
    }
}

static void check_nested(gf_pool *pool)
{
    nest n = {pool, {0}};
    gf_pool_for(pool, NULL, outer, &n, CELLS, GRAIN);
    for (int i = 0; i < CELLS; i++) {
        CHECK(n.sums[i] == CELLS);
    }
}

/* Hosts: what they were asked for, and whether they are at work. */
typedef struct host {
    int32_t calls, most_tasks, busy;
} host;

static void count_call(host *h, int32_t tasks)
{
    h->calls++;
    h->most_tasks = tasks > h->most_tasks ? tasks : h->most_tasks;
    CHECK(tasks > 1);
}

/* One after the other, the last one first, in a rounding mode of the host's own. */
static void in_turn(void *data, int32_t tasks, gf_task task, void *task_data)
{
    host *h = data;
    count_call(h, tasks);
    CHECK(!h->busy);
    h->busy = 1;
#ifdef FE_UPWARD
    fesetround(FE_UPWARD);
    for (int32_t i = tasks; i-- > 0;) {
        task(task_data, i);
        CHECK(!rounds_to_nearest());
    }
    fesetround(FE_TONEAREST);
#else
    for (int32_t i = tasks; i-- > 0;) {
        task(task_data, i);
    }
#endif
    h->busy = 0;
}

static void check_hosted(gf_parallel parallel)
{
    host h = {0};
    gf_pool *pool = gf_pool_hosted(&h, 3, parallel);
    CHECK(pool != NULL && gf_pool_threads(pool) == 3);
    check_loops(pool);
    CHECK(h.calls == 20 * 2 && h.most_tasks == 3);
    check_loop(pool, 2 * GRAIN, GRAIN);
    check_nested(pool);
    CHECK(h.calls == 20 * 2 + 2);
    gf_pool_destroy(pool);

    pool = gf_pool_hosted(&h, 1, parallel); /* one thread is the caller's */
    check_loops(pool);
    CHECK(h.calls == 20 * 2 + 2);
    gf_pool_destroy(pool);

    pool = gf_pool_hosted(&h, 0, parallel);
    CHECK(gf_pool_threads(pool) == gf_processor_count());
    check_loops(pool);
    gf_pool_destroy(pool);
}

#ifndef GF_NO_THREADS

typedef struct call {
    gf_task task;
    void *data;
    int32_t index;
} call;

static void *make_call(void *data)
{
    call *c = data;
    c->task(c->data, c->index);
    return NULL;
}

/* Each task on a thread of its own. */
static void in_threads(void *data, int32_t tasks, gf_task task, void *task_data)
{
    pthread_t threads[MOST];
    call calls[MOST];
    count_call(data, tasks);
    CHECK(tasks <= MOST);
    for (int32_t i = 0; i < tasks; i++) {
        calls[i] = (call){task, task_data, i};
        CHECK(pthread_create(&threads[i], NULL, make_call, &calls[i]) == 0);
    }
    for (int32_t i = 0; i < tasks; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static void *caller(void *pool)
{
    check_loops(pool);
    check_nested(pool);
    return NULL;
}

static void check_many_callers(gf_pool *pool)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, caller, pool) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

#endif

static void check_own(int32_t threads)
{
    gf_pool *pool = gf_pool_create(threads, 20);
    CHECK(pool != NULL);
    check_loops(pool);
    check_nested(pool);
#ifdef GF_NO_THREADS
    CHECK(gf_pool_threads(pool) == 1);
#else
    CHECK(gf_pool_threads(pool) == (threads ? threads : gf_processor_count()));
    check_many_callers(pool);
#endif
    gf_pool_destroy(pool);
}

int main(void)
{
    gf_pool_destroy(NULL);
    check_loops(NULL);
    for (int32_t threads = 0; threads < 5; threads++) {
        check_own(threads);
    }
    check_hosted(in_turn);
#ifndef GF_NO_THREADS
    host h = {0};
    check_hosted(in_threads);
    gf_pool *pool = gf_pool_hosted(&h, 3, in_threads);
    check_many_callers(pool);
    gf_pool_destroy(pool);
#endif
    return 0;
}
