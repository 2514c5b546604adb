"""ONNX Runtime: models written beforehand by onnx_export.py."""

from __future__ import annotations

import numpy as np
import onnxruntime

from ..data import operand
from ..onnx_export import gemm_file, kernel_file
from .base import BaseSystem
from .kernel_data import operands


class System(BaseSystem):
    def _session(self, file: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            f"{self.request.models}/{file}", options, providers=["CPUExecutionProvider"]
        )

    def feed(self, x, y):
        return (np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x), y

    def infer(self):
        sessions = []

        def step(x, _):
            if not sessions:  # the first call is the one that prepares, as everywhere
                sessions.append(self._session(f"{self.workload.model}.onnx"))
            return sessions[0].run(None, {"x": x})[0]

        return step

    def _bound(self, session, inputs, shape):
        """A call on bound memory, and the array it writes."""
        result = np.empty(shape, np.float32)
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output("y", "cpu", 0, np.float32, shape, result.ctypes.data)
        kept = (result, inputs)

        def step():
            session.run_with_iobinding(binding)
            return kept[0]

        return step

    def kernel(self, name):
        data, _ = operands(name)
        shape = data.shape[1:] if name.startswith("sum") else data.shape
        return self._bound(self._session(kernel_file(name)), {"x": data}, shape)

    def gemm(self, size, constant):
        m, k, n = size
        a, b = operand(m, k), operand(k, n, seed=1)
        inputs = {"x": a} if constant else {"x": a, "w": b}
        step = self._bound(self._session(gemm_file(size, constant)), inputs, (m, n))
        return step, step

    def dispatch(self):
        session = self._session("dispatch.onnx")
        return lambda a: session.run(None, {"x": a})[0]

    def facts(self):
        return {"version": onnxruntime.__version__}
