/* What gf_message() says. Private to the runtime. */
#ifndef GRAPHFLOW_MESSAGE_H
#define GRAPHFLOW_MESSAGE_H

#include <stdint.h>

/* Keeps the text for this thread and returns the status. */
__attribute__((format(printf, 2, 3))) int32_t gf_say(int32_t status, const char *format, ...);

/* The memory of the text, for those who write it themselves. */
char *gf_message_room(int32_t *bytes);

#endif
