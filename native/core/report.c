/* Messages in the caller's buffer. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "graphflow/frame.h"

/* Bytes of `text`, without a character whose end is missing. */
static size_t whole_characters(const char *text, size_t bytes)
{
    size_t start = bytes;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return bytes;
    }
    unsigned char lead = (unsigned char)text[start - 1];
    size_t needed = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return bytes - (start - 1) < needed ? start - 1 : bytes;
}

int32_t gf_refuse(const gf_report *to, int32_t status, const char *format, ...)
{
    if (to->bytes == 0) {
        return status;
    }
    int written = 0;
    if (to->path != NULL) {
        written = snprintf(to->message, to->bytes, "%s: ", to->path);
    }
    if (written >= 0 && (size_t)written < to->bytes) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(to->message + written, to->bytes - (size_t)written, format, arguments);
        va_end(arguments);
    }
    to->message[whole_characters(to->message, strlen(to->message))] = '\0';
    return status;
}

int32_t gf_no_memory(const gf_report *to)
{
    return gf_refuse(to, GF_NO_MEMORY, "there is not enough memory");
}

int gf_shown(const char *name)
{
    enum { MOST = 60 };
    size_t bytes = strlen(name);
    return (int)(bytes <= MOST ? bytes : whole_characters(name, MOST));
}
