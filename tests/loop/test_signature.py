"""Signatures: equal exactly where the machine code is."""

from graphflow.dtypes import float32, float64, int64
from graphflow.loop import nodes as loop
from graphflow.loop.parse import parse_kernel, parse_kernels
from graphflow.loop.signature import Signatures

SCALE = """
kernel scale(in a: float32[n], out b: float32[n]) {
    parallel i < size(n) grain 64 {
        let x: float32 = a[i] * 2.0
        b[i] = x + x
    }
}
"""


def _same(one: str, other: str) -> bool:
    made = Signatures()
    return made.number(parse_kernel(one)) == made.number(parse_kernel(other))


def test_names_roles_and_sizes_of_buffers_are_no_part():
    other = SCALE.replace("scale", "other").replace("x", "y").replace("a[", "c[")
    other = other.replace("in a: float32[n]", "inout c: float32[4]")
    assert other != SCALE
    assert _same(SCALE, other)


def test_everything_else_is():
    for old, new in (
        ("float32", "float64"), ("grain 64", "grain 65"), ("parallel i", "serial i"),
        ("2.0", "3.0"), ("x + x", "x - x"), ("a[i]", "a[i + 1]"), ("b[i] =", "b[i] +="),
    ):  # fmt: skip
        other = SCALE.replace(old, new)
        if new == "serial i":
            other = other.replace(" grain 64", "")
        if new == "float64":
            other = other.replace("2.0", "2.0:float64")
        assert not _same(SCALE, other), new


def test_the_sign_of_zero_is_a_part_and_nan_equals_itself():
    assert not _same(SCALE.replace("2.0", "0.0"), SCALE.replace("2.0", "-0.0"))
    assert _same(SCALE.replace("2.0", "nan"), SCALE.replace("2.0", "nan"))


def test_sizes_count_by_their_places():
    two = SCALE.replace("a[i]", "a[i * size(m)]").replace("float32[n]", "float32[n*m]")
    assert _same(two, two.replace("size(n)", "size(k)"))
    swapped = two.replace("i < size(n)", "i < size(m)").replace("i * size(m)", "i * size(n)")
    assert _same(two, swapped)
    assert not _same(two, two.replace("size(m)", "size(n)"))


def test_which_buffer_is_read_is_a_part():
    text = "kernel k(in a: float32[1], in b: float32[1], out c: float32[1]) {{ c[0] = {}[0] }}"
    assert not _same(text.format("a"), text.format("b"))


def test_invoked_kernels_count_by_what_they_are():
    text = """
    kernel inner(in a: float32[1], out b: float32[1]) { b[0] = a[0] * 2.0 }
    kernel outer(in a: float32[4], out b: float32[4]) { call inner(a[1], b[2]) }
    """
    assert _same(text, text.replace("inner", "another"))
    assert not _same(text, text.replace("2.0", "3.0"))
    assert not _same(text, text.replace("a[1]", "a[0]"))
    made = Signatures()
    inner, outer = parse_kernels(text)
    assert made.number(inner) != made.number(outer)


def test_a_part_counts_with_what_is_known_of_its_surroundings():
    made = Signatures()
    a, b = loop.Buffer("a", float32, 4), loop.Buffer("b", float64, 4)
    i = loop.Var("i", int64)

    def signature(buffer, known):
        store = loop.Store(buffer, i, loop.Const(0.0, buffer.dtype))
        return made.part((store,), [(buffer, buffer.dtype.name), (i, known)], ())

    assert signature(a, "counter") == signature(loop.Buffer("c", float32, 9), "counter")
    assert signature(a, "counter") != signature(b, "counter")
    assert signature(a, "counter") != signature(a, "7")
