/* The floating-point mode that generated code runs in, on every thread: round to nearest, keep
 * denormals, trap nothing. Results would otherwise depend on the thread, or on what some library
 * did to the caller's mode. Private to the runtime. */
#ifndef GRAPHFLOW_FLOATING_H
#define GRAPHFLOW_FLOATING_H

#include <stdint.h>

#if defined(__x86_64__)

#define GF_DEFAULT_MODE 0x1f80u
#define GF_MODE_MASK 0xffc0u /* the rest are sticky flags, which may be anything */

static inline uint64_t gf_mode_enter(void)
{
    uint32_t mode = __builtin_ia32_stmxcsr();
    if ((mode & GF_MODE_MASK) != GF_DEFAULT_MODE) {
        __builtin_ia32_ldmxcsr(GF_DEFAULT_MODE);
    }
    return mode;
}

static inline void gf_mode_leave(uint64_t mode)
{
    if ((mode & GF_MODE_MASK) != GF_DEFAULT_MODE) {
        __builtin_ia32_ldmxcsr((uint32_t)mode);
    }
}

#elif defined(__aarch64__)

static inline uint64_t gf_mode_enter(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    if (mode != 0) {
        __asm__ volatile("msr fpcr, xzr");
    }
    return mode;
}

static inline void gf_mode_leave(uint64_t mode)
{
    if (mode != 0) {
        __asm__ volatile("msr fpcr, %0" : : "r"(mode));
    }
}

#elif defined(__riscv_flen)

/* Of the modes there is only the rounding one: denormals are always kept, nothing traps. */
static inline uint64_t gf_mode_enter(void)
{
    uint64_t mode;
    __asm__ volatile("frrm %0" : "=r"(mode));
    if (mode != 0) {
        __asm__ volatile("fsrmi 0");
    }
    return mode;
}

static inline void gf_mode_leave(uint64_t mode)
{
    if (mode != 0) {
        __asm__ volatile("fsrm %0" : : "r"(mode));
    }
}

#else

/* WebAssembly has no modes. */
static inline uint64_t gf_mode_enter(void)
{
    return 0;
}

static inline void gf_mode_leave(uint64_t mode)
{
    (void)mode;
}

#endif
#endif
