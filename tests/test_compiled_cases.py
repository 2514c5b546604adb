"""Every case of the table, compiled: as one step, and with nothing fused."""

from __future__ import annotations

import numpy as np
import pytest
from cases import all_cases

import graphflow as tf

WHOLE, OP_BY_OP = "whole", "op-by-op"
RUNS = [
    pytest.param(case, symbolic, mode, id=f"{case}-{'symbolic' if symbolic else 'static'}-{mode}")
    for case in all_cases()
    for symbolic, mode in ((False, WHOLE), (True, WHOLE), (False, OP_BY_OP))
    if not symbolic or case.symbolic is not None
]


@pytest.mark.parametrize(("case", "symbolic", "mode"), RUNS)
def test_compiled(case, symbolic, mode):
    feeds = case.placeholders(symbolic)
    outputs = case.outputs(feeds)
    config = tf.ConfigProto(disable=("fuse",) if mode == OP_BY_OP else (), cache=False, seed=1)
    with tf.Session(config=config) as session:
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
