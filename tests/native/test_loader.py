"""The loader maps what LLVM emits and refuses everything else without falling over."""

import random
from pathlib import Path

import pytest
from step_objects import assemble, step

from graphflow import _native, runtime

RICH = """
@table = private unnamed_addr constant [4 x i32] [i32 10, i32 20, i32 30, i32 40], align 64
@exported = constant [2 x i64] [i64 5, i64 7], align 64
@counter = global i32 3
@zeroed = internal global [100 x i32] zeroinitializer, align 64
@where = constant ptr @exported

define internal i32 @double(i32 %x) noinline {
  %y = add i32 %x, %x
  ret i32 %y
}
define void @gf_sizes(ptr %symbols, ptr %values) {
  ret void
}
define i32 @gf_step(ptr %frame) {
  ret i32 0
}
define i32 @sum(i32 %i) {
  %a = getelementptr [4 x i32], ptr @table, i32 0, i32 %i
  %b = load i32, ptr %a
  %c = load i32, ptr @counter
  %z = getelementptr [100 x i32], ptr @zeroed, i32 0, i32 %i
  %e = load i32, ptr %z
  store i32 %c, ptr %z
  %p = load ptr, ptr @where
  %q = getelementptr i64, ptr %p, i32 1
  %r = load i64, ptr %q
  %s = trunc i64 %r to i32
  %t = add i32 %b, %c
  %u = add i32 %t, %s
  %v = add i32 %u, %e
  %d = call i32 @double(i32 %v)
  ret i32 %d
}
"""


def load(code: bytes):
    return runtime.Description(code).load()


def test_sections_relocations_and_alignment():
    image, base, names = _native.link_object(assemble(RICH), ["exported", "sum", "absent"])
    assert names["absent"] is None
    assert names["exported"] % 64 == 0
    assert base <= names["sum"] < base + len(image)
    offset = names["exported"] - base
    assert image[offset : offset + 16] == (5).to_bytes(8, "little") + (7).to_bytes(8, "little")
    load(assemble(RICH))


def test_code_with_tables_and_calls_runs():
    text = RICH.replace(
        "define i32 @gf_step(ptr %frame) {\n  ret i32 0",
        """define i32 @gf_step(ptr %frame) {
  %o = call ptr @pointer(ptr %frame, i64 0)
  %first = call i32 @sum(i32 2)
  %second = call i32 @sum(i32 2)
  store i32 %first, ptr %o
  %o1 = getelementptr i32, ptr %o, i32 1
  store i32 %second, ptr %o1
  ret i32 0""",
    )
    from runs import Session

    description = runtime.Description(
        assemble(text), outputs=[runtime.Output("int32", (2,), pointer=0)]
    )
    # 2 * (30 + 3 + 7 + 0), then the zeroed cell holds 3
    assert Session(description).run(0).tolist() == [80, 86]


def test_undefined_symbols_are_named():
    text = """
declare float @expf(float)
declare double @missing_function(double)
declare double @missing(double)
define i32 @gf_step(ptr %frame) {
  %a = call float @expf(float 1.0)
  %b = call double @missing_function(double 1.0)
  %c = call double @missing_function(double 2.0)
  %d = call double @missing(double 2.0)
  ret i32 0
}"""
    with pytest.raises(ValueError, match="nobody provides") as caught:
        load(assemble(text))
    names = str(caught.value).split(": ")[1].split()
    assert sorted(names) == ["expf", "missing", "missing_function"]


def test_missing_step_is_named():
    with pytest.raises(ValueError, match="gf_step"):
        load(assemble("define void @gf_sizes(ptr %a, ptr %b) {\n ret void\n}"))


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(200), bytes(64), b"x" * 5000])
def test_foreign_bytes(data):
    with pytest.raises(ValueError):
        load(data)


def test_every_truncation_is_refused_or_harmless():
    whole = assemble(RICH)
    refused = 0
    for length in range(0, len(whole), 7):
        try:
            _native.link_object(whole[:length], ["sum"])
        except ValueError:
            refused += 1
    assert refused > len(whole) // 7 * 0.9


def test_damaged_bytes_never_crash():
    rng = random.Random(7)
    whole = assemble(RICH)
    refused = 0
    for _ in range(4000):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x40))
        try:
            _native.link_object(bytes(damaged), ["sum", "exported"])
        except ValueError:
            refused += 1
    assert refused > 100


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def test_aarch64_relocations():
    """The linked image is decoded by hand: it cannot run here."""
    text = """
@near = internal constant [4 x i64] [i64 1, i64 2, i64 3, i64 4], align 64
@far = constant i64 9
define internal i64 @callee(i64 %x) noinline {
  %y = mul i64 %x, %x
  ret i64 %y
}
define i64 @entry(i64 %i) {
  %a = getelementptr [4 x i64], ptr @near, i64 0, i64 %i
  %b = load i64, ptr %a
  %c = load i64, ptr @far
  %d = add i64 %b, %c
  %e = call i64 @callee(i64 %d)
  %f = add i64 %e, 1
  ret i64 %f
}"""
    code = assemble(text, "aarch64-linux-gnu", False)
    with pytest.raises(ValueError, match="cannot run"):
        load(code)
    image, base, names = _native.link_object(code, ["entry", "far"])
    words = [
        int.from_bytes(image[at : at + 4], "little")
        for at in range(names["entry"] - base, names["entry"] - base + 80, 4)
    ]
    pages: dict[int, int] = {}
    targets, calls = set(), []
    for index, word in enumerate(words):
        address = names["entry"] + 4 * index
        if word & 0x9F000000 == 0x90000000:  # adrp
            high = signed((word >> 5) & 0x7FFFF, 19) << 2 | (word >> 29) & 3
            pages[word & 31] = (address & ~0xFFF) + (high << 12)
        elif word & 0xFFC00000 == 0x91000000 and (word >> 5) & 31 in pages:  # add
            targets.add(pages[(word >> 5) & 31] + ((word >> 10) & 0xFFF))
        elif word & 0xFFC00000 == 0xF9400000 and (word >> 5) & 31 in pages:  # ldr x
            targets.add(pages[(word >> 5) & 31] + 8 * ((word >> 10) & 0xFFF))
        elif word & 0xFC000000 == 0x94000000:  # bl
            calls.append(address + 4 * signed(word & 0x3FFFFFF, 26))
        elif word == 0xD65F03C0:  # ret
            break
    assert len(calls) == 1 and base <= calls[0] < base + len(image)
    assert image[calls[0] - base : calls[0] - base + 4] == bytes.fromhex("007c009b")  # mul x0,x0,x0
    slots = {t: int.from_bytes(image[t - base : t - base + 8], "little") for t in targets}
    assert 1 in slots.values(), "the table"
    assert names["far"] in slots.values() or 9 in slots.values(), "directly or by the offset table"


def test_stored_form_round_trips_and_detects_damage():
    code = step(" ret i32 0")
    description = runtime.Description(
        code,
        value_count=0,
        feeds=(runtime.Feed(0, "float32", (4,), None, "x"),),
        outputs=(runtime.Output("float32", (4,), source="feed", index=0),),
        buffers=(runtime.Buffer(1, 64, 0, 0),),
        notes={"sites": [[1, "a"]]},
    )
    data = description.to_bytes()
    assert runtime.Description.from_bytes(data) == description
    for length in (0, 10, 63, 64, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError):
            runtime.Description.from_bytes(data[:length])
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        runtime.Description.from_bytes(bytes(damaged))


def test_the_mapping_is_released():
    code = assemble(RICH)

    def mappings():
        return len(Path("/proc/self/maps").read_text().splitlines())

    before = mappings()
    for _ in range(200):
        load(code)
    assert mappings() <= before + 8
