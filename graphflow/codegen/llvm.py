"""LLVM, by llvmlite: loading it, machines that write code, objects of modules."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from .target import Target

_OPTIMIZATION = 1  # of instruction selection and register allocation; no IR passes are run


@cache
def loaded() -> Any:
    """llvmlite's binding, with the targets it was built for. Loaded when first needed."""
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@cache
def _foreign() -> None:
    binding = loaded()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


def machine(target: Target) -> Any:
    """What writes code for a target: one for each thread, as none can work on two modules at a
    time. It costs about a millisecond, most of it when it is first used."""
    binding = loaded()
    try:
        found = binding.Target.from_triple(target.triple)
    except RuntimeError:
        _foreign()
        found = binding.Target.from_triple(target.triple)
    return found.create_target_machine(
        cpu=target.cpu, features=target.features, opt=_OPTIMIZATION, codemodel="small",
        reloc="static" if target.machine == "wasm32" else "pic",  # there a module has one place
        abiname=target.abi,
    )  # fmt: skip


@cache
def _unlocked() -> Any:
    """llvmlite's function that writes objects, without the lock that lets in one thread at a time:
    LLVM itself keeps threads apart that have contexts and machines of their own. None where this
    llvmlite is put together in another way."""
    from llvmlite.binding import ffi

    name = "LLVMPY_TargetMachineEmitToMemory"
    try:
        found, locked = getattr(ctypes.CDLL(ffi.lib._name), name), getattr(ffi.lib, name)
        found.argtypes, found.restype = locked.argtypes, locked.restype
    except (AttributeError, OSError):
        return None
    return found


def write_object(machine: Any, module: Any) -> bytes:
    """The object of a module that has been read."""
    write = _unlocked()
    if write is None:
        return machine.emit_object(module)
    from llvmlite.binding import ffi

    with ffi.OutputString() as error:
        buffer = write(machine, module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    try:
        start, size = ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(start, size)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


__all__ = ["loaded", "machine", "write_object"]
