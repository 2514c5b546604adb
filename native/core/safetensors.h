/* What reading and writing of safetensors files share. Private to the runtime. */
#ifndef GRAPHFLOW_SAFETENSORS_H
#define GRAPHFLOW_SAFETENSORS_H

#include "checksum.h"
#include "graphflow/weights.h"
#include "report.h"

#define GF_METADATA "__metadata__"
/* The key of the metadata under which graphflow describes its files: JSON, {"version": 1,
 * "crc32": {name: checksum, …}}. */
#define GF_DESCRIPTION "graphflow"

enum {
    GF_LENGTH_BYTES = 8,           /* of the header's length, which begins the file */
    GF_LONGEST_HEADER = 100000000, /* the limit of the safetensors package */
    GF_DESCRIPTION_VERSION = 1,
    GF_CHUNK = 1 << 14, /* bytes that change their order at a time */
};

typedef struct gf_entry {
    gf_weight array;
    int64_t begin; /* its place in the data */
    size_t first_dim;
} gf_entry;

typedef struct gf_pair {
    const char *key, *value;
} gf_pair;

struct gf_weights {
    gf_entry *entries;
    int32_t count;
    gf_entry **order; /* once checked, by name */
    int64_t *dims;
    size_t dim_count;
    gf_pair *metadata;
    size_t pair_count;
    char *texts;        /* all names, keys and values */
    char *data;         /* of a file that was read; NULL: borrowed */
    char *copies;       /* of arrays that cannot be used where they lie */
    int64_t data_bytes; /* as the header has it */
};

/* Reads all that the header says of the arrays, checked; where their data lie in memory is open. */
int32_t gf_weights_header(gf_weights *w, const char *text, size_t bytes, const gf_report *to);

/* Bytes of an array; -1 where a dimension is negative or they are too many to count. */
int64_t gf_array_bytes(int32_t dtype, int32_t rank, const int64_t *dims);

/* Changes `bytes` bytes between the order of files and that of this machine: `from` itself where
 * they are the same, else a copy in `to`. */
const void *gf_file_order(void *to, const void *from, size_t bytes, int32_t dtype);
/* Whether they differ for this dtype. */
int gf_file_order_differs(int32_t dtype);

/* Of the array's bytes as they lie in a file. */
uint32_t gf_array_checksum(const gf_crc32 *crc, const gf_weight *array);

#endif
