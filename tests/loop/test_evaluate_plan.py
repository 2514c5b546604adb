"""Whole Plans run by the evaluator: what flows between launches, and what memory sharing breaks."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.dtypes import float32
from graphflow.errors import FailedPreconditionError, OutOfRangeError
from graphflow.ir.node import FrozenArray
from graphflow.loop import nodes as loop
from graphflow.loop.evaluate_plan import run_plan
from graphflow.loop.memory import AccessError
from graphflow.loop.nodes import VECTOR, Buffer, Check, Const, For, Kernel, Load, Store, Var
from graphflow.plan import HostCall, Launch, Output, Plan, PlanBuffer, Site, State
from graphflow.sizes import symbol

N = symbol("n")


def pointwise(name, op, inputs, size=N):
    """y[i] = op(x0[i], x1[i], …)"""
    xs = [Buffer(f"x{k}", float32, size) for k in range(inputs)]
    y, i = Buffer("y", float32, size, "out"), Var("i")
    value = loop.apply(op, *(Load(x, i) for x in xs))
    return Kernel(name, (*xs, y), (For(i, loop.index(size), VECTOR, (Store(y, i, value),)),))


def buffer(id_, place, index=0, first=0, last=0, offset=-1, size=N):
    return PlanBuffer(
        id_, f"{place}{id_}", float32, (size,), place, index, size * 4, first, last, offset
    )


def chain(last_of_first=2):
    """exp(-x) * (-x): two arena buffers, the first of which is read twice."""
    negate, exp = pointwise("negate", "neg", 1), pointwise("exp", "exp", 1)
    multiply = pointwise("multiply", "mul", 2)
    return Plan(
        launches=(Launch(negate, (0, 1)), Launch(exp, (1, 2)), Launch(multiply, (2, 1, 3))),
        buffers=(
            buffer(0, "feed"),
            buffer(1, "arena", first=0, last=last_of_first),
            buffer(2, "arena", first=1, last=2),
            buffer(3, "output"),
        ),
        feeds=(0,),
        outputs=(Output("output", 3, float32, (N,)),),
    )


@pytest.mark.parametrize("shared", [False, True])
def test_a_chain_of_launches(shared):
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    for count in (5, 1, 0):
        (out,), after = run_plan(chain(), [x[:count]], (), {N: count}, shared_arena=shared)
        np.testing.assert_array_equal(out, np.exp(-x[:count]) * -x[:count])
        assert after == [] and out.shape == (count,)


def test_a_lifetime_that_ends_too_soon_shows_in_a_shared_arena():
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    (right,), _ = run_plan(chain(), [x], (), {N: 5}, shared_arena=True)
    (wrong,), _ = run_plan(chain(last_of_first=0), [x], (), {N: 5}, shared_arena=True)
    assert not np.array_equal(right, wrong)


def test_offsets_of_the_plan_are_used():
    """Two buffers laid over each other while both live give a wrong answer."""
    plan = chain()
    buffers = list(plan.buffers)
    buffers[1] = buffer(1, "arena", first=0, last=2, offset=0)
    buffers[2] = buffer(2, "arena", first=1, last=2, offset=0)
    broken = Plan(plan.launches, tuple(buffers), feeds=plan.feeds, outputs=plan.outputs)
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    (wrong,), _ = run_plan(broken, [x], (), {N: 5}, shared_arena=True)
    assert not np.array_equal(wrong, np.exp(-x) * -x)


def test_a_read_of_what_no_launch_stored_is_refused():
    plan = chain()
    swapped = Plan(plan.launches[::-1], plan.buffers, feeds=plan.feeds, outputs=plan.outputs)
    with pytest.raises(AccessError, match=r"kernel multiply: reads x0\[0\]"):
        run_plan(swapped, [np.ones(2, np.float32)], (), {N: 2})
    missing = Plan(plan.launches[:2], plan.buffers, feeds=plan.feeds, outputs=plan.outputs)
    with pytest.raises(AccessError, match="no launch stored element 0 of output3"):
        run_plan(missing, [np.ones(2, np.float32)], (), {N: 2})


def update(in_place):
    add = pointwise("add", "add", 2, 3)
    write = 0 if in_place else 2
    return Plan(
        launches=(Launch(add, (0, 1, write)),),
        buffers=(
            buffer(0, "state_in", size=3),
            buffer(1, "constant", size=3),
            buffer(2, "state_out", size=3),
        )[: 2 if in_place else 3],
        constants=((1, FrozenArray(np.array([1, 2, 3], np.float32))),),
        states=(State("w", 0, write, in_place, float32, (3,)),),
        outputs=(Output("state_in", 0, float32, (3,)),),
    )


@pytest.mark.parametrize("in_place", [False, True])
def test_states_are_given_back_and_arguments_kept(in_place):
    value = np.array([10, 20, 30], np.float32)
    _, (after,) = run_plan(update(in_place), [], [value])
    assert after.tolist() == [11, 22, 33] and value.tolist() == [10, 20, 30]


def test_an_uninitialised_state_is_refused():
    with pytest.raises(FailedPreconditionError, match="w has no value"):
        run_plan(update(False), [], [None])


def test_a_failed_check_gives_the_error_of_its_site():
    x, i = Buffer("x", float32, N), Var("i")
    positive = loop.apply("gt", Load(x, i), Const(0.0, float32))
    kernel = Kernel("k", (x,), (For(i, loop.index(N), VECTOR, (Check(positive, 0, (i, N_)),)),))
    plan = Plan(
        launches=(Launch(kernel, (0,), fallible=True),),
        buffers=(buffer(0, "feed"),),
        feeds=(0,),
        sites=(Site("element {0} of {1} is not positive", (), "OutOfRangeError"),),
    )
    run_plan(plan, [np.ones(3, np.float32)], (), {N: 3})
    with pytest.raises(OutOfRangeError, match="element 1 of 3 is not positive"):
        run_plan(plan, [np.array([1, -1, -1], np.float32)], (), {N: 3})


N_ = loop.SizeOf(N)


def test_host_calls_read_and_write_buffers():
    plan = Plan(
        launches=(Launch(None, (), call=0),),
        buffers=(buffer(0, "feed"), buffer(1, "output")),
        feeds=(0,),
        calls=(HostCall(lambda x: x[::-1], (0,), (1,)),),
        outputs=(Output("output", 1, float32, (N,)),),
    )
    (out,), _ = run_plan(plan, [np.arange(3, dtype=np.float32)], (), {N: 3})
    assert out.tolist() == [2, 1, 0]
