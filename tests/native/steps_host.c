/* Runs steps with nothing around them but the core's pool: it fills each gf_frame by hand, as
 * frame.h says. Usage: steps_host INPUT OUTPUT. steps_table.c, which a test writes, says what
 * the steps are and where in INPUT what they begin with stands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/memory.h"
#include "graphflow/threads.h"
#include "steps_host.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static gf_pool *pool;

static void parallel_for(gf_frame *frame, gf_body body, void *context, int64_t count, int64_t grain)
{
    gf_pool_for(pool, frame, body, context, count, grain);
}

static void fail(gf_frame *frame, int32_t site, int64_t value0, int64_t value1)
{
    frame->site = site;
    frame->fail_values[0] = value0;
    frame->fail_values[1] = value1;
    frame->status = GF_FAILED;
}

static int32_t poll(gf_frame *frame)
{
    (void)frame;
    return 0;
}

static const gf_table table = {
    .abi_version = GF_ABI_VERSION,
    .parallel_for = parallel_for,
    .fail = fail,
    .poll = poll,
};

static int64_t bytes_of(const cell *c, const int64_t *values)
{
    return c->bytes >= 0 ? c->bytes : values[~c->bytes];
}

/* Runs a step so often as it says; writes its status, what it failed with, and its results. */
static void run(const step *s, const char *input, FILE *output)
{
    gf_frame frame = {.table = &table};
    int64_t *values = calloc((size_t)s->value_count + 1, sizeof *values);
    void **pointers = calloc((size_t)s->pointer_count + 1, sizeof *pointers);
    CHECK(values != NULL && pointers != NULL);
    s->sizes(s->symbols, values);
    frame.values = values;
    frame.pointers = pointers;
    for (int32_t i = 0; i < s->cell_count; i++) {
        const cell *c = &s->cells[i];
        int64_t bytes = bytes_of(c, values);
        pointers[c->pointer] = gf_aligned_memory((size_t)bytes + 64);
        CHECK(pointers[c->pointer] != NULL);
        memset(pointers[c->pointer], 0xa5, (size_t)bytes + 64);
        if (c->start >= 0) {
            memcpy(pointers[c->pointer], input + c->start, (size_t)bytes);
        }
    }
    for (int32_t i = 0; i < s->alias_count; i++) {
        pointers[s->aliases[i].to] = pointers[s->aliases[i].from];
    }
    int32_t status = GF_OK;
    for (int32_t round = 0; round < s->runs && status == GF_OK; round++) {
        status = s->step(&frame);
        for (int32_t i = 0; i < s->state_count && status == GF_OK; i++) {
            const cell *c = &s->cells[s->states[i].cell];
            memcpy(pointers[c->pointer], pointers[s->states[i].pointer],
                   (size_t)bytes_of(c, values));
        }
    }
    int64_t head[4] = {status, frame.site, frame.fail_values[0], frame.fail_values[1]};
    CHECK(fwrite(head, sizeof head, 1, output) == 1);
    for (int32_t i = 0; i < s->output_count; i++) {
        const cell *c = &s->outputs[i];
        size_t bytes = (size_t)bytes_of(c, values);
        CHECK(fwrite(pointers[c->pointer], 1, bytes, output) == bytes);
    }
    for (int32_t i = 0; i < s->cell_count; i++) {
        free(pointers[s->cells[i].pointer]);
    }
    free(pointers);
    free(values);
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    FILE *file = fopen(arguments[1], "rb");
    CHECK(file != NULL);
    char *input = malloc((size_t)input_bytes + 1);
    CHECK(input != NULL && fread(input, 1, (size_t)input_bytes, file) == (size_t)input_bytes);
    fclose(file);
    file = fopen(arguments[2], "wb");
    CHECK(file != NULL);
    pool = gf_pool_create(3, 20);
    for (int32_t i = 0; i < step_count; i++) {
        run(&steps[i], input, file);
    }
    gf_pool_destroy(pool);
    CHECK(fclose(file) == 0);
    free(input);
    return 0;
}
