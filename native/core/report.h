/* Where a function says why it fails. Private to the runtime. */
#ifndef GRAPHFLOW_REPORT_H
#define GRAPHFLOW_REPORT_H

#include <stddef.h>
#include <stdint.h>

typedef struct gf_report {
    char *message; /* may be NULL when `bytes` is 0 */
    size_t bytes;
    const char *path; /* of the file it is about; NULL: none */
} gf_report;

/* Writes the message, with the path before it, cut at a character's end where it is too long.
 * Returns `status`. */
__attribute__((format(printf, 3, 4))) int32_t gf_refuse(const gf_report *to, int32_t status,
                                                        const char *format, ...);

/* GF_NO_MEMORY. */
int32_t gf_no_memory(const gf_report *to);

/* How many bytes of a name messages show: long ones would leave no room for the reason. For
 * "%.*s". */
int gf_shown(const char *name);

#endif
