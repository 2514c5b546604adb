/* manifest.json, which lies beside every exported model and says what it is:
 *
 *     {"format": 1, "name": "digits", "version": "1.0", "library": "libdigits.so" or null,
 *      "weights": "digits.safetensors" or null, "target": "x86_64-unknown-linux-gnu",
 *      "features": ["avx2", …], "hash": "0123…", "signatures": {…}}
 *
 * Other keys are passed over. Library and weights are files in the manifest's folder, or in one
 * below: what leads out of it is refused, so that a manifest cannot name the files of others.
 * Needs the C library alone.
 */
#ifndef GRAPHFLOW_MANIFEST_H
#define GRAPHFLOW_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "graphflow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gf_manifest {
    const char *name;
    const char *version;
    const char *library; /* path, the manifest's folder included; NULL: none */
    const char *weights; /* the same */
    const char *target;  /* triple */
    const char *hash;    /* of the model's content, in hexadecimal digits */
    int32_t feature_count;
    const char *const *features; /* of the instruction set that it cannot do without */
} gf_manifest;

/* Reads the manifest at `path`. GF_OK; GF_BAD_FILE: it is truncated, damaged, or none; GF_IO_ERROR;
 * GF_NO_MEMORY. Whatever is not GF_OK has put a text into `message` (cut to `message_bytes`, which
 * may be 0). */
int32_t gf_manifest_open(const char *path, const gf_manifest **manifest, char *message,
                         size_t message_bytes);

/* The same for a manifest in memory that lies, or might lie, in `folder` (NULL: the current one).
 * Nothing is borrowed. */
int32_t gf_manifest_parse(const void *bytes, size_t count, const char *folder,
                          const gf_manifest **manifest, char *message, size_t message_bytes);

/* NULL is closed already. */
void gf_manifest_close(const gf_manifest *manifest);

#ifdef __cplusplus
}
#endif
#endif
