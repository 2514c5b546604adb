"""What tests of exports share: models, and C programs built against them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import graphflow as gf

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]


def digits(seed: int = 0):
    """A small classifier with what training needs: random dropout, Adam's slots and counters."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        return (rng.standard_normal(shape) * 0.1).astype(np.float32)

    x = gf.placeholder(gf.float32, [None, 64], name="x")
    labels = gf.placeholder(gf.int64, [None], name="labels")
    w1 = gf.Variable(weight(64, 32), name="hidden/w")
    b1 = gf.Variable(np.zeros(32, np.float32), name="hidden/b")
    w2 = gf.Variable(weight(32, 10), name="out/w")
    hidden = gf.nn.relu(gf.matmul(x, w1) + b1)
    p = gf.nn.softmax(gf.matmul(hidden, w2), name="p")
    dropped = gf.matmul(gf.nn.dropout(hidden, 0.8, seed=3), w2)
    loss = gf.reduce_mean(
        gf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=dropped)
    )
    train = gf.train.AdamOptimizer(0.01).minimize(loss)
    signatures = {
        "predict": {"feeds": {"x": x}, "fetches": {"p": p}},
        "train_step": {
            "feeds": {"x": x, "labels": labels},
            "fetches": {"loss": loss, "train": train},
        },
    }
    return signatures, {"x": x, "labels": labels, "p": p, "loss": loss, "train": train}


def session(seed: int = 7) -> gf.Session:
    found = gf.Session(config=gf.ConfigProto(seed=seed))
    found.run(gf.global_variables_initializer())
    return found


def compiler(name: str = "gcc") -> str:
    found = shutil.which(name)
    if found is None:
        import pytest

        pytest.skip(f"{name} is not installed")
    return found


def build(
    folder: Path, source: str, libraries: Sequence[Path], flags: Sequence[str] = (), cc: str = "gcc"
) -> Path:
    """A program from C source and exported libraries, with the runtime beside the first of them."""
    runtime = libraries[0].parent / "runtime"
    path = folder / "host.c"
    path.write_text(source)
    program = folder / "host"
    command = [
        compiler(cc), "-std=c11", *(flags or ["-O1"]), *WARNINGS, f"-I{runtime}",
        *(f"-I{library.parent}" for library in libraries), str(path),
        *(str(p) for p in sorted(runtime.glob("*.c"))), *map(str, libraries), "-o", str(program),
        "-pthread", "-lm",
    ]  # fmt: skip
    run(command)
    return program


def run(command: Sequence, cwd: Path | None = None, **more) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=250,
        check=False, **more,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout
