/* Whatever a manifest holds: it is refused with a text, or it names files in its folder. Built as
 * fuzz_weights.c is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "graphflow/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void check_path(const char *path)
{
    static const char folder[] = "/models/digits/";
    if (path != NULL) {
        const char *name = path + sizeof folder - 1;
        MUST(strncmp(path, folder, sizeof folder - 1) == 0 && *name != '\0' && *name != '/');
        MUST(strstr(name, "/../") == NULL && strncmp(name, "../", 3) != 0);
        MUST(strcmp(name, "..") != 0 && name[strlen(name) - 1] != '/');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char message[80];
    const gf_manifest *m;
    int32_t status = gf_manifest_parse(bytes, count, "/models/digits", &m, message, sizeof message);
    if (status != GF_OK) {
        MUST(status == GF_BAD_FILE && m == NULL && message[0] != '\0');
        MUST(memchr(message, '\0', sizeof message) != NULL);
        return 0;
    }
    check_path(m->library);
    check_path(m->weights);
    MUST(*m->name != '\0' && *m->version != '\0' && *m->target != '\0' && *m->hash != '\0');
    for (int32_t i = 0; i < m->feature_count; i++) {
        MUST(*m->features[i] != '\0');
    }
    gf_manifest_close(m);
    return 0;
}
