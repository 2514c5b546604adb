"""graphflow: whole graphs, and op by op."""

from __future__ import annotations

from typing import Any

import graphflow as tf

from ..data import batches, operand
from ..net import EPSILON
from .base import BaseSystem
from .kernel_data import operands
from .tensorflow_words import TensorFlowNet, kernel, optimizer


class GraphflowNet(TensorFlowNet):
    def normalize_layer(self, x, gamma, beta):
        return tf.nn.layer_norm(x, gamma, beta, epsilon=EPSILON)


class System(BaseSystem):
    def __init__(self, request, mode):
        super().__init__(request, mode)
        self.session: Any = None
        self.report: Any = None

    def _session(self) -> Any:
        config = tf.ConfigProto(
            intra_op_parallelism_threads=self.threads,
            disable=tuple(self.request.options.get("disable", ())),
        )
        self.session = tf.Session(config=config, backend=self.mode)
        return self.session

    def _rows(self) -> int | None:
        """Batches of any size, unless told otherwise."""
        return self.workload.batch if self.request.options.get("static") else None

    def _variables(self, training: bool) -> dict[str, Any]:
        variables = {}
        session = self._session()
        for name, value in self.weights():
            trained = training and not name.endswith(("/mean", "/variance"))
            zeros = tf.zeros(value.shape)
            variables[name] = tf.Variable(zeros, trainable=trained, name=name.replace("/", "_"))
            variables[name].load(value, session)
        return variables

    def _initialize(self, known: dict[str, Any]) -> None:
        others = [v for v in tf.global_variables() if all(v is not k for k in known.values())]
        self.session.run([v.initializer for v in others])

    def train(self):
        x = tf.placeholder(tf.float32, [self._rows(), *self.model.inputs])
        integers = self.model.classes > 0
        y = tf.placeholder(tf.int32 if integers else tf.float32, [self._rows(), *self.model.labels])
        variables = self._variables(training=True)
        net = GraphflowNet(tf, variables, training=True)
        loss = self.model.loss(net, x, y)
        update = optimizer(tf, self.workload.optimizer, self.workload.rate).minimize(loss)
        step = tf.group(update, *net.updates) if net.updates else update
        self._initialize(variables)
        session, fetches = self.session, [step, loss]
        self.report = lambda a, b: tf.explain(fetches, session=session, feed_dict={x: a, y: b})
        return lambda a, b: session.run(fetches, {x: a, y: b})[1]

    def infer(self):
        x = tf.placeholder(tf.float32, [self._rows(), *self.model.inputs])
        net = GraphflowNet(tf, self._variables(training=False), training=False)
        result = self.model.network(net, x)
        session = self.session
        self.report = lambda a, _: tf.explain(result, session=session, feed_dict={x: a})
        return lambda a, _: session.run(result, {x: a})

    def kernel(self, name):
        data, more = operands(name)
        x = tf.placeholder(tf.float32, data.shape)
        net = GraphflowNet(tf, {}, training=False)
        result = kernel(net, name, x, [tf.constant(value) for value in more])
        session = self._session()
        return lambda: session.run(result, {x: data})

    def gemm(self, size, constant):
        m, k, n = size
        left, right = operand(m, k), operand(k, n, seed=1)
        a = tf.placeholder(tf.float32, [m, k])
        session = self._session()
        if constant:
            call = session.make_callable(tf.matmul(a, tf.constant(right)), [a])
            return (lambda: call(left)), (lambda: call(left))
        b = tf.placeholder(tf.float32, [k, n])
        call = session.make_callable(tf.matmul(a, b), [a, b])
        return (lambda: call(left, right)), (lambda: call(left, right))

    def dispatch(self):
        x = tf.placeholder(tf.float32, [4])
        y = x + 1
        session = self._session()
        return lambda a: session.run(y, {x: a})

    def _example(self):
        return batches(self.workload.model, self.workload.batch, 1)[0]

    def facts(self):
        facts: dict[str, Any] = {"version": tf.__version__}
        if self.mode == "compiled" and self.report is not None:
            report = self.report(*self.feed(*self._example()))
            facts["launches"] = report.launches
            facts["peak_bytes"] = report.peak_bytes
        return facts
