/* The variables of a session. One mutex guards them all: it is held for a few loads and stores. */
#define _GNU_SOURCE
#include "graphflow/store.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "graphflow/threads.h"
#include "sync.h"

typedef struct variable {
    int32_t defined;
    int32_t writing;  /* a transaction writes it */
    int32_t in_place; /* ... into the current version */
    gf_thread writer;
    gf_buffer *current; /* NULL: no value yet */
    uint64_t version;
    int32_t rank;
    int64_t dims[GF_MAX_RANK];
} variable;

/* Of all stores, so that a version says which variable it is of, too. */
static _Atomic uint64_t versions;

struct gf_store {
    gf_mutex mutex;
    gf_condition freed; /* a transaction has ended */
    gf_heap *heap;
    variable *variables;
    int32_t count;
    gf_ticket *first_waiting;
    uint32_t fork_generation;
};

gf_store *gf_store_create(gf_heap *heap)
{
    gf_store *store = calloc(1, sizeof *store);
    if (store != NULL) {
        store->heap = heap;
        gf_watch_forks();
        store->fork_generation = gf_fork_generation();
        gf_mutex_init(&store->mutex);
        gf_condition_init(&store->freed);
    }
    return store;
}

void gf_store_destroy(gf_store *store)
{
    if (store == NULL) {
        return;
    }
    for (int32_t i = 0; i < store->count; i++) {
        gf_buffer_release(store->variables[i].current);
    }
    free(store->variables);
    gf_mutex_destroy(&store->mutex);
    gf_condition_destroy(&store->freed);
    free(store);
}

/* In a forked child the transactions of other threads are gone. What they were writing in place
 * is neither old nor new, so it counts as having no value. */
static void forget_transactions(gf_store *store)
{
    store->fork_generation = gf_fork_generation();
    gf_mutex_init(&store->mutex);
    gf_condition_init(&store->freed);
    store->first_waiting = NULL;
    for (int32_t i = 0; i < store->count; i++) {
        variable *v = &store->variables[i];
        if (v->writing && v->in_place) {
            v->current = NULL;
        }
        v->writing = 0;
        v->in_place = 0;
    }
}

static void enter(gf_store *store)
{
    if (store->fork_generation != gf_fork_generation()) {
        forget_transactions(store);
    }
    gf_mutex_lock(&store->mutex);
}

static void leave(gf_store *store)
{
    gf_mutex_unlock(&store->mutex);
}

int32_t gf_store_define(gf_store *store, int32_t slot)
{
    int32_t status = GF_OK;
    if (slot < 0 || slot > 1 << 24) {
        return GF_BAD_DESCRIPTION;
    }
    enter(store);
    if (slot >= store->count) {
        int32_t count = slot + 1 > 2 * store->count ? slot + 1 : 2 * store->count;
        int fits = (size_t)count <= PTRDIFF_MAX / sizeof(variable);
        variable *grown =
            fits ? realloc(store->variables, (size_t)count * sizeof *grown) : NULL;
        if (grown == NULL) {
            status = GF_NO_MEMORY;
        } else {
            memset(grown + store->count, 0, (size_t)(count - store->count) * sizeof *grown);
            store->variables = grown;
            store->count = count;
        }
    }
    if (status == GF_OK) {
        store->variables[slot].defined = 1;
    }
    leave(store);
    return status;
}

int32_t gf_store_count(gf_store *store)
{
    return store->count;
}

/* Whether the transaction can begin now: nothing it reads is being overwritten, nothing it
 * writes is being written. */
static int32_t admissible(const gf_store *store, const gf_use *uses, int32_t count)
{
    int32_t status = GF_OK;
    for (int32_t i = 0; i < count; i++) {
        const gf_use *use = &uses[i];
        if (use->slot < 0 || use->slot >= store->count || !store->variables[use->slot].defined) {
            return GF_BAD_DESCRIPTION;
        }
        const variable *v = &store->variables[use->slot];
        if (v->writing && (use->writes || v->in_place)) {
            if (gf_thread_equal(v->writer, gf_thread_self())) {
                return GF_REENTERED;
            }
            status = GF_WOULD_BLOCK;
        }
    }
    return status;
}

static int32_t admit(gf_store *store, gf_use *uses, int32_t count)
{
    int32_t status = GF_OK;
    for (int32_t i = 0; i < count; i++) {
        uses[i].before = uses[i].reads ? store->variables[uses[i].slot].current : NULL;
        uses[i].after = NULL;
        if (uses[i].reads && uses[i].before == NULL) {
            status = GF_UNINITIALIZED;
        }
    }
    if (status != GF_OK) {
        return status;
    }
    for (int32_t i = 0; i < count; i++) {
        gf_use *use = &uses[i];
        variable *v = &store->variables[use->slot];
        int alone = v->current != NULL && gf_buffer_holders(v->current) == 1;
        if (use->reads) {
            gf_buffer_retain(use->before);
            use->version = v->version;
            use->rank = v->rank;
            memcpy(use->dims, v->dims, (size_t)v->rank * sizeof *v->dims);
        }
        use->in_place =
            use->in_place && use->writes && use->reads && alone && store->first_waiting == NULL;
        if (use->writes) {
            v->writing = 1;
            v->in_place = use->in_place;
            v->writer = gf_thread_self();
        }
    }
    return GF_OK;
}

static void unqueue(gf_store *store, gf_ticket *ticket)
{
    if (!ticket->queued) {
        return;
    }
    gf_ticket **link = &store->first_waiting;
    while (*link != NULL && *link != ticket) {
        link = &(*link)->next;
    }
    if (*link == ticket) {
        *link = ticket->next;
        gf_wake_all(&store->freed); /* another one is first now */
    }
    ticket->queued = 0;
}

static void enqueue(gf_store *store, gf_ticket *ticket)
{
    if (ticket->queued) {
        return;
    }
    gf_ticket **link = &store->first_waiting;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    ticket->next = NULL;
    ticket->queued = 1;
    *link = ticket;
}

/* Readers hold up nobody and may pass; writers go in order of arrival. A run that a host call of
 * another run makes may pass too: those that wait may be waiting for that other run. */
static int is_its_turn(const gf_store *store, const gf_use *uses, int32_t count,
                       const gf_ticket *ticket)
{
    int writes = 0;
    if (store->first_waiting == NULL || store->first_waiting == ticket) {
        return 1;
    }
    for (int32_t i = 0; i < count; i++) {
        writes |= uses[i].writes;
    }
    for (int32_t i = 0; i < store->count && writes; i++) {
        const variable *v = &store->variables[i];
        if (v->writing && gf_thread_equal(v->writer, gf_thread_self())) {
            return 1;
        }
    }
    return !writes;
}

int32_t gf_store_begin(gf_store *store, gf_use *uses, int32_t count, gf_ticket *ticket,
                       int64_t wait_us)
{
    int late = wait_us <= 0;
    struct timespec until = {0};
    if (!late) {
        until = gf_deadline(wait_us);
    }
    enter(store);
    int32_t status;
    for (;;) {
        status = admissible(store, uses, count);
        if (status == GF_OK && !is_its_turn(store, uses, count, ticket)) {
            status = GF_WOULD_BLOCK;
        }
        if (status != GF_WOULD_BLOCK) {
            unqueue(store, ticket);
            break;
        }
        enqueue(store, ticket);
        if (late) {
            break;
        }
        late = !gf_wait_until(&store->freed, &store->mutex, &until);
    }
    if (status == GF_OK) {
        status = admit(store, uses, count);
    }
    leave(store);
    return status;
}

void gf_store_drop_ticket(gf_store *store, gf_ticket *ticket)
{
    if (ticket->queued) {
        enter(store);
        unqueue(store, ticket);
        leave(store);
    }
}

void gf_store_end(gf_store *store, gf_use *uses, int32_t count, int32_t commit)
{
    enter(store);
    int wrote = 0;
    for (int32_t i = 0; i < count; i++) {
        gf_use *use = &uses[i];
        if (use->writes) {
            variable *v = &store->variables[use->slot];
            wrote = 1;
            if (commit) {
                if (use->after != v->current) {
                    gf_buffer_release(v->current);
                    v->current = use->after;
                }
                v->version = 1 + atomic_fetch_add_explicit(&versions, 1, memory_order_relaxed);
                v->rank = use->new_rank;
                memcpy(v->dims, use->new_dims, (size_t)use->new_rank * sizeof *v->dims);
            } else if (use->after != use->before) {
                gf_buffer_release(use->after);
            }
            v->writing = 0;
            v->in_place = 0;
        }
        gf_buffer_release(use->before);
        use->before = NULL;
        use->after = NULL;
    }
    if (wrote && store->first_waiting != NULL) {
        gf_wake_all(&store->freed);
    }
    leave(store);
}

int32_t gf_store_initialized(gf_store *store, int32_t slot)
{
    enter(store);
    int32_t initialized =
        slot >= 0 && slot < store->count && store->variables[slot].current != NULL;
    leave(store);
    return initialized;
}
