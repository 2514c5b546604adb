"""TensorFlow: version 1's graphs and sessions, eager execution, and XLA (`jit_compile=True`)."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: E402

from ..data import operand  # noqa: E402
from .base import BaseSystem  # noqa: E402
from .kernel_data import operands  # noqa: E402
from .tensorflow_words import TensorFlowNet, kernel, optimizer  # noqa: E402

tf1 = tf.compat.v1


class _Names:
    """TensorFlow 1's names, and `gelu`, which only version 2 has, as graphflow has them in one."""

    class nn:  # noqa: N801
        conv2d = staticmethod(tf1.nn.conv2d)
        conv2d_transpose = staticmethod(tf1.nn.conv2d_transpose)
        bias_add = staticmethod(tf1.nn.bias_add)
        fused_batch_norm = staticmethod(tf1.nn.fused_batch_norm)
        moments = staticmethod(tf1.nn.moments)
        batch_normalization = staticmethod(tf1.nn.batch_normalization)
        relu = staticmethod(tf1.nn.relu)
        gelu = staticmethod(tf.nn.gelu)
        max_pool2d = staticmethod(tf.nn.max_pool2d)
        softmax = staticmethod(tf1.nn.softmax)
        sparse_softmax_cross_entropy_with_logits = staticmethod(
            tf1.nn.sparse_softmax_cross_entropy_with_logits
        )

    def __getattr__(self, name):
        return getattr(tf1, name)


NAMES = _Names()


class XlaNet(TensorFlowNet):
    def max_pool(self, x, size, stride, pad):
        """XLA knows no explicit padding of pooling."""
        edges = [[0, 0], [pad, pad], [pad, pad], [0, 0]]
        x = tf.pad(x, edges, constant_values=x.dtype.min) if pad else x
        return super().max_pool(x, size, stride, 0)


class System(BaseSystem):
    def __init__(self, request, mode):
        super().__init__(request, mode)
        tf.config.threading.set_intra_op_parallelism_threads(self.threads)
        tf.config.threading.set_inter_op_parallelism_threads(self.threads)
        self._starts = []  # initializer, its placeholder and value
        if mode == "graph":
            tf1.disable_eager_execution()

    def _net(self, variables, training):
        words = XlaNet if self.mode == "xla" else TensorFlowNet
        return words(NAMES, variables, training)

    def _session(self):
        config = tf1.ConfigProto(
            intra_op_parallelism_threads=self.threads, inter_op_parallelism_threads=self.threads
        )
        return tf1.Session(config=config)

    def _variables(self, training):
        variables = {}
        for name, value in self.weights():
            trained = training and not name.endswith(("/mean", "/variance"))
            if self.mode == "graph":
                start = tf1.placeholder(tf.float32, value.shape)
                variable = tf1.Variable(start, trainable=trained, use_resource=True)
                self._starts.append((variable.initializer, start, value))
            else:
                variable = tf.Variable(value, trainable=trained)
            variables[name] = variable
        return variables

    def _initialize(self, session):
        known = {initializer for initializer, _, _ in self._starts}
        for initializer, placeholder, value in self._starts:
            session.run(initializer, {placeholder: value})
        self._starts.clear()
        others = [v for v in tf1.global_variables() if v.initializer not in known]
        session.run(tf1.variables_initializer(others))

    def _graph_train(self):
        x = tf1.placeholder(tf.float32, [None, *self.model.inputs])
        integers = self.model.classes > 0
        y = tf1.placeholder(tf.int32 if integers else tf.float32, [None, *self.model.labels])
        net = self._net(self._variables(training=True), training=True)
        loss = self.model.loss(net, x, y)
        update = optimizer(tf1, self.workload.optimizer, self.workload.rate).minimize(loss)
        step = tf1.group(update, *net.updates)
        session = self._session()
        self._initialize(session)
        fetches = [step, loss]
        return lambda a, b: session.run(fetches, {x: a, y: b})[1]

    def train(self):
        if self.mode == "graph":
            return self._graph_train()
        variables = self._variables(training=True)
        trained = [v for v in variables.values() if v.trainable]
        update = _Update(self.workload.optimizer, self.workload.rate, trained)

        def step(x, y):
            net = self._net(variables, training=True)
            with tf.GradientTape() as tape:
                loss = self.model.loss(net, x, y)
            update(tape.gradient(loss, trained))
            return loss

        run = tf.function(step, jit_compile=True) if self.mode == "xla" else step
        return lambda a, b: run(tf.convert_to_tensor(a), tf.convert_to_tensor(b)).numpy()

    def infer(self):
        variables = self._variables(training=False)
        net = self._net(variables, training=False)
        if self.mode == "graph":
            x = tf1.placeholder(tf.float32, [None, *self.model.inputs])
            result = self.model.network(net, x)
            session = self._session()
            self._initialize(session)
            return lambda a, _: session.run(result, {x: a})

        def forward(x):
            return self.model.network(net, x)

        run = tf.function(forward, jit_compile=True) if self.mode == "xla" else forward
        return lambda a, _: run(tf.convert_to_tensor(a)).numpy()

    def _call(self, function, arrays):
        """Of tensors that are at hand; the result as a NumPy array."""
        if self.mode == "graph":
            held = [tf1.Variable(array, use_resource=True) for array in arrays]
            result = function(*[v.read_value() for v in held])
            session = self._session()
            session.run(tf1.global_variables_initializer())
            return (lambda: session.run(result)), session, result
        run = tf.function(function, jit_compile=True) if self.mode == "xla" else function
        tensors = [tf.convert_to_tensor(array) for array in arrays]
        return (lambda: run(*tensors).numpy()), None, None

    def kernel(self, name):
        data, more = operands(name)
        net = self._net({}, training=False)
        step, _, _ = self._call(lambda x, *extra: kernel(net, name, x, list(extra)), [data, *more])
        return step

    def gemm(self, size, constant):
        m, k, n = size
        a, b = operand(m, k), operand(k, n, seed=1)
        if constant:
            held = tf1.constant(b)
            fetch, session, result = self._call(lambda a: tf1.matmul(a, held), [a])
        else:
            fetch, session, result = self._call(tf1.matmul, [a, b])
        operation = session.make_callable(result.op)  # the result stays where it is
        return operation, fetch

    def dispatch(self):
        if self.mode == "graph":
            x = tf1.placeholder(tf.float32, [4])
            y = x + 1
            session = self._session()
            return lambda a: session.run(y, {x: a})
        run = tf.function(lambda x: x + 1, jit_compile=True) if self.mode == "xla" else None
        if run is None:
            return lambda a: (tf.convert_to_tensor(a) + 1).numpy()
        return lambda a: run(tf.convert_to_tensor(a)).numpy()

    def facts(self):
        return {"version": tf.__version__}


class _Update:
    """The kernels that TensorFlow's optimizers call, on slots of our own."""

    def __init__(self, name, rate, variables):
        self.name, self.rate, self.variables = name, tf.constant(rate), variables
        slots = {"sgd": 0, "momentum": 1, "adam": 2}[name]
        self.slots = [[tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(slots)]
        self.powers = [tf.Variable(0.9), tf.Variable(0.999)] if name == "adam" else []

    def __call__(self, grads):
        for position, (variable, grad) in enumerate(zip(self.variables, grads, strict=True)):
            handles = [variable.handle, *[s[position].handle for s in self.slots]]
            if self.name == "momentum":
                tf.raw_ops.ResourceApplyMomentum(
                    var=handles[0], accum=handles[1], lr=self.rate, grad=grad, momentum=0.9
                )
            elif self.name == "adam":
                tf.raw_ops.ResourceApplyAdam(
                    var=handles[0], m=handles[1], v=handles[2], beta1_power=self.powers[0],
                    beta2_power=self.powers[1], lr=self.rate, beta1=0.9, beta2=0.999,
                    epsilon=1e-8, grad=grad,
                )  # fmt: skip
            else:
                tf.raw_ops.ResourceApplyGradientDescent(var=handles[0], alpha=self.rate, delta=grad)
        for power, beta in zip(self.powers, (0.9, 0.999), strict=False):
            power.assign(power * beta)
