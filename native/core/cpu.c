/* Which instructions there are. On x86-64 the processor says so itself, and the operating system
 * which registers it saves: both must agree, or an instruction is illegal all the same. */
#include "graphflow/cpu.h"

#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

/* Where a feature is announced: a register of a leaf of CPUID, the hardware capabilities of ARM, or
 * nowhere, because code for the machine is compiled with it altogether. */
typedef enum word {
    LEAF_1_C,
    LEAF_1_D,
    LEAF_7_B,
    LEAF_7_C,
    LEAF_7_D,
    LEAF_7_1_A,
    EXTENDED_C,
    ARM,
    RISCV,
    WASM,
    WORDS,
} word;

/* Registers that the operating system must save: bits of XCR0. */
enum { YMM = 0x06, ZMM = 0xe6 };

typedef struct feature {
    const char *name;
    word word;
    int bit;
    unsigned state;
} feature;

/* In the order of their bits, which FEATURES in graphflow/codegen/target.py repeats. Only ever add
 * to its end: exported models have these numbers in them. */
static const feature features[] = {
    {"sse", LEAF_1_D, 25, 0},
    {"sse2", LEAF_1_D, 26, 0},
    {"sse3", LEAF_1_C, 0, 0},
    {"ssse3", LEAF_1_C, 9, 0},
    {"sse4.1", LEAF_1_C, 19, 0},
    {"sse4.2", LEAF_1_C, 20, 0},
    {"popcnt", LEAF_1_C, 23, 0},
    {"cx16", LEAF_1_C, 13, 0},
    {"sahf", EXTENDED_C, 0, 0},
    {"avx", LEAF_1_C, 28, YMM},
    {"avx2", LEAF_7_B, 5, YMM},
    {"fma", LEAF_1_C, 12, YMM},
    {"f16c", LEAF_1_C, 29, YMM},
    {"bmi", LEAF_7_B, 3, 0},
    {"bmi2", LEAF_7_B, 8, 0},
    {"lzcnt", EXTENDED_C, 5, 0},
    {"movbe", LEAF_1_C, 22, 0},
    {"avx512f", LEAF_7_B, 16, ZMM},
    {"avx512bw", LEAF_7_B, 30, ZMM},
    {"avx512cd", LEAF_7_B, 28, ZMM},
    {"avx512dq", LEAF_7_B, 17, ZMM},
    {"avx512vl", LEAF_7_B, 31, ZMM},
    {"avx512vbmi", LEAF_7_C, 1, ZMM},
    {"avx512ifma", LEAF_7_B, 21, ZMM},
    {"avx512vbmi2", LEAF_7_C, 6, ZMM},
    {"avx512vnni", LEAF_7_C, 11, ZMM},
    {"avx512bf16", LEAF_7_1_A, 5, ZMM},
    {"avx512bitalg", LEAF_7_C, 12, ZMM},
    {"avx512vpopcntdq", LEAF_7_C, 14, ZMM},
    {"avx512fp16", LEAF_7_D, 23, ZMM},
    {"avxvnni", LEAF_7_1_A, 4, YMM},
    {"gfni", LEAF_7_C, 8, 0},
    {"pclmul", LEAF_1_C, 1, 0},
    {"neon", ARM, 1, 0},
    {"fp-armv8", ARM, 0, 0},
    {"m", RISCV, 0, 0},
    {"a", RISCV, 0, 0},
    {"f", RISCV, 0, 0},
    {"d", RISCV, 0, 0},
    {"c", RISCV, 0, 0},
    {"mutable-globals", WASM, 0, 0},
    {"nontrapping-fptoint", WASM, 0, 0},
    {"sign-ext", WASM, 0, 0},
    {"simd128", WASM, 0, 0},
};

enum { FEATURES = sizeof features / sizeof *features, OSXSAVE = 1 << 27 };

/* Fills `words`, which is zero; returns what the operating system saves of the registers. */
static unsigned look(unsigned *words)
{
    unsigned saved = 0;
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        words[LEAF_1_C] = c;
        words[LEAF_1_D] = d;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        words[LEAF_7_B] = b;
        words[LEAF_7_C] = c;
        words[LEAF_7_D] = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
            words[LEAF_7_1_A] = a;
        }
    }
    if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) {
        words[EXTENDED_C] = c;
    }
    if (words[LEAF_1_C] & OSXSAVE) {
        unsigned high;
        __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    }
#elif defined(__aarch64__) && defined(__linux__)
    words[ARM] = (unsigned)getauxval(AT_HWCAP);
#elif defined(__aarch64__)
    words[ARM] = ~0u;
#elif defined(__riscv)
    words[RISCV] = ~0u;
#elif defined(__wasm__)
    words[WASM] = ~0u;
#endif
    (void)words;
    return saved;
}

uint64_t gf_cpu_features(void)
{
    unsigned words[WORDS] = {0};
    unsigned saved = look(words);
    uint64_t found = 0;
    for (int i = 0; i < FEATURES; i++) {
        const feature *f = &features[i];
        if ((words[f->word] >> f->bit & 1) && (saved & f->state) == f->state) {
            found |= (uint64_t)1 << i;
        }
    }
    return found;
}

void gf_cpu_names(uint64_t wanted, char *text, size_t bytes)
{
    size_t used = 0;
    if (bytes > 0) {
        text[0] = 0;
    }
    for (int i = 0; i < 64; i++) {
        char number[24];
        if (!(wanted >> i & 1)) {
            continue;
        }
        /* A model made by a later version may need what this one has no name for. */
        snprintf(number, sizeof number, "feature %d", i);
        const char *name = i < FEATURES ? features[i].name : number;
        size_t room = bytes - used;
        int length = snprintf(text + used, room, "%s%s", used ? ", " : "", name);
        if (length < 0 || (size_t)length >= room) {
            if (room > 0) {
                text[used] = 0;
            }
            return;
        }
        used += (size_t)length;
    }
}
