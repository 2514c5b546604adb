/* What generated code reaches of the runtime: the functions of gf_table. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "internal.h"

enum { MOST_RECORDS = 1 << 20 }; /* a loop of many launches must not fill the memory */

static gf_run *run_of(gf_frame *frame)
{
    return frame->runtime;
}

static void table_parallel_for(gf_frame *frame, gf_body body, void *context, int64_t count,
                               int64_t grain)
{
    gf_pool_for(run_of(frame)->pool, frame, body, context, count, grain);
}

static void table_fail(gf_frame *frame, int32_t site, int64_t value0, int64_t value1)
{
    gf_run *run = run_of(frame);
    int32_t nobody = 0;
    if (atomic_compare_exchange_strong(&run->failing, &nobody, 1)) {
        frame->site = site;
        frame->fail_values[0] = value0;
        frame->fail_values[1] = value1;
        __atomic_store_n(&frame->status, GF_FAILED, __ATOMIC_RELEASE);
    }
}

static int32_t table_host_call(gf_frame *frame, int32_t call)
{
    gf_run *run = run_of(frame);
    int32_t status = run->host.call ? run->host.call(run->host.data, run, call) : GF_HOST_ERROR;
    if (status != GF_OK) {
        frame->status = status;
    }
    return status;
}

static int32_t table_poll(gf_frame *frame)
{
    gf_run *run = run_of(frame);
    if (run->host.interrupted == NULL || !*run->host.attention ||
        !run->host.interrupted(run->host.data, run)) {
        return 0;
    }
    frame->status = GF_INTERRUPTED;
    return 1;
}

static int32_t table_grow(gf_frame *frame, int32_t stack, int64_t row)
{
    return gf_stack_grow(run_of(frame), stack, row);
}

static int32_t table_bind(gf_frame *frame, int32_t symbol, int64_t value)
{
    return gf_late_bind(run_of(frame), symbol, value);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A small number for the calling thread; the records' mutex is held. */
static int32_t thread_number(gf_run *run)
{
    gf_thread self = gf_thread_self();
    for (int32_t i = 0; i < run->thread_count; i++) {
        if (gf_thread_equal(run->threads[i], self)) {
            return i;
        }
    }
    if (run->thread_count == THREADS_TOLD_APART) {
        return THREADS_TOLD_APART;
    }
    run->threads[run->thread_count] = self;
    return run->thread_count++;
}

static void table_launch_begin(gf_frame *frame, int32_t launch)
{
    gf_run *run = run_of(frame);
    gf_mutex_lock(&run->records_mutex);
    if (run->record_count == run->record_capacity && run->record_capacity < MOST_RECORDS) {
        int64_t capacity = run->record_capacity ? 2 * run->record_capacity : 64;
        gf_record *grown = realloc(run->records, (size_t)capacity * sizeof *grown);
        if (grown != NULL) {
            run->records = grown;
            run->record_capacity = capacity;
        }
    }
    if (run->record_count < run->record_capacity) {
        run->records[run->record_count++] = (gf_record){launch, thread_number(run), now_ns(), 0};
    }
    gf_mutex_unlock(&run->records_mutex);
}

static void table_launch_end(gf_frame *frame, int32_t launch)
{
    int64_t end = now_ns();
    gf_run *run = run_of(frame);
    gf_mutex_lock(&run->records_mutex);
    for (int64_t i = run->record_count - 1; i >= 0; i--) {
        if (run->records[i].launch == launch && run->records[i].end_ns == 0) {
            run->records[i].end_ns = end;
            break;
        }
    }
    gf_mutex_unlock(&run->records_mutex);
}

const gf_table gf_runtime_table = {
    .abi_version = GF_ABI_VERSION,
    .parallel_for = table_parallel_for,
    .fail = table_fail,
    .host_call = table_host_call,
    .poll = table_poll,
    .launch_begin = table_launch_begin,
    .launch_end = table_launch_end,
    .grow = table_grow,
    .bind = table_bind,
};
