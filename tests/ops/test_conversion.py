"""What becomes a tensor, of which dtype, and what is known of values and sizes."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.errors import TypeRuleError
from graphflow.ops import arithmetic, creation, joining, logic, movement, shapes, slicing
from graphflow.ops.convert import as_sizes, constant_value, convert_to_tensor
from graphflow.ops.creation import constant, placeholder
from graphflow.ops.tensor_shape import TensorShape


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, "float32"),
        (1, "int32"),
        (2**40, "int64"),
        (True, "bool"),
        ([1, 2.5], "float32"),
        ([], "float32"),
        ([[1, 2], [3, 4]], "int32"),
        (np.ones(2), "float64"),
        (np.ones(2, np.float32), "float32"),
        (np.arange(2), "int64"),
        (np.float64(3), "float64"),
        ([np.float64(3), np.float64(4)], "float32"),
        (np.array([1, 2], np.uint8), "uint8"),
        (TensorShape([2, 3]), "int32"),
    ],
    ids=repr,
)
def test_dtypes_of_values(value, dtype):
    assert convert_to_tensor(value).dtype == dtype


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1, "float32"), (1.5, "float64"), (3, "int8"), ([1, 2], "uint8"), (np.ones(2), "int32")],
)
def test_constants_take_the_dtype_asked_for(value, dtype):
    assert constant(value, dtype).dtype == dtype


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (1.5, "int32", "int32 was expected, 1.5 is float"),
        (True, "float32", "float32 was expected, True is bool"),
        (1, "bool", "bool was expected, 1 is int"),
        (300, "uint8", "300 does not fit uint8"),
        (2**40, "int32", "does not fit int32"),
        ([[1], [1, 2]], None, "its rows differ in length"),
        (object(), None, "does not convert to a tensor"),
        ("text", None, "strings"),
        (1 + 2j, None, "does not convert"),
        (np.ones(2, np.float16), None, "no element type"),
    ],
)
def test_what_does_not_convert(value, dtype, message):
    with pytest.raises(TypeRuleError) as caught:
        constant(value, dtype)
    text = str(caught.value)
    assert text.startswith("constant: ") and message in text
    assert "test_conversion.py:" in text and len(text.splitlines()) < 12


def test_operands_beside_a_tensor_take_its_dtype():
    x = placeholder("float64", [3])
    for other in (1, 2.5, [1, 2, 3], np.ones(3, np.float32), np.int64(3)):
        assert (x + other).dtype == (other + x).dtype == "float64"
    n = placeholder("int8", [3])
    assert (n * 2).dtype == (2 - n).dtype == "int8"
    y = placeholder("float32", [3])
    assert (np.ones(3) * y).dtype == "float32"  # NumPy leaves the operation to the tensor
    assert arithmetic.add(1, 2.5).dtype == "float32"
    assert arithmetic.add(np.float64(1), 2).dtype == "float64"


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x, n: x + n, "add: the inputs have different dtypes, float32 and int32"),
        (lambda x, n: n * 0.5, "int32 was expected, 0.5 is float"),
        (lambda x, n: n + np.ones(3), "is float; cast it explicitly"),
        (lambda x, n: x & n, "bitwise_and"),
        (lambda x, n: logic.where(n, x, x), "a bool tensor is needed, but"),
        (lambda x, n: convert_to_tensor(x, "int32"), "a int32 tensor is needed, but x:0 is"),
        (lambda x, n: joining.concat([x, n], 0), "different dtypes, float32 and int32"),
    ],
)
def test_dtypes_never_promote(operation, message):
    x, n = placeholder("float32", [3], name="x"), placeholder("int32", [3], name="n")
    with pytest.raises(TypeRuleError) as caught:
        operation(x, n)
    assert message in str(caught.value) and "test_conversion.py:" in str(caught.value)


def test_lists_of_tensors_are_stacked():
    x = placeholder("float32", [3])
    assert convert_to_tensor([[x, x], [x, x]]).dims == (2, 2, 3)
    assert convert_to_tensor([x[0], 1]).dims == (2,)


def test_constant_shapes():
    assert constant(1.0, shape=[2, 3]).dims == (2, 3)
    filled = constant_value(constant([1, 2], shape=[2, 2]))
    assert filled.tolist() == [[1, 2], [2, 2]]
    with pytest.raises(TypeRuleError, match="4 elements do not fit"):
        constant([1, 2, 3, 4], shape=[3])
    with pytest.raises(TypeRuleError, match="was expected"):
        constant([1, 2], shape=[1, 2], verify_shape=True)


# -- what is known while defining ------------------------------------------------------------------


def test_known_values():
    x = placeholder("float32", [2, 3])
    n = shapes.shape(x)
    assert constant_value(n).tolist() == [2, 3]
    assert constant_value(n[0] * 2 + n[1]) == 7
    assert constant_value(joining.concat([n, [4]], 0)).tolist() == [2, 3, 4]
    assert constant_value(shapes.size(x)) == 6 and constant_value(shapes.rank(x)) == 2
    assert constant_value(creation.range(3)).tolist() == [0, 1, 2]
    assert constant_value(logic.logical_not(constant(False))) == np.True_
    assert constant_value(arithmetic.floordiv(constant(7), 0)) is None
    assert constant_value(placeholder("int32", [])) is None
    assert constant_value(x) is None


def test_sizes_follow_shapes():
    x = placeholder("float32", [None, 3], name="x")
    n = x.dims[0]
    rows, columns = joining.unstack(shapes.shape(x))
    assert as_sizes([rows, columns * 2, 5]) == (n, 6, 5)
    assert as_sizes(shapes.shape(x)) == (n, 3)
    assert as_sizes(x.shape) == (n, 3)
    assert as_sizes([x.shape[0], -1]) == (n, -1)
    assert as_sizes(joining.concat([shapes.shape(x)[:1], [7]], 0)) == (n, 7)
    assert as_sizes(arithmetic.floordiv(shapes.shape(x) * 4, 2)) == (2 * n, 6)
    assert creation.zeros([shapes.shape(x)[0] * 2, 5]).dims == (2 * n, 5)
    assert movement.reshape(x, [-1]).dims == (3 * n,)
    assert movement.reshape(x, [shapes.shape(x)[0], 3, 1]).dims == (n, 3, 1)
    assert creation.fill(shapes.shape(x), 2.0).dims == (n, 3)
    assert movement.tile(x, [2, 1]).dims == (2 * n, 3)
    assert creation.range(shapes.shape(x)[0]).dims == (n,)


def test_sizes_do_not_depend_on_data():
    n = placeholder("int32", [], name="n")
    with pytest.raises(TypeRuleError) as caught:
        creation.zeros([n, 3])
    assert "n:0 (int32[]) depends on data" in str(caught.value)
    with pytest.raises(TypeRuleError, match="sizes are integers"):
        creation.zeros(placeholder("float32", [2]))


def test_a_long_chain_of_sizes_is_followed_without_recursion():
    n = shapes.shape(placeholder("float32", [None]))[0]
    for _ in range(3000):
        n = n + 1
    (size,) = creation.zeros([n]).dims
    assert str(size).endswith("+3000")


# -- shapes ----------------------------------------------------------------------------------------


def test_shape_of_a_tensor():
    x = placeholder("float32", [None, 3])
    assert x.shape.as_list() == x.get_shape().as_list() == [None, 3]
    assert x.shape[0].value is None and int(x.shape[1]) == 3 and x.shape.ndims == 2
    assert str(x.shape) == "(?, 3)" and len(x.shape) == 2
    assert not x.shape.is_fully_defined() and x.shape[1:].num_elements() == 3
    assert x.shape.is_compatible_with([5, 3]) and not x.shape.is_compatible_with([5, 4])
    assert x.shape[1] == 3 and x.shape[1] * 2 == 6
    assert [d.value for d in x.shape] == [None, 3]
    assert placeholder("float32").shape.ndims is None
    assert str(placeholder("float32").shape) == "<unknown>"
    assert x.shape.merge_with([7, None]).as_list() == [7, 3]
    with pytest.raises(ValueError, match="not compatible"):
        x.shape.merge_with([7, 4])
    with pytest.raises(ValueError, match="not known"):
        int(x.shape[0])
    assert shapes.broadcast_static_shape([5, 1], [3]).as_list() == [5, 3]


def test_unknown_dimensions_are_sizes_all_the_same():
    x = placeholder("float32", [None, 3])
    assert creation.zeros([x.shape[0], 5]).dims == (x.dims[0], 5)
    assert movement.reshape(x, [-1, x.shape[1]]).dims == x.dims


def test_set_shape():
    x = placeholder("float32", [None, 3])
    x.set_shape([None, 3])
    assert x.node not in x.graph.constraints
    x.set_shape([5, 3])
    (constraint,) = x.graph.constraints[x.node]
    assert (constraint.a, constraint.b) == (x.dims[0], 5)
    with pytest.raises(TypeRuleError, match="cannot be"):
        x.set_shape([5, 4])
    with pytest.raises(TypeRuleError, match="cannot be"):
        x.set_shape([5])


# -- operators -------------------------------------------------------------------------------------


def test_equality_is_identity():
    x, y = placeholder("float32", [2]), placeholder("float32", [2])
    assert x == x and x != y and {x: 1}[x] == 1


def test_indexing_errors():
    x = placeholder("float32", [None, 3], name="x")
    for key, message in (
        (np.s_[0, 3], "index 3 is out of range for axis 1"),
        (np.s_[0, 0, 0], "3 indices for x:0"),
        (np.s_[..., ...], "at most one Ellipsis"),
        (np.s_[1.5], "1.5 is not an index"),
        (np.s_[[0, 1]], "gather takes arrays of indices"),
        (np.s_[::0], "a number other than 0"),
        (placeholder("bool", [3]), "gather takes arrays of indices"),
    ):
        with pytest.raises(TypeRuleError) as caught:
            x[key]
        assert message in str(caught.value) and "test_conversion.py:" in str(caught.value)
    with pytest.raises(TypeRuleError, match="depends on data"):
        x[placeholder("int32", []) :]


def test_sizes_of_symbolic_slices_are_equal_where_numpy_says_so():
    x = placeholder("float32", [None], name="x")
    assert x[1:].dims == x[:-1].dims
    assert x[::-1].dims == x[:].dims == x.dims
    assert slicing.slice(x, [1], [-1]).dims == (x.dims[0] - 1,)
