/* Checksums of arrays, as graphflow's files have them in their metadata. */
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "json.h"
#include "safetensors.h"

/* The checksums that a description lists, compared with the arrays they are of. */
static int32_t verify_all(const gf_weights *w, gf_json *json, const gf_report *to)
{
    gf_crc32 crc;
    gf_crc32_prepare(&crc);
    gf_json_object(json);
    for (const char *name; (name = gf_json_key(json)) != NULL;) {
        int64_t written;
        int32_t index = gf_weights_find(w, name);
        if (gf_json_integer(json, &written) && index >= 0 &&
            written != (int64_t)gf_array_checksum(&crc, &w->entries[index].array)) {
            return gf_refuse(to, GF_BAD_FILE,
                             "array '%.*s' is damaged: its checksum does not agree", gf_shown(name),
                             name);
        }
    }
    return GF_OK;
}

int32_t gf_weights_verify(const gf_weights *weights, char *message, size_t message_bytes)
{
    gf_report to = {message, message_bytes, NULL};
    const char *text = gf_weights_metadata(weights, GF_DESCRIPTION);
    if (text == NULL) {
        return GF_OK;
    }
    size_t bytes = strlen(text);
    char *texts = malloc(bytes + 1);
    if (texts == NULL) {
        return gf_no_memory(&to);
    }
    int32_t status = GF_OK;
    int64_t version = GF_DESCRIPTION_VERSION;
    gf_json json;
    gf_json_begin(&json, text, bytes, texts);
    gf_json_object(&json);
    for (const char *key; status == GF_OK && (key = gf_json_key(&json)) != NULL;) {
        if (strcmp(key, "crc32") == 0) {
            status = verify_all(weights, &json, &to);
        } else if (strcmp(key, "version") == 0) {
            gf_json_integer(&json, &version);
        } else {
            gf_json_skip(&json);
        }
    }
    if (status == GF_OK && !gf_json_end(&json)) {
        status = gf_refuse(&to, GF_BAD_FILE, "the metadata '" GF_DESCRIPTION "' are damaged: %s",
                           json.problem);
    } else if (status == GF_OK && version != GF_DESCRIPTION_VERSION) {
        status = gf_refuse(&to, GF_BAD_FILE, "format %lld of graphflow's files; this reads %d",
                           (long long)version, GF_DESCRIPTION_VERSION);
    }
    free(texts);
    return status;
}
