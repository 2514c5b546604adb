/* Reading and replacing files through stdio. Private to the runtime. */
#ifndef GRAPHFLOW_FILES_H
#define GRAPHFLOW_FILES_H

#include <stdint.h>
#include <stdio.h>

#include "report.h"

/* Opens for reading; NULL, with the system's words in the report. */
FILE *gf_file_open(const gf_report *to);

/* Reads up to `bytes` bytes into new memory, aligned to 64 bytes, for free(). It grows with what is
 * there: a file that claims to be longer than it is does not cost more. GF_OK (with `*count` <
 * `bytes` at the file's end), GF_IO_ERROR or GF_NO_MEMORY. */
int32_t gf_file_read(FILE *file, uint64_t bytes, char **memory, size_t *count, const gf_report *to);

/* Writes a file's content: 0, or nonzero with errno set. */
typedef int (*gf_file_writer)(FILE *file, const void *context);

/* Lets `write` write a new file beside `to->path`, and gives it that name when it is whole on the
 * disk. GF_OK, GF_IO_ERROR or GF_NO_MEMORY; other than GF_OK leaves everything as it was. */
int32_t gf_file_replace(gf_file_writer write, const void *context, const gf_report *to);

#endif
