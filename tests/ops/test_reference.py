"""Every case of the table, run by the reference evaluator, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from cases import all_cases

from graphflow.errors import InvalidArgumentError
from graphflow.ir.evaluate import run_program
from graphflow.ir.graph import Graph
from graphflow.ops import arithmetic, slicing
from graphflow.ops.creation import placeholder
from graphflow.passes.cut.functionalize import cut

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


@pytest.mark.parametrize(
    ("operation", "arrays", "message"),
    [
        ("floordiv", ([1, 2], [1, 0]), "integer division by zero"),
        ("mod", ([1, 2], [1, 0]), "integer division by zero"),
        ("truncatediv", ([1, 2], [1, 0]), "integer division by zero"),
        ("pow", ([2, 2], [1, -1]), "negative integer power"),
    ],
)
def test_integers_that_fail_a_run(operation, arrays, message):
    feeds_of = [np.array(array, np.int32) for array in arrays]
    with Graph().as_default() as graph:
        feeds = [placeholder("int32", [2], name=name) for name in "xy"]
        result = getattr(arithmetic, operation)(*feeds)
    with pytest.raises(InvalidArgumentError) as caught:
        run_program(cut(graph, [result], feeds), feeds_of)
    assert message in str(caught.value) and "test_reference.py:" in str(caught.value)


def test_an_index_beyond_a_size_fails_the_run():
    with Graph().as_default() as graph:
        x = placeholder("float32", [None, 2], name="x")
        fourth, part = x[3], slicing.slice(x, [1, 0], [2, 2])
    for fetch, enough in ((fourth, 4), (part, 3)):
        program = cut(graph, [fetch], [x])
        run_program(program, [np.zeros((enough, 2), np.float32)])
        with pytest.raises(InvalidArgumentError):
            run_program(program, [np.zeros((enough - 1, 2), np.float32)])
