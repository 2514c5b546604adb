/* Whatever a file of weights holds: it is refused with a text, or all it promises is there. In the
 * folder of the core,
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -I../include -I. *.c \
 *         ../fuzz/fuzz_weights.c -pthread
 *
 * makes a program that fuzzes it; with mutate.c as well, any compiler makes one that does so
 * without libFuzzer.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "graphflow/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static volatile unsigned touched; /* so that what is read counts */

static unsigned visit(const gf_weights *weights, int32_t index)
{
    gf_weight array = gf_weights_at(weights, index);
    int64_t elements = 1;
    unsigned sum = 0;
    MUST(gf_weights_find(weights, array.name) == index);
    MUST((uintptr_t)array.data % (uintptr_t)gf_dtype_alignment(array.dtype) == 0);
    for (int32_t i = 0; i < array.rank; i++) {
        elements *= array.dims[i];
    }
    MUST(elements * gf_dtype_bytes(array.dtype) == array.bytes);
    for (int64_t i = 0; i < array.bytes; i++) {
        unsigned char byte = ((const unsigned char *)array.data)[i];
        MUST(array.dtype != GF_BOOL || byte <= 1);
        sum += byte;
    }
    return sum;
}

static void check(const uint8_t *bytes, size_t count)
{
    char message[80];
    gf_weights *weights;
    memset(message, 0x7f, sizeof message);
    int32_t status = gf_weights_parse(bytes, count, &weights, message, sizeof message);
    if (status != GF_OK) {
        MUST(status == GF_BAD_FILE && weights == NULL);
        MUST(message[0] != '\0' && memchr(message, '\0', sizeof message) != NULL);
        return;
    }
    for (int32_t i = 0; i < gf_weights_count(weights); i++) {
        touched = visit(weights, i);
    }
    MUST(gf_weights_at(weights, gf_weights_count(weights)).name == NULL);
    status = gf_weights_verify(weights, message, sizeof message);
    MUST(status == GF_OK || status == GF_BAD_FILE);
    gf_weights_metadata(weights, "format");
    gf_weights_close(weights);
}

/* What looks like a header, in a file that has it: a header's length is hard to guess. */
static void check_header(const uint8_t *bytes, size_t count)
{
    enum { LENGTH = 8, DATA = 64 };
    uint8_t *file = calloc(1, LENGTH + count + DATA);
    MUST(file != NULL);
    for (int i = 0; i < LENGTH; i++) {
        file[i] = (uint8_t)((uint64_t)count >> 8 * i);
    }
    memcpy(file + LENGTH, bytes, count);
    check(file, LENGTH + count + DATA);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    /* From an odd address as well, where arrays have to be copied. */
    check(bytes, count);
    uint8_t *moved = malloc(count + 1);
    MUST(moved != NULL);
    if (count > 0) {
        memcpy(moved + 1, bytes, count);
    }
    check(moved + 1, count);
    free(moved);
    if (count > 0 && bytes[0] == '{') {
        check_header(bytes, count);
    }
    return 0;
}
