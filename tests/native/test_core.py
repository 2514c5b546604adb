"""The C core alone, as a host would build it, under each sanitizer."""

import subprocess
from pathlib import Path

import pytest
from step_objects import ADD, step

NATIVE = Path(__file__).resolve().parents[2] / "native"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]

BODY = """
  %slots = getelementptr %frame, ptr %frame, i32 0, i32 1
  %f = call ptr @callback(ptr %frame, i32 0)
  call void %f(ptr %frame, ptr @chunk, ptr null, i64 256, i64 32)
  ret i32 0
"""
CHUNK = (
    ADD
    + """
define internal void @chunk(ptr %frame, ptr %context, i64 %begin, i64 %end) {
  %x = call ptr @pointer(ptr %frame, i64 0)
  %y = call ptr @pointer(ptr %frame, i64 1)
  %from = getelementptr float, ptr %x, i64 %begin
  %to = getelementptr float, ptr %y, i64 %begin
  %count = sub i64 %end, %begin
  call void @add(ptr %from, ptr %to, float 1.0, i64 %count)
  ret void
}
"""
)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_core_under_sanitizer(tmp_path, sanitizer):
    code = tmp_path / "step.o"
    code.write_bytes(step(BODY, extra=CHUNK))
    program = tmp_path / "core_test"
    flags = ["-std=c11", "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    sources = [*sorted((NATIVE / "core").glob("*.c")), Path(__file__).with_name("core_test.c")]
    subprocess.run(
        [
            "gcc",
            *flags,
            *WARNINGS,
            f"-I{NATIVE / 'include'}",
            f"-I{NATIVE / 'core'}",
            *map(str, sources),
            "-o",
            str(program),
            "-pthread",
        ],
        check=True,
    )
    done = subprocess.run(
        [str(program), str(code)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_core_needs_only_libc_and_threads(tmp_path):
    """A host that links the core gets no other library with it, and no symbol but gf_ ones."""
    library = tmp_path / "libcore.so"
    sources = sorted((NATIVE / "core").glob("*.c"))
    subprocess.run(
        [
            "gcc",
            "-std=c11",
            "-O2",
            "-fPIC",
            "-shared",
            *WARNINGS,
            f"-I{NATIVE / 'include'}",
            f"-I{NATIVE / 'core'}",
            *map(str, sources),
            "-o",
            str(library),
            "-pthread",
        ],
        check=True,
    )
    listing = subprocess.run(["nm", "-D", str(library)], capture_output=True, text=True, check=True)
    rows = [line.split()[-2:] for line in listing.stdout.splitlines()]
    defined = {name for kind, name in rows if kind in "TDBR"}
    assert defined and all(name.startswith("gf_") for name in defined)
    needed = subprocess.run(
        ["readelf", "-d", str(library)], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split("[")[1].rstrip("]") for line in needed.splitlines() if "NEEDED" in line} <= {
        "libc.so.6",
        "libpthread.so.0",
        "ld-linux-x86-64.so.2",  # of the C library: where a thread's own variables are found
        "ld-linux-aarch64.so.1",
    }
