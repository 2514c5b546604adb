/* Maps a relocatable ELF object into memory, so that running cached code needs no compiler.
 *
 * Generated objects have no external symbols, so mapping one is: lay its sections out in a single
 * mapping, apply its relocations, protect the pages. Everything read from the object is checked:
 * a truncated or damaged object gives a status and a message, whatever its bytes are.
 */
#ifndef GRAPHFLOW_LOADER_H
#define GRAPHFLOW_LOADER_H

#include <stddef.h>
#include <stdint.h>

#include "graphflow/executable.h"
#include "graphflow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gf_code gf_code;

enum {
    /* Links an object of another machine as well, which can be looked at but not run. */
    GF_LOAD_ANY_MACHINE = 1,
};

/* Maps `object`, whose bytes are not needed afterwards. Returns GF_OK, GF_BAD_OBJECT or
 * GF_NO_MEMORY; unless GF_OK, `message` (of `message_bytes`, may be 0) says what is wrong. */
int32_t gf_code_load(const void *object, size_t bytes, uint32_t flags, gf_code **code,
                     char *message, size_t message_bytes);

/* The address of a global symbol that the object defines, or NULL. */
void *gf_code_symbol(const gf_code *code, const char *name);

/* The whole mapping: code, read-only data, data. */
const void *gf_code_image(const gf_code *code, size_t *bytes);

/* The step that the object exports as gf_sizes and gf_step; an executable made of it owns the
 * mapping. */
gf_step_code gf_code_step(gf_code *code);

/* Unmaps the code; NULL is allowed. Nobody may be running it. */
void gf_code_free(gf_code *code);

#ifdef __cplusplus
}
#endif
#endif
