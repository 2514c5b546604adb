#include "graphflow/threads.h"
gf_pool *gf_pool_hosted(void *host, int32_t threads,
                        void (*parallel)(void *, int32_t, void (*)(void *, int32_t), void *))
{
    (void)host;
    (void)parallel;
    return gf_pool_create(threads, 1);
}
