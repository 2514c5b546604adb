/* What the processor can do beyond what every one of its kind can, so that code for it can be
 * chosen, or refused before it runs. */
#ifndef GRAPHFLOW_CPU_H
#define GRAPHFLOW_CPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A bit for each feature that generated code may need and that processor and operating system both
 * support. Bits keep their meaning: new features get new ones. */
uint64_t gf_cpu_features(void);

/* Writes the names of features, as compilers know them: "avx2, fma". What does not fit is left
 * out; `bytes` counts the 0 at the end too. */
void gf_cpu_names(uint64_t features, char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
