/* The variables of a session: versioned values, read and written by transactions.
 *
 * A run pins the versions it reads and takes the right to write what it writes in one indivisible
 * step, so it sees one state of all its variables; holding nothing while it waits, it cannot
 * deadlock. A new version is swapped in by the commit that ends a run, or the run is abandoned and
 * nothing has happened. A write goes straight into the current version (in place) only if the step
 * allows it and nobody else holds that version; until its commit such a variable cannot be read,
 * so whoever wants to read waits, and while anybody waits nobody starts a write in place.
 */
#ifndef GRAPHFLOW_STORE_H
#define GRAPHFLOW_STORE_H

#include "graphflow/memory.h"
#include "graphflow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GF_MAX_RANK = 32 };

typedef struct gf_store gf_store;

/* What one run does with one variable. */
typedef struct gf_use {
    int32_t slot;
    int32_t reads;     /* wants the value before the step */
    int32_t writes;    /* gives a new value */
    int32_t in_place;  /* in: the step may write in place; out: it does */
    gf_buffer *before; /* pinned, when it reads */
    uint64_t version;  /* of `before`: another number for every value a variable ever had */
    gf_buffer *after;  /* the new version: the same buffer when in place, else set by the run */
    int32_t rank;      /* of `before` */
    int64_t dims[GF_MAX_RANK];
    int32_t new_rank; /* of `after`, to be set before a commit */
    int64_t new_dims[GF_MAX_RANK];
} gf_use;

/* A run's place in the queue of those that wait. Zero before its first use. */
typedef struct gf_ticket {
    struct gf_ticket *next;
    int32_t queued;
} gf_ticket;

/* NULL when there is no memory. `heap` must stay until the store is destroyed. */
gf_store *gf_store_create(gf_heap *heap);
void gf_store_destroy(gf_store *store);

/* Makes the variable `slot` exist, without a value. Defining it again changes nothing. */
int32_t gf_store_define(gf_store *store, int32_t slot);
int32_t gf_store_count(gf_store *store);

/* Begins a transaction on `count` variables, each named once. GF_OK; GF_WOULD_BLOCK when others
 * are in the way even after `wait_us` microseconds (call again, with the same ticket, or drop the
 * ticket); GF_UNINITIALIZED: those uses that miss a value have `before` NULL, nothing is held;
 * GF_REENTERED: this very thread is writing one of them; GF_BAD_DESCRIPTION: no such slot. */
int32_t gf_store_begin(gf_store *store, gf_use *uses, int32_t count, gf_ticket *ticket,
                       int64_t wait_us);

/* Gives up waiting. */
void gf_store_drop_ticket(gf_store *store, gf_ticket *ticket);

/* Ends a transaction. A committed write needs `after`, which now belongs to the store; an
 * abandoned one that was not in place leaves every variable as it was. */
void gf_store_end(gf_store *store, gf_use *uses, int32_t count, int32_t commit);

/* Whether the variable has a value. */
int32_t gf_store_initialized(gf_store *store, int32_t slot);

#ifdef __cplusplus
}
#endif
#endif
