"""Plans of small programs, run by the Loop interpreter and held against the reference evaluator."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from graphflow.ir.evaluate import bind_sizes, run_program
from graphflow.ir.graph import get_default_graph
from graphflow.loop.evaluate_plan import run_plan
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.pipeline import PassOptions, run_graph_passes
from graphflow.passes.planning.build_plan import build_plan

TARGET = SimpleNamespace(vector_bits=512, registers=32, l2=1 << 20)


def program_of(fetches, feeds, optimise: bool = True):
    program = cut(get_default_graph(), list(fetches), list(feeds))
    return run_graph_passes(program, PassOptions()) if optimise else program


def plan_of(fetches, feeds, disable=(), optimise: bool = True):
    program = program_of(fetches, feeds, optimise)
    return program, build_plan(program, TARGET, PassOptions(disable=frozenset(disable)))


def check(fetches, feeds: dict, states: dict | None = None, disable=(), rtol=1e-5, atol=1e-6):
    """Runs fetches compiled and by reference, in several ways; returns the plan."""
    program, plan = plan_of(fetches, feeds, disable)
    arrays = list(feeds.values())
    states = states or {}
    expected = run_program(program, arrays, states)
    bindings = bind_sizes(program, arrays)

    def old(variable):
        if variable in states or variable.initial is None:
            return states.get(variable)
        return variable.initial.array

    olds = [old(state.variable) for state in plan.states]
    for options in ({}, {"shared_arena": True}, {"backward": True, "vectorize": False}):
        outputs, news = run_plan(plan, arrays, olds, bindings, **options)
        for got, want in zip(outputs, expected.fetches, strict=True):
            assert got.shape == want.shape and got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
        by_variable = {s.variable: new for s, new in zip(plan.states, news, strict=True)}
        for variable, want in expected.updates.items():
            np.testing.assert_allclose(by_variable[variable], want, rtol=rtol, atol=atol)
    check_plan(plan)
    return plan


def check_plan(plan) -> None:
    """Invariants of every plan: disjoint buffers, what can fail before what writes in place."""
    written = {s.write for s in plan.states if s.in_place}
    for number, launch in enumerate(plan.launches):
        if launch.fallible:
            assert number < plan.commit
        if launch.kernel is not None:
            outs = {b for b, p in zip(launch.buffers, launch.kernel.buffers, strict=True)
                    if p.role == "out"}  # fmt: skip
            if outs & written:
                assert number >= plan.commit
    if plan.arena_bytes is not None:
        assert plan.arena_bytes <= 1.1 * max(plan.arena_lower_bound, 64)
