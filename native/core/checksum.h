/* CRC-32 as in gzip and zlib (ISO 3309). Private to the runtime. */
#ifndef GRAPHFLOW_CHECKSUM_H
#define GRAPHFLOW_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

enum { GF_CRC32_SLICES = 8 };

typedef struct gf_crc32 {
    uint32_t tables[GF_CRC32_SLICES][256];
} gf_crc32;

/* Fills the tables, which are too cheap to be worth keeping. */
void gf_crc32_prepare(gf_crc32 *crc);

/* The checksum of what `checksum` is that of (0: nothing), followed by these bytes. */
uint32_t gf_crc32_add(const gf_crc32 *crc, uint32_t checksum, const void *bytes, size_t count);

#endif
