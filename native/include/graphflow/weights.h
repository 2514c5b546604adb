/* Files of named arrays, in the safetensors format: what Python's safetensors package and
 * graphflow's checkpoints write is read, and they read what is written here.
 *
 *     8 bytes          N, the bytes of the header, little-endian
 *     N bytes          JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
 *                      …, "__metadata__": {"key": "value", …}}
 *     the rest         the arrays, row-major and little-endian, without a gap between them
 *
 * Nothing in a file is believed: whatever its bytes are, it is either refused with GF_BAD_FILE or
 * every array lies whole in memory, has the bytes that its dtype and dims say, and is aligned for
 * its dtype. Names and texts with a zero character, and dtypes that dtype.h does not have, are
 * refused. Needs the C library alone; one gf_weights may be read by several threads.
 *
 * Statuses: GF_OK, GF_BAD_FILE, GF_IO_ERROR, GF_NO_MEMORY and, of what a caller asks to be written,
 * GF_BAD_DESCRIPTION. Whatever is not GF_OK has put a text into `message` (cut to
 * `message_bytes`, which may be 0).
 */
#ifndef GRAPHFLOW_WEIGHTS_H
#define GRAPHFLOW_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "graphflow/dtype.h"
#include "graphflow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gf_weights gf_weights;

/* One array. What it points to belongs to the gf_weights it comes from. */
typedef struct gf_weight {
    const char *name; /* UTF-8 */
    int32_t dtype;    /* enum gf_dtype */
    int32_t rank;     /* any: files have no limit */
    const int64_t *dims;
    const void *data; /* in the byte order of this machine */
    int64_t bytes;
} gf_weight;

/* Reads a file that is in memory. `bytes` is borrowed, and must stay until gf_weights_close; arrays
 * that are not aligned there are copied. */
int32_t gf_weights_parse(const void *bytes, size_t count, gf_weights **weights, char *message,
                         size_t message_bytes);

/* Reads the file at `path` as a whole. */
int32_t gf_weights_open(const char *path, gf_weights **weights, char *message,
                        size_t message_bytes);

/* Compares every array with the checksum that the file has for it: those that graphflow writes
 * have one each, others pass unseen. GF_BAD_FILE names the first array that is not what was
 * written. Reads all data; gf_weights_parse and gf_weights_open do not do this by themselves. */
int32_t gf_weights_verify(const gf_weights *weights, char *message, size_t message_bytes);

/* Arrays are numbered in the order of the header. */
int32_t gf_weights_count(const gf_weights *weights);
/* All zero where there is no such number. */
gf_weight gf_weights_at(const gf_weights *weights, int32_t index);
/* The number of the array with this name; -1: none. */
int32_t gf_weights_find(const gf_weights *weights, const char *name);
/* The value of this key of the metadata; NULL: none. */
const char *gf_weights_metadata(const gf_weights *weights, const char *key);

/* NULL is closed already. */
void gf_weights_close(gf_weights *weights);

/* Writes `count` arrays, and `metadata` (key, value, …, NULL; or NULL) beside their checksums, to
 * the file at `path`. It is written under another name in the same folder, brought to the disk, and
 * renamed: what was there before stays whatever goes wrong. The same arrays give the same bytes.
 * GF_BAD_DESCRIPTION: an array whose bytes are not those of its dtype and dims, or whose dtype the
 * format does not have; a text that is not UTF-8; a name or a key that is there twice, or reserved
 * ("__metadata__" as a name, "graphflow" as a key). */
int32_t gf_weights_write(const char *path, const gf_weight *arrays, int32_t count,
                         const char *const *metadata, char *message, size_t message_bytes);

#ifdef __cplusplus
}
#endif
#endif
