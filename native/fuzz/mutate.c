/* Runs a libFuzzer entry point without libFuzzer: `mutate ROUNDS SEED FILE…` gives it every file,
 * every beginning of it, each of its bits turned over, and ROUNDS random changes of it. The same
 * arguments give the same inputs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static uint64_t state;

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). */
static size_t below(size_t limit)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return limit == 0 ? 0 : (size_t)(state * 0x2545f4914f6cdd1d >> 32) % limit;
}

/* In memory of exactly this size, so that a sanitizer sees the first byte too many. */
static void try(const uint8_t *bytes, size_t count)
{
    uint8_t *exact = malloc(count > 0 ? count : 1);
    if (exact == NULL) {
        exit(2);
    }
    memcpy(exact, bytes, count);
    LLVMFuzzerTestOneInput(exact, count);
    free(exact);
}

/* One small change of what lies in a buffer with room for twice as much. */
static size_t change(uint8_t *bytes, size_t count, size_t room)
{
    static const char *const pieces[] = {
        "{",       "}",      "[",    "]",    ",",        ":",      "\"",         "\\u",
        "\\ud800", "\\",     "0",    "-1",   "1e9",      "null",   "9999999999", "\xc3",
        "../",     "\"a\":", "\x00", "\xff", "[[[[[[[[", "\"F32\""};
    size_t at = below(count + 1), piece = below(sizeof pieces / sizeof *pieces);
    size_t bytes_of_piece = pieces[piece][0] == '\0' ? 1 : strlen(pieces[piece]);
    switch (below(6)) {
    case 0:
        return at; /* cut off */
    case 1:
        if (at < count) {
            bytes[at] ^= (uint8_t)(1u << below(8));
        }
        return count;
    case 2: /* another byte, most often early, where the lengths are */
        at = below(2) ? below(16) : at;
        if (at < count) {
            bytes[at] = (uint8_t)below(256);
        }
        return count;
    case 3: { /* without a piece */
        size_t gone = below(count - at + 1) % 9;
        memmove(bytes + at, bytes + at + gone, count - at - gone);
        return count - gone;
    }
    case 4: { /* with a piece of itself once more */
        uint8_t copy[32];
        size_t from = below(count), more = below(count - from + 1) % (sizeof copy + 1);
        if (count + more > room) {
            return count;
        }
        memcpy(copy, bytes + from, more);
        memmove(bytes + at + more, bytes + at, count - at);
        memcpy(bytes + at, copy, more);
        return count + more;
    }
    default:
        if (count + bytes_of_piece > room) {
            return count;
        }
        memmove(bytes + at + bytes_of_piece, bytes + at, count - at);
        memcpy(bytes + at, pieces[piece], bytes_of_piece);
        return count + bytes_of_piece;
    }
}

static void try_all(const uint8_t *seed, size_t count, long rounds)
{
    enum { MOST = 4096 }; /* beginnings and bits: all of a small file, the start of a large one */
    size_t room = 2 * count + 64, early = count < MOST ? count : MOST;
    uint8_t *bytes = malloc(room);
    if (bytes == NULL) {
        exit(2);
    }
    memcpy(bytes, seed, count);
    try(bytes, count);
    for (size_t i = 0; i < early; i++) {
        try(bytes, i);
    }
    for (size_t i = 0; i < early * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        try(bytes, count);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (long i = 0; i < rounds; i++) {
        size_t now = count;
        memcpy(bytes, seed, count);
        for (size_t left = 1 + below(4); left > 0; left--) {
            now = change(bytes, now, room);
        }
        try(bytes, now);
    }
    free(bytes);
}

int main(int count, char **arguments)
{
    if (count < 4) {
        fprintf(stderr, "usage: mutate ROUNDS SEED FILE...\n");
        return 2;
    }
    state = strtoull(arguments[2], NULL, 10) * 2 + 1;
    for (int i = 3; i < count; i++) {
        static uint8_t seed[1 << 20];
        FILE *file = fopen(arguments[i], "rb");
        if (file == NULL) {
            perror(arguments[i]);
            return 2;
        }
        size_t bytes = fread(seed, 1, sizeof seed, file);
        fclose(file);
        try_all(seed, bytes, strtol(arguments[1], NULL, 10));
    }
    return 0;
}
