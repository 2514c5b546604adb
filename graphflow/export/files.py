"""What lies beside the library: weights, and later everything a build wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .header import has_file
from .model import Model


def beside(model: Model, kind: str, present: Sequence[str]) -> dict[str, bytes]:
    """Files by name. `present` are those there will be already."""
    found = {}
    if has_file(model):
        found[f"{model.name}.safetensors"] = weights_file(model)
    return found


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


__all__ = ["beside", "weights_file"]
