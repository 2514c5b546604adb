/* Reading safetensors files. See weights.h for what is promised. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "graphflow/frame.h"
#include "report.h"
#include "safetensors.h"

enum { MOST_ALIGNED = 8 }; /* what every dtype is content with, and malloc gives everywhere */

static int is_usable(const char *data, int32_t dtype)
{
    return (uintptr_t)data % (uintptr_t)gf_dtype_alignment(dtype) == 0 &&
           !gf_file_order_differs(dtype);
}

/* A byte of a bool that is neither 0 nor 1 would mean one thing here and another there. */
static int32_t check_bools(const gf_weight *array, const gf_report *to)
{
    const unsigned char *bytes = array->data;
    for (int64_t i = 0; array->dtype == GF_BOOL && i < array->bytes; i++) {
        if (bytes[i] > 1) {
            return gf_refuse(to, GF_BAD_FILE, "array '%.*s' of bool holds a %d",
                             gf_shown(array->name), array->name, bytes[i]);
        }
    }
    return GF_OK;
}

/* Gives each array its data, which lie whole at `data`. */
static int32_t place(gf_weights *w, const char *data, const gf_report *to)
{
    uint64_t needed = MOST_ALIGNED;
    for (int32_t i = 0; i < w->count; i++) {
        const gf_entry *e = &w->entries[i];
        if (!is_usable(data + e->begin, e->array.dtype)) {
            needed += ((uint64_t)e->array.bytes + MOST_ALIGNED - 1) & ~(uint64_t)(MOST_ALIGNED - 1);
        }
    }
    char *copy = needed < SIZE_MAX ? malloc((size_t)needed) : NULL;
    if (copy == NULL) {
        return gf_no_memory(to);
    }
    w->copies = copy;
    for (int32_t i = 0; i < w->count; i++) {
        gf_weight *array = &w->entries[i].array;
        const char *from = data + w->entries[i].begin;
        array->data = from;
        if (!is_usable(from, array->dtype)) {
            size_t bytes = (size_t)array->bytes;
            if (gf_file_order(copy, from, bytes, array->dtype) == from && bytes > 0) {
                memcpy(copy, from, bytes);
            }
            array->data = copy;
            copy += (bytes + MOST_ALIGNED - 1) & ~(size_t)(MOST_ALIGNED - 1);
        }
        int32_t status = check_bools(array, to);
        if (status != GF_OK) {
            return status;
        }
    }
    return GF_OK;
}

/* The header's length from the first bytes of a file; the file must be able to hold it. */
static int32_t read_length(const char *bytes, size_t count, uint64_t *length, const gf_report *to)
{
    *length = 0;
    if (count < GF_LENGTH_BYTES) {
        return gf_refuse(to, GF_BAD_FILE, "%zu bytes are too few for a file of weights", count);
    }
    for (int i = 0; i < GF_LENGTH_BYTES; i++) {
        *length |= (uint64_t)(unsigned char)bytes[i] << 8 * i;
    }
    if (*length > GF_LONGEST_HEADER) {
        return gf_refuse(to, GF_BAD_FILE, "not a file of weights, or its beginning is damaged");
    }
    return GF_OK;
}

static int32_t truncated(const gf_report *to, const char *what, size_t has, uint64_t should)
{
    return gf_refuse(to, GF_BAD_FILE, "truncated: it has %zu bytes of the %llu of its %s", has,
                     (unsigned long long)should, what);
}

static int32_t too_long(const gf_report *to)
{
    return gf_refuse(to, GF_BAD_FILE, "damaged: something follows the last array");
}

static int32_t parse(gf_weights *w, const char *bytes, size_t count, const gf_report *to)
{
    uint64_t length;
    int32_t status = read_length(bytes, count, &length, to);
    if (status != GF_OK) {
        return status;
    }
    bytes += GF_LENGTH_BYTES;
    count -= GF_LENGTH_BYTES;
    if (length > count) {
        return truncated(to, "header", count, length);
    }
    status = gf_weights_header(w, bytes, (size_t)length, to);
    if (status != GF_OK) {
        return status;
    }
    count -= (size_t)length;
    if (count != (uint64_t)w->data_bytes) {
        return count > (uint64_t)w->data_bytes
                   ? too_long(to)
                   : truncated(to, "data", count, (uint64_t)w->data_bytes);
    }
    return place(w, bytes + length, to);
}

static int32_t read_file(gf_weights *w, FILE *file, const gf_report *to)
{
    char *text;
    size_t count;
    uint64_t length = 0;
    int32_t status = gf_file_read(file, GF_LENGTH_BYTES, &text, &count, to);
    if (status == GF_OK) {
        status = read_length(text, count, &length, to);
        free(text);
    }
    if (status != GF_OK) {
        return status;
    }
    status = gf_file_read(file, length, &text, &count, to);
    if (status != GF_OK) {
        return status;
    }
    status = count < length ? truncated(to, "header", count, length)
                            : gf_weights_header(w, text, count, to);
    free(text);
    if (status != GF_OK) {
        return status;
    }
    status = gf_file_read(file, (uint64_t)w->data_bytes, &w->data, &count, to);
    if (status != GF_OK) {
        return status;
    }
    if (count < (uint64_t)w->data_bytes) {
        return truncated(to, "data", count, (uint64_t)w->data_bytes);
    }
    return getc(file) == EOF ? place(w, w->data, to) : too_long(to);
}

static int32_t finish(gf_weights *w, int32_t status, gf_weights **weights)
{
    if (status != GF_OK) {
        gf_weights_close(w);
        w = NULL;
    }
    *weights = w;
    return status;
}

int32_t gf_weights_parse(const void *bytes, size_t count, gf_weights **weights, char *message,
                         size_t message_bytes)
{
    gf_report to = {message, message_bytes, NULL};
    gf_weights *w = calloc(1, sizeof *w);
    return finish(w, w == NULL ? gf_no_memory(&to) : parse(w, bytes, count, &to), weights);
}

int32_t gf_weights_open(const char *path, gf_weights **weights, char *message, size_t message_bytes)
{
    gf_report to = {message, message_bytes, path};
    *weights = NULL;
    FILE *file = gf_file_open(&to);
    if (file == NULL) {
        return GF_IO_ERROR;
    }
    gf_weights *w = calloc(1, sizeof *w);
    int32_t status = w == NULL ? gf_no_memory(&to) : read_file(w, file, &to);
    fclose(file);
    return finish(w, status, weights);
}

void gf_weights_close(gf_weights *weights)
{
    if (weights == NULL) {
        return;
    }
    free(weights->entries);
    free(weights->order);
    free(weights->dims);
    free(weights->metadata);
    free(weights->texts);
    free(weights->data);
    free(weights->copies);
    free(weights);
}

int32_t gf_weights_count(const gf_weights *weights)
{
    return weights->count;
}

gf_weight gf_weights_at(const gf_weights *weights, int32_t index)
{
    return index >= 0 && index < weights->count ? weights->entries[index].array : (gf_weight){0};
}
