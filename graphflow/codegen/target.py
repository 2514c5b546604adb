"""What code generation knows about a processor. Computing it needs no LLVM: it is part of the key
of the compile cache, and a warm start must not load LLVM.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..dtypes import DType

# Flags of /proc/cpuinfo whose names differ from LLVM's; others that LLVM knows are the same.
_RENAMED = {
    "sse4_1": "sse4.1", "sse4_2": "sse4.2", "pni": "sse3", "abm": "lzcnt", "bmi1": "bmi",
    "pclmulqdq": "pclmul", "lahf_lm": "sahf", "avx512_vbmi2": "avx512vbmi2",
    "avx512_vnni": "avx512vnni", "avx512_bf16": "avx512bf16", "avx512_bitalg": "avx512bitalg",
    "avx512_vpopcntdq": "avx512vpopcntdq", "avx512_fp16": "avx512fp16", "avx_vnni": "avxvnni",
}  # fmt: skip
_SAME = (
    "sse", "sse2", "ssse3", "popcnt", "avx", "avx2", "fma", "f16c", "bmi2", "movbe", "cx16", "gfni",
    "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512vbmi", "avx512ifma",
)  # fmt: skip
_V2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+sahf"
_V3 = _V2 + ",+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"
_V4 = _V3 + ",+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"
_AVX512 = frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"))

# What code may need of a processor, each at the number of its bit: see native/core/cpu.c, which
# finds out what there is. Only ever add to its end.
FEATURES = (
    "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16", "sahf", "avx", "avx2",
    "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe", "avx512f", "avx512bw", "avx512cd", "avx512dq",
    "avx512vl", "avx512vbmi", "avx512ifma", "avx512vbmi2", "avx512vnni", "avx512bf16",
    "avx512bitalg", "avx512vpopcntdq", "avx512fp16", "avxvnni", "gfni", "pclmul", "neon",
    "fp-armv8", "m", "a", "f", "d", "c", "mutable-globals", "nontrapping-fptoint", "sign-ext",
    "simd128",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A processor to generate code for.

    triple, cpu, features: as LLVM names them
    vector_bits: of one vector register; 0: scalar code only
    registers: number of vector registers
    has_fma: fused multiply-add in hardware
    has_masks: loads, stores and arithmetic under a mask cost as much as without one
    has_rounding: floor, ceil, trunc and round to even are instructions
    abi: which calling convention, as LLVM names it, where a processor has several
    l1, l2, l3: bytes of the data caches one thread has the use of
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    has_fma: bool
    has_masks: bool
    has_rounding: bool
    abi: str = ""
    l1: int = 32 << 10
    l2: int = 512 << 10
    l3: int = 8 << 20

    def lanes(self, dtype: DType) -> int:
        """Elements of a dtype in one vector register, 1 where there are no vectors."""
        return max(1, self.vector_bits // max(8, dtype.bits))

    @property
    def key(self) -> str:
        """Everything code depends on, as one text."""
        return repr(self)

    @property
    def machine(self) -> str:
        return self.triple.split("-")[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """The features that a processor must have to run code for this one, by name."""
        named = [feature.removeprefix("+") for feature in self.features.split(",") if feature]
        least = ["sse", "sse2"] if self.machine == "x86_64" else []  # which no x86-64 is without
        return tuple(sorted({*least, *named}, key=FEATURES.index))

    @property
    def needs_bits(self) -> int:
        """The same as a number: the bits of gf_cpu_features (cpu.h)."""
        return sum(1 << FEATURES.index(feature) for feature in self.needs)

    @property
    def pointer_bytes(self) -> int:
        return 4 if self.machine == "wasm32" else 8


def _x86(features: str, **facts) -> Target:
    known = {
        "triple": "x86_64-unknown-linux-gnu", "cpu": "x86-64", "features": features,
        "vector_bits": 128, "registers": 16, "has_fma": False, "has_masks": False,
        "has_rounding": False,
    }  # fmt: skip
    return Target(**{**known, **facts})


LEVELS: dict[str, Target] = {
    "scalar": _x86("", vector_bits=0),
    "sse2": _x86(""),
    "avx2": _x86(_V3, vector_bits=256, has_fma=True, has_rounding=True),
    "avx512": _x86(
        _V4, vector_bits=512, registers=32, has_fma=True, has_masks=True, has_rounding=True
    ),
    "aarch64": Target(
        "aarch64-unknown-linux-gnu", "generic", "+neon,+fp-armv8", vector_bits=128, registers=32,
        has_fma=True, has_masks=False, has_rounding=True,
    ),
    # The V extension is left out: most of the processors in use have none.
    "riscv64": Target(
        "riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c", vector_bits=0, registers=32,
        has_fma=True, has_masks=False, has_rounding=False, abi="lp64d",
    ),
    # What engines agree on since 2021, and every linker since then understands.
    "wasm32": Target(
        "wasm32-unknown-unknown", "mvp", "+mutable-globals,+nontrapping-fptoint,+sign-ext,+simd128",
        vector_bits=128, registers=16, has_fma=False, has_masks=False, has_rounding=True,
    ),
}  # fmt: skip

# Names as compilers have them, and the least processor that each can mean.
_TRIPLES = (
    (re.compile(r"x86[-_]64(-(unknown|pc))?(-linux(-gnu|-musl)?)?"), "sse2"),
    (re.compile(r"aarch64(-unknown)?-linux(-gnu|-musl)?"), "aarch64"),
    (re.compile(r"riscv64(-unknown)?-linux(-gnu|-musl)?"), "riscv64"),
    (re.compile(r"wasm32(-unknown)?-(unknown|wasi|wasip1)"), "wasm32"),
)


def level(name: str) -> Target:
    """A named instruction set, one of LEVELS, or the least one of a machine that is named as
    compilers do: "aarch64-linux-gnu", "x86_64-unknown-linux-gnu", "wasm32-wasi"."""
    meant = next((least for names, least in _TRIPLES if names.fullmatch(name)), name)
    found = LEVELS.get(meant)
    if found is None:
        machines = "x86-64-linux-gnu, aarch64-linux-gnu, riscv64-linux-gnu, wasm32-wasi"
        names = f"{', '.join(LEVELS)}, and triples such as {machines}"
        raise ValueError(f"no target is called {name!r}; there are {names}")
    return found


@cache
def host() -> Target:
    """The processor this process runs on."""
    caches = _caches()
    if platform.machine() in ("aarch64", "arm64"):
        return Target(**{**vars(LEVELS["aarch64"]), **caches})
    flags = _flags()
    features = [name for name in _SAME if name in flags]
    features += [llvm for linux, llvm in _RENAMED.items() if linux in flags]
    base = _x86(",".join(f"+{name}" for name in sorted(features)), **caches)
    if not {"sse4_1"} <= flags:
        return base
    facts = {**vars(base), "has_rounding": True}
    if {"avx2", "fma"} <= flags:
        facts.update(vector_bits=256, has_fma=True)
    if flags >= _AVX512 and facts["has_fma"]:
        facts.update(vector_bits=512, registers=32, has_masks=True, cpu=_tuning())
    return Target(**facts)


def named(name: str | None) -> Target:
    """The target a setting names; the host where it names none."""
    return host() if name in (None, "", "host", "native") else level(name)


def _cpuinfo() -> dict[str, str]:
    """The first processor's entry of /proc/cpuinfo; empty where there is none."""
    found: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if not value:
                    break
                found[name.strip()] = value.strip()
    except OSError:
        pass
    return found


def _flags() -> frozenset[str]:
    return frozenset(_cpuinfo().get("flags", "").split())


def _tuning() -> str:
    """The scheduling model: the features are listed apart, so it may only be slow, not wrong."""
    info = _cpuinfo()
    if info.get("vendor_id") == "AuthenticAMD":
        return "znver5" if info.get("cpu family") == "26" else "znver4"
    return "x86-64-v4"


def _caches() -> dict[str, int]:
    """Sizes of the data caches, from sysfs; those not found keep their defaults."""
    found: dict[str, int] = {}
    units = {"K": 1 << 10, "M": 1 << 20}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind = (folder / "type").read_text().strip()
            level_ = (folder / "level").read_text().strip()
            size = (folder / "size").read_text().strip()
        except OSError:
            continue
        if kind != "Instruction" and size[-1:] in units and size[:-1].isdigit():
            found[f"l{level_}"] = int(size[:-1]) * units[size[-1]]
    return {name: found[name] for name in ("l1", "l2", "l3") if name in found}
