"""Every case of the table, run by the reference evaluator, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from cases import all_cases

from graphflow.ir.evaluate import run_program
from graphflow.ir.graph import Graph
from graphflow.passes.functionalize import cut

RUNS = [
    pytest.param(case, symbolic, id=f"{case}-{'symbolic' if symbolic else 'static'}")
    for case in all_cases()
    for symbolic in (False, True)
    if not symbolic or case.symbolic is not None
]


def run(case, symbolic: bool):
    graph = Graph()
    with graph.as_default():
        feeds = case.placeholders(symbolic)
        outputs = case.outputs(feeds)
    program = cut(graph, outputs, feeds)
    return outputs, run_program(program, case.inputs).fetches


@pytest.mark.parametrize(("case", "symbolic"), RUNS)
def test_reference(case, symbolic):
    outputs, results = run(case, symbolic)
    expected = case.expectation()
    assert len(results) == len(expected)
    for output, result, wanted in zip(outputs, results, expected, strict=True):
        assert result.dtype == output.dtype.numpy == wanted.dtype
        assert result.shape == wanted.shape
        known = [dim if isinstance(dim, int) else None for dim in output.dims]
        assert all(k in (None, n) for k, n in zip(known, result.shape, strict=True)), (
            "the static shape promised something else"
        )
        # The reference and the expectation are both NumPy: the last digits may differ.
        tolerance = max(case.tolerance.rtol, 1e-15 if result.dtype == np.float64 else 5e-7)
        np.testing.assert_allclose(
            result, wanted, rtol=tolerance, atol=case.tolerance.atol, equal_nan=True
        )
