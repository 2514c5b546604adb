"""What lies beside the library: weights, headers, and everything a build wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .cmake import config_file, version_file
from .commands import build_of
from .cpp_header import cpp_header
from .cpp_types import cpp_signatures
from .example import cpp_example
from .header import c_header, has_file
from .manifest import manifest
from .model import Model
from .pkgconfig import model_package, runtime_package


def beside(model: Model, kind: str, present: Sequence[str]) -> dict[str, bytes]:
    """Files by name, in the order they are to be written. `present` are those there will be
    already: the library, and the sources of the runtime unless the library holds it."""
    build = build_of(model, kind, present)
    command = build.cpp_host("example.cpp", "example")
    example = cpp_example(model, cpp_signatures(model))
    texts = {
        f"{model.name}.h": c_header(model, build),
        f"{model.name}.hpp": cpp_header(model, build),
        "example.cpp": f"// {command}\n{example}\n",
        f"{model.name}Config.cmake": config_file(model, build, present),
        f"{model.name}ConfigVersion.cmake": version_file(model),
        f"{model.name}.pc": model_package(model, build),
    }
    if kind != "shared":
        texts["graphflow-runtime.pc"] = runtime_package(build)
    found = {name: text.encode() for name, text in texts.items()}
    if has_file(model):
        found[f"{model.name}.safetensors"] = weights_file(model)
    return found


def with_manifest(model: Model, kind: str, content: Mapping[str, bytes]) -> dict[str, bytes]:
    """All files, and manifest.json, which lists them."""
    build = build_of(model, kind, list(content))
    return {**content, "manifest.json": manifest(model, build, content)}


def weights_file(model: Model) -> bytes:
    try:
        from safetensors.numpy import save
    except ImportError:
        raise ImportError(
            "weights in a file need the safetensors package: pip install graphflow[checkpoint]; "
            'weights="embedded" needs none'
        ) from None
    arrays = {
        v.name: np.asarray(v.value, order="C") for v in model.variables if v.value is not None
    }
    return save(arrays, metadata={"model": model.name})


__all__ = ["beside", "weights_file", "with_manifest"]
