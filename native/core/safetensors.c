/* Sizes, byte order and checksums of arrays in files. */
#include "safetensors.h"

/* Tests set it, to run what only such machines need. */
#ifndef GF_BIG_ENDIAN
#define GF_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
#endif

int64_t gf_array_bytes(int32_t dtype, int32_t rank, const int64_t *dims)
{
    int64_t bytes = gf_dtype_bytes(dtype);
    int empty = 0;
    /* An array without elements, too, must have dimensions whose product can be counted. */
    for (int32_t i = 0; i < rank; i++) {
        empty |= dims[i] == 0;
        if (dims[i] < 0 || (dims[i] > 0 && __builtin_mul_overflow(bytes, dims[i], &bytes))) {
            return -1;
        }
    }
    return empty ? 0 : bytes;
}

int gf_file_order_differs(int32_t dtype)
{
    return GF_BIG_ENDIAN && gf_dtype_alignment(dtype) > 1;
}

const void *gf_file_order(void *to, const void *from, size_t bytes, int32_t dtype)
{
    if (!gf_file_order_differs(dtype)) {
        return from;
    }
    /* The parts of a complex number are numbers of their own. */
    size_t unit = (size_t)gf_dtype_alignment(dtype);
    const char *source = from;
    char *target = to;
    for (size_t i = 0; i < bytes; i++) {
        target[i] = source[i - i % unit + (unit - 1 - i % unit)];
    }
    return to;
}

uint32_t gf_array_checksum(const gf_crc32 *crc, const gf_weight *array)
{
    char buffer[GF_CHUNK];
    uint32_t checksum = 0;
    size_t left = (size_t)array->bytes;
    for (const char *from = array->data; left > 0;) {
        size_t bytes = left < sizeof buffer ? left : sizeof buffer;
        const void *chunk = gf_file_order(buffer, from, bytes, array->dtype);
        checksum = gf_crc32_add(crc, checksum, chunk, bytes);
        from += bytes;
        left -= bytes;
    }
    return checksum;
}
