/* Relocations, as the psABI of each machine defines them: S symbol, A addend, P place, G slot. */
#include "relocate.h"

#include <elf.h>
#include <string.h>

static const char out_of_range[] = "a relocation does not reach its target";
static const char unknown_type[] = "a relocation of an unsupported type";
static const char past_the_end[] = "a relocation lies outside its section";
static const char unaligned[] = "a relocation refers to an unaligned address";

static int fits_signed(int64_t value, int bits)
{
    int64_t limit = (int64_t)1 << (bits - 1);
    return value >= -limit && value < limit;
}

static uint32_t read32(const uint8_t *place)
{
    uint32_t value;
    memcpy(&value, place, sizeof value);
    return value;
}

static void write32(uint8_t *place, uint32_t value)
{
    memcpy(place, &value, sizeof value);
}

static void write64(uint8_t *place, uint64_t value)
{
    memcpy(place, &value, sizeof value);
}

int gf_relocation_uses_got(uint16_t machine, uint32_t type)
{
    if (machine == EM_X86_64) {
        return type == R_X86_64_GOTPCREL || type == R_X86_64_GOTPCRELX ||
               type == R_X86_64_REX_GOTPCRELX;
    }
    return type == R_AARCH64_ADR_GOT_PAGE || type == R_AARCH64_LD64_GOT_LO12_NC;
}

static const char *relocate_x86_64(const gf_relocation *r)
{
    uint64_t absolute = r->symbol + (uint64_t)r->addend;
    int64_t relative = (int64_t)(absolute - r->address);
    uint64_t width = r->type == R_X86_64_64 || r->type == R_X86_64_PC64 ? 8 : 4;
    if (r->room < width) {
        return past_the_end;
    }
    switch (r->type) {
    case R_X86_64_64:
        write64(r->place, absolute);
        return NULL;
    case R_X86_64_PC64:
        write64(r->place, (uint64_t)relative);
        return NULL;
    case R_X86_64_32:
        if (absolute > UINT32_MAX) {
            return out_of_range;
        }
        write32(r->place, (uint32_t)absolute);
        return NULL;
    case R_X86_64_32S:
        if (!fits_signed((int64_t)absolute, 32)) {
            return out_of_range;
        }
        write32(r->place, (uint32_t)absolute);
        return NULL;
    case R_X86_64_GOTPCREL:
    case R_X86_64_GOTPCRELX:
    case R_X86_64_REX_GOTPCRELX:
        relative = (int64_t)(r->got_slot + (uint64_t)r->addend - r->address);
        break;
    case R_X86_64_PC32:
    case R_X86_64_PLT32: /* no procedure table is needed: nothing is preempted */
        break;
    default:
        return unknown_type;
    }
    if (!fits_signed(relative, 32)) {
        return out_of_range;
    }
    write32(r->place, (uint32_t)relative);
    return NULL;
}

/* A branch or literal: `bits` of a word-scaled displacement at bit `shift` of the instruction. */
static const char *aarch64_branch(const gf_relocation *r, int64_t relative, int bits, int shift)
{
    uint32_t mask = (((uint32_t)1 << bits) - 1) << shift;
    if (relative & 3) {
        return unaligned;
    }
    if (!fits_signed(relative, bits + 2)) {
        return out_of_range;
    }
    uint32_t field = ((uint32_t)(relative >> 2) << shift) & mask;
    write32(r->place, (read32(r->place) & ~mask) | field);
    return NULL;
}

/* ADR and ADRP keep the low two bits of their displacement apart from the others. */
static const char *aarch64_adr(const gf_relocation *r, int64_t displacement)
{
    if (!fits_signed(displacement, 21)) {
        return out_of_range;
    }
    uint32_t low = (uint32_t)(displacement & 3) << 29;
    uint32_t high = ((uint32_t)(displacement >> 2) & 0x7ffffu) << 5;
    write32(r->place, (read32(r->place) & ~0x60ffffe0u) | low | high);
    return NULL;
}

/* The low 12 bits of an address, scaled by the access size of the instruction. */
static const char *aarch64_low12(const gf_relocation *r, uint64_t address, int scale)
{
    uint32_t low = (uint32_t)(address & 0xfff);
    if (low & (((uint32_t)1 << scale) - 1)) {
        return unaligned;
    }
    write32(r->place, (read32(r->place) & ~0x3ffc00u) | ((low >> scale) << 10));
    return NULL;
}

static const char *relocate_aarch64(const gf_relocation *r)
{
    uint64_t absolute = r->symbol + (uint64_t)r->addend;
    uint64_t slot = r->got_slot + (uint64_t)r->addend;
    int64_t relative = (int64_t)(absolute - r->address);
    const uint64_t page = ~(uint64_t)0xfff;
    int wide = r->type == R_AARCH64_ABS64 || r->type == R_AARCH64_PREL64;
    if (r->room < (wide ? 8u : 4u)) {
        return past_the_end;
    }
    switch (r->type) {
    case R_AARCH64_ABS64:
        write64(r->place, absolute);
        return NULL;
    case R_AARCH64_PREL64:
        write64(r->place, (uint64_t)relative);
        return NULL;
    case R_AARCH64_PREL32:
        if (!fits_signed(relative, 32)) {
            return out_of_range;
        }
        write32(r->place, (uint32_t)relative);
        return NULL;
    case R_AARCH64_CALL26:
    case R_AARCH64_JUMP26:
        return aarch64_branch(r, relative, 26, 0);
    case R_AARCH64_CONDBR19:
        return aarch64_branch(r, relative, 19, 5);
    case R_AARCH64_TSTBR14:
        return aarch64_branch(r, relative, 14, 5);
    case R_AARCH64_ADR_PREL_LO21:
        return aarch64_adr(r, relative);
    case R_AARCH64_ADR_PREL_PG_HI21:
        return aarch64_adr(r, (int64_t)((absolute & page) - (r->address & page)) >> 12);
    case R_AARCH64_ADR_GOT_PAGE:
        return aarch64_adr(r, (int64_t)((slot & page) - (r->address & page)) >> 12);
    case R_AARCH64_LD64_GOT_LO12_NC:
        return aarch64_low12(r, slot, 3);
    case R_AARCH64_ADD_ABS_LO12_NC:
    case R_AARCH64_LDST8_ABS_LO12_NC:
        return aarch64_low12(r, absolute, 0);
    case R_AARCH64_LDST16_ABS_LO12_NC:
        return aarch64_low12(r, absolute, 1);
    case R_AARCH64_LDST32_ABS_LO12_NC:
        return aarch64_low12(r, absolute, 2);
    case R_AARCH64_LDST64_ABS_LO12_NC:
        return aarch64_low12(r, absolute, 3);
    case R_AARCH64_LDST128_ABS_LO12_NC:
        return aarch64_low12(r, absolute, 4);
    default:
        return unknown_type;
    }
}

const char *gf_relocate(const gf_relocation *relocation)
{
    return relocation->machine == EM_X86_64 ? relocate_x86_64(relocation)
                                            : relocate_aarch64(relocation);
}
