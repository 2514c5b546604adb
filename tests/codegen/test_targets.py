"""Code for other machines than this one: what it is called, what it needs, where it finds what its
host gives it. tests/native/test_hosts.py runs some of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cases import all_cases

import graphflow as tf
from graphflow.codegen import cpu_operators, objects
from graphflow.codegen.layout import Layout
from graphflow.codegen.target import LEVELS, level
from graphflow.description import Parts
from graphflow.ir.graph import get_default_graph
from graphflow.loop.parse import parse_kernel
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.pipeline import PassOptions, run_graph_passes
from graphflow.passes.planning.build_plan import build_plan

from .object_symbols import symbols
from .run_kernel import Loaded

INCLUDE = Path(__file__).resolve().parents[2] / "native" / "include"
FOREIGN = ("aarch64", "riscv64", "wasm32")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("x86-64-linux-gnu", "sse2"),
        ("x86_64-linux-gnu", "sse2"),
        ("x86_64-unknown-linux-gnu", "sse2"),
        ("x86_64-pc-linux-gnu", "sse2"),
        ("aarch64-linux-gnu", "aarch64"),
        ("aarch64-unknown-linux-gnu", "aarch64"),
        ("riscv64-linux-gnu", "riscv64"),
        ("wasm32", "wasm32"),
        ("wasm32-wasi", "wasm32"),
        ("wasm32-unknown-unknown", "wasm32"),
        *((name, name) for name in LEVELS),
    ],
)
def test_names_of_targets(name, least):
    assert level(name) is LEVELS[least]


@pytest.mark.parametrize(
    "name", ["", "z80", "aarch64-windows-msvc", "wasm32-linux-gnu", "x86-64-linux-gnux32", "avx2-"]
)
def test_names_of_no_target(name):
    with pytest.raises(ValueError, match="no target is called .*there are scalar, .*riscv64-linux"):
        level(name)


# -- where fields are


def _assertions(pointer_bytes: int) -> str:
    """C that compiles where the structures are laid out as generated code believes."""
    layout = Layout.of(pointer_bytes)
    members = {"fail_value0": "fail_values[0]", "fail_value1": "fail_values[1]"}
    lines = ["#include <stddef.h>", '#include "graphflow/frame.h"']
    lines += [f'_Static_assert(sizeof(void *) == {pointer_bytes}, "pointers");']
    for structure, offsets in (("gf_frame", layout.frame), ("gf_table", layout.table)):
        for name, offset in offsets.items():
            member = members.get(name, name)
            place = f"offsetof({structure}, {member}) == {offset}"
            lines.append(f'_Static_assert({place}, "{structure}.{name}");')
    return "\n".join(lines) + "\n"


COMPILERS = [
    (8, ("cc",)),
    (8, ("aarch64-linux-gnu-gcc",)),
    (8, ("riscv64-linux-gnu-gcc",)),
    (4, ("clang", "--target=wasm32")),
]


@pytest.mark.parametrize(("pointer_bytes", "command"), COMPILERS)
def test_fields_are_where_the_c_compiler_puts_them(tmp_path, pointer_bytes, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    source = tmp_path / "offsets.c"
    source.write_text(_assertions(pointer_bytes))
    flags = ["-std=c11", "-ffreestanding", "-fsyntax-only", f"-I{INCLUDE}"]
    subprocess.run([*command, *flags, str(source)], check=True)
    wrong = _assertions(pointer_bytes).replace("== 0,", "== 1,")
    source.write_text(wrong)
    done = subprocess.run([*command, *flags, str(source)], capture_output=True, check=False)
    assert done.returncode


def test_fields_of_32_bit_machines_follow_the_rules():
    layout = Layout.of(4)
    assert layout.frame == {
        "table": 0, "pointers": 4, "values": 8, "status": 12, "profile": 16, "site": 20,
        "launch": 24, "fail_value0": 32, "fail_value1": 40, "runtime": 48, "prepared": 52,
        "reserved": 56,
    }  # fmt: skip
    assert layout.table["parallel_for"] == 8 and layout.table["bind"] == 36


# -- what objects need and show


def compiled(fetches, feeds, target: str, **options) -> bytes:
    tensors = [tf.convert_to_tensor(fetch) for fetch in fetches]
    program = run_graph_passes(cut(get_default_graph(), tensors, feeds), PassOptions())
    plan = build_plan(program, level(target), PassOptions())
    symbols_ = Parts.of(program).symbols
    return objects.compile_plan(plan, symbols_, level(target), **options)


# Every fourth case of the table is tried always, all of them among the slow tests.
CASES = [
    pytest.param(case, id=str(case), marks=[pytest.mark.slow] if number % 4 else [])
    for number, case in enumerate(all_cases())
]


@pytest.mark.parametrize("case", CASES)
def test_no_operation_needs_a_function_of_others(case):
    """LLVM calls libgcc and libm for what a processor cannot do itself, unless nobody asks."""
    feeds = case.placeholders(case.symbolic is not None)
    outputs = case.outputs(feeds)
    for target in FOREIGN:
        found = symbols(compiled(outputs, feeds, target))
        assert not found.needed, target
        assert found.shown == {"gf_sizes", "gf_step"}


HIGH = """
kernel high(in a: int64[n], in b: int64[n], out c: int64[n]) {
    vector i < size(n) {
        c[i] = mulhi(a[i], b[i])
    }
}
"""


@pytest.mark.parametrize("target", FOREIGN)
def test_no_high_half_of_a_product_needs_one(target):
    assert not symbols(objects.compile_kernels([parse_kernel(HIGH)], level(target))).needed


def test_high_halves_of_products_from_halves_of_factors(monkeypatch):
    monkeypatch.setitem(
        cpu_operators._INTEGERS,
        "mulhi",
        lambda f, target, a, b: cpu_operators._mulhi_of_halves(f, a, b),
    )
    edges = [0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -(2**63), 0x0123456789ABCDEF]
    a, b = (np.array(m, np.int64).reshape(-1) for m in np.meshgrid(edges, edges))
    kernel = parse_kernel(HIGH)
    high = np.zeros_like(a)
    Loaded(kernel, level("sse2"))([a, b, high], len(a))
    mask = 2**64 - 1
    wanted = [((int(x) & mask) * (int(y) & mask)) >> 64 for x, y in zip(a, b, strict=True)]
    assert [int(x) & mask for x in high] == wanted


@pytest.mark.parametrize("target", ["sse2", "avx2", *FOREIGN])
@pytest.mark.parametrize("piece", [1, 1 << 30])
def test_a_step_shows_two_names_only(monkeypatch, target, piece):
    monkeypatch.setattr(objects, "_PIECE", piece)
    x = tf.placeholder(tf.float32, [None, 9])
    w = tf.Variable(np.linspace(-1, 1, 63, dtype=np.float32).reshape(9, 7))
    y = tf.nn.softmax(tf.matmul(tf.tanh(x), w))
    names = ("digits_sizes", "digits_step")
    found = symbols(compiled([y, tf.gradients(y, w)[0]], [x], target, names=names))
    assert found.shown == set(names)
    assert not found.needed
