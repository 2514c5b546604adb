"""Nested structures, as TensorFlow 1's `nest` takes them apart and puts them together."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import graphflow as tf

nest = tf.nest
Point = namedtuple("Point", ["x", "y"])

STRUCTURES = [
    (7, [7]),
    ([], []),
    ((), []),
    ([1, (2, [3, ()])], [1, 2, 3]),
    ({"b": 1, "a": (2, [3])}, [2, 3, 1]),
    (OrderedDict([("z", 1), ("y", Point(2, {"k": 3}))]), [2, 3, 1]),
    (Point(x=[1], y=None), [1, None]),
    (["text", b"bytes"], ["text", b"bytes"]),
]


@pytest.mark.parametrize(("structure", "leaves"), STRUCTURES)
def test_flatten_and_pack(structure, leaves):
    assert nest.flatten(structure) == leaves
    again = nest.pack_sequence_as(structure, leaves)
    assert again == structure
    assert type(again) is type(structure)
    doubled = nest.map_structure(lambda leaf: [leaf, leaf], structure)
    assert nest.flatten_up_to(structure, doubled) == [[leaf, leaf] for leaf in leaves]


def test_a_packed_dict_keeps_its_order_of_keys():
    packed = nest.pack_sequence_as({"b": 0, "a": 0}, [1, 2])
    assert list(packed.items()) == [("b", 2), ("a", 1)]


def test_tensors_and_arrays_and_variables_are_leaves():
    leaves = [tf.zeros([2]), np.zeros(2), tf.Variable(1.0), tf.TensorShape([2, 3])]
    assert [a is b for a, b in zip(nest.flatten([leaves]), leaves, strict=True)] == [True] * 4
    assert nest.is_nested(leaves)
    assert not any(nest.is_nested(leaf) for leaf in [*leaves, "text", None, range(2)])
    assert nest.is_sequence is nest.is_nested


def test_map_structure_over_several():
    a, b = {"p": (1, 2), "q": [3]}, {"q": [30], "p": (10, 20)}
    assert nest.map_structure(lambda x, y: x + y, a, b) == {"p": (11, 22), "q": [33]}
    assert nest.map_structure(max, [1, 5], (4, 2), check_types=False) == [4, 5]
    assert nest.map_structure(lambda x: -x, 3) == -3


def test_paths():
    structure = Point([1, {"k": 2}], (3,))
    assert nest.flatten_with_joined_string_paths(structure) == [
        ("x/0", 1), ("x/1/k", 2), ("y/0", 3),
    ]  # fmt: skip


def test_map_structure_up_to():
    shallow, deep = Point(0, [0]), Point({"k": 1}, [(2, 3)])
    assert nest.map_structure_up_to(shallow, nest.flatten, deep) == Point([1], [[2, 3]])


def test_the_same_structure():
    same = namedtuple("Point", ["x", "y"])
    nest.assert_same_structure(Point(1, [2]), same(3, [4]))
    nest.assert_same_structure({"a": 1, "b": 2}, OrderedDict([("b", 1), ("a", 2)]))
    nest.assert_same_structure([1, (2,)], (1, [2]), check_types=False)
    nest.assert_same_structure(1, "leaf")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([1, 2], [1], ["[., .] has 2 parts", "[.] has 1"]),
        ([1, (2,)], (1, (2,)), ["one has a list, the other a tuple"]),
        ([1, (2,)], [1, [2]], ["at 1: one has a tuple, the other a list"]),
        ({"a": [1]}, {"a": 1}, ["at a:", "[.]", "the leaf 1"]),
        ({"a": 1}, {"b": 1}, ["the keys ['a'] and ['b']"]),
        (Point(1, 2), (1, 2), ["a Point, the other a tuple"]),
        (Point(1, [2, 3]), Point(1, [2]), ["at y:"]),
    ],
)
def test_different_structures(first, second, words):
    for compare in (
        lambda: nest.assert_same_structure(first, second),
        lambda: nest.map_structure(max, first, second),
    ):
        with pytest.raises(ValueError) as caught:
            compare()
        assert isinstance(caught.value, TypeError)
        assert all(word in str(caught.value) for word in [*words, "test_nest.py"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: nest.pack_sequence_as([1, (2,)], [1]), r"\[., \(.\)\] has 2 leaves, .* 1 items"),
        (lambda: nest.pack_sequence_as(1, [1, 2]), "has 1 leaves, .* 2 items"),
        (lambda: nest.flatten({1: 0, "a": 0}), r"keys \[1, 'a'\] of a dict cannot be sorted"),
        (lambda: nest.flatten_up_to([1, [2]], [1, 2]), r"at 1: one has \[.\], .* the leaf 2"),
        (lambda: nest.map_structure(len), "at least one structure"),
    ],
)
def test_wrong_calls(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_func_must_be_callable():
    with pytest.raises(TypeError, match="must be callable"):
        nest.map_structure([1], [2])
