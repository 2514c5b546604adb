/* Element types. Their numbers are part of the interface: they never change. */
#ifndef GRAPHFLOW_DTYPE_H
#define GRAPHFLOW_DTYPE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum gf_dtype {
    GF_NO_DTYPE = 0,
    GF_BOOL = 1, /* a byte that is 0 or 1 */
    GF_INT8 = 2,
    GF_INT16 = 3,
    GF_INT32 = 4,
    GF_INT64 = 5,
    GF_UINT8 = 6,
    GF_UINT16 = 7,
    GF_UINT32 = 8,
    GF_UINT64 = 9,
    GF_FLOAT16 = 10,  /* IEEE 754 binary16 */
    GF_BFLOAT16 = 11, /* the upper half of a float32 */
    GF_FLOAT32 = 12,
    GF_FLOAT64 = 13,
    GF_COMPLEX64 = 14,  /* two float32: the real part, the imaginary part */
    GF_COMPLEX128 = 15, /* two float64 */
};

/* All take any number. Of one that is no dtype: NULL, and 0 bytes. */

/* "float32" and so on, as graphflow and NumPy name them. */
const char *gf_dtype_name(int32_t dtype);
/* GF_NO_DTYPE where there is none of that name. */
int32_t gf_dtype_named(const char *name);

/* Of one element. */
int64_t gf_dtype_bytes(int32_t dtype);
/* Of its address: `bytes`, or of a complex number that of its parts. */
int64_t gf_dtype_alignment(int32_t dtype);

/* "F32" and so on; NULL where the safetensors format has no such type (complex128). */
const char *gf_dtype_safetensors(int32_t dtype);
int32_t gf_dtype_of_safetensors(const char *name);

#ifdef __cplusplus
}
#endif
#endif
