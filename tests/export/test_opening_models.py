"""Models chosen at run time: opened, looked at, and run by name, from C and from Python."""

import ctypes
import json
from pathlib import Path

import hosts
import numpy as np
import pytest

import graphflow as gf

NATIVE = Path(gf.__file__).resolve().parent / "native"
FLOAT32, INT64 = 12, 5  # of enum gf_dtype


def loader(folder: Path) -> Path:
    """The loader as a shared library of its own, as a host in another language would have it."""
    library = folder / "libopen.so"
    sources = sorted((NATIVE / "core").glob("*.c"))
    hosts.run([
        hosts.compiler(), "-std=c11", "-O1", "-fPIC", "-shared", f"-I{NATIVE / 'include'}",
        f"-I{NATIVE / 'core'}", *sources, "-o", library, "-pthread",
    ])  # fmt: skip
    return library


def exported(folder: Path, weights: str = "file"):
    signatures, graph = hosts.digits()
    x = np.linspace(-1, 1, 5 * 64, dtype=np.float32).reshape(5, 64)
    with hosts.session() as session:
        gf.export(folder, signatures, session, name="digits", kind="shared", weights=weights)
        return x, session.run(graph["p"], {graph["x"]: x})


class Tensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("shape", ctypes.c_char_p),
        ("dims", ctypes.POINTER(ctypes.c_int64)), ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
    ]  # fmt: skip


class Signature(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("sizes", ctypes.POINTER(ctypes.c_char_p)),
        ("feeds", ctypes.POINTER(Tensor)), ("outputs", ctypes.POINTER(Tensor)),
        ("symbols", ctypes.POINTER(ctypes.c_int64)), ("size_count", ctypes.c_int32),
        ("feed_count", ctypes.c_int32), ("output_count", ctypes.c_int32),
        ("symbol_count", ctypes.c_int32),
    ]  # fmt: skip


class Spec(ctypes.Structure):
    _fields_ = [
        ("form", ctypes.c_uint32), ("abi", ctypes.c_uint32), ("name", ctypes.c_char_p),
        ("version", ctypes.c_char_p), ("target", ctypes.c_char_p), ("hash", ctypes.c_char_p),
        ("variables", ctypes.c_void_p), ("signatures", ctypes.POINTER(Signature)),
        ("variants", ctypes.c_void_p), ("variable_count", ctypes.c_int32),
        ("signature_count", ctypes.c_int32),
    ]  # fmt: skip


class Named(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("dtype", ctypes.c_int32), ("rank", ctypes.c_int32),
        ("dims", ctypes.POINTER(ctypes.c_int64)), ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_int64),
    ]  # fmt: skip


def named(name: str, array: np.ndarray, dtype: int) -> Named:
    dims = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
    return Named(name.encode(), dtype, array.ndim, dims, array.ctypes.data, array.nbytes)


def test_a_model_is_opened_described_and_run_by_name_from_python(tmp_path):
    x, expected = exported(tmp_path, "embedded")
    api = ctypes.CDLL(str(loader(tmp_path)))
    api.gf_opened_spec.restype = ctypes.POINTER(Spec)
    api.gf_opened_message.restype = ctypes.c_char_p
    model = ctypes.c_void_p()
    path = str(tmp_path / "libdigits.so").encode()
    assert api.gf_model_open(path, None, ctypes.byref(model)) == 0, api.gf_opened_message(None)
    spec = api.gf_opened_spec(model).contents
    assert spec.name == b"digits" and spec.version.decode() == gf.__version__
    found = {}
    for signature in spec.signatures[: spec.signature_count]:
        feeds = signature.feeds[: signature.feed_count]
        outputs = signature.outputs[: signature.output_count]
        found[signature.name] = (
            [(t.name, t.dtype, t.shape) for t in feeds],
            [(t.name, t.dtype, t.shape) for t in outputs],
        )
    assert found == {
        b"predict": ([(b"x", FLOAT32, b"batch,64")], [(b"p", FLOAT32, b"batch,10")]),
        b"train_step": (
            [(b"x", FLOAT32, b"batch,64"), (b"labels", INT64, b"batch")],
            [(b"loss", FLOAT32, b"")],
        ),
    }
    p = np.zeros((5, 10), np.float32)
    feed, result = named("x", x, FLOAT32), named("p", p, FLOAT32)

    def run(signature=b"predict", f=feed, r=result):
        return api.gf_opened_run(model, signature, ctypes.byref(f), 1, ctypes.byref(r), 1)

    def refused(part: str, **given) -> None:
        assert run(**given) != 0
        assert part in api.gf_opened_message(model).decode()

    assert run() == 0, api.gf_opened_message(model)
    assert p.tobytes() == expected.tobytes()
    assert list(result.dims[:2]) == [5, 10]
    refused("no signature nothing", signature=b"nothing")
    refused("no feed y", f=named("y", x, FLOAT32))
    refused("no result q", r=named("q", p, FLOAT32))
    refused("must be float32[batch,64]", f=named("x", x.astype(np.float64), 13))
    refused("of rank 1", f=named("x", x.reshape(-1), FLOAT32))
    refused("axis 1 of feed x", f=named("x", np.zeros((5, 63), np.float32), FLOAT32))
    refused(
        "feed labels is missing",
        signature=b"train_step",
        r=named("loss", p[0, :1].reshape(()), FLOAT32),
    )
    api.gf_opened_close(model)


def test_what_is_no_model_is_refused(tmp_path):
    api = ctypes.CDLL(str(loader(tmp_path)))
    api.gf_opened_message.restype = ctypes.c_char_p
    (tmp_path / "text.so").write_text("no library")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "none.json").write_text(json.dumps({"format": 1, "name": "none"}))
    empty = tmp_path / "empty.c"
    empty.write_text("int gf_nothing;\n")
    hosts.run([hosts.compiler(), "-shared", "-fPIC", empty, "-o", tmp_path / "empty.so"])
    for name in ("missing.so", "text.so", "broken.json", "none.json", "empty.so"):
        model = ctypes.c_void_p(1)
        assert api.gf_model_open(str(tmp_path / name).encode(), None, ctypes.byref(model)) != 0
        assert model.value is None
        assert name.partition(".")[0] in api.gf_opened_message(None).decode(), name


HOST = """
#include "graphflow/open.h"
#include <stdio.h>

int main(int count, char **arguments)
{
    static float x[5 * 64], p[5 * 10];
    gf_opened *models[8];
    for (int i = 1; i < count; i++) {
        if (gf_model_open(arguments[i], NULL, &models[i]) != GF_OK) {
            printf("%s\\n", gf_opened_message(NULL));
            return 1;
        }
        int64_t dims[2] = {5, 64};
        gf_named feed = {"x", GF_FLOAT32, 2, dims, x, sizeof x};
        gf_named result = {"p", GF_FLOAT32, 2, NULL, p, sizeof p};
        if (gf_opened_run(models[i], "predict", &feed, 1, &result, 1) != GF_OK) {
            printf("%s\\n", gf_opened_message(models[i]));
            return 1;
        }
        printf("%s %g\\n", gf_opened_spec(models[i])->name, (double)p[0]);
    }
    for (int i = 1; i < count; i++) {
        gf_opened_close(models[i]);
    }
    return 0;
}
"""


@pytest.mark.parametrize("flags", [[], ["-fsanitize=address,undefined"]])
def test_several_models_are_open_in_a_c_host(tmp_path, flags):
    exported(tmp_path / "a", "embedded")
    gf.reset_default_graph()
    exported(tmp_path / "b", "embedded")
    source = tmp_path / "host.c"
    source.write_text(HOST)
    program = tmp_path / "host"
    hosts.run([
        hosts.compiler(), "-std=c11", "-O1", "-g", *flags, *hosts.WARNINGS,
        f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'core'}", source,
        *sorted((NATIVE / "core").glob("*.c")), "-o", program, "-pthread",
    ])  # fmt: skip
    libraries = [tmp_path / f / "libdigits.so" for f in "ab"]
    printed = hosts.run([program, *libraries, libraries[0]])
    assert printed.split()[::2] == ["digits"] * 3
