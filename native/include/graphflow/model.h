/* Exported models: what an export consists of, and how a host runs it.
 *
 * An export defines one constant gf_model_spec. Everything a host does with a model goes through
 * the functions below; the header made for a model declares functions with the model's own names
 * and types, which call them. A model may be used by many threads at once.
 *
 * Every function that can fail returns a status: GF_OK or another one of frame.h and status.h.
 * gf_message() then says what was wrong. A call that failed has changed no variable; memory for
 * outputs may have been written.
 */
#ifndef GRAPHFLOW_MODEL_H
#define GRAPHFLOW_MODEL_H

#include "graphflow/dtype.h"
#include "graphflow/executable.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The form of what follows; a core runs models of its own form and of two before it. */
#define GF_MODEL_FORM 1

/* A dimension that depends on sizes in a way only a run knows. */
#define GF_COMPUTED INT64_MIN

typedef struct gf_tensor_spec {
    const char *name;
    const char *shape;   /* as text: "batch,784"; empty for a scalar */
    const int64_t *dims; /* itself if >= 0, size ~d of the signature if < 0, or GF_COMPUTED */
    int32_t dtype;       /* gf_dtype */
    int32_t rank;
} gf_tensor_spec;

typedef struct gf_variable_spec {
    gf_tensor_spec tensor; /* dims: GF_COMPUTED where any size will do */
    const void *value;     /* its first value; NULL: it has none, or a file has it */
    int32_t optional;      /* a file may lack it: it had no value when the model was exported */
    int32_t reserved;
} gf_variable_spec;

/* A step one can run: a name for some feeds and fetches. */
typedef struct gf_signature_spec {
    const char *name;
    const char *const *sizes; /* names of the sizes that feeds have */
    const gf_tensor_spec *feeds;
    const gf_tensor_spec *outputs;
    const int64_t *symbols; /* of its descriptions: a number, or ~d for size d */
    int32_t size_count, feed_count, output_count, symbol_count;
} gf_signature_spec;

/* A signature compiled for one instruction set. */
typedef struct gf_step_spec {
    const gf_description *description; /* slots of states: numbers of the model's variables */
    void (*sizes)(const int64_t *symbols, int64_t *values);
    int32_t (*step)(gf_frame *frame);
    const char *const *sites;  /* messages of its checks; {0} and {1} stand for their values */
    const char *const *checks; /* messages of sizes that must be equal */
    int32_t site_count, check_count;
} gf_step_spec;

typedef struct gf_variant_spec {
    const char *name;          /* of the instruction set */
    uint64_t features;         /* a processor must have, see cpu.h */
    const gf_step_spec *steps; /* one for each signature */
} gf_variant_spec;

typedef struct gf_model_spec {
    uint32_t form; /* GF_MODEL_FORM */
    uint32_t abi;  /* GF_ABI_VERSION of its code */
    const char *name;
    const char *version; /* of the graphflow that exported it */
    const char *target;  /* triple */
    const char *hash;    /* of everything in it, hexadecimal */
    const gf_variable_spec *variables;
    const gf_signature_spec *signatures;
    const gf_variant_spec *variants; /* the best first */
    int32_t variable_count, signature_count, variant_count;
    int32_t reserved;
    int64_t weights_bytes; /* of all variables whose sizes are known */
} gf_model_spec;

/* How a model is to run. Zero everywhere is a sound choice. */
typedef struct gf_model_options {
    int32_t threads; /* that work on one run, the caller among them; 0: one for each processor */
    int32_t reserved;
    /* The host's own threads, instead of the model's: `parallel` calls task(data, i) for each i in
     * [0, tasks), in any order and on any threads, and returns when all have returned. */
    gf_parallel parallel;
    void *pool;
    /* Memory for what lives during a run, 64-byte aligned, which stays the host's; runs then take
     * turns. NULL: each run under way has memory of its own, which the model keeps. */
    void *arena;
    int64_t arena_bytes;
    const char *weights;         /* a file to load variables from; NULL: none */
    const char *instruction_set; /* the name of a variant; NULL: the best this processor has */
} gf_model_options;

typedef struct gf_model gf_model;

/* What goes into a run. Without dims, the feed has those that the sizes give it. */
typedef struct gf_argument {
    const void *data;
    const int64_t *dims;
} gf_argument;

/* Where an output goes. data NULL: it is not wanted. More bytes than `bytes` are GF_BAD_ARGUMENT.
 * `dims` (as many as its rank), unless NULL, gets its shape. */
typedef struct gf_result {
    void *data;
    int64_t bytes;
    int64_t *dims;
} gf_result;

/* `options` NULL: all zero. `*model` is NULL after a failure. */
int32_t gf_model_create(const gf_model_spec *spec, const gf_model_options *options,
                        gf_model **model);
/* No call may be under way. NULL is allowed. */
void gf_model_destroy(gf_model *model);

const gf_model_spec *gf_model_describe(const gf_model *model);
/* The name of the instruction set that its code is for. */
const char *gf_model_instruction_set(const gf_model *model);

/* Runs a signature. `sizes` gives the sizes in their order; with NULL all feeds need dims. Feeds
 * and results are as many as the signature has, in its order. */
int32_t gf_model_run(gf_model *model, int32_t signature, const int64_t *sizes,
                     const gf_argument *feeds, const gf_result *results);

/* A feed or a result by its name, for hosts that choose models while they run. */
typedef struct gf_named {
    const char *name;
    int32_t dtype; /* gf_dtype */
    int32_t rank;
    int64_t *dims; /* of a feed: its shape; of a result: gets it, unless NULL */
    void *data;    /* of a feed: only read */
    int64_t bytes;
} gf_named;

/* Runs a signature by name. Every feed must be there, results may be left out; dtypes, ranks and
 * bytes are checked. */
int32_t gf_model_run_named(gf_model *model, const char *signature, const gf_named *feeds,
                           int32_t feed_count, const gf_named *results, int32_t result_count);

/* Provides all memory for `runs` runs of a signature at a time with these sizes, so that none of
 * them has to ask for any (outputs whose shapes only a run knows excepted). */
int32_t gf_model_reserve(gf_model *model, int32_t signature, const int64_t *sizes, int32_t runs);
/* Bytes of the arena that a run with these sizes has. */
int32_t gf_model_arena_bytes(gf_model *model, int32_t signature, const int64_t *sizes,
                             int64_t *bytes);

/* Numbers of names; -1: there is none. */
int32_t gf_model_signature(const gf_model *model, const char *name);
int32_t gf_model_variable(const gf_model *model, const char *name);

/* Copies a variable's value out: `bytes` is what `data` holds. `dims` may be NULL. */
int32_t gf_model_get(gf_model *model, int32_t variable, void *data, int64_t bytes, int64_t *dims);
/* Gives a variable a value; without dims, one of its declared shape. */
int32_t gf_model_set(gf_model *model, int32_t variable, const void *data, int64_t bytes,
                     const int64_t *dims);
/* Writes all variables that have a value, as they are at one moment, to a safetensors file. */
int32_t gf_model_save(gf_model *model, const char *path);
/* Gives all variables the values in a safetensors file, at one moment: runs under way end with the
 * old ones. The file must have every variable of the model, in its dtype and shape. */
int32_t gf_model_load(gf_model *model, const char *path);

/* The functions above, as a shared library hands them out: it has a runtime of its own, so that
 * libraries of several versions get along in one process. */
typedef struct gf_model_functions {
    uint32_t form; /* GF_MODEL_FORM */
    uint32_t reserved;
    int32_t (*create)(const gf_model_spec *, const gf_model_options *, gf_model **);
    void (*destroy)(gf_model *);
    const char *(*instruction_set)(const gf_model *);
    int32_t (*run)(gf_model *, int32_t, const int64_t *, const gf_argument *, const gf_result *);
    int32_t (*run_named)(gf_model *, const char *, const gf_named *, int32_t, const gf_named *,
                         int32_t);
    int32_t (*reserve)(gf_model *, int32_t, const int64_t *, int32_t);
    int32_t (*arena_bytes)(gf_model *, int32_t, const int64_t *, int64_t *);
    int32_t (*get)(gf_model *, int32_t, void *, int64_t, int64_t *);
    int32_t (*set)(gf_model *, int32_t, const void *, int64_t, const int64_t *);
    int32_t (*save)(gf_model *, const char *);
    int32_t (*load)(gf_model *, const char *);
    const char *(*message)(void);
} gf_model_functions;

extern const gf_model_functions gf_model_all_functions;

/* What a shared library exports under the name gf_model_entry. */
typedef struct gf_model_export {
    const gf_model_spec *spec;
    const gf_model_functions *functions;
} gf_model_export;

/* What was wrong in the last call of this thread that failed. Valid until its next one. */
const char *gf_message(void);

#ifdef __cplusplus
}
#endif
#endif
