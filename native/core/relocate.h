/* Relocations of the machines that generated code is made for. Private to the loader. */
#ifndef GRAPHFLOW_RELOCATE_H
#define GRAPHFLOW_RELOCATE_H

#include <stdint.h>

typedef struct gf_relocation {
    uint16_t machine; /* EM_X86_64 or EM_AARCH64 */
    uint32_t type;
    uint8_t *place;    /* where to write */
    uint64_t room;     /* bytes from `place` to the end of its section */
    uint64_t address;  /* of `place` once mapped */
    uint64_t symbol;   /* address of the symbol */
    uint64_t got_slot; /* address of the symbol's slot in the offset table */
    int64_t addend;
} gf_relocation;

/* Whether this relocation goes through the offset table. */
int gf_relocation_uses_got(uint16_t machine, uint32_t type);

/* Applies it; returns NULL, or what is wrong. */
const char *gf_relocate(const gf_relocation *relocation);

#endif
