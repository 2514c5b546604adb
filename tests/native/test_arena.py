"""The arena planner: nothing alive overlaps, and little is wasted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphflow.runtime import plan_arena


def live_bytes(blocks, launches):
    rounded = [(-(-b // 64) * 64, first, last) for b, first, last in blocks]
    return max(
        (sum(b for b, first, last in rounded if first <= at <= last) for at in range(launches + 1)),
        default=0,
    )


@st.composite
def plans(draw):
    launches = draw(st.integers(1, 30))
    blocks = []
    for _ in range(draw(st.integers(0, 60))):
        first = draw(st.integers(0, launches - 1))
        last = draw(st.integers(first, launches))
        blocks.append((draw(st.sampled_from((0, 1, 63, 64, 65, 1000, 4096, 100_000))), first, last))
    return blocks, launches


@settings(max_examples=300, deadline=None)
@given(plans())
def test_live_blocks_never_overlap(plan):
    blocks, launches = plan
    offsets, size, bound = plan_arena(blocks, launches)
    assert bound == live_bytes(blocks, launches)
    assert size >= bound
    for i, (bytes_i, first_i, last_i) in enumerate(blocks):
        assert offsets[i] % 64 == 0 and offsets[i] >= 0
        assert bytes_i == 0 or offsets[i] + bytes_i <= size
        for j in range(i):
            bytes_j, first_j, last_j = blocks[j]
            if first_i <= last_j and first_j <= last_i and bytes_i and bytes_j:
                apart = offsets[i] + bytes_i <= offsets[j] or offsets[j] + bytes_j <= offsets[i]
                assert apart, (i, j)


def test_a_training_step_meets_its_bound():
    """Forward keeps activations for a backward pass that uses them in reverse."""
    n = 40
    blocks = [((i * 37 % 11 + 1) * 4096, i, 2 * n - i) for i in range(n)]
    blocks += [(8192, n + i, n + i + 1) for i in range(n)]
    _, size, bound = plan_arena(blocks, 2 * n + 1)
    assert size <= 1.1 * bound


@pytest.mark.parametrize(
    "blocks", [[(-1, 0, 0)], [(1, 2, 1)], [(1, 0, 9)], [(1, -1, 0)], [(1 << 60, 0, 0)]]
)
def test_senseless_blocks_are_refused(blocks):
    with pytest.raises(ValueError):
        plan_arena(blocks, 3)
