"""The search for the pass behind a wrong answer."""

from __future__ import annotations

import math

import pytest

from graphflow.bisect import smallest_cure

NAMES = [f"rule{i}" for i in range(64)]


@pytest.mark.parametrize("culprit", [0, 1, 31, 63])
def test_one_culprit_is_found_in_few_trials(culprit):
    trials = []

    def is_right(disabled):
        trials.append(disabled)
        return f"rule{culprit}" in disabled

    assert smallest_cure(NAMES, is_right) == [f"rule{culprit}"]
    assert len(trials) <= 2 * math.log2(len(NAMES))


def test_two_culprits_that_must_both_go():
    needed = {"rule5", "rule40"}
    cure = smallest_cure(NAMES, lambda disabled: needed <= disabled)
    assert set(cure) == needed


def test_either_of_two_is_enough():
    cure = smallest_cure(NAMES, lambda disabled: bool({"rule5", "rule40"} & disabled))
    assert len(cure) == 1
    assert cure[0] in {"rule5", "rule40"}
