"""What is shipped: an sdist that builds elsewhere, and a package that works from there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def sdist(folder: Path) -> Path:
    code = f"import setuptools.build_meta as b; b.build_sdist({str(folder)!r})"
    run(sys.executable, "-c", code, cwd=ROOT)
    return next(folder.glob("*.tar.gz"))


def test_the_sdist_carries_every_source(tmp_path):
    with tarfile.open(sdist(tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = run("git", "ls-files", "graphflow", "passes", "native", cwd=ROOT).split()
    sources = [
        name.replace("passes/", "graphflow/passes/", 1) if name.startswith("passes/") else name
        for name in tracked
        if name.endswith((".py", ".c", ".h", ".cpp", ".hpp"))
    ]
    assert not [name for name in sources if name not in names]
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names


@pytest.mark.slow
def test_a_package_installed_from_the_sdist_works(tmp_path):
    archive = sdist(tmp_path)
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", str(archive), cwd=tmp_path)
    code = (
        "import graphflow as tf; x = tf.placeholder(tf.float32, [None]); "
        "print(tf.Session().run(x * 2, {x: [1.0, 2.0]}).tolist(), tf.__file__)"
    )
    printed = run(python, "-c", code, cwd=tmp_path)
    assert printed.startswith("[2.0, 4.0]")
    assert "site-packages" in printed
