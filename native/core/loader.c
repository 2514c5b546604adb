/* Maps relocatable ELF64 objects. See loader.h for what is promised. */
#define _GNU_SOURCE
#include "graphflow/loader.h"

#include <elf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "graphflow/frame.h"
#include "relocate.h"

enum { SEGMENT_CODE, SEGMENT_CONSTANT, SEGMENT_DATA, SEGMENTS };

#define NOT_LOADED UINT64_MAX
#define LARGEST_IMAGE ((uint64_t)1 << 30) /* keeps every displacement within 32 bits */

typedef struct named {
    const char *name;
    void *address;
} named;

struct gf_code {
    uint8_t *base;
    size_t bytes;
    named *symbols; /* the defined global ones; names point into `names` */
    size_t symbol_count;
    char *names;
};

/* What is known while an object is being loaded. */
typedef struct linker {
    const uint8_t *object;
    size_t bytes;
    Elf64_Ehdr header;
    uint64_t *placed; /* offset of each section in the image, or NOT_LOADED */
    uint64_t segment_end[SEGMENTS];
    const uint8_t *symbols; /* Elf64_Sym, unaligned */
    uint64_t symbol_count;
    const char *strings;
    uint64_t strings_bytes;
    uint64_t table; /* offset of the global offset table: one slot a symbol */
    uint64_t page;
    gf_code *code;
    char *message;
    size_t message_bytes;
} linker;

__attribute__((format(printf, 2, 3))) static int32_t refuse(linker *link, const char *format, ...)
{
    if (link->message_bytes > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(link->message, link->message_bytes, format, arguments);
        va_end(arguments);
    }
    return GF_BAD_OBJECT;
}

static int within(uint64_t offset, uint64_t length, uint64_t bytes)
{
    return offset <= bytes && length <= bytes - offset;
}

/* Sections are read by copy: nothing says that their headers are aligned. */
static Elf64_Shdr section_at(const linker *link, uint32_t index)
{
    Elf64_Shdr section;
    uint64_t offset = link->header.e_shoff + (uint64_t)index * sizeof section;
    memcpy(&section, link->object + offset, sizeof section);
    return section;
}

static Elf64_Sym symbol_at(const linker *link, uint64_t index)
{
    Elf64_Sym symbol;
    memcpy(&symbol, link->symbols + index * sizeof symbol, sizeof symbol);
    return symbol;
}

static const char *symbol_name(const linker *link, const Elf64_Sym *symbol)
{
    return symbol->st_name < link->strings_bytes ? link->strings + symbol->st_name : "";
}

static uint16_t host_machine(void)
{
#if defined(__x86_64__)
    return EM_X86_64;
#elif defined(__aarch64__)
    return EM_AARCH64;
#else
    return EM_NONE;
#endif
}

static int32_t read_header(linker *link, uint32_t flags)
{
    Elf64_Ehdr *header = &link->header;
    if (link->bytes < sizeof *header) {
        return refuse(link, "the object is truncated: %zu bytes", link->bytes);
    }
    memcpy(header, link->object, sizeof *header);
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_type != ET_REL) {
        return refuse(link, "not a little-endian 64-bit relocatable ELF object");
    }
    if (header->e_machine != EM_X86_64 && header->e_machine != EM_AARCH64) {
        return refuse(link, "an object of machine %u", header->e_machine);
    }
    if (header->e_machine != host_machine() && !(flags & GF_LOAD_ANY_MACHINE)) {
        return refuse(link, "an object of machine %u cannot run on this one", header->e_machine);
    }
    if (header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shnum == 0 ||
        !within(header->e_shoff, (uint64_t)header->e_shnum * sizeof(Elf64_Shdr), link->bytes)) {
        return refuse(link, "the object is truncated: its sections lie beyond its end");
    }
    return GF_OK;
}

static int32_t read_symbols(linker *link)
{
    for (uint32_t i = 0; i < link->header.e_shnum; i++) {
        Elf64_Shdr section = section_at(link, i);
        if (section.sh_type != SHT_SYMTAB) {
            continue;
        }
        if (link->symbols != NULL || section.sh_link >= link->header.e_shnum) {
            return refuse(link, "the object's symbol table is damaged");
        }
        Elf64_Shdr strings = section_at(link, section.sh_link);
        if (!within(section.sh_offset, section.sh_size, link->bytes) ||
            !within(strings.sh_offset, strings.sh_size, link->bytes) ||
            strings.sh_type != SHT_STRTAB || strings.sh_size == 0 ||
            link->object[strings.sh_offset + strings.sh_size - 1] != 0) {
            return refuse(link, "the object's symbol table is damaged");
        }
        link->symbols = link->object + section.sh_offset;
        link->symbol_count = section.sh_size / sizeof(Elf64_Sym);
        link->strings = (const char *)link->object + strings.sh_offset;
        link->strings_bytes = strings.sh_size;
    }
    if (link->symbols == NULL) {
        return refuse(link, "the object has no symbol table");
    }
    return GF_OK;
}

/* Unwind tables are left out: nothing throws through generated code. */
static int is_loaded(const linker *link, const Elf64_Shdr *section)
{
    if (!(section->sh_flags & SHF_ALLOC) || section->sh_size == 0) {
        return 0;
    }
    if (link->header.e_machine == EM_X86_64 && section->sh_type == SHT_X86_64_UNWIND) {
        return 0;
    }
    if (link->header.e_shstrndx < link->header.e_shnum) {
        static const char unwind[] = ".eh_frame";
        Elf64_Shdr names = section_at(link, link->header.e_shstrndx);
        if (within(names.sh_offset, names.sh_size, link->bytes) &&
            within(section->sh_name, sizeof unwind, names.sh_size) &&
            memcmp(link->object + names.sh_offset + section->sh_name, unwind, sizeof unwind) == 0) {
            return 0;
        }
    }
    return 1;
}

static int segment_of(const Elf64_Shdr *section)
{
    if (section->sh_flags & SHF_EXECINSTR) {
        return SEGMENT_CODE;
    }
    return section->sh_flags & SHF_WRITE ? SEGMENT_DATA : SEGMENT_CONSTANT;
}

static uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* Gives every loaded section its offset, segment by segment. */
static int32_t lay_out(linker *link)
{
    uint64_t end = 0;
    for (int segment = 0; segment < SEGMENTS; segment++) {
        end = round_up(end, link->page);
        for (uint32_t i = 0; i < link->header.e_shnum; i++) {
            Elf64_Shdr section = section_at(link, i);
            if (segment == 0) {
                link->placed[i] = NOT_LOADED;
            }
            if (!is_loaded(link, &section) || segment_of(&section) != segment) {
                continue;
            }
            uint64_t alignment = section.sh_addralign ? section.sh_addralign : 1;
            if (section.sh_type != SHT_PROGBITS && section.sh_type != SHT_NOBITS &&
                section.sh_type != SHT_NOTE) {
                return refuse(link, "a section of unsupported type %u", section.sh_type);
            }
            if ((section.sh_flags & SHF_TLS) || (alignment & (alignment - 1)) ||
                alignment > link->page || section.sh_size > LARGEST_IMAGE ||
                (section.sh_type != SHT_NOBITS &&
                 !within(section.sh_offset, section.sh_size, link->bytes))) {
                return refuse(link, "section %u of the object is damaged", i);
            }
            end = round_up(end, alignment);
            link->placed[i] = end;
            end += section.sh_size;
            if (end > LARGEST_IMAGE) {
                return refuse(link, "the object is too large");
            }
        }
        if (segment == SEGMENT_CONSTANT) {
            end = round_up(end, 8);
            link->table = end;
            end += 8 * link->symbol_count;
            if (end > LARGEST_IMAGE) {
                return refuse(link, "the object is too large");
            }
        }
        link->segment_end[segment] = end;
    }
    return GF_OK;
}

static int32_t map_sections(linker *link)
{
    gf_code *code = link->code;
    code->bytes = round_up(link->segment_end[SEGMENT_DATA], link->page) + link->page;
    void *base =
        mmap(NULL, code->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        refuse(link, "no memory for %zu bytes of code", code->bytes);
        return GF_NO_MEMORY;
    }
    code->base = base;
    for (uint32_t i = 0; i < link->header.e_shnum; i++) {
        Elf64_Shdr section = section_at(link, i);
        if (link->placed[i] != NOT_LOADED && section.sh_type != SHT_NOBITS) {
            memcpy(code->base + link->placed[i], link->object + section.sh_offset, section.sh_size);
        }
    }
    return GF_OK;
}

/* The address a symbol stands for; 0 with `*defined` unset when nobody defines it. */
static uint64_t resolve(const linker *link, const Elf64_Sym *symbol, int *defined)
{
    *defined = 1;
    if (symbol->st_shndx == SHN_ABS) {
        return symbol->st_value;
    }
    if (symbol->st_shndx < link->header.e_shnum && symbol->st_shndx != SHN_UNDEF &&
        link->placed[symbol->st_shndx] != NOT_LOADED) {
        return (uint64_t)(uintptr_t)link->code->base + link->placed[symbol->st_shndx] +
               symbol->st_value;
    }
    *defined = 0;
    return 0;
}

/* Adds a name to the message's list of missing symbols, once. */
static void list_missing(linker *link, const char *name, size_t *listed)
{
    static const char opening[] = "the object needs symbols that nobody provides:";
    if (link->message_bytes == 0) {
        return;
    }
    if (*listed == 0) {
        *listed = (size_t)snprintf(link->message, link->message_bytes, "%s", opening);
    }
    size_t length = strlen(name);
    const char *place = link->message + sizeof opening - 1;
    while ((place = strstr(place, name)) != NULL) {
        if (place[-1] == ' ' && (place[length] == ' ' || place[length] == 0)) {
            return;
        }
        place++;
    }
    if (*listed + length + 2 < link->message_bytes) {
        snprintf(link->message + *listed, link->message_bytes - *listed, " %s", name);
        *listed += length + 1;
    }
}

static int32_t relocate_section(linker *link, const Elf64_Shdr *section, size_t *missing)
{
    Elf64_Shdr target = section_at(link, section->sh_info);
    uint64_t placed = link->placed[section->sh_info];
    uint64_t base = (uint64_t)(uintptr_t)link->code->base;
    for (uint64_t i = 0; i < section->sh_size / sizeof(Elf64_Rela); i++) {
        Elf64_Rela entry;
        memcpy(&entry, link->object + section->sh_offset + i * sizeof entry, sizeof entry);
        uint64_t index = ELF64_R_SYM(entry.r_info);
        gf_relocation relocation = {.machine = link->header.e_machine,
                                    .type = (uint32_t)ELF64_R_TYPE(entry.r_info),
                                    .addend = entry.r_addend};
        if (relocation.type == 0) {
            continue;
        }
        if (index >= link->symbol_count || entry.r_offset >= target.sh_size) {
            return refuse(link, "a relocation of section %u is damaged", section->sh_info);
        }
        Elf64_Sym symbol = symbol_at(link, index);
        int defined;
        relocation.symbol = resolve(link, &symbol, &defined);
        if (!defined) {
            const char *name = symbol_name(link, &symbol);
            list_missing(link, *name ? name : "(unnamed)", missing);
            continue;
        }
        if (gf_relocation_uses_got(relocation.machine, relocation.type)) {
            uint64_t slot = link->table + 8 * index;
            memcpy(link->code->base + slot, &relocation.symbol, 8);
            relocation.got_slot = base + slot;
        }
        relocation.place = link->code->base + placed + entry.r_offset;
        relocation.room = target.sh_size - entry.r_offset;
        relocation.address = base + placed + entry.r_offset;
        const char *problem = gf_relocate(&relocation);
        if (problem != NULL) {
            return refuse(link, "%s (type %u, symbol %s)", problem, relocation.type,
                          symbol_name(link, &symbol));
        }
    }
    return GF_OK;
}

static int32_t relocate_all(linker *link)
{
    size_t missing = 0;
    for (uint32_t i = 0; i < link->header.e_shnum; i++) {
        Elf64_Shdr section = section_at(link, i);
        if (section.sh_type != SHT_RELA && section.sh_type != SHT_REL) {
            continue;
        }
        if (section.sh_info >= link->header.e_shnum) {
            return refuse(link, "relocation section %u is damaged", i);
        }
        if (link->placed[section.sh_info] == NOT_LOADED) {
            continue;
        }
        if (section.sh_type == SHT_REL ||
            !within(section.sh_offset, section.sh_size, link->bytes)) {
            return refuse(link, "relocation section %u is damaged", i);
        }
        int32_t status = relocate_section(link, &section, &missing);
        if (status != GF_OK) {
            return status;
        }
    }
    return missing ? GF_BAD_OBJECT : GF_OK;
}

/* Keeps the defined global symbols: the object itself is the caller's and may go. */
static int32_t keep_symbols(linker *link)
{
    gf_code *code = link->code;
    code->names = malloc(link->strings_bytes);
    code->symbols = calloc(link->symbol_count + 1, sizeof *code->symbols);
    if (code->names == NULL || code->symbols == NULL) {
        refuse(link, "no memory for the object's symbols");
        return GF_NO_MEMORY;
    }
    memcpy(code->names, link->strings, link->strings_bytes);
    for (uint64_t i = 0; i < link->symbol_count; i++) {
        Elf64_Sym symbol = symbol_at(link, i);
        int defined;
        uint64_t address = resolve(link, &symbol, &defined);
        if (!defined || ELF64_ST_BIND(symbol.st_info) == STB_LOCAL ||
            symbol.st_name >= link->strings_bytes) {
            continue;
        }
        uint64_t first = (uint64_t)(uintptr_t)code->base;
        if (address < first || address >= first + code->bytes) {
            return refuse(link, "symbol %s lies outside its section", symbol_name(link, &symbol));
        }
        code->symbols[code->symbol_count].name = code->names + symbol.st_name;
        code->symbols[code->symbol_count].address = (void *)(uintptr_t)address;
        code->symbol_count++;
    }
    return GF_OK;
}

static int32_t protect(linker *link)
{
    static const int protection[SEGMENTS] = {PROT_READ | PROT_EXEC, PROT_READ,
                                             PROT_READ | PROT_WRITE};
    uint64_t begin = 0;
    __builtin___clear_cache((char *)link->code->base,
                            (char *)link->code->base + link->segment_end[SEGMENT_CODE]);
    for (int segment = 0; segment < SEGMENTS; segment++) {
        uint64_t end = round_up(link->segment_end[segment], link->page);
        if (end > begin &&
            mprotect(link->code->base + begin, end - begin, protection[segment]) != 0) {
            return refuse(link, "this system does not allow mapping generated code");
        }
        begin = end;
    }
    return GF_OK;
}

int32_t gf_code_load(const void *object, size_t bytes, uint32_t flags, gf_code **code,
                     char *message, size_t message_bytes)
{
    linker link = {
        .object = object, .bytes = bytes, .message = message, .message_bytes = message_bytes};
    long page = sysconf(_SC_PAGESIZE);
    link.page = page > 0 ? (uint64_t)page : 4096;
    *code = NULL;
    int32_t status = read_header(&link, flags);
    if (status == GF_OK) {
        status = read_symbols(&link);
    }
    if (status != GF_OK) {
        return status;
    }
    link.placed = malloc(link.header.e_shnum * sizeof *link.placed);
    link.code = calloc(1, sizeof *link.code);
    if (link.placed == NULL || link.code == NULL) {
        free(link.placed);
        free(link.code);
        refuse(&link, "no memory to load the object");
        return GF_NO_MEMORY;
    }
    int32_t (*const stages[])(linker *) = {lay_out, map_sections, relocate_all, keep_symbols,
                                           protect};
    for (size_t i = 0; i < sizeof stages / sizeof *stages && status == GF_OK; i++) {
        status = stages[i](&link);
    }
    free(link.placed);
    if (status == GF_OK) {
        *code = link.code;
    } else {
        gf_code_free(link.code);
    }
    return status;
}

void *gf_code_symbol(const gf_code *code, const char *name)
{
    for (size_t i = 0; i < code->symbol_count; i++) {
        if (strcmp(code->symbols[i].name, name) == 0) {
            return code->symbols[i].address;
        }
    }
    return NULL;
}

const void *gf_code_image(const gf_code *code, size_t *bytes)
{
    *bytes = code->bytes;
    return code->base;
}

static void release(void *code)
{
    gf_code_free(code);
}

gf_step_code gf_code_step(gf_code *code)
{
    gf_step_code result = {.bytes = (int64_t)code->bytes, .owner = code, .release = release};
    /* ISO C has no cast from an address to a function; POSIX gives both one representation. */
    void *sizes = gf_code_symbol(code, "gf_sizes");
    void *step = gf_code_symbol(code, "gf_step");
    _Static_assert(sizeof sizes == sizeof result.sizes, "functions have ordinary addresses");
    memcpy(&result.sizes, &sizes, sizeof sizes);
    memcpy(&result.step, &step, sizeof step);
    return result;
}

void gf_code_free(gf_code *code)
{
    if (code == NULL) {
        return;
    }
    if (code->base != NULL) {
        munmap(code->base, code->bytes);
    }
    free(code->symbols);
    free(code->names);
    free(code);
}
