"""The arena: buffers alive together never overlap, and it is close to its lower bound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from graphflow.passes.memory import ALIGNMENT, Life, aligned, assign
from graphflow.sizes import symbol


@st.composite
def lives(draw):
    launches = draw(st.integers(1, 12))
    result = []
    for number in range(draw(st.integers(0, 24))):
        first = draw(st.integers(0, launches - 1))
        last = draw(st.integers(first, launches - 1))
        result.append(Life(number, draw(st.integers(0, 2000)), first, last))
    return result


@given(lives())
@settings(deadline=None)
def test_buffers_alive_together_do_not_overlap(found):
    arena = assign(found, {})
    for life in found:
        offset = arena.offsets[life.id]
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= offset + aligned(life.bytes) <= arena.bytes
        for other in found:
            if other.id < life.id and other.first <= life.last and life.first <= other.last:
                start = arena.offsets[other.id]
                apart = start + aligned(other.bytes) <= offset
                assert apart or offset + aligned(life.bytes) <= start
    assert arena.bytes >= arena.lower_bound


def test_a_chain_of_reuse_is_one_block():
    chain = [Life(0, 4096, 0, 1), Life(1, 4096, 1, 2), Life(2, 4096, 2, 3), Life(3, 64, 0, 3)]
    arena = assign(chain, {1: 0, 2: 1})
    assert arena.offsets[0] == arena.offsets[1] == arena.offsets[2]
    assert arena.bytes == arena.lower_bound == 4096 + 64
    assert assign(chain, {}).bytes == 2 * 4096 + 64


def test_unknown_sizes_get_their_offsets_from_the_runtime():
    n = symbol("n")
    arena = assign([Life(0, n * 4, 0, 1), Life(1, 64, 0, 1)], {})
    assert arena.offsets == {} and arena.bytes is None


def test_nothing_needs_no_memory():
    arena = assign([], {})
    assert (arena.bytes, arena.lower_bound) == (0, 0)
