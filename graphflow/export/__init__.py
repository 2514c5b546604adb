"""Ahead-of-time export: a graph as a library that C and C++ programs link.

signatures   named feeds and fetches, checked
steps        each of them compiled for each instruction set, by the Session's own pipeline
model        what the export consists of: names, sizes, variables
model_object, constants   the object that describes it and has the functions
library      objects, static and shared libraries; the runtime's sources
header       NAME.h
files        everything else that lies beside them
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import knobs as knobs_
from ..compile import CompileOptions
from ..errors import FailedPreconditionError, PermissionDeniedError
from ..ir.graph import default_session, get_default_graph
from ..ir.variable import VariableHandle
from ..session import Session
from . import files, library
from .header import c_header
from .model import BuiltVariant, Model, Variable, describe_signature, static_shape
from .signatures import identifier, identifiers, resolve
from .steps import Steps, Variant, compile_all, variants

KINDS = ("static", "shared", "object")
WEIGHTS = ("file", "embedded")


def export(
    directory: str | os.PathLike,
    signatures: Mapping[str, Mapping[str, Any]],
    session: Session | None = None,
    name: str = "model",
    target: str | None = None,
    kind: str = "static",
    weights: str = "file",
) -> list[str]:
    """Writes a library that runs `signatures` without Python; returns the files it wrote.

    signatures: {"predict": {"feeds": {"x": x}, "fetches": {"p": p}}, "train_step": …}. Feeds are
        tensors of known rank, fetches tensors, variables or operations (which give no output).
        The signatures share their variables
    session: whose variables the library starts with; the default session if None. Without one,
        some signature has to initialise the variables
    name: of the library, its header and its functions
    target: None: this kind of machine, with code for every processor of it; a triple such as
        "aarch64-linux-gnu": the same for another kind; "native": this very processor; the name of
        an instruction set ("sse2", "avx2", "avx512"): that one alone
    kind: "static": an archive and "object": one object file, for which no compiler is needed here;
        "shared": a shared library, made by the C compiler
    weights: "file": NAME.safetensors beside the library; "embedded": inside it

    The code is what a Session with the same instruction set runs, so results are the same bits. The
    same graph, values and version give the same bytes.

    Raises FeedError, FetchError, TypeError or ValueError for what is wrong with the arguments,
    GraphError for what needs Python to run (py_func, print) or cannot be compiled or linked,
    FailedPreconditionError for a variable that nothing gives a value, PermissionDeniedError where
    nothing can be written.
    """
    if kind not in KINDS:
        raise ValueError(f"export: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if weights not in WEIGHTS:
        raise ValueError(f"export: weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    if not isinstance(name, str) or not name or identifier(name) != name:
        raise ValueError(f"export: name must be a C identifier, got {name!r}")
    session = session if session is not None else default_session()
    if session is not None and not isinstance(session, Session):
        raise TypeError(f"export: session must be a compiled Session, got {session!r}")
    targets = variants(target)
    graph = session.graph if session is not None else get_default_graph()
    resolved = resolve(graph, signatures)
    options = session.compile_options if session is not None else CompileOptions()
    steps = compile_all(graph, resolved, targets, name, options, knobs_.read())
    values = _values(steps, session)
    model = _model(name, targets, steps, values, weights)
    return _write(Path(directory), model, targets[0], kind)


def _values(steps: Steps, session: Session | None) -> list[Any]:
    """The value of each variable, None where it has none yet."""
    values: list[Any] = []
    for variable in steps.variables:
        if session is not None and session.is_initialized(variable):
            values.append(session.variable_value(variable))
        else:
            values.append(None if variable.initial is None else variable.initial.array)
    written = steps.written()
    missing = [
        v for v, value in zip(steps.variables, values, strict=True)
        if value is None and v not in written
    ]  # fmt: skip
    if missing:
        rows = "".join(f"\n  {v.name}, defined at {v.location}" for v in missing[:5])
        more = f"\n  and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise FailedPreconditionError(
            "export: these variables have no value, and no signature gives them one: run their "
            f"initializer first, or export it as a signature{rows}{more}"
        )
    return values


def _model(
    name: str, targets: Sequence[Variant], steps: Steps, values: Sequence[Any], weights: str
) -> Model:
    named = identifiers([v.name for v in steps.variables], "variables")
    variables = tuple(
        _variable(handle, named[handle.name], value, weights)
        for handle, value in zip(steps.variables, values, strict=True)
    )
    signatures = tuple(describe_signature(row[0]) for row in steps.steps)
    built = tuple(BuiltVariant(v.name, *v.features()) for v in targets)
    digest = hashlib.sha256(f"{name} {targets[0].target.triple} {weights}".encode())
    for signature in signatures:
        digest.update(repr(signature).encode())
    for row in steps.steps:
        for compiled in row:
            digest.update(repr(compiled.variant).encode() + compiled.description.to_bytes())
    for variable in variables:
        digest.update(f"{variable.name} {variable.dtype} {variable.shape}".encode())
        digest.update(b"" if variable.value is None else variable.value.tobytes())
    triple = targets[0].target.triple
    return Model(name, name, digest.hexdigest(), triple, signatures, variables, built, steps)


def _variable(handle: VariableHandle, c_name: str, value: Any, weights: str) -> Variable:
    embedded = value.tobytes() if value is not None and weights == "embedded" else None
    shape = static_shape(handle.tensor_type)
    return Variable(handle.name, c_name, handle.dtype.name, shape, value, embedded, value is None)


def _write(directory: Path, model: Model, variant: Variant, kind: str) -> list[str]:
    made = library.objects(model, variant.target)
    content: dict[str, bytes] = {}
    if kind == "static":
        content[f"lib{model.name}.a"] = library.static_library(made)
    elif kind == "object":
        content.update({name: data for name, (data, _) in made.items()})
    else:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / f"lib{model.name}.so"
            library.shared_library(model, variant.target, made, Path(folder), output)
            content[output.name] = output.read_bytes()
    content[f"{model.name}.h"] = c_header(model).encode()
    if kind != "shared":
        for name, data in library.runtime_sources().items():
            content[f"runtime/{name}"] = data
    content.update(files.beside(model, kind, list(content)))
    try:
        for name, data in content.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        raise PermissionDeniedError(f"export: cannot write {directory}: {error}") from None
    return [str(directory / name) for name in content]


__all__ = ["export"]
