#include "graphflow/cpu.h"
#include <stdio.h>
uint64_t gf_cpu_features(void) { return ~(uint64_t)0; }
void gf_cpu_names(uint64_t features, char *text, size_t bytes) { snprintf(text, bytes, "?"); }
#include "graphflow/threads.h"
gf_pool *gf_pool_hosted(void *h, int32_t t, void (*p)(void *, int32_t, void (*)(void *, int32_t), void *)) { return gf_pool_create(t,1); }
