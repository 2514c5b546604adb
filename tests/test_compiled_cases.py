"""Every case of the table, compiled: as one step, with nothing fused, and op by op."""

from __future__ import annotations

import numpy as np
import pytest
from cases import all_cases

import graphflow as tf

WHOLE, UNFUSED, OP_BY_OP = "whole", "unfused", "op-by-op"
RUNS = [
    pytest.param(case, symbolic, mode, id=f"{case}-{'symbolic' if symbolic else 'static'}-{mode}")
    for case in all_cases()
    for symbolic, mode in (
        (False, WHOLE),
        (True, WHOLE),
        (False, UNFUSED),
        (False, OP_BY_OP),
    )
    if not symbolic or case.symbolic is not None
]


@pytest.mark.parametrize(("case", "symbolic", "mode"), RUNS)
def test_compiled(case, symbolic, mode):
    feeds = case.placeholders(symbolic)
    outputs = case.outputs(feeds)
    disable = ("fuse",) if mode == UNFUSED else ()
    config = tf.ConfigProto(disable=disable, cache=False, seed=1)
    backend = OP_BY_OP if mode == OP_BY_OP else "compiled"
    with tf.Session(config=config, backend=backend) as session:
        results = session.run(outputs, dict(zip(feeds, case.inputs, strict=True)))
    for output, result, wanted in zip(outputs, results, case.expectation(), strict=True):
        assert result.dtype == output.dtype.numpy
        assert np.shape(result) == wanted.shape
        np.testing.assert_allclose(
            result,
            wanted,
            rtol=case.tolerance.rtol,
            atol=case.tolerance.atol,
            equal_nan=True,
            err_msg=case.tolerance.why,
        )
