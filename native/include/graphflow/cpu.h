#ifndef GRAPHFLOW_CPU_H
#define GRAPHFLOW_CPU_H
#include <stddef.h>
#include <stdint.h>
uint64_t gf_cpu_features(void);
void gf_cpu_names(uint64_t features, char *text, size_t bytes);
#endif
