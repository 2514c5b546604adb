/* Reads JSON (RFC 8259) from front to back, without memory of its own. Private to the runtime.
 *
 * The caller asks for what should come next. The first thing that is not as it should be stays the
 * problem: from then on nothing is found, so that a caller needs to look for it only at the end.
 *
 *     gf_json json;
 *     gf_json_begin(&json, text, bytes, texts);
 *     gf_json_object(&json);
 *     for (const char *key; (key = gf_json_key(&json)) != NULL;) {
 *         if (strcmp(key, "size") == 0) {
 *             gf_json_integer(&json, &size);
 *         } else {
 *             gf_json_skip(&json);
 *         }
 *     }
 *     if (!gf_json_end(&json)) { … json.problem, at byte gf_json_place(&json) … }
 */
#ifndef GRAPHFLOW_JSON_H
#define GRAPHFLOW_JSON_H

#include <stddef.h>
#include <stdint.h>

enum { GF_JSON_DEPTH = 32 }; /* of nested objects and arrays; more is a problem */

typedef struct gf_json {
    const unsigned char *text, *at, *end;
    char *texts;         /* where the next string goes */
    const char *problem; /* NULL: none so far; else what is wrong at `at` */
    int32_t depth;
    uint32_t objects; /* a bit for each depth: an object, not an array */
    uint32_t begun;   /* a bit for each depth: it has had an element */
} gf_json;

/* Strings are put into `texts`, which needs `bytes` bytes: none is longer than how it is written
 * with its quotes. It and the text must stay. */
void gf_json_begin(gf_json *json, const void *text, size_t bytes, char *texts);

/* The first character of what comes next: { [ " t f n, 0 for any number, and '\0' for none. */
char gf_json_next(gf_json *json);

void gf_json_object(gf_json *json);
/* The next key of the object; NULL after the last one, which leaves the object. */
const char *gf_json_key(gf_json *json);

void gf_json_array(gf_json *json);
/* Whether the array has another element; if not, leaves the array. */
int gf_json_element(gf_json *json);

/* NULL if the next is no string, or one with a zero character, which a string of C cannot have. */
const char *gf_json_string(gf_json *json);
/* Only numbers written as integers that fit. `*value` is 0 where there is none. */
int gf_json_integer(gf_json *json, int64_t *value);
void gf_json_null(gf_json *json);
/* Passes over the next value, whatever it is. */
void gf_json_skip(gf_json *json);

/* Whether all has been read without a problem. Nothing but white space may be left. */
int gf_json_end(gf_json *json);

void gf_json_fail(gf_json *json, const char *problem);
size_t gf_json_place(const gf_json *json);

/* Bytes of the UTF-8 character at `at`, which ends before `end`; 0 where there is none. */
size_t gf_utf8_character(const unsigned char *at, const unsigned char *end);

#endif
