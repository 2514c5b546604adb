/* Element types: one row each. */
#include "graphflow/dtype.h"

#include <stddef.h>
#include <string.h>

enum { ROWS = GF_COMPLEX128 + 1 };

typedef struct row {
    const char *name, *safetensors;
    int8_t bytes, alignment;
} row;

static const row rows[ROWS] = {
    [GF_BOOL] = {"bool", "BOOL", 1, 1},
    [GF_INT8] = {"int8", "I8", 1, 1},
    [GF_INT16] = {"int16", "I16", 2, 2},
    [GF_INT32] = {"int32", "I32", 4, 4},
    [GF_INT64] = {"int64", "I64", 8, 8},
    [GF_UINT8] = {"uint8", "U8", 1, 1},
    [GF_UINT16] = {"uint16", "U16", 2, 2},
    [GF_UINT32] = {"uint32", "U32", 4, 4},
    [GF_UINT64] = {"uint64", "U64", 8, 8},
    [GF_FLOAT16] = {"float16", "F16", 2, 2},
    [GF_BFLOAT16] = {"bfloat16", "BF16", 2, 2},
    [GF_FLOAT32] = {"float32", "F32", 4, 4},
    [GF_FLOAT64] = {"float64", "F64", 8, 8},
    [GF_COMPLEX64] = {"complex64", "C64", 8, 4},
    [GF_COMPLEX128] = {"complex128", NULL, 16, 8},
};

/* That of GF_NO_DTYPE is empty. */
static const row *row_of(int32_t dtype)
{
    return &rows[dtype > 0 && dtype < ROWS ? dtype : GF_NO_DTYPE];
}

const char *gf_dtype_name(int32_t dtype)
{
    return row_of(dtype)->name;
}

int64_t gf_dtype_bytes(int32_t dtype)
{
    return row_of(dtype)->bytes;
}

int64_t gf_dtype_alignment(int32_t dtype)
{
    return row_of(dtype)->alignment;
}

const char *gf_dtype_safetensors(int32_t dtype)
{
    return row_of(dtype)->safetensors;
}

int32_t gf_dtype_named(const char *name)
{
    for (int32_t i = 1; i < ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return i;
        }
    }
    return GF_NO_DTYPE;
}

int32_t gf_dtype_of_safetensors(const char *name)
{
    for (int32_t i = 1; i < ROWS; i++) {
        if (rows[i].safetensors != NULL && strcmp(rows[i].safetensors, name) == 0) {
            return i;
        }
    }
    return GF_NO_DTYPE;
}
