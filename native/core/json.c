/* A strict reader of JSON. See json.h. */
#include "json.h"

#include <string.h>

_Static_assert(GF_JSON_DEPTH <= 32, "a depth is a bit");

void gf_json_begin(gf_json *json, const void *text, size_t bytes, char *texts)
{
    memset(json, 0, sizeof *json);
    json->text = text;
    json->at = text;
    json->end = bytes > 0 ? json->at + bytes : json->at;
    json->texts = texts;
}

void gf_json_fail(gf_json *json, const char *problem)
{
    if (json->problem == NULL) {
        json->problem = problem;
    }
}

size_t gf_json_place(const gf_json *json)
{
    return (size_t)(json->at - json->text);
}

/* The next character that is no white space; 0 at the end and after a problem. */
static unsigned char peek(gf_json *json)
{
    if (json->problem != NULL) {
        return 0;
    }
    while (json->at < json->end &&
           (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r')) {
        json->at++;
    }
    return json->at < json->end ? *json->at : 0;
}

static int take(gf_json *json, unsigned char expected, const char *problem)
{
    if (peek(json) != expected) {
        gf_json_fail(json, json->at < json->end ? problem : "the text ends too early");
        return 0;
    }
    json->at++;
    return 1;
}

static int is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

char gf_json_next(gf_json *json)
{
    unsigned char c = peek(json);
    if (is_digit(c) || c == '-') {
        return '0';
    }
    return c != 0 && strchr("{[\"tfn", c) != NULL ? (char)c : '\0';
}

size_t gf_utf8_character(const unsigned char *at, const unsigned char *end)
{
    /* What the second byte of a character may be depends on the first: overlong forms, surrogates
     * and what is beyond U+10FFFF are none (the Unicode Standard, table 3-7). */
    unsigned char lead = *at, low = 0x80, high = 0xbf;
    size_t bytes;
    if (lead < 0x80) {
        return 1;
    } else if (lead >= 0xc2 && lead <= 0xdf) {
        bytes = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        bytes = 3;
        low = lead == 0xe0 ? 0xa0 : low;
        high = lead == 0xed ? 0x9f : high;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        bytes = 4;
        low = lead == 0xf0 ? 0x90 : low;
        high = lead == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if ((size_t)(end - at) < bytes || at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return bytes;
}

/* Where the characters of a string go. */
typedef struct sink {
    char *to; /* NULL: nowhere */
    int has_zero;
} sink;

static void put(sink *out, unsigned value)
{
    if (out->to != NULL) {
        *out->to++ = (char)(unsigned char)value;
    }
}

static void put_character(sink *out, unsigned code)
{
    out->has_zero |= code == 0;
    if (code < 0x80) {
        put(out, code);
        return;
    }
    if (code < 0x800) {
        put(out, 0xc0 | code >> 6);
    } else if (code < 0x10000) {
        put(out, 0xe0 | code >> 12);
        put(out, 0x80 | (code >> 6 & 0x3f));
    } else {
        put(out, 0xf0 | code >> 18);
        put(out, 0x80 | (code >> 12 & 0x3f));
        put(out, 0x80 | (code >> 6 & 0x3f));
    }
    put(out, 0x80 | (code & 0x3f));
}

/* The four digits of a \u at `at`; -1 where there are none. */
static int32_t four_digits(const gf_json *json, const unsigned char *at)
{
    int32_t value = 0;
    if (json->end - at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        unsigned char c = at[i], letter = c | 0x20;
        if (is_digit(c)) {
            value = value * 16 + (c - '0');
        } else if (letter >= 'a' && letter <= 'f') {
            value = value * 16 + (letter - 'a' + 10);
        } else {
            return -1;
        }
    }
    return value;
}

/* After "\u": one code unit, or two that make up a character beyond U+FFFF. */
static void take_unit(gf_json *json, sink *out)
{
    int32_t code = four_digits(json, json->at);
    if (code < 0) {
        gf_json_fail(json, "\\u without four hexadecimal digits");
        return;
    }
    if (code >= 0xd800 && code <= 0xdfff) {
        const unsigned char *next = json->at + 4;
        int32_t second = -1;
        if (code < 0xdc00 && json->end - next >= 2 && next[0] == '\\' && next[1] == 'u') {
            second = four_digits(json, next + 2);
        }
        if (second < 0xdc00 || second > 0xdfff) {
            gf_json_fail(json, "half of a surrogate pair");
            return;
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
        json->at += 6;
    }
    json->at += 4;
    put_character(out, (unsigned)code);
}

static void take_escape(gf_json *json, sink *out)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    unsigned char c = json->at < json->end ? *json->at : 0;
    const char *letter = c != 0 ? strchr(letters, c) : NULL;
    if (c == 'u') {
        json->at++;
        take_unit(json, out);
    } else if (letter != NULL) {
        json->at++;
        put(out, (unsigned char)meanings[letter - letters]);
    } else {
        gf_json_fail(json, "an unknown escape");
    }
}

static void take_string(gf_json *json, sink *out)
{
    if (!take(json, '"', "a string is expected")) {
        return;
    }
    while (json->problem == NULL) {
        if (json->at == json->end) {
            gf_json_fail(json, "a string without an end");
        } else if (*json->at == '"') {
            json->at++;
            return;
        } else if (*json->at == '\\') {
            json->at++;
            take_escape(json, out);
        } else if (*json->at < 0x20) {
            gf_json_fail(json, "a control character in a string");
        } else {
            size_t bytes = gf_utf8_character(json->at, json->end);
            if (bytes == 0) {
                gf_json_fail(json, "not UTF-8");
            }
            for (size_t i = 0; i < bytes; i++) {
                put(out, *json->at++);
            }
        }
    }
}

const char *gf_json_string(gf_json *json)
{
    sink out = {json->texts, 0};
    const char *string = json->texts;
    take_string(json, &out);
    if (out.has_zero) {
        gf_json_fail(json, "a zero character in a string");
    }
    if (json->problem != NULL) {
        return NULL;
    }
    *out.to = '\0';
    json->texts = out.to + 1;
    return string;
}

static void enter(gf_json *json, unsigned char bracket, const char *problem)
{
    if (peek(json) == bracket && json->depth == GF_JSON_DEPTH) {
        gf_json_fail(json, "nested too deeply");
    }
    if (!take(json, bracket, problem)) {
        return;
    }
    uint32_t bit = (uint32_t)1 << json->depth++;
    json->begun &= ~bit;
    json->objects = bracket == '{' ? json->objects | bit : json->objects & ~bit;
}

/* At an element of the innermost object or array, or 0 behind its end. */
static int another(gf_json *json, unsigned char bracket)
{
    if (json->problem != NULL) {
        return 0;
    }
    uint32_t bit = (uint32_t)1 << (json->depth - 1);
    if (peek(json) == bracket) {
        json->at++;
        json->depth--;
        return 0;
    }
    if (json->begun & bit) {
        return take(json, ',', bracket == '}' ? "a , or } is expected" : "a , or ] is expected");
    }
    json->begun |= bit;
    return 1;
}

void gf_json_object(gf_json *json)
{
    enter(json, '{', "an object is expected");
}

void gf_json_array(gf_json *json)
{
    enter(json, '[', "an array is expected");
}

int gf_json_element(gf_json *json)
{
    return another(json, ']');
}

const char *gf_json_key(gf_json *json)
{
    if (!another(json, '}')) {
        return NULL;
    }
    const char *key = gf_json_string(json);
    return take(json, ':', "a : is expected") ? key : NULL;
}

static void take_digits(gf_json *json)
{
    if (json->at == json->end || !is_digit(*json->at)) {
        gf_json_fail(json, "a digit is expected");
    }
    while (json->at < json->end && is_digit(*json->at)) {
        json->at++;
    }
}

static int at_one_of(const gf_json *json, const char *characters)
{
    return json->problem == NULL && json->at < json->end && *json->at != 0 &&
           strchr(characters, *json->at) != NULL;
}

/* The part of a number before its fraction; whether it begins with a minus. */
static int take_integer(gf_json *json)
{
    int negative = peek(json) == '-';
    json->at += negative;
    if (at_one_of(json, "0")) {
        json->at++;
        if (json->at < json->end && is_digit(*json->at)) {
            gf_json_fail(json, "a number that begins with 0");
        }
    } else {
        take_digits(json);
    }
    return negative;
}

static void skip_number(gf_json *json)
{
    take_integer(json);
    if (at_one_of(json, ".")) {
        json->at++;
        take_digits(json);
    }
    if (at_one_of(json, "eE")) {
        json->at++;
        if (at_one_of(json, "+-")) {
            json->at++;
        }
        take_digits(json);
    }
}

int gf_json_integer(gf_json *json, int64_t *value)
{
    *value = 0;
    if (gf_json_next(json) != '0') {
        gf_json_fail(json, "an integer is expected");
        return 0;
    }
    const unsigned char *start = json->at;
    int negative = take_integer(json);
    if (at_one_of(json, ".eE")) {
        gf_json_fail(json, "an integer is expected");
    }
    int64_t sum = 0; /* negative, since INT64_MIN has no positive counterpart */
    for (const unsigned char *c = start + negative; c < json->at; c++) {
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, *c - '0', &sum)) {
            gf_json_fail(json, "a number that is too large");
            break;
        }
    }
    if (!negative && sum == INT64_MIN) {
        gf_json_fail(json, "a number that is too large");
    }
    if (json->problem != NULL) {
        return 0;
    }
    *value = negative ? sum : -sum;
    return 1;
}

static void take_word(gf_json *json, const char *word)
{
    size_t bytes = strlen(word);
    if ((size_t)(json->end - json->at) < bytes || memcmp(json->at, word, bytes) != 0) {
        gf_json_fail(json, "an unknown word");
        return;
    }
    json->at += bytes;
}

void gf_json_null(gf_json *json)
{
    if (gf_json_next(json) == 'n') {
        take_word(json, "null");
    } else {
        gf_json_fail(json, "null is expected");
    }
}

static void skip_scalar(gf_json *json, char first)
{
    sink nowhere = {NULL, 0};
    switch (first) {
    case '"':
        take_string(json, &nowhere);
        break;
    case '0':
        skip_number(json);
        break;
    case 't':
        take_word(json, "true");
        break;
    case 'f':
        take_word(json, "false");
        break;
    case 'n':
        take_word(json, "null");
        break;
    default:
        gf_json_fail(json, "a value is expected");
    }
}

/* To the next value within what has been entered since `floor`; whether there is one. */
static int go_on(gf_json *json, int32_t floor)
{
    sink nowhere = {NULL, 0};
    while (json->depth > floor && json->problem == NULL) {
        int is_object = json->objects >> (json->depth - 1) & 1;
        if (another(json, is_object ? '}' : ']')) {
            if (is_object) {
                take_string(json, &nowhere);
                take(json, ':', "a : is expected");
            }
            return 1;
        }
    }
    return 0;
}

void gf_json_skip(gf_json *json)
{
    int32_t floor = json->depth;
    do {
        char first = gf_json_next(json);
        if (first == '{') {
            gf_json_object(json);
        } else if (first == '[') {
            gf_json_array(json);
        } else {
            skip_scalar(json, first);
        }
    } while (go_on(json, floor));
}

int gf_json_end(gf_json *json)
{
    if (json->problem == NULL && (json->depth != 0 || peek(json) != 0 || json->at < json->end)) {
        gf_json_fail(json, "something follows the end");
    }
    return json->problem == NULL;
}
