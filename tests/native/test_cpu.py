"""What the core finds out about the processor, and what targets say they need of one."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from graphflow.codegen.target import FEATURES, LEVELS, host

NATIVE = Path(__file__).resolve().parents[2] / "native"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    library = tmp_path_factory.mktemp("cpu") / "libcpu.so"
    source = NATIVE / "core" / "cpu.c"
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", f"-I{NATIVE / 'include'}"]
    subprocess.run(["cc", *flags, *WARNINGS, str(source), "-o", str(library)], check=True)
    found = ctypes.CDLL(str(library))
    found.gf_cpu_features.restype = ctypes.c_uint64
    found.gf_cpu_names.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t]
    return found


def features_program(folder: Path, compiler: str) -> Path:
    """A program that prints the bits of the processor it runs on."""
    source, program = folder / "features.c", folder / "features"
    source.write_text(
        '#include <stdio.h>\n#include "graphflow/cpu.h"\n'
        'int main(void)\n{\n    printf("%llu\\n", (unsigned long long)gf_cpu_features());\n}\n'
    )
    flags = ["-std=c11", "-static", f"-I{NATIVE / 'include'}", *WARNINGS]
    core = str(NATIVE / "core" / "cpu.c")
    subprocess.run([compiler, *flags, str(source), core, "-o", str(program)], check=True)
    return program


def names(cpu, bits: int, room: int = 1000) -> str:
    text = ctypes.create_string_buffer(b"?" * 1200)
    cpu.gf_cpu_names(bits, text, room)
    assert text.raw[room:] == b"?" * (1200 - room) + b"\0"
    return text.value.decode()


def test_bits_mean_the_same_to_the_compiler_and_to_the_core(cpu):
    for number, name in enumerate(FEATURES):
        assert names(cpu, 1 << number) == name
    assert names(cpu, 1 << len(FEATURES)) == f"feature {len(FEATURES)}"
    assert len(FEATURES) < 64


def test_several_names_and_little_room(cpu):
    bits = sum(1 << FEATURES.index(name) for name in ("avx2", "fma", "bmi"))
    assert names(cpu, bits) == "avx2, fma, bmi"
    assert names(cpu, 0) == ""
    for room in range(1, 20):
        text = names(cpu, bits, room)
        assert text in ("", "avx2", "avx2, fma", "avx2, fma, bmi") and len(text) < room
        assert (text == "avx2, fma, bmi") == (room > 14)


@pytest.mark.parametrize("name", LEVELS)
def test_every_feature_of_a_level_has_its_bit(name):
    target = LEVELS[name]
    listed = {feature.removeprefix("+") for feature in target.features.split(",") if feature}
    bits = {number for number in range(64) if target.needs_bits >> number & 1}
    assert listed <= {FEATURES[number] for number in bits}
    assert {FEATURES[number] for number in bits} == set(target.needs)
    if target.machine == "x86_64":
        assert {"sse", "sse2"} <= set(target.needs)


def test_levels_include_each_other():
    bits = [LEVELS[name].needs_bits for name in ("sse2", "avx2", "avx512")]
    assert bits[0] & ~bits[1] == 0 and bits[1] & ~bits[2] == 0
    assert bits[0] < bits[1] < bits[2]


def test_this_processor_has_what_the_kernel_says(cpu):
    """/proc/cpuinfo, which host() reads, leaves out what the operating system does not support."""
    found = cpu.gf_cpu_features()
    assert host().needs_bits & ~found == 0, names(cpu, host().needs_bits & ~found)
    if host().machine == "x86_64":
        known = {FEATURES.index(name) for name in host().needs}
        assert {number for number in range(64) if found >> number & 1} == known


@pytest.mark.parametrize(
    ("compiler", "emulator", "level"),
    [
        ("aarch64-linux-gnu-gcc", "qemu-aarch64", "aarch64"),
        ("riscv64-linux-gnu-gcc", "qemu-riscv64", "riscv64"),
        ("cc", None, "sse2" if host().machine == "x86_64" else host().machine),
    ],
)
def test_other_processors_have_their_least(tmp_path, compiler, emulator, level):
    for tool in (compiler, emulator):
        if tool is not None and shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    program = features_program(tmp_path, compiler)
    command = [*([emulator] if emulator else []), str(program)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert LEVELS[level].needs_bits & ~int(done.stdout) == 0


def test_a_processor_without_avx_is_not_taken_for_one_with_it(tmp_path, cpu):
    emulator = "qemu-x86_64"
    if host().machine != "x86_64" or shutil.which(emulator) is None:
        pytest.skip(f"needs {emulator} on x86-64")
    program = features_program(tmp_path, "cc")
    for model, has, lacks in [
        ("Nehalem", {"sse4.2", "popcnt"}, {"avx", "avx2", "fma", "avx512f"}),
        ("Haswell", {"avx2", "fma", "bmi2", "movbe"}, {"avx512f", "avx512vl"}),
    ]:
        done = subprocess.run(
            [emulator, "-cpu", model, str(program)], check=True, capture_output=True, text=True
        )
        found = set(names(cpu, int(done.stdout)).split(", "))
        assert has <= found and not lacks & found
