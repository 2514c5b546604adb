"""Steps in objects, run by a host written in C on any machine: what steps_host.c needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machines import NATIVE, Machine

from graphflow.codegen.objects import compile_plan
from graphflow.codegen.target import level
from graphflow.description import Parts
from graphflow.ir.evaluate import bind_sizes
from graphflow.ir.graph import get_default_graph
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.pipeline import PassOptions, run_graph_passes
from graphflow.passes.planning.build_plan import build_plan
from graphflow.plan import LATE, ROW, STACK, Output, Plan
from graphflow.sizes import Size, evaluate

HERE = Path(__file__).parent
SOURCES = [
    HERE / "steps_host.c",
    *(NATIVE / "core" / name for name in ("memory.c", "pool.c", "sync.c", "workers.c")),
]


@dataclass
class Result:
    """status and site: why a step stopped. states: what variables are after the last run."""

    status: int
    site: int
    values: tuple[int, int]
    outputs: list[np.ndarray]
    states: dict[Any, np.ndarray]


class HostedStep:
    """A step of the default graph, compiled for a machine and to be run by the host there.

    states: the values of variables, by their handles, before the first of `runs` runs
    """

    def __init__(
        self,
        fetches: Sequence,
        feeds: Mapping,
        target: str,
        states: Mapping[Any, np.ndarray] | None = None,
        runs: int = 1,
    ):
        self.runs, self.states = runs, dict(states or {})
        self.arrays = [np.asarray(v, t.dtype.numpy) for t, v in feeds.items()]
        program = cut(get_default_graph(), list(fetches), list(feeds))
        self.program = run_graph_passes(program, PassOptions())
        self.target = level(target)
        self.plan: Plan = build_plan(self.program, self.target, PassOptions())
        self.symbols = Parts.of(program).symbols
        self.bindings = bind_sizes(self.program, self.arrays)

    @property
    def hostable(self) -> bool:
        """Whether it asks its host for nothing but threads: memory has its size beforehand."""
        places = {buffer.place for buffer in self.plan.buffers}
        return not places & {STACK, LATE} and not self.plan.calls

    def object(self, name: str) -> bytes:
        names = (f"{name}_sizes", f"{name}_step")
        return compile_plan(self.plan, self.symbols, self.target, names=names)

    def number(self, size) -> int:
        return evaluate(size, self.bindings) if isinstance(size, Size) else size

    def table(self, name: str, contents: bytearray) -> tuple[str, str]:
        """C text: definitions, and the row of the step. What memory begins with is added to
        `contents`."""
        plan = self.plan
        slots = {size: slot for slot, size in enumerate(plan.values())}
        given: dict[int, np.ndarray] = dict(zip(plan.feeds, self.arrays, strict=True))
        given.update({id_: constant.array for id_, constant in plan.constants})
        aliases, states = [], []
        for state in plan.states:
            old = self.states.get(state.variable)
            if old is None and state.variable.initial is not None:
                old = state.variable.initial.array
            if state.read >= 0:
                assert old is not None, state.variable
                given[state.read] = np.asarray(old)
            if state.in_place and state.write >= 0:
                aliases.append((state.write, state.read))
        aliased = {to for to, _ in aliases}
        cells, cell_of = [], {}
        for buffer in plan.buffers:
            if buffer.id in aliased or buffer.place == ROW:
                continue
            bytes_ = ~slots[buffer.bytes] if isinstance(buffer.bytes, Size) else buffer.bytes
            start = -1
            if buffer.id in given:
                contents.extend(bytes(-len(contents) % 8))
                start = len(contents)
                contents += np.ascontiguousarray(given[buffer.id], buffer.dtype.numpy).tobytes()
            cell_of[buffer.id] = len(cells)
            cells.append((buffer.id, bytes_, start))
        for state in plan.states:
            if state.write >= 0 and state.read >= 0 and not state.in_place:
                states.append((cell_of[state.read], state.write))
        outputs = []
        for buffer, dtype, shape in self.results():
            bytes_ = int(np.prod([self.number(d) for d in shape], dtype=np.int64)) * dtype.bytes
            outputs.append((buffer, bytes_, -1))
        lines = [
            f"void {name}_sizes(const int64_t *symbols, int64_t *values);",
            f"int32_t {name}_step(gf_frame *frame);",
            _array("int64_t", f"{name}_symbols", [str(self.bindings[s]) for s in self.symbols]),
            _array("cell", f"{name}_cells", map(_row, cells)),
            _array("alias", f"{name}_aliases", map(_row, aliases)),
            _array("state", f"{name}_states", map(_row, states)),
            _array("cell", f"{name}_outputs", map(_row, outputs)),
        ]
        counts = (
            len(slots), len(plan.buffers), self.runs, len(cells), len(aliases), len(states),
            len(outputs),
        )  # fmt: skip
        assert {buffer.id for buffer in plan.buffers} == set(range(len(plan.buffers)))
        arrays = (f"{name}_{what}" for what in ("cells", "aliases", "states", "outputs"))
        row = [f"{name}_sizes", f"{name}_step", f"{name}_symbols", *map(str, counts), *arrays]
        return "\n".join(lines), f"{{{', '.join(row)}}}"

    def results(self) -> list[tuple[int, Any, Any]]:
        """The buffers that are told afterwards: outputs, then the new values of variables."""
        rows: list[tuple[int, Any, Any]] = []
        output: Output
        for output in self.plan.outputs:
            rows.append((output.buffer, output.dtype, output.shape))
        for state in self.plan.states:
            if state.write >= 0:
                rows.append((state.write, state.dtype or state.variable.dtype, state.shape))
        return rows

    def read(self, data: bytes) -> tuple[Result, int]:
        """What the host wrote for this step, and how many bytes that is."""
        status, site, first, second = np.frombuffer(data, np.int64, 4).tolist()
        at, arrays = 32, []
        for _, dtype, shape in self.results():
            dims = [self.number(dim) for dim in shape]
            count = int(np.prod(dims, dtype=np.int64))
            arrays.append(np.frombuffer(data, dtype.numpy, count, at).reshape(dims))
            at += count * dtype.bytes
        outputs = arrays[: len(self.plan.outputs)]
        written = [state.variable for state in self.plan.states if state.write >= 0]
        states = dict(zip(written, arrays[len(outputs) :], strict=True))
        return Result(status, site, (first, second), outputs, states), at


def _row(numbers: Sequence[int]) -> str:
    return f"{{{', '.join(map(str, numbers))}}}"


def _array(kind: str, name: str, rows) -> str:
    """At least one element, which C wants an array to have."""
    texts = list(rows) or ["{0}" if kind != "int64_t" else "0"]
    return f"static const {kind} {name}[] = {{{', '.join(texts)}}};"


def run_steps(folder: Path, machine: Machine, steps: Sequence[HostedStep]) -> list[Result]:
    """Links the steps into one program for the machine, and runs it there."""
    contents = bytearray()
    texts, rows, objects = ['#include "steps_host.h"'], [], []
    for number, step in enumerate(steps):
        name = f"step{number}"
        text, row = step.table(name, contents)
        texts.append(text)
        rows.append(row)
        path = folder / f"{name}.o"
        path.write_bytes(step.object(name))
        objects.append(path)
    texts.append(f"const step steps[] = {{{', '.join(rows)}}};")
    texts.append(f"const int32_t step_count = {len(steps)};")
    texts.append(f"const int64_t input_bytes = {len(contents)};")
    table = folder / "steps_table.c"
    table.write_text("\n".join(texts) + "\n")
    (folder / "input").write_bytes(contents)
    program = machine.build(folder / "host", f"-I{HERE}", table, *SOURCES, *objects)
    done = machine.run(program, str(folder / "input"), str(folder / "output"), text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    data = (folder / "output").read_bytes()
    results = []
    for step in steps:
        result, used = step.read(data)
        results.append(result)
        data = data[used:]
    assert not data
    return results
