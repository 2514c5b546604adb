/* Files through stdio; where there is POSIX, what is written is brought to the disk as well. */
#if defined(__unix__) || defined(__APPLE__)
#define _GNU_SOURCE
#define GF_HAS_FSYNC 1
#include <fcntl.h>
#include <unistd.h>
#else
#define GF_HAS_FSYNC 0
#endif

#include "files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graphflow/frame.h"
#include "graphflow/memory.h"
#include "graphflow/status.h"

/* `errno` is what the C library had to say, if it said anything. */
static int32_t refused(const gf_report *to, const char *what)
{
    return gf_refuse(to, GF_IO_ERROR, "cannot %s: %s", what, strerror(errno ? errno : EIO));
}

FILE *gf_file_open(const gf_report *to)
{
    if (to->path == NULL) {
        gf_refuse(to, GF_IO_ERROR, "no path is given");
        return NULL;
    }
    errno = 0;
    FILE *file = fopen(to->path, "rb");
    if (file == NULL) {
        refused(to, "open");
    }
    return file;
}

/* How many bytes are left in a file, as far as the system knows. */
static uint64_t bytes_left(FILE *file)
{
    long at = ftell(file), end = -1;
    if (at >= 0 && fseek(file, 0, SEEK_END) == 0) {
        end = ftell(file);
        fseek(file, at, SEEK_SET);
    }
    return end > at ? (uint64_t)(end - at) : 0;
}

/* More memory, with what is in the old one; frees that. */
static char *enlarged(char *memory, size_t used, uint64_t room)
{
    char *larger = room < SIZE_MAX ? gf_aligned_memory((size_t)room) : NULL;
    if (larger != NULL && used > 0) {
        memcpy(larger, memory, used);
    }
    free(memory);
    return larger;
}

int32_t gf_file_read(FILE *file, uint64_t bytes, char **memory, size_t *count, const gf_report *to)
{
    enum { FIRST = 1 << 16 };
    uint64_t room = 0;
    size_t got = 0;
    char *all = NULL;
    do {
        uint64_t known = room == 0 && bytes > FIRST ? bytes_left(file) : 0;
        uint64_t more = known > FIRST ? known : room < FIRST ? FIRST : room * 2;
        room = more < bytes ? more : bytes;
        all = enlarged(all, got, room);
        if (all == NULL) {
            return gf_refuse(to, GF_NO_MEMORY, "there is not enough memory for its %llu bytes",
                             (unsigned long long)bytes);
        }
        errno = 0;
        got += fread(all + got, 1, (size_t)room - got, file);
        if (ferror(file)) {
            free(all);
            return refused(to, "read");
        }
    } while (got == room && room < bytes);
    *memory = all;
    *count = got;
    return GF_OK;
}

static int to_disk(FILE *file)
{
    if (fflush(file) != 0) {
        return -1;
    }
#if GF_HAS_FSYNC
    /* Some things that can be written to cannot be synced, and say so. */
    return fsync(fileno(file)) == 0 || errno == EINVAL || errno == ENOTSUP ? 0 : -1;
#else
    return 0;
#endif
}

/* Brings the rename itself to the disk, where folders can be opened. The file is whole either way,
 * so there is nothing to report. */
static void folder_to_disk(char *path)
{
#if GF_HAS_FSYNC
    char *slash = strrchr(path, '/');
    if (slash != NULL) {
        slash[slash == path] = '\0';
    }
    int folder = open(slash != NULL ? path : ".", O_RDONLY | O_CLOEXEC);
    if (folder >= 0) {
        (void)!fsync(folder);
        close(folder);
    }
#else
    (void)path;
#endif
}

/* A new file beside the path; `name` has room for its name. Others may be saving there as well, and
 * a crash may have left something. */
static FILE *create_beside(const char *path, char *name, size_t name_bytes)
{
    enum { TRIES = 1000 };
    FILE *file = NULL;
    for (int i = 0; i < TRIES && file == NULL; i++) {
        snprintf(name, name_bytes, "%s.%d.part", path, i);
        errno = 0;
        file = fopen(name, "wbx");
        if (errno != EEXIST) {
            break;
        }
    }
    return file;
}

int32_t gf_file_replace(gf_file_writer write, const void *context, const gf_report *to)
{
    size_t name_bytes = strlen(to->path) + 16;
    char *name = malloc(name_bytes);
    if (name == NULL) {
        return gf_no_memory(to);
    }
    FILE *file = create_beside(to->path, name, name_bytes);
    if (file == NULL) {
        free(name);
        return refused(to, "write");
    }
    errno = 0;
    int failed = write(file, context) != 0 || to_disk(file) != 0;
    int why = errno;
    if (fclose(file) != 0 && !failed) {
        failed = 1;
        why = errno;
    }
    if (!failed && rename(name, to->path) != 0) {
        failed = 1;
        why = errno;
    }
    if (failed) {
        remove(name);
        errno = why;
        refused(to, "write");
    } else {
        folder_to_disk(name);
    }
    free(name);
    return failed ? GF_IO_ERROR : GF_OK;
}
