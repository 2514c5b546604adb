/* The C core under sanitizers: no Python, many threads. Usage: core_test OBJECT, where the object's
 * step reads two floats at pointer 0, and writes them plus one at pointer 1 (a variable) in a
 * parallel loop. Exits with 0, or says what went wrong. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/arena.h"
#include "graphflow/loader.h"

enum { THREADS = 4, POOL_THREADS = 3, ROUNDS = 300, WIDTH = 256 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static gf_heap *heap;
static gf_store *store;
static gf_pool *pool;
static gf_executable *executable;

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    char *data = malloc(1 << 20);
    CHECK(data != NULL);
    *bytes = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

static void body(gf_frame *frame, void *context, int64_t begin, int64_t end)
{
    (void)frame;
    int64_t *cells = context;
    for (int64_t i = begin; i < end; i++) {
        cells[i] += i;
    }
}

static void *loops(void *seed)
{
    (void)seed;
    int64_t cells[1000];
    for (int round = 0; round < ROUNDS; round++) {
        memset(cells, 0, sizeof cells);
        gf_pool_for(pool, NULL, body, cells, 1000, 10);
        for (int64_t i = 0; i < 1000; i++) {
            CHECK(cells[i] == i);
        }
    }
    return NULL;
}

struct meeting {
    pthread_t threads[POOL_THREADS];
    _Atomic int64_t present;
};

/* Each chunk waits until all have begun, so each is run by another thread. */
static void meet(gf_frame *frame, void *context, int64_t begin, int64_t end)
{
    (void)frame;
    struct meeting *meeting = context;
    meeting->threads[begin] = pthread_self();
    atomic_fetch_add(&meeting->present, end - begin);
    while (atomic_load(&meeting->present) < POOL_THREADS) {
        sched_yield();
    }
}

/* A loop that runs again is shared out as before. */
static void same_threads_again(void)
{
    struct meeting first = {0};
    gf_pool_for(pool, NULL, meet, &first, POOL_THREADS, 1);
    CHECK(pthread_equal(first.threads[0], pthread_self()));
    for (int round = 0; round < ROUNDS; round++) {
        struct meeting again = {0};
        gf_pool_for(pool, NULL, meet, &again, POOL_THREADS, 1);
        for (int i = 0; i < POOL_THREADS; i++) {
            CHECK(pthread_equal(first.threads[i], again.threads[i]));
        }
    }
}

static void *buffers(void *seed)
{
    unsigned state = (unsigned)(uintptr_t)seed + 1;
    gf_buffer *held[16] = {0};
    for (int round = 0; round < 20 * ROUNDS; round++) {
        state = state * 1664525u + 1013904223u;
        gf_buffer **slot = &held[state >> 28];
        gf_buffer_release(*slot);
        size_t bytes = (state >> 8) % 5000;
        *slot = gf_buffer_take(heap, bytes);
        CHECK(*slot != NULL && gf_buffer_bytes(*slot) == bytes);
        CHECK((uintptr_t)gf_buffer_data(*slot) % 64 == 0);
        memset(gf_buffer_data(*slot), (int)state, bytes);
    }
    for (int i = 0; i < 16; i++) {
        gf_buffer_release(held[i]);
    }
    return NULL;
}

/* Adds one to two variables, by hand. */
static void *transactions(void *seed)
{
    for (int round = 0; round < ROUNDS; round++) {
        gf_use uses[2] = {{.slot = 1, .reads = 1, .writes = 1, .in_place = 1},
                          {.slot = 0, .reads = 1, .writes = seed != NULL, .in_place = 1}};
        gf_ticket ticket = {0};
        int32_t status;
        while ((status = gf_store_begin(store, uses, 2, &ticket, 1000)) == GF_WOULD_BLOCK) {
        }
        CHECK(status == GF_OK);
        for (int i = 0; i < 2; i++) {
            if (!uses[i].writes) {
                continue;
            }
            int64_t old = *(int64_t *)gf_buffer_data(uses[i].before);
            uses[i].after = uses[i].in_place ? uses[i].before : gf_buffer_take(heap, 8);
            *(int64_t *)gf_buffer_data(uses[i].after) = old + 1;
        }
        gf_store_end(store, uses, 2, 1);
    }
    return NULL;
}

/* One step: the variable in slot 2 becomes what is fed, plus one. */
static void *steps(void *seed)
{
    (void)seed;
    float fed[WIDTH] = {0};
    const int64_t dims[1] = {WIDTH};
    for (int round = 0; round < ROUNDS; round++) {
        gf_run *run = gf_run_begin(executable, pool, NULL);
        CHECK(run != NULL && gf_run_feed(run, 0, fed, 1, dims) == GF_OK);
        int32_t status;
        while ((status = gf_run_pin(run, store, 1000)) == GF_WOULD_BLOCK) {
        }
        CHECK(status == GF_OK && gf_run_bind(run, heap) == GF_OK);
        CHECK(gf_run_step(run, round % 2) == GF_OK);
        gf_output output = gf_run_output(run, 0);
        if (round % 3) {
            gf_run_commit(run);
        }
        gf_run_end(run);
        CHECK(((float *)output.data)[WIDTH - 1] == 1.0f);
        gf_buffer_release(output.buffer);
    }
    return NULL;
}

static void in_threads(void *(*work)(void *))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static void set_number(int32_t slot, int64_t number)
{
    gf_use use = {.slot = slot, .writes = 1};
    gf_ticket ticket = {0};
    CHECK(gf_store_define(store, slot) == GF_OK);
    CHECK(gf_store_begin(store, &use, 1, &ticket, 0) == GF_OK);
    use.after = gf_buffer_take(heap, 8);
    *(int64_t *)gf_buffer_data(use.after) = number;
    gf_store_end(store, &use, 1, 1);
}

static int64_t get_number(int32_t slot)
{
    gf_use use = {.slot = slot, .reads = 1};
    gf_ticket ticket = {0};
    CHECK(gf_store_begin(store, &use, 1, &ticket, 0) == GF_OK);
    int64_t number = *(int64_t *)gf_buffer_data(use.before);
    gf_store_end(store, &use, 1, 0);
    return number;
}

static void damaged_objects(const char *object, size_t bytes)
{
    char message[200];
    gf_code *code;
    char *copy = malloc(bytes);
    unsigned state = 1;
    for (size_t length = 0; length < bytes; length++) {
        char *exact = malloc(length + 1); /* so that reading past the end is seen */
        memcpy(exact, object, length);
        if (gf_code_load(exact, length, 0, &code, message, sizeof message) == GF_OK) {
            gf_code_free(code);
        }
        free(exact);
    }
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, object, bytes);
        for (int flips = 0; flips < 1 + round % 4; flips++) {
            state = state * 1664525u + 1013904223u;
            copy[(state >> 4) % bytes] = (char)(state >> 24);
        }
        if (gf_code_load(copy, bytes, GF_LOAD_ANY_MACHINE, &code, message, sizeof message) == 0) {
            gf_code_free(code);
        }
    }
    free(copy);
}

static void create_executable(const char *object, size_t bytes)
{
    const gf_size dims[1] = {WIDTH};
    const gf_shape shape = {4, 1, dims, NULL};
    const gf_feed_spec feed = {0, shape};
    const gf_state_spec state = {2, -1, 1, 0, shape};
    const gf_output_spec output = {-1, GF_FROM_STATE_OUT, 0, shape, 0};
    const gf_buffer_spec blocks[2] = {{2, -1, 100, 0, 0, -1}, {3, 0, 50, 1, 1, -1}};
    const gf_kept_spec kept = {4, 300};
    gf_description description = {.moment_count = 1,
                                  .kept_count = 1,
                                  .kept = &kept,
                                  .feed_count = 1,
                                  .feeds = &feed,
                                  .state_count = 1,
                                  .states = &state,
                                  .output_count = 1,
                                  .outputs = &output,
                                  .buffer_count = 2,
                                  .buffers = blocks};
    char message[200] = "";
    gf_code *code;
    CHECK(gf_code_load(object, bytes, 0, &code, message, sizeof message) == GF_OK);
    gf_step_code step = gf_code_step(code);
    CHECK(gf_executable_create(&description, &step, &executable, message, sizeof message) == GF_OK);
}

int main(int count, char **arguments)
{
    size_t bytes;
    CHECK(count == 2);
    char *object = read_file(arguments[1], &bytes);
    heap = gf_heap_create(1 << 20);
    store = gf_store_create(heap);
    pool = gf_pool_create(POOL_THREADS, 5);
    create_executable(object, bytes);
    set_number(0, 0);
    set_number(1, 0);
    CHECK(gf_store_define(store, 2) == GF_OK);
    same_threads_again();
    in_threads(loops);
    in_threads(buffers);
    in_threads(transactions);
    CHECK(get_number(1) == THREADS * ROUNDS);
    CHECK(get_number(0) == (THREADS - 1) * ROUNDS);
    in_threads(steps);
    damaged_objects(object, bytes);
    free(object);
    gf_executable_destroy(executable);
    gf_store_destroy(store);
    gf_heap_close(heap);
    gf_pool_destroy(pool);
    return 0;
}
