"""Objects made of pieces: the same functions, in one object without external symbols."""

import sys

import numpy as np
import pytest

import graphflow as tf
from graphflow import _native
from graphflow.codegen import llvm, objects
from graphflow.codegen.link import link
from graphflow.codegen.module import Module
from graphflow.codegen.objects import emit
from graphflow.codegen.target import named
from graphflow.errors import InternalError
from graphflow.loop.parse import parse_kernel

SHARED = """
kernel NAME(in a: float32[n], out b: float32[n]) {
    parallel i < size(n) grain 64 {
        b[i] = exp(a[i]) * 0.3 + EXTRA
    }
}
"""


def _pieces(*texts: str, level: str | None = None) -> list[bytes]:
    target = named(level)
    module = Module(target)
    made = []
    for text in texts:
        kernel = parse_kernel(text)
        module.kernel(kernel, kernel.name, "")
        made.append(emit(module.piece(), target))
    return made


def _kernel(name: str, extra: str) -> str:
    return SHARED.replace("NAME", name).replace("EXTRA", extra)


@pytest.mark.parametrize("level", [None, "aarch64"])
def test_a_piece_uses_functions_of_those_before(level):
    first, second = _pieces(_kernel("one", "1.0"), _kernel("two", "1.0"), level=level)
    # The second piece holds no loop: it calls the body that the first one has.
    assert len(second) < len(first)
    names = ["one", "two", "one.body"]
    _, _, addresses = _native.link_object(link([first, second]), names)
    assert addresses["one"]
    assert addresses["two"]
    assert addresses["one.body"] is None  # what pieces share is no name of the whole


def test_names_that_nothing_defines_are_an_error():
    _, second = _pieces(_kernel("one", "1.0"), _kernel("two", "1.0"))
    with pytest.raises(InternalError, match=r"no object defines one\.body"):
        link([second])


def test_names_defined_twice_are_an_error():
    (first,) = _pieces(_kernel("one", "1.0"))
    with pytest.raises(InternalError, match="two objects define one"):
        link([first, first])


def test_what_is_no_elf_object_is_an_error():
    with pytest.raises(InternalError, match="ELF"):
        link([b"\xcf\xfa\xed\xfe" + bytes(100)])


def _values(monkeypatch, bytes_: int, threads: int = 2) -> tuple[list, bytes]:
    monkeypatch.setenv("GRAPHFLOW_CACHE", "off")
    monkeypatch.setenv("GRAPHFLOW_THREADS", str(threads))
    monkeypatch.setattr(objects, "_PIECE", bytes_)
    made = []
    original = objects.compile_plan
    monkeypatch.setattr(objects, "compile_plan", lambda *a: made.append(original(*a)) or made[-1])
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 9])
        w = tf.constant(np.linspace(-1, 1, 63, dtype=np.float32).reshape(9, 7))
        y = tf.nn.softmax(tf.matmul(tf.tanh(x), w))
        loss = tf.reduce_sum(tf.log(y) * 0.25)
        (gradient,) = tf.gradients(loss, x)
        feed = np.linspace(-3, 3, 45, dtype=np.float32).reshape(5, 9)
        values = tf.Session().run([y, loss, gradient], {x: feed})
    monkeypatch.undo()
    return values, made[-1]


def test_steps_made_of_pieces_compute_the_same(monkeypatch):
    whole, code = _values(monkeypatch, 1 << 30)
    parts, linked = _values(monkeypatch, 1)
    again, same = _values(monkeypatch, 1)
    assert linked != code
    assert linked == same
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_how_many_threads_compile_does_not_matter(monkeypatch):
    _, alone = _values(monkeypatch, 1, threads=1)
    _, many = _values(monkeypatch, 1, threads=4)
    assert alone == many


def test_llvm_works_on_several_modules_at_a_time():
    # Without that, the threads that compile would wait for each other inside llvmlite.
    assert llvm._unlocked() is not None


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_what_llvm_refuses_is_raised_where_the_object_is_wanted(workers):
    target = named(None)
    with objects._Pieces(target, objects.Report(), workers) as pieces:
        for _ in range(3):
            pieces.add("this is no module")
        with pytest.raises(RuntimeError, match="parsing error"):
            pieces.objects()
    assert not pieces.threads


def test_the_interpreter_is_left_as_it_was(monkeypatch):
    usual = sys.getswitchinterval()
    with objects._impatience:
        with objects._impatience:
            assert sys.getswitchinterval() < usual
        assert sys.getswitchinterval() < usual
    assert sys.getswitchinterval() == usual
    _values(monkeypatch, 1)
    assert sys.getswitchinterval() == usual
