/* Reading manifests. See manifest.h for what is promised. */
#include "graphflow/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "graphflow/frame.h"
#include "json.h"
#include "report.h"

enum { FORMAT = 1, LONGEST = 16 << 20 };

/* What has to be there. */
enum {
    KEY_FORMAT,
    KEY_NAME,
    KEY_VERSION,
    KEY_LIBRARY,
    KEY_WEIGHTS,
    KEY_TARGET,
    KEY_FEATURES,
    KEY_HASH,
    KEY_SIGNATURES,
    KEYS
};

static const char *const keys[KEYS] = {"format", "name",     "version", "library",   "weights",
                                       "target", "features", "hash",    "signatures"};

/* A manifest, and what it points to. */
typedef struct holder {
    gf_manifest manifest; /* first: a pointer to it is one to the holder */
    char *texts, *library, *weights;
    const char **features;
} holder;

typedef struct reader {
    holder *held;
    gf_json json;
    const char *library, *weights; /* as they are written */
    int64_t format;
    const gf_report *to;
} reader;

static int key_number(const char *key)
{
    int number = 0;
    while (number < KEYS && strcmp(keys[number], key) != 0) {
        number++;
    }
    return number;
}

/* A name that is not empty, without what no name has: control characters. */
static const char *read_text(gf_json *json)
{
    const char *string = gf_json_string(json);
    if (string != NULL && *string == '\0') {
        gf_json_fail(json, "an empty string");
    }
    for (const char *at = string; at != NULL && *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            gf_json_fail(json, "a control character in a string");
            break;
        }
    }
    return string;
}

/* A path from a folder that stays in it, on every system: no root, no drive, no way upwards. */
static int stays_inside(const char *path)
{
    for (const char *part = path;; part++) {
        size_t bytes = strcspn(part, "/");
        int is_dots = bytes <= 2 && strspn(part, ".") >= bytes; /* an empty part as well */
        if (is_dots) {
            return 0;
        }
        part += bytes;
        if (*part == '\0') {
            return strpbrk(path, "\\:") == NULL;
        }
    }
}

static const char *read_file_name(gf_json *json)
{
    if (gf_json_next(json) == 'n') {
        gf_json_null(json);
        return NULL;
    }
    const char *name = read_text(json);
    if (name != NULL && !stays_inside(name)) {
        gf_json_fail(json, "a file name that leads out of the manifest's folder");
    }
    return name;
}

static const char *read_hash(gf_json *json)
{
    const char *hash = read_text(json);
    if (hash != NULL && hash[strspn(hash, "0123456789abcdef")] != '\0') {
        gf_json_fail(json, "a hash of other than hexadecimal digits");
    }
    return hash;
}

static void read_features(reader *r)
{
    gf_manifest *m = &r->held->manifest;
    gf_json_array(&r->json);
    while (gf_json_element(&r->json)) {
        const char *feature = read_text(&r->json);
        if (r->json.problem == NULL) {
            r->held->features[m->feature_count++] = feature;
        }
    }
}

static void read_value(reader *r, int key)
{
    gf_manifest *m = &r->held->manifest;
    gf_json *json = &r->json;
    switch (key) {
    case KEY_FORMAT:
        gf_json_integer(json, &r->format);
        break;
    case KEY_NAME:
        m->name = read_text(json);
        break;
    case KEY_VERSION:
        m->version = read_text(json);
        break;
    case KEY_LIBRARY:
        r->library = read_file_name(json);
        break;
    case KEY_WEIGHTS:
        r->weights = read_file_name(json);
        break;
    case KEY_TARGET:
        m->target = read_text(json);
        break;
    case KEY_FEATURES:
        read_features(r);
        break;
    case KEY_HASH:
        m->hash = read_hash(json);
        break;
    default:
        if (key == KEY_SIGNATURES && gf_json_next(json) != '{') {
            gf_json_fail(json, "an object is expected");
        }
        gf_json_skip(json);
    }
}

static int32_t read_all(reader *r)
{
    unsigned seen = 0;
    gf_json_object(&r->json);
    for (const char *name; (name = gf_json_key(&r->json)) != NULL;) {
        int key = key_number(name);
        if (key < KEYS && seen >> key & 1) {
            gf_json_fail(&r->json, "a key that is there twice");
        }
        seen |= 1u << key;
        read_value(r, key);
    }
    if (!gf_json_end(&r->json)) {
        return gf_refuse(r->to, GF_BAD_FILE, "the manifest is damaged at its byte %zu: %s",
                         gf_json_place(&r->json), r->json.problem);
    }
    if (seen & 1u << KEY_FORMAT && r->format != FORMAT) {
        return gf_refuse(r->to, GF_BAD_FILE, "a manifest of format %lld; this runtime reads %d",
                         (long long)r->format, FORMAT);
    }
    for (int key = 0; key < KEYS; key++) {
        if (!(seen >> key & 1)) {
            return gf_refuse(r->to, GF_BAD_FILE, "the manifest lacks '%s'", keys[key]);
        }
    }
    return GF_OK;
}

/* folder/name, or NULL; `*failed` if there is no memory for it. */
static char *joined(const char *folder, const char *name, int *failed)
{
    if (name == NULL) {
        return NULL;
    }
    /* Never a bare name: where a library is looked for depends on that. */
    const char *from = folder == NULL || *folder == '\0' ? "." : folder;
    size_t bytes = strlen(from), name_bytes = strlen(name) + 1;
    char *path = malloc(bytes + 1 + name_bytes);
    *failed |= path == NULL;
    if (path != NULL) {
        memcpy(path, from, bytes);
        if (from[bytes - 1] != '/') {
            path[bytes++] = '/';
        }
        memcpy(path + bytes, name, name_bytes);
    }
    return path;
}

static int32_t parse(holder *held, const char *bytes, size_t count, const char *folder,
                     const gf_report *to)
{
    reader r = {.held = held, .to = to};
    if (count > LONGEST) {
        return gf_refuse(to, GF_BAD_FILE, "not a manifest: it is too long");
    }
    /* A feature takes three characters and a comma. */
    held->texts = malloc(count + 1);
    held->features = malloc((count / 4 + 1) * sizeof *held->features);
    if (held->texts == NULL || held->features == NULL) {
        return gf_no_memory(to);
    }
    gf_json_begin(&r.json, bytes, count, held->texts);
    int32_t status = read_all(&r);
    if (status != GF_OK) {
        return status;
    }
    int failed = 0;
    held->library = joined(folder, r.library, &failed);
    held->weights = joined(folder, r.weights, &failed);
    held->manifest.library = held->library;
    held->manifest.weights = held->weights;
    held->manifest.features = held->features;
    return failed ? gf_no_memory(to) : GF_OK;
}

static int32_t parse_new(const char *bytes, size_t count, const char *folder,
                         const gf_manifest **manifest, const gf_report *to)
{
    holder *held = calloc(1, sizeof *held);
    int32_t status = held == NULL ? gf_no_memory(to) : parse(held, bytes, count, folder, to);
    if (status != GF_OK && held != NULL) {
        gf_manifest_close(&held->manifest);
        held = NULL;
    }
    *manifest = held != NULL ? &held->manifest : NULL;
    return status;
}

int32_t gf_manifest_parse(const void *bytes, size_t count, const char *folder,
                          const gf_manifest **manifest, char *message, size_t message_bytes)
{
    gf_report to = {message, message_bytes, NULL};
    return parse_new(bytes, count, folder, manifest, &to);
}

/* What comes before the last / of a path, in new memory; NULL without memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t bytes = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = malloc(bytes + 1);
    if (folder != NULL) {
        memcpy(folder, path, bytes);
        folder[bytes] = '\0';
    }
    return folder;
}

int32_t gf_manifest_open(const char *path, const gf_manifest **manifest, char *message,
                         size_t message_bytes)
{
    gf_report to = {message, message_bytes, path};
    *manifest = NULL;
    FILE *file = gf_file_open(&to);
    if (file == NULL) {
        return GF_IO_ERROR;
    }
    char *bytes;
    size_t count;
    int32_t status = gf_file_read(file, LONGEST + 1, &bytes, &count, &to);
    fclose(file);
    if (status != GF_OK) {
        return status;
    }
    char *folder = folder_of(path);
    status = folder == NULL ? gf_no_memory(&to) : parse_new(bytes, count, folder, manifest, &to);
    free(folder);
    free(bytes);
    return status;
}

void gf_manifest_close(const gf_manifest *manifest)
{
    if (manifest == NULL) {
        return;
    }
    holder *held = (holder *)manifest;
    free(held->texts);
    free(held->library);
    free(held->weights);
    free(held->features);
    free(held);
}
