"""Pools of threads, a host's own threads, and none at all, on every machine."""

import subprocess
from pathlib import Path

import pytest
from machines import MACHINES, NATIVE, WARNINGS, needs

SOURCES = [
    Path(__file__).with_name("pools_test.c"),
    *(NATIVE / "core" / name for name in ("pool.c", "sync.c", "workers.c")),
]


@pytest.mark.parametrize("machine", MACHINES)
def test_loops_run_in_the_same_chunks_everywhere(tmp_path, machine):
    needs(machine)
    program = machine.build(tmp_path / "pools", *SOURCES)
    done = machine.run(program, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_pools_under_sanitizer(tmp_path, sanitizer):
    program = tmp_path / "pools"
    flags = ["-std=c11", "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    includes = [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'core'}"]
    command = ["gcc", *flags, *WARNINGS, *includes, *map(str, SOURCES), "-pthread", "-lm"]
    subprocess.run([*command, "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
