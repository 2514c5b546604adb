"""The systems that are compared, and what a process is asked to run on one of them."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from ..workloads import (
    DISPATCH,
    GEMM,
    INFER,
    KERNELS,
    LENGTHS,
    RECURRENT_INFER,
    RECURRENT_TRAIN,
    SEQUENCES,
    SPINN,
    TRAIN,
    TREES,
    Workload,
)
from ..workloads import by_name as workload_named

CHANNELS_FIRST, CHANNELS_LAST = "channels-first", "channels-last"


@dataclass(frozen=True)
class SystemInfo:
    """A column of the tables.

    module, mode: the module of this package that runs it, and what it is told
    needs:        packages without which it is absent
    kinds:        the workloads it runs
    layouts:      of images, where it can work in several
    peer:         someone else's: what graphflow is compared with
    models:       the only ones it runs, where it cannot run all
    """

    name: str
    module: str
    needs: tuple[str, ...]
    kinds: tuple[str, ...]
    mode: str = ""
    layouts: tuple[str, ...] = (CHANNELS_LAST,)
    peer: bool = True
    models: tuple[str, ...] = ()

    def runs(self, workload: Workload) -> bool:
        return workload.kind in self.kinds and workload.model in (self.models or (workload.model,))

    def installed(self) -> bool:
        return all(importlib.util.find_spec(package) is not None for package in self.needs)


_ALL = (DISPATCH, TRAIN, INFER, KERNELS, GEMM)
_NO_GEMM = (DISPATCH, TRAIN, INFER, KERNELS)
_BOTH = (CHANNELS_FIRST, CHANNELS_LAST)
_TF = ("tensorflow",)
_RECURRENT = (RECURRENT_TRAIN, RECURRENT_INFER, LENGTHS)

SYSTEMS = (
    SystemInfo(
        "graphflow",
        "on_graphflow",
        ("graphflow",),
        (*_ALL, *SEQUENCES),
        "compiled",
        peer=False,
    ),
    SystemInfo(
        "graphflow-op-by-op", "on_graphflow", ("graphflow",), _NO_GEMM, "op-by-op", peer=False
    ),
    SystemInfo("torch", "on_torch", ("torch",), (*_ALL, *SEQUENCES), "eager", _BOTH),
    SystemInfo("torch-loop", "on_torch", ("torch",), _RECURRENT, "loop"),
    SystemInfo("torch-levels", "on_torch", ("torch",), (TREES,), "levels"),
    SystemInfo("torch.compile", "on_torch", ("torch",), (*_NO_GEMM, *_RECURRENT), "compile", _BOTH),
    SystemInfo("jax", "on_jax", ("jax",), (*_ALL, *SEQUENCES)),
    SystemInfo("tf1", "on_tensorflow", _TF, (*_ALL, *SEQUENCES), "graph"),
    SystemInfo("tf1-block", "on_tensorflow", _TF, _RECURRENT, "block", models=("lstm", "lstm32")),
    SystemInfo("tf-eager", "on_tensorflow", _TF, _NO_GEMM, "eager"),
    SystemInfo("xla", "on_tensorflow", _TF, (*_NO_GEMM, *_RECURRENT), "xla"),
    SystemInfo(
        "onnxruntime",
        "on_onnxruntime",
        ("onnxruntime", "onnx"),
        (DISPATCH, INFER, KERNELS, GEMM, RECURRENT_INFER),
        layouts=(CHANNELS_FIRST,),
    ),
    SystemInfo("numpy", "on_numpy", ("numpy",), (DISPATCH, KERNELS, GEMM)),
    SystemInfo("machine", "on_machine", ("llvmlite",), (KERNELS, GEMM), peer=False),
)


def by_name(name: str) -> SystemInfo:
    return next(system for system in SYSTEMS if system.name == name)


@dataclass(frozen=True)
class Request:
    """One process: which workload on which system, and how.

    weights: the .npz of initial values; models: folder of exported models
    seconds: to spend on measuring each figure
    options: of the system: `disable`, `static`
    """

    workload: str
    system: str
    threads: int = 2
    layout: str = CHANNELS_LAST
    seconds: float = 1.0
    weights: str = ""
    models: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def load(request: Request) -> Any:
    """The system of a request, its library imported; sequences have modules of their own, and so
    have graphflow's trees."""
    info, kind = by_name(request.system), workload_named(request.workload).kind
    prefix = "sequences_" if kind in SEQUENCES else ""
    if kind in (SPINN, TREES) and info.name == "graphflow":
        prefix = "trees_"
    module = importlib.import_module(f"{__name__}.{prefix}{info.module}")
    return module.System(request, info.mode)
