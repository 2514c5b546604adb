/* What the files that make up models share. Private to the runtime. */
#ifndef GRAPHFLOW_MODEL_INTERNAL_H
#define GRAPHFLOW_MODEL_INTERNAL_H

#include "graphflow/arena.h"
#include "graphflow/model.h"
#include "message.h"
#include "sync.h"

struct gf_model {
    const gf_model_spec *spec;
    const gf_variant_spec *variant;
    gf_heap *heap;
    gf_store *store; /* slots are numbers of variables */
    gf_pool *pool;
    gf_executable **executables; /* one for each signature */
    void *arena;
    int64_t arena_bytes;
    gf_mutex arena_turn; /* held by the run that has the host's arena */
};

/* Opens a transaction, however long it takes; any status of gf_store_begin but GF_WOULD_BLOCK. */
int32_t gf_model_begin(gf_model *model, gf_use *uses, int32_t count);

/* Bytes of a variable's declared shape; -1 where it has no one size. */
int64_t gf_variable_bytes(const gf_variable_spec *variable);

#endif
