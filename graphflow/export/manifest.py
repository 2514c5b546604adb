"""manifest.json: what an export is, for programs that choose models at run time, and for people.

The runtime reads it (native/include/graphflow/manifest.h).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..sizes import Dim
from ..version import __version__
from .commands import Build
from .header import arena_bytes, has_file
from .model import Model, Signature, Value

FORMAT = 1


def manifest(model: Model, build: Build, files: Mapping[str, bytes]) -> bytes:
    """The manifest of an export that consists of these files beside it."""
    least = min(model.variants, key=lambda v: len(v.feature_names))
    content = {
        "format": FORMAT,
        "name": model.name,
        "version": __version__,
        "kind": build.kind,
        "library": build.libraries[0] if len(build.libraries) == 1 else None,
        "weights": f"{model.name}.safetensors" if has_file(model) else None,
        "weights_bytes": model.weights_bytes,
        "target": model.triple,
        "features": sorted(least.feature_names),
        "variants": [{"name": v.name, "features": sorted(v.feature_names)} for v in model.variants],
        "hash": model.hash,
        "signatures": {s.name: _signature(model, s) for s in model.signatures},
        "variables": [
            {
                "name": v.name,
                "dtype": v.dtype,
                "shape": list(v.shape),
                "has_value": v.value is not None,
            }
            for v in model.variables
        ],
        "build": {
            "c": build.c_host("host.c", "host"),
            "c++": build.cpp_host("example.cpp", "example"),
        },
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
    }
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _signature(model: Model, s: Signature) -> dict[str, Any]:
    return {
        "sizes": [{"name": z.c_name, "where": z.where} for z in s.sizes],
        "feeds": [_value(f) for f in s.feeds],
        "outputs": [_value(o) for o in s.outputs],
        "writes_variables": s.writes,
        "arena_bytes": arena_bytes(model, s),
    }


def _value(v: Value) -> dict[str, Any]:
    return {"name": v.name, "dtype": v.dtype, "shape": [_dim(d) for d in v.shape]}


def _dim(dim: Dim | None) -> int | str | None:
    """A number, an expression in the names of the sizes, or null: only a run knows it."""
    return dim if dim is None or isinstance(dim, int) else str(dim)


__all__ = ["FORMAT", "manifest"]
