"""Lowering against the reference: the table of operation cases, and random programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import all_cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plans import check

import graphflow as tf
from graphflow.ir import graph

# Reads element 0 of an input without elements, which real buffers always have room for.
EMPTY = {"pad-none", "convolve-no-width", "convolve_weights-no-width"}
# Its polynomial holds for arguments from here on.
OUTSIDE = {"erfcinv-float32"}
RULES = ("inline", "fuse_pointwise", "fuse_rows", "fuse_columns", "fuse_full", "fuse_epilogue",
         "fuse_siblings", "merge_launches", "memory.in_place", "in_place_state")  # fmt: skip


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_every_operation(case):
    with np.errstate(all="ignore"):
        for symbolic in (False, True):
            if symbolic and (case.symbolic is None or case.name in EMPTY):
                continue
            if case.name in OUTSIDE:
                arrays = tuple(np.clip(a, 1e-6, None) for a in case.inputs)
                case = replace(case, inputs=arrays)
            graph.reset_default_graph()
            tensors = case.placeholders(symbolic)
            feeds = dict(zip(tensors, case.inputs, strict=True))
            check(case.outputs(tensors), feeds, rtol=2e-5, atol=2e-5)


class _Maker:
    """Draws a program: every step applies an operation to tensors made before."""

    def __init__(self, data):
        self.data = data
        self.rows = data.draw(st.sampled_from([1, 2, 5, 9]))
        self.symbolic = data.draw(st.booleans())
        self.feeds = {}
        self.states = {}
        self.random = np.random.default_rng(data.draw(st.integers(0, 99)))
        self.tensors = [self.placeholder((self.rows, 6)), self.placeholder((self.rows, 6))]

    def pick(self, values):
        return self.data.draw(st.sampled_from(values))

    def placeholder(self, shape):
        declared = [None, *shape[1:]] if self.symbolic and shape[0] == self.rows else shape
        tensor = tf.placeholder(tf.float32, declared)
        self.feeds[tensor] = self.random.uniform(-1, 1, shape).astype(np.float32)
        return tensor

    def array(self, *shape):
        return tf.constant(self.random.uniform(-1, 1, shape).astype(np.float32))

    def step(self):
        x = self.pick(self.tensors)
        kind = self.pick(["unary", "unary", "binary", "binary", "row", "bias", "softmax", "reduce",
                          "keep", "matmul", "reshape", "transpose", "slice", "concat", "gather",
                          "select", "pad"])  # fmt: skip
        rank = len(x.dims)
        axis = self.data.draw(st.integers(0, max(rank - 1, 0)))
        if kind == "unary" or rank == 0:
            op = self.pick([tf.tanh, tf.sigmoid, tf.abs, lambda t: t * 0.5 + 1.0, tf.exp])
            y = op(tf.tanh(x)) if op is tf.exp else op(x)
        elif kind == "binary":
            same = [t for t in self.tensors if t.dims == x.dims]
            y = self.pick([tf.add, tf.subtract, tf.multiply, tf.maximum])(x, self.pick(same))
        elif kind == "row":
            y = x - tf.reduce_mean(x, axis=rank - 1, keepdims=True)
        elif kind == "bias" and isinstance(x.dims[-1], int):
            y = x + self.array(x.dims[-1])
        elif kind == "softmax":
            e = tf.exp(x - tf.reduce_max(x, axis=rank - 1, keepdims=True))
            y = e / tf.reduce_sum(e, axis=rank - 1, keepdims=True)
        elif kind in ("reduce", "keep"):
            op = self.pick([tf.reduce_mean, tf.reduce_max, tf.reduce_sum])
            y = op(tf.tanh(x), axis=self.pick([None, axis]), keepdims=kind == "keep")
        elif kind == "matmul" and rank == 2 and isinstance(x.dims[1], int):
            y = tf.matmul(x, self.array(x.dims[1], self.pick([1, 3, 6])))
        elif kind == "reshape":
            y = tf.reshape(x, [-1] if rank > 1 else [-1, 1])
        elif kind == "transpose" and rank == 2:
            y = tf.transpose(x)
        elif kind == "slice" and isinstance(x.dims[axis], int) and x.dims[axis] > 1:
            y = x[(slice(None),) * axis + (slice(1, None),)]
        elif kind == "concat":
            y = tf.concat([x, tf.tanh(x)], axis=axis)
        elif kind == "gather" and isinstance(x.dims[axis], int) and x.dims[axis] > 0:
            indices = self.random.integers(0, x.dims[axis], 3).astype(np.int32)
            y = tf.gather(x, tf.constant(indices), axis=axis)
        elif kind == "select":
            y = tf.where(x > 0.25, x, tf.zeros_like(x))
        else:
            y = tf.pad(x, [[1, 0]] * rank)
        if len(y.dims) <= 3 and self.size(y) < 4000:
            self.tensors.append(y)

    def size(self, tensor) -> int:
        from graphflow.passes.analysis.index_math import estimate
        from graphflow.sizes import product

        return estimate(product(tensor.dims), self.rows)

    def updates(self):
        """Assignments to some variables that the program also reads."""
        result = []
        for number in range(self.data.draw(st.integers(0, 3))):
            static = [t for t in self.tensors if all(isinstance(d, int) for d in t.dims)]
            if not static:
                break
            value = self.pick(static)
            initial = self.random.uniform(-1, 1, value.dims).astype(np.float32)
            variable = tf.Variable(initial, name=f"v{number}")
            self.states[variable.handle] = initial
            form = self.pick(["set", "add", "read", "mix"])
            if form == "set":
                result.append(variable.assign(value))
            elif form == "add":
                result.append(variable.assign_add(value))
            else:
                old = variable.read_value()
                if form == "read":
                    self.tensors.append(tf.tanh(old))
                result.append(variable.assign(old * 0.9 + value))
        return result


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs(data):
    graph.reset_default_graph()
    maker = _Maker(data)
    for _ in range(data.draw(st.integers(3, 14))):
        maker.step()
    updates = maker.updates()
    fetches = data.draw(st.lists(st.sampled_from(maker.tensors), min_size=1, max_size=3,
                                 unique=True))  # fmt: skip
    disable = data.draw(st.lists(st.sampled_from([*RULES, "fuse"]), max_size=2))
    check([*fetches, *(getattr(u, "op", u) for u in updates)], maker.feeds, maker.states, disable,
          rtol=2e-4, atol=2e-4)  # fmt: skip
