/* Reads and writes again and again, each time with another allocation that fails, until none does:
 * `weights_memory WEIGHTS MANIFEST COPY`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "graphflow/manifest.h"
#include "graphflow/weights.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);

static long until_failure = -1;

static int fails(void)
{
    return until_failure >= 0 && until_failure-- == 0;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    return fails() ? NULL : __real_realloc(memory, bytes);
}

static int32_t copy(const char *from, const char *to, char *message, size_t bytes)
{
    gf_weight arrays[256];
    gf_weights *weights;
    int32_t status = gf_weights_open(from, &weights, message, bytes);
    if (status != GF_OK) {
        return weights == NULL ? status : -1;
    }
    status = gf_weights_verify(weights, message, bytes);
    int32_t count = gf_weights_count(weights);
    for (int32_t i = 0; i < count; i++) {
        arrays[i] = gf_weights_at(weights, i);
    }
    if (status == GF_OK) {
        const char *const metadata[] = {"k", gf_weights_metadata(weights, "k"), NULL};
        status = gf_weights_write(to, arrays, count, metadata, message, bytes);
    }
    gf_weights_close(weights);
    return status;
}

static int32_t describe(const char *path, const char *unused, char *message, size_t bytes)
{
    const gf_manifest *manifest;
    (void)unused;
    int32_t status = gf_manifest_open(path, &manifest, message, bytes);
    gf_manifest_close(manifest);
    return status;
}

static int exhaust(int32_t (*action)(const char *, const char *, char *, size_t), const char *from,
                   const char *to)
{
    for (long allocation = 0;; allocation++) {
        char message[200] = "";
        until_failure = allocation;
        int32_t status = action(from, to, message, sizeof message);
        int failed = until_failure < 0;
        until_failure = -1;
        if (status == GF_OK && !failed) {
            printf("%ld allocations\n", allocation);
            return allocation == 0;
        }
        if (!failed || status != GF_NO_MEMORY || strstr(message, "memory") == NULL) {
            fprintf(stderr, "allocation %ld: status %d, %s\n", allocation, (int)status, message);
            return 1;
        }
    }
}

int main(int count, char **arguments)
{
    return count != 4 || exhaust(copy, arguments[1], arguments[3]) ||
           exhaust(describe, arguments[2], NULL);
}
