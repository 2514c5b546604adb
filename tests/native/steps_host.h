/* What steps_host.c is told of steps. */
#ifndef STEPS_HOST_H
#define STEPS_HOST_H

#include "graphflow/frame.h"

/* Memory of a step: its bytes, or ~slot of its values; where its contents begin, or -1. */
typedef struct cell {
    int32_t pointer;
    int64_t bytes;
    int64_t start;
} cell;

typedef struct alias {
    int32_t to, from;
} alias;

/* The new value of a variable, at a pointer, and the cell with the old one. */
typedef struct state {
    int32_t cell, pointer;
} state;

typedef struct step {
    void (*sizes)(const int64_t *symbols, int64_t *values);
    int32_t (*step)(gf_frame *frame);
    const int64_t *symbols;
    int32_t value_count, pointer_count, runs;
    int32_t cell_count, alias_count, state_count, output_count;
    const cell *cells;
    const alias *aliases;
    const state *states;
    const cell *outputs;
} step;

extern const step steps[];
extern const int32_t step_count;
extern const int64_t input_bytes;

#endif
