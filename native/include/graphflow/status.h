/* Statuses of the runtime that generated code never sees; GF_OK to GF_HOST_ERROR are in frame.h. */
#ifndef GRAPHFLOW_STATUS_H
#define GRAPHFLOW_STATUS_H

enum {
    GF_WOULD_BLOCK = 16,     /* a variable is being written by another run; try again or wait */
    GF_UNINITIALIZED = 17,   /* a variable that the step reads has no value */
    GF_SIZE_MISMATCH = 18,   /* an equality between sizes does not hold for this run's symbols */
    GF_FEED_MISMATCH = 19,   /* a feed has the wrong rank or size */
    GF_BAD_OBJECT = 20,      /* not an object this loader can map, or a damaged one */
    GF_BAD_DESCRIPTION = 21, /* an index or a size in a description is out of range */
    GF_REENTERED = 22,       /* a host call touched a variable that its own run is writing */
    GF_BAD_SIZE = 23,        /* a size came out negative, or too large to address */
    GF_BAD_FILE = 24,        /* a file is truncated, damaged, or of another format */
    GF_IO_ERROR = 25,        /* the system refused to read or write; the message has its words */
    GF_BAD_ARGUMENT = 26,    /* a pointer that is NULL, a number out of range, too little room */
    GF_ARENA_TOO_SMALL = 27, /* the caller's memory does not hold what the run needs */
    GF_UNSUPPORTED_CPU = 28, /* this processor lacks what the code needs */
};

#endif
