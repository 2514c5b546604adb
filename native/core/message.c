#include "message.h"

#include <stdarg.h>
#include <stdio.h>

#include "graphflow/model.h"

#ifdef GF_NO_THREADS
#define PER_THREAD
#else
#define PER_THREAD _Thread_local
#endif

static PER_THREAD char message[512];

const char *gf_message(void)
{
    return message;
}

char *gf_message_room(int32_t *bytes)
{
    *bytes = (int32_t)sizeof message;
    return message;
}

int32_t gf_say(int32_t status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return status;
}
