/* The header of a safetensors file: read, and checked as a whole. */
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "json.h"
#include "safetensors.h"

typedef struct reader {
    gf_weights *weights;
    gf_json json;
    const gf_report *to;
} reader;

/* Memory with room for one more than `count` elements: that of `array`, or larger. NULL leaves
 * `array` as it was. */
static void *with_room(void *array, size_t size, size_t count)
{
    enum { FIRST = 8 };
    if (count != 0 && (count < FIRST || (count & (count - 1)) != 0)) {
        return array;
    }
    return realloc(array, (count < FIRST ? FIRST : count * 2) * size);
}

static int32_t malformed(const reader *r)
{
    return gf_refuse(r->to, GF_BAD_FILE, "the header is damaged at its byte %zu: %s",
                     gf_json_place(&r->json), r->json.problem);
}

static int32_t read_metadata(reader *r)
{
    gf_weights *w = r->weights;
    gf_json_object(&r->json);
    for (const char *key; (key = gf_json_key(&r->json)) != NULL;) {
        gf_pair *larger = with_room(w->metadata, sizeof *larger, w->pair_count);
        if (larger == NULL) {
            return gf_no_memory(r->to);
        }
        w->metadata = larger;
        w->metadata[w->pair_count++] = (gf_pair){key, gf_json_string(&r->json)};
    }
    return GF_OK;
}

static int32_t read_shape(reader *r, gf_entry *e)
{
    gf_weights *w = r->weights;
    gf_json_array(&r->json);
    while (gf_json_element(&r->json)) {
        int64_t *larger = with_room(w->dims, sizeof *larger, w->dim_count);
        if (larger == NULL) {
            return gf_no_memory(r->to);
        }
        w->dims = larger;
        gf_json_integer(&r->json, &w->dims[w->dim_count++]);
        e->array.rank++;
    }
    return GF_OK;
}

static void read_offsets(gf_json *json, int64_t *begin, int64_t *end)
{
    int64_t *both[] = {begin, end};
    gf_json_array(json);
    for (int i = 0; i < 2; i++) {
        if (!gf_json_element(json)) {
            gf_json_fail(json, "two offsets are expected");
            return;
        }
        gf_json_integer(json, both[i]);
    }
    if (gf_json_element(json)) {
        gf_json_fail(json, "two offsets are expected");
    }
}

/* Whether what one entry of the header says fits together. */
static int32_t check_array(const reader *r, const gf_entry *e, const char *dtype, int64_t end)
{
    const char *name = e->array.name;
    int shown = gf_shown(name);
    if (e->array.dtype == GF_NO_DTYPE) {
        return gf_refuse(r->to, GF_BAD_FILE, "array '%.*s' has the unknown dtype '%.*s'", shown,
                         name, gf_shown(dtype), dtype);
    }
    if (e->array.bytes < 0) {
        return gf_refuse(r->to, GF_BAD_FILE, "array '%.*s' has an impossible shape", shown, name);
    }
    if (e->begin < 0 || end < e->begin || end - e->begin != e->array.bytes) {
        return gf_refuse(r->to, GF_BAD_FILE,
                         "array '%.*s' has %lld bytes by its shape, but offsets %lld to %lld",
                         shown, name, (long long)e->array.bytes, (long long)e->begin,
                         (long long)end);
    }
    return GF_OK;
}

static int32_t read_array(reader *r, const char *name)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    gf_weights *w = r->weights;
    gf_json *json = &r->json;
    gf_entry e = {.array = {.name = name}, .first_dim = w->dim_count};
    const char *dtype = NULL;
    int64_t end = 0;
    int seen = 0;
    gf_json_object(json);
    for (const char *key; (key = gf_json_key(json)) != NULL;) {
        int which = strcmp(key, "dtype") == 0          ? DTYPE
                    : strcmp(key, "shape") == 0        ? SHAPE
                    : strcmp(key, "data_offsets") == 0 ? OFFSETS
                                                       : 0;
        if (seen & which) {
            gf_json_fail(json, "a key that is there twice");
        }
        seen |= which;
        if (which == DTYPE) {
            dtype = gf_json_string(json);
        } else if (which == SHAPE) {
            int32_t status = read_shape(r, &e);
            if (status != GF_OK) {
                return status;
            }
        } else if (which == OFFSETS) {
            read_offsets(json, &e.begin, &end);
        } else {
            gf_json_skip(json);
        }
    }
    if (json->problem != NULL) {
        return malformed(r);
    }
    if (seen != ALL) {
        return gf_refuse(r->to, GF_BAD_FILE, "array '%.*s' lacks its %s", gf_shown(name), name,
                         !(seen & DTYPE)   ? "dtype"
                         : !(seen & SHAPE) ? "shape"
                                           : "data_offsets");
    }
    e.array.dtype = gf_dtype_of_safetensors(dtype);
    if (e.array.dtype != GF_NO_DTYPE) {
        e.array.bytes = gf_array_bytes(e.array.dtype, e.array.rank,
                                       e.array.rank > 0 ? w->dims + e.first_dim : NULL);
    }
    int32_t status = check_array(r, &e, dtype, end);
    gf_entry *larger = with_room(w->entries, sizeof *larger, (size_t)w->count);
    if (larger == NULL) {
        return gf_no_memory(r->to);
    }
    w->entries = larger;
    w->entries[w->count++] = e;
    return status;
}

static int by_place(const void *left, const void *right)
{
    const gf_entry *a = *(gf_entry *const *)left, *b = *(gf_entry *const *)right;
    if (a->begin != b->begin) {
        return a->begin < b->begin ? -1 : 1;
    }
    return (a->array.bytes > b->array.bytes) - (a->array.bytes < b->array.bytes);
}

static int by_name(const void *left, const void *right)
{
    const gf_entry *a = *(gf_entry *const *)left, *b = *(gf_entry *const *)right;
    return strcmp(a->array.name, b->array.name);
}

static int by_key(const void *left, const void *right)
{
    return strcmp(((const gf_pair *)left)->key, ((const gf_pair *)right)->key);
}

/* Arrays follow each other without overlap or gap: no byte means two things, and none has room for
 * something that nobody looks at. */
static int32_t check_places(gf_weights *w, const gf_report *to)
{
    qsort(w->order, (size_t)w->count, sizeof *w->order, by_place);
    for (int32_t i = 0; i < w->count; i++) {
        const gf_entry *e = w->order[i];
        if (e->begin != w->data_bytes) {
            return gf_refuse(to, GF_BAD_FILE, "array '%.*s' begins at byte %lld, %s at %lld",
                             gf_shown(e->array.name), e->array.name, (long long)e->begin,
                             e->begin < w->data_bytes ? "inside of another, which ends"
                                                      : "behind a gap that begins",
                             (long long)w->data_bytes);
        }
        w->data_bytes += e->array.bytes; /* no overflow: the sum is its `end` in the header */
    }
    return GF_OK;
}

static int32_t check_names(gf_weights *w, const gf_report *to)
{
    qsort(w->order, (size_t)w->count, sizeof *w->order, by_name);
    for (int32_t i = 1; i < w->count; i++) {
        const char *name = w->order[i]->array.name;
        if (strcmp(w->order[i - 1]->array.name, name) == 0) {
            return gf_refuse(to, GF_BAD_FILE, "there are two arrays '%.*s'", gf_shown(name), name);
        }
    }
    if (w->pair_count > 0) {
        qsort(w->metadata, w->pair_count, sizeof *w->metadata, by_key);
    }
    for (size_t i = 1; i < w->pair_count; i++) {
        const char *key = w->metadata[i].key;
        if (strcmp(w->metadata[i - 1].key, key) == 0) {
            return gf_refuse(to, GF_BAD_FILE, "the metadata have '%.*s' twice", gf_shown(key), key);
        }
    }
    return GF_OK;
}

/* Makes the list that is sorted; what pointed into lists that grew is set. */
static int32_t make_order(gf_weights *w, const gf_report *to)
{
    w->order = malloc(((size_t)w->count + 1) * sizeof *w->order);
    if (w->order == NULL) {
        return gf_no_memory(to);
    }
    for (int32_t i = 0; i < w->count; i++) {
        gf_entry *e = &w->entries[i];
        w->order[i] = e;
        e->array.dims = e->array.rank > 0 ? w->dims + e->first_dim : NULL;
    }
    return GF_OK;
}

static int32_t read_entries(reader *r)
{
    int32_t status = GF_OK;
    int has_metadata = 0;
    gf_json_object(&r->json);
    for (const char *name; status == GF_OK && (name = gf_json_key(&r->json)) != NULL;) {
        if (strcmp(name, GF_METADATA) != 0) {
            status = read_array(r, name);
        } else if (has_metadata) {
            gf_json_fail(&r->json, "a key that is there twice");
        } else {
            has_metadata = 1;
            status = read_metadata(r);
        }
    }
    if (status == GF_OK && !gf_json_end(&r->json)) {
        return malformed(r);
    }
    return status;
}

/* All that the header says, checked; only where the data lie is open. */
int32_t gf_weights_header(gf_weights *w, const char *text, size_t bytes, const gf_report *to)
{
    if (bytes == 0 || text[0] != '{') {
        return gf_refuse(to, GF_BAD_FILE, "not a file of weights: its header is no JSON object");
    }
    w->texts = malloc(bytes);
    if (w->texts == NULL) {
        return gf_no_memory(to);
    }
    reader r = {.weights = w, .to = to};
    gf_json_begin(&r.json, text, bytes, w->texts);
    int32_t status = read_entries(&r);
    status = status == GF_OK ? make_order(w, to) : status;
    status = status == GF_OK ? check_places(w, to) : status;
    return status == GF_OK ? check_names(w, to) : status;
}

int32_t gf_weights_find(const gf_weights *weights, const char *name)
{
    if (name == NULL) {
        return -1;
    }
    gf_entry wanted = {.array = {.name = name}}, *key = &wanted;
    gf_entry **found =
        bsearch(&key, weights->order, (size_t)weights->count, sizeof *weights->order, by_name);
    return found != NULL ? (int32_t)(*found - weights->entries) : -1;
}

const char *gf_weights_metadata(const gf_weights *weights, const char *key)
{
    if (key == NULL || weights->pair_count == 0) {
        return NULL;
    }
    gf_pair wanted = {key, NULL};
    const gf_pair *found =
        bsearch(&wanted, weights->metadata, weights->pair_count, sizeof *weights->metadata, by_key);
    return found != NULL ? found->value : NULL;
}
