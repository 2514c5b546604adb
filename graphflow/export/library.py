"""The compiled library: objects, the archive of them, and the shared library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..codegen.link import data_object, link
from ..codegen.objects import emit, linkable
from ..codegen.target import Target, host
from ..errors import GraphError
from .archive import archive
from .model import Model
from .model_object import RUNTIME, ModelText

ENTRY = "gf_model_entry"


def objects(model: Model, target: Target) -> dict[str, tuple[bytes, list[str]]]:
    """Object files by name, each with the symbols it defines for others: one, where objects of the
    target can be linked here."""
    text = ModelText(model, target)
    source = text.write(whole=not linkable(target))
    data = text.blobs.named
    whole = emit(source, target)
    steps = [compiled for row in model.steps.steps for compiled in row]
    if linkable(target):
        parts = [whole, *(compiled.description.object for compiled in steps)]
        if data:
            parts.append(data_object(whole, data))
        return {f"{model.name}.o": (link(parts, text.functions, RUNTIME), text.functions)}
    found = {f"{model.name}.o": (whole, [*text.functions, *data])}
    for compiled in steps:
        name = f"{model.name}_{compiled.signature.name}_{compiled.variant.name}.o"
        found[name] = (compiled.description.object, list(compiled.names))
    return found


def static_library(made: Mapping[str, tuple[bytes, list[str]]]) -> bytes:
    return archive([(name, data, symbols) for name, (data, symbols) in made.items()])


def runtime_sources() -> dict[str, bytes]:
    """The run-time core that hosts compile, by path: what shared libraries of any kind of machine
    are made of, without what maps objects into a Python process."""
    root = Path(__file__).resolve().parent.parent / "native"
    left_out = {"loader.c", "relocate.c", "relocate.h", "loader.h"}
    files = [*(root / "core").glob("*.[ch]"), *(root / "include" / "graphflow").glob("*.h")]
    found = {}
    for path in sorted(files):
        if path.name in left_out:
            continue
        folder = "graphflow/" if path.parent.name == "graphflow" else ""
        found[folder + path.name] = path.read_bytes()
    return found


def compiler_for(target: Target) -> list[str]:
    """The command of a C compiler for the target. GraphError where none is found."""
    native = host().triple == target.triple
    triple = target.triple.replace("-unknown", "")
    tried = ["cc", "gcc", "clang"] if native else [f"{triple}-gcc"]
    for name in tried:
        if shutil.which(name):
            return [name]
    if not native and shutil.which("clang"):
        return ["clang", f"--target={triple}"]
    raise GraphError(
        f"export: a shared library needs a C compiler for {triple}, and none of "
        f"{', '.join(tried)} is installed; kind='static' and kind='object' need none"
    )


def _entry(model: Model, target: Target) -> str:
    """What gf_model_open looks for: see gf_model_export in model.h."""
    return f"""target triple = "{target.triple}"
@{model.prefix}_spec = external constant i8
@gf_model_all_functions = external hidden constant i8
@{ENTRY} = constant {{ptr, ptr}} {{ptr @{model.prefix}_spec, ptr @gf_model_all_functions}}
"""


def shared_library(
    model: Model, target: Target, made: Mapping[str, tuple[bytes, list[str]]], folder: Path,
    output: Path,
) -> None:  # fmt: skip
    """Links objects and runtime into a shared library that shows the model's functions alone."""
    made = {**made, "entry.o": (emit(_entry(model, target), target), [ENTRY])}
    names = sorted({symbol for _, symbols in made.values() for symbol in symbols})
    script = folder / "exports.map"
    script.write_text("{ global: " + " ".join(f"{n};" for n in names) + " local: *; };\n")
    paths = []
    for name, (data, _) in made.items():
        (folder / name).write_bytes(data)
        paths.append(str(folder / name))
    for name, data in runtime_sources().items():
        path = folder / "runtime" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    sources = sorted(str(path) for path in (folder / "runtime").glob("*.c"))
    command = [
        *compiler_for(target), "-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden",
        f"-I{folder / 'runtime'}", *sources, *paths, "-o", str(output), "-pthread", "-lm",
        f"-Wl,--version-script={script}", f"-Wl,-soname,{output.name}", "-Wl,--build-id=none",
        "-Wl,-z,noexecstack", "-s",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GraphError(f"export: the shared library cannot be linked:\n{done.stderr[-2000:]}")


__all__ = ["compiler_for", "objects", "runtime_sources", "shared_library", "static_library"]
