"""Convolutions that have no meaning: what is said, and that the line is the user's."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import graphflow as tf

HERE = Path(__file__).name
Z = tf.zeros
WRONG = {
    "kernel-too-large": (
        lambda: tf.nn.conv2d(Z([1, 2, 9, 3]), Z([3, 3, 3, 5]), 1, "VALID"),
        ["3 taps", "spatial dimension 0", "size 2", "float32[1,2,9,3]"],
    ),
    "dilated-kernel-too-large": (
        lambda: tf.nn.conv2d(Z([1, 9, 4, 3]), Z([3, 3, 3, 5]), 1, "VALID", dilations=2),
        ["3 taps with dilation 2 (extent 5)", "spatial dimension 1", "size 4"],
    ),
    "kernel-larger-than-padded": (
        lambda: tf.nn.conv2d(Z([1, 2, 9, 3]), Z([7, 3, 3, 5]), 1, [(1, 2), (0, 0)]),
        ["7 taps", "size 2 padded by 1 and 2"],
    ),
    "channels": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 3, 5]), 1, "SAME"),
        ["float32[3,3,3,5] takes 3 channels", "float32[1,9,9,4] has 4"],
    ),
    "channels-of-groups": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 5]), Z([3, 3, 2, 4]), 1, "SAME", groups=2),
        ["5 input channels do not divide into 2 groups"],
    ),
    "filters-of-groups": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 2, 5]), 1, "SAME", groups=2),
        ["5 output channels do not divide into 2 groups"],
    ),
    "integers": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4], tf.int32), Z([3, 3, 4, 5], tf.int32), 1, "SAME"),
        ["floating-point", "int32"],
    ),
    "dtypes": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4], tf.float64), Z([3, 3, 4, 5]), 1, "SAME"),
        ["the input is float64, the kernel float32"],
    ),
    "rank": (
        lambda: tf.nn.conv2d(Z([9, 9, 4]), Z([3, 3, 4, 5]), 1, "SAME"),
        ["conv2d", "rank 4", "float32[9,9,4]"],
    ),
    "unknown-rank": (
        lambda: tf.nn.conv2d(tf.placeholder(tf.float32), Z([3, 3, 4, 5]), 1, "SAME"),
        ["conv2d", "rank", "unknown"],
    ),
    "unknown-window": (
        lambda: tf.nn.conv2d(
            Z([1, 9, 9, 4]), tf.placeholder(tf.float32, [None, 3, 4, 5]), 1, "SAME"
        ),
        ["conv2d", "window", "must be known"],
    ),
    "stride-zero": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), [1, 0, 1, 1], "SAME"),
        ["conv2d", "strides must be positive"],
    ),
    "stride-of-batch": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), [2, 1, 1, 1], "SAME"),
        ["strides of batch and channels must be 1"],
    ),
    "strides-count": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), [1, 1, 1], "SAME"),
        ["strides has 1, 2 or 4 entries"],
    ),
    "stride-float": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1.5, "SAME"),
        ["strides must be numbers", "1.5"],
    ),
    "dilation-negative": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1, "SAME", dilations=-1),
        ["dilations must be positive"],
    ),
    "padding-name": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1, "FULL"),
        ["padding is SAME, VALID or a list of pairs", "FULL"],
    ),
    "padding-none": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1),
        ["padding is SAME, VALID"],
    ),
    "padding-negative": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1, [(0, -1), (0, 0)]),
        ["must not be negative"],
    ),
    "padding-count": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1, [1, 2]),
        ["a pair for each of 2 spatial dimensions"],
    ),
    "padding-of-batch": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1, [(1, 0), (0, 0), (0, 0), (0, 0)]),
        ["batch and channels must have the padding (0, 0)"],
    ),
    "data-format": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1, "SAME", data_format="HWNC"),
        ["data_format is NHWC or NCHW", "HWNC"],
    ),
    "no-filter": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), None, 1, "SAME"),
        ["conv2d", "give filter or filters"],
    ),
    "two-filters": (
        lambda: tf.nn.conv2d(Z([1, 9, 9, 4]), Z([3, 3, 4, 5]), 1, "SAME", filters=Z([3, 3, 4, 5])),
        ["only one of filter or filters"],
    ),
    "depthwise-channels": (
        lambda: tf.nn.depthwise_conv2d(Z([1, 9, 9, 4]), Z([3, 3, 3, 2]), 1, "SAME"),
        ["depthwise_conv2d", "the filter is for 3 channels", "has 4"],
    ),
    "pointwise-window": (
        lambda: tf.nn.separable_conv2d(
            Z([1, 9, 9, 4]), Z([3, 3, 4, 2]), Z([3, 3, 8, 2]), 1, "SAME"
        ),
        ["separable_conv2d", "[1,1,C*M,O]"],
    ),
    "transposed-shape": (
        lambda: tf.nn.conv2d_transpose(Z([1, 4, 4, 5]), Z([3, 3, 3, 5]), [1, 9, 8, 3], 2),
        ["conv2d_transpose", "gives 5 along spatial dimension 0", "has 4"],
    ),
    "transposed-channels": (
        lambda: tf.nn.conv2d_transpose(Z([1, 4, 4, 5]), Z([3, 3, 5, 3]), [1, 8, 8, 3], 2),
        ["conv2d_transpose", "is for 3 channels in and 5 out", "the input has 5"],
    ),
    "transposed-batch": (
        lambda: tf.nn.conv2d_transpose(Z([1, 4, 4, 5]), Z([3, 3, 3, 5]), [2, 8, 8, 3], 2),
        ["conv2d_transpose", "batch"],
    ),
    "transposed-without-shape": (
        lambda: tf.nn.conv2d_transpose(Z([1, 4, 4, 5]), Z([3, 3, 3, 5]), None, 2),
        ["conv2d_transpose", "the output's shape is needed"],
    ),
    "filter-sizes": (
        lambda: tf.nn.conv2d_backprop_filter(
            Z([1, 8, 8, 3]), [3, 3, 4, 5], Z([1, 8, 8, 5]), 1, "SAME"
        ),
        ["conv2d_backprop_filter", "[3, 3, 3, 5], not [3, 3, 4, 5]"],
    ),
}


@pytest.mark.parametrize(("wrong", "words"), WRONG.values(), ids=list(WRONG))
def test_wrong(wrong, words):
    with pytest.raises(tf.errors.TypeRuleError) as caught:
        wrong()
    message = str(caught.value)
    for word in words:
        assert word in message, message
    first = inspect.getsourcelines(wrong)[1]
    last = first + len(inspect.getsource(wrong).splitlines())
    lines = [int(part.split(":")[1].split()[0]) for part in message.split(HERE)[1:]]
    assert lines and all(first <= line <= last for line in lines), message
