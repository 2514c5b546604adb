/* CRC-32, eight bytes at a time: Kounavis and Berry, "A Systematic Approach to Building High
 * Performance Software-Based CRC Generators", 2005. */
#include "checksum.h"

#define POLYNOMIAL 0xedb88320u /* reflected */

void gf_crc32_prepare(gf_crc32 *crc)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t rest = i;
        for (int bit = 0; bit < 8; bit++) {
            rest = rest >> 1 ^ (rest & 1 ? POLYNOMIAL : 0);
        }
        crc->tables[0][i] = rest;
    }
    for (int slice = 1; slice < GF_CRC32_SLICES; slice++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t rest = crc->tables[slice - 1][i];
            crc->tables[slice][i] = rest >> 8 ^ crc->tables[0][rest & 0xff];
        }
    }
}

uint32_t gf_crc32_add(const gf_crc32 *crc, uint32_t checksum, const void *bytes, size_t count)
{
    const uint32_t(*tables)[256] = crc->tables;
    const unsigned char *at = bytes;
    uint32_t rest = ~checksum;
    for (; count >= 8; count -= 8, at += 8) {
        uint32_t mixed = rest ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                                 (uint32_t)at[3] << 24);
        rest = tables[7][mixed & 0xff] ^ tables[6][mixed >> 8 & 0xff] ^
               tables[5][mixed >> 16 & 0xff] ^ tables[4][mixed >> 24] ^ tables[3][at[4]] ^
               tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
    }
    for (; count > 0; count--, at++) {
        rest = rest >> 8 ^ tables[0][(rest ^ *at) & 0xff];
    }
    return ~rest;
}
