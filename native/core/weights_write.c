/* Writing safetensors files. See weights.h for what is promised. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "graphflow/frame.h"
#include "json.h"
#include "safetensors.h"

/* The header while it grows, behind the bytes of its length. */
typedef struct text {
    char *bytes;
    size_t count, room;
    int failed; /* there was no memory: what follows is dropped */
} text;

typedef struct content {
    const gf_weight *arrays;
    int32_t count;
    const char *const *metadata;
    int32_t *order;  /* of the data: the numbers of the arrays */
    int64_t *begins; /* of each array, in the data */
    text header;
} content;

static void add(text *to, const char *bytes, size_t count)
{
    if (to->failed) {
        return;
    }
    if (count > to->room - to->count) {
        size_t room = (to->count + count) * 2;
        char *larger = realloc(to->bytes, room);
        if (larger == NULL) {
            to->failed = 1;
            return;
        }
        to->bytes = larger;
        to->room = room;
    }
    memcpy(to->bytes + to->count, bytes, count);
    to->count += count;
}

/* What is printed is short: numbers, and what lies between them. */
__attribute__((format(printf, 2, 3))) static void addf(text *to, const char *format, ...)
{
    char piece[64];
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    add(to, piece, (size_t)count);
}

static void add_string(text *to, const char *string)
{
    addf(to, "\"");
    for (const char *at = string; *at != '\0';) {
        size_t plain = 0;
        while ((unsigned char)at[plain] >= 0x20 && at[plain] != '"' && at[plain] != '\\') {
            plain++;
        }
        add(to, at, plain);
        at += plain;
        if (*at == '"' || *at == '\\') {
            addf(to, "\\%c", *at++);
        } else if (*at != '\0') {
            addf(to, "\\u%04x", (unsigned)(unsigned char)*at++);
        }
    }
    addf(to, "\"");
}

/* {"crc32": {…}, "version": 1}, as a string within the header. */
static void add_description(text *to, const content *c)
{
    text inner = {0};
    gf_crc32 crc;
    gf_crc32_prepare(&crc);
    addf(&inner, "{\"crc32\": {");
    for (int32_t i = 0; i < c->count; i++) {
        add(&inner, ", ", i > 0 ? 2 : 0);
        add_string(&inner, c->arrays[i].name);
        addf(&inner, ": %lu", (unsigned long)gf_array_checksum(&crc, &c->arrays[i]));
    }
    addf(&inner, "}, \"version\": %d}", GF_DESCRIPTION_VERSION);
    add(&inner, "", 1);
    if (!inner.failed) {
        add_string(to, inner.bytes);
    }
    to->failed |= inner.failed;
    free(inner.bytes);
}

static void add_metadata(text *to, const content *c)
{
    addf(to, "\"" GF_METADATA "\":{");
    for (const char *const *pair = c->metadata; pair != NULL && pair[0] != NULL; pair += 2) {
        add_string(to, pair[0]);
        addf(to, ":");
        add_string(to, pair[1]);
        addf(to, ",");
    }
    addf(to, "\"" GF_DESCRIPTION "\":");
    add_description(to, c);
    addf(to, "}");
}

/* Data lie by falling alignment, so that all are aligned where the first one is. */
static int lay_out(content *c)
{
    enum { LARGEST = 8 };
    int32_t placed = 0;
    int64_t end = 0;
    c->order = malloc(((size_t)c->count + 1) * sizeof *c->order);
    c->begins = malloc(((size_t)c->count + 1) * sizeof *c->begins);
    if (c->order == NULL || c->begins == NULL) {
        return 0;
    }
    for (int64_t alignment = LARGEST; alignment > 0; alignment /= 2) {
        for (int32_t i = 0; i < c->count; i++) {
            if (gf_dtype_alignment(c->arrays[i].dtype) == alignment) {
                c->order[placed++] = i;
                c->begins[i] = end;
                end += c->arrays[i].bytes;
            }
        }
    }
    return 1;
}

static void add_array(text *to, const gf_weight *array, int64_t begin)
{
    add_string(to, array->name);
    addf(to, ":{\"dtype\":\"%s\",\"shape\":[", gf_dtype_safetensors(array->dtype));
    for (int32_t i = 0; i < array->rank; i++) {
        addf(to, i > 0 ? ",%lld" : "%lld", (long long)array->dims[i]);
    }
    addf(to, "],\"data_offsets\":[%lld,%lld]}", (long long)begin,
         (long long)(begin + array->bytes));
}

static int32_t make_header(content *c, const gf_report *to)
{
    text *header = &c->header;
    add(header, "\0\0\0\0\0\0\0", GF_LENGTH_BYTES);
    addf(header, "{");
    add_metadata(header, c);
    for (int32_t i = 0; i < c->count; i++) {
        addf(header, ",");
        add_array(header, &c->arrays[i], c->begins[i]);
    }
    addf(header, "}");
    while (header->count % GF_LENGTH_BYTES != 0 && !header->failed) {
        addf(header, " ");
    }
    if (header->failed) {
        return gf_no_memory(to);
    }
    size_t length = header->count - GF_LENGTH_BYTES;
    if (length > GF_LONGEST_HEADER) {
        return gf_refuse(to, GF_BAD_DESCRIPTION, "names and metadata are too long for one file");
    }
    for (int i = 0; i < GF_LENGTH_BYTES; i++) {
        header->bytes[i] = (char)((uint64_t)length >> 8 * i & 0xff);
    }
    return GF_OK;
}

static int write_content(FILE *file, const void *context)
{
    const content *c = context;
    char buffer[GF_CHUNK];
    if (fwrite(c->header.bytes, 1, c->header.count, file) != c->header.count) {
        return -1;
    }
    for (int32_t i = 0; i < c->count; i++) {
        const gf_weight *array = &c->arrays[c->order[i]];
        const char *from = array->data;
        /* What need not be changed goes to the file as it is. */
        size_t left = (size_t)array->bytes;
        size_t most = gf_file_order_differs(array->dtype) ? sizeof buffer : left;
        while (left > 0) {
            size_t bytes = left < most ? left : most;
            const void *chunk = gf_file_order(buffer, from, bytes, array->dtype);
            if (fwrite(chunk, 1, bytes, file) != bytes) {
                return -1;
            }
            from += bytes;
            left -= bytes;
        }
    }
    return 0;
}

static int is_utf8(const char *string)
{
    const unsigned char *at = (const unsigned char *)string, *end = at + strlen(string);
    while (at < end) {
        size_t bytes = gf_utf8_character(at, end);
        if (bytes == 0) {
            return 0;
        }
        at += bytes;
    }
    return 1;
}

static int32_t check_array(const gf_weight *array, const gf_report *to)
{
    const char *name = array->name;
    if (name == NULL || !is_utf8(name) || strcmp(name, GF_METADATA) == 0) {
        return gf_refuse(to, GF_BAD_DESCRIPTION, "an array has no name that a file can hold");
    }
    if (gf_dtype_safetensors(array->dtype) == NULL) {
        const char *dtype = gf_dtype_name(array->dtype);
        return gf_refuse(to, GF_BAD_DESCRIPTION, "the format has no arrays of %s, such as '%.*s'",
                         dtype != NULL ? dtype : "unknown dtype", gf_shown(name), name);
    }
    int whole = array->rank >= 0 && (array->rank == 0 || array->dims != NULL) &&
                array->bytes == gf_array_bytes(array->dtype, array->rank, array->dims);
    if (!whole || array->bytes < 0 || (uint64_t)array->bytes > SIZE_MAX ||
        (array->bytes > 0 && array->data == NULL)) {
        return gf_refuse(to, GF_BAD_DESCRIPTION,
                         "array '%.*s' does not have the bytes that its dtype and dims say",
                         gf_shown(name), name);
    }
    return GF_OK;
}

static int by_text(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Sorts them. */
static int32_t check_different(const char **texts, size_t count, const gf_report *to)
{
    qsort(texts, count, sizeof *texts, by_text);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(texts[i - 1], texts[i]) == 0) {
            return gf_refuse(to, GF_BAD_DESCRIPTION, "'%.*s' is there twice", gf_shown(texts[i]),
                             texts[i]);
        }
    }
    return GF_OK;
}

/* Names of arrays and keys of metadata: what a file can hold, and each once. */
static int32_t check_texts(const content *c, const gf_report *to)
{
    size_t keys = 0;
    for (const char *const *pair = c->metadata; pair != NULL && pair[0] != NULL; pair += 2) {
        if (pair[1] == NULL || !is_utf8(pair[0]) || !is_utf8(pair[1]) ||
            strcmp(pair[0], GF_DESCRIPTION) == 0) {
            return gf_refuse(to, GF_BAD_DESCRIPTION, "metadata that a file cannot hold");
        }
        keys++;
    }
    size_t most = keys > (size_t)c->count ? keys : (size_t)c->count;
    const char **texts = malloc((most + 1) * sizeof *texts);
    if (texts == NULL) {
        return gf_no_memory(to);
    }
    for (int32_t i = 0; i < c->count; i++) {
        texts[i] = c->arrays[i].name;
    }
    int32_t status = check_different(texts, (size_t)c->count, to);
    if (status == GF_OK) {
        for (size_t i = 0; i < keys; i++) {
            texts[i] = c->metadata[2 * i];
        }
        status = check_different(texts, keys, to);
    }
    free(texts);
    return status;
}

static int32_t prepare(content *c, const gf_report *to)
{
    int64_t total = 0;
    int32_t status = c->count >= 0 && (c->count == 0 || c->arrays != NULL)
                         ? GF_OK
                         : gf_refuse(to, GF_BAD_DESCRIPTION, "no list of %d arrays", c->count);
    for (int32_t i = 0; i < c->count && status == GF_OK; i++) {
        status = check_array(&c->arrays[i], to);
        if (status == GF_OK && __builtin_add_overflow(total, c->arrays[i].bytes, &total)) {
            status = gf_refuse(to, GF_BAD_DESCRIPTION, "more bytes than a file can have");
        }
    }
    status = status == GF_OK ? check_texts(c, to) : status;
    if (status == GF_OK && !lay_out(c)) {
        status = gf_no_memory(to);
    }
    return status == GF_OK ? make_header(c, to) : status;
}

int32_t gf_weights_write(const char *path, const gf_weight *arrays, int32_t count,
                         const char *const *metadata, char *message, size_t message_bytes)
{
    gf_report to = {message, message_bytes, path};
    content c = {.arrays = arrays, .count = count, .metadata = metadata};
    int32_t status = path == NULL ? gf_refuse(&to, GF_IO_ERROR, "no path is given") : GF_OK;
    status = status == GF_OK ? prepare(&c, &to) : status;
    status = status == GF_OK ? gf_file_replace(write_content, &c, &to) : status;
    free(c.order);
    free(c.begins);
    free(c.header.bytes);
    return status;
}
