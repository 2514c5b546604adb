"""The compile cache: hits in a new process without LLVM, damage, reasons, concurrent writers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from graphflow.cache import DiskCache, Key

PROGRAM = """
import json, sys
import numpy as np
import graphflow as tf

x = tf.placeholder(tf.float32, [None, 3], name="x")
w = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2), name="w")
table = tf.constant(np.arange(1000, dtype=np.float32))
y = tf.nn.softmax(tf.matmul(x, w)) + tf.gather(table, [7, 9])
noted = tf.py_func(lambda v: v * 2, [y], tf.float32, shapes=[y.shape])
session = tf.Session({config})
session.run(tf.global_variables_initializer())
result = session.run(noted, {{x: np.ones((2, 3), np.float32)}})
print(json.dumps({{"result": result.tolist(), "llvm": "llvmlite" in sys.modules,
                  "stats": session.cache_stats()}}))
"""


def run(cache: Path, config: str = "", **environment) -> dict:
    code = textwrap.dedent(PROGRAM).format(config=config)
    environ = {**os.environ, "GRAPHFLOW_CACHE": str(cache), **environment}
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, cwd=root
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_new_process_runs_from_the_cache_without_llvm(tmp_path):
    cold = run(tmp_path)
    warm = run(tmp_path)
    assert cold["llvm"]
    assert not warm["llvm"]
    assert warm["result"] == cold["result"]
    assert warm["stats"]["disk_misses"] == 0
    assert warm["stats"]["disk_hits"] == 2
    assert oct(os.stat(tmp_path).st_mode & 0o077) in ("0o0", "0o55")


def test_a_miss_says_what_changed(tmp_path):
    assert "no graph like this" in run(tmp_path)["stats"]["reasons"][0]
    other = run(tmp_path, "config=tf.ConfigProto(check_numerics=True)")
    assert "check_numerics" in other["stats"]["reasons"][-1]


@pytest.mark.parametrize("keep", [0, 10, 60, 0.5, 0.99])
def test_damaged_entries_are_compiled_again(tmp_path, keep):
    good = run(tmp_path)
    for entry in tmp_path.rglob("*.gfo"):
        content = entry.read_bytes()
        entry.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    again = run(tmp_path)
    assert again["result"] == good["result"]
    assert any("damaged" in reason for reason in again["stats"]["reasons"])


def test_a_flipped_bit_is_noticed(tmp_path):
    cache = DiskCache(tmp_path)
    settings = {"target": "x"}
    key = Key.of("program", settings)
    cache.store(key, {"settings": settings}, [b"code"])
    header, blobs, _ = cache.load(key, settings)
    assert header["settings"] == settings
    assert blobs == [b"code"]
    path = tmp_path / key.program[:2] / key.filename
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert cache.load(key, settings)[0] is None


def test_an_unusable_folder_is_only_a_miss(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    result = run(blocked / "cache")
    assert result["stats"]["disk_misses"] > 0


def test_concurrent_writers(tmp_path):
    code = textwrap.dedent(PROGRAM).format(config="")
    environ = {**os.environ, "GRAPHFLOW_CACHE": str(tmp_path)}
    root = str(Path(__file__).resolve().parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True, cwd=root
        )
        for _ in range(3)
    ]
    results = [json.loads(p.communicate()[0].splitlines()[-1])["result"] for p in processes]
    assert results[0] == results[1] == results[2]
    assert not list(tmp_path.rglob("*.tmp"))
    assert run(tmp_path)["stats"]["disk_misses"] == 0


def test_small_entries_do_not_look_at_all_others(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(DiskCache, "_evict", lambda self: looks.append(self))
    cache = DiskCache(tmp_path)
    for number in range(300):
        cache.store(Key.of(f"program {number}", {}), {}, [bytes(1000)])
    assert len(looks) < 10


def test_the_oldest_entries_go_where_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr("graphflow.cache.LIMIT_BYTES", 50_000)
    cache = DiskCache(tmp_path)
    keys = [Key.of(f"program {number}", {}) for number in range(100)]
    for age, key in enumerate(keys):
        cache.store(key, {}, [bytes(1000)])
        os.utime(next(tmp_path.rglob(key.filename)), (age, age))
    kept = [key for key in keys if cache.load(key, {})[0] is not None]
    assert 0 < sum(path.stat().st_size for path in tmp_path.rglob("*.gfo")) <= 60_000
    assert keys[-1] in kept and keys[0] not in kept
