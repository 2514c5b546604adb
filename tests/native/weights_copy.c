/* Reads weights, checks them, and writes them again: `weights_copy FROM TO`.
 * Also reads them where they lie at an odd address. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "graphflow/weights.h"

enum { MOST = 256, LONGEST = 1 << 16 };

static char file_bytes[LONGEST + 1];

static int fail(const char *message)
{
    fprintf(stderr, "%s\n", message);
    return 1;
}

int main(int count, char **arguments)
{
    char message[200] = "";
    gf_weight arrays[MOST];
    gf_weights *weights, *odd;
    if (count != 3 || gf_weights_open(arguments[1], &weights, message, sizeof message) != GF_OK ||
        gf_weights_verify(weights, message, sizeof message) != GF_OK) {
        return fail(message);
    }
    FILE *file = fopen(arguments[1], "rb");
    if (file == NULL) {
        return fail("cannot open");
    }
    size_t bytes = fread(file_bytes + 1, 1, LONGEST, file);
    fclose(file);
    if (gf_weights_parse(file_bytes + 1, bytes, &odd, message, sizeof message) != GF_OK) {
        return fail(message);
    }
    for (int32_t i = 0; i < gf_weights_count(weights); i++) {
        arrays[i] = gf_weights_at(weights, i);
        gf_weight same = gf_weights_at(odd, i);
        if (same.bytes != arrays[i].bytes ||
            (same.bytes > 0 && memcmp(same.data, arrays[i].data, (size_t)same.bytes) != 0)) {
            return fail("an array depends on where the file lies");
        }
        if (strcmp(arrays[i].name, "seven") == 0 && *(const float *)same.data != 7.0f) {
            return fail("7 is not 7 here");
        }
    }
    const char *const metadata[] = {"k", gf_weights_metadata(weights, "k"), NULL};
    if (gf_weights_write(arguments[2], arrays, gf_weights_count(weights), metadata, message,
                         sizeof message) != GF_OK) {
        return fail(message);
    }
    gf_weights_close(weights);
    gf_weights_close(odd);
    return 0;
}
