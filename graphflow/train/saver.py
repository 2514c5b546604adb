"""`Saver`: the state of a session, written to a checkpoint and read back.

Besides its variables a checkpoint holds the draw counters of the graph's random operations, so
that a restored process continues with the same random numbers.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from ..ir.graph import Graph, get_default_graph
from ..ir.variable import VariableHandle
from ..ops.random import RANDOM_STATES
from ..ops.variables import Variable, global_variables
from ..sizes import product
from .checkpoint import (
    Reader,
    checkpoint_exists,
    checkpoint_file,
    update_checkpoint_state,
    write_arrays,
)
from .saved_graph import SavedGraph, UnsavableGraphError

__all__ = ["Saver"]

# The names of draw counters in a file; no variable's name can begin like this.
_HIDDEN = "//"


def hidden_variables(graph: Graph) -> dict[str, VariableHandle]:
    """The variables that the graph's own operations keep (draw counters), by name in a file."""
    return {_HIDDEN + handle.name: handle for handle in graph.get_collection(RANDOM_STATES)}


class Saver:
    """Saves variables to checkpoints and restores them.

    var_list: the variables, as a list (saved under their names), or a mapping from names in the
        file to variables; all global variables of the graph if None.
    reshape: lets a restored array have another shape of the same size.
    max_to_keep: how many checkpoints `save` leaves; the oldest are deleted. 0 or None for all.
    keep_checkpoint_every_n_hours: keeps one in so many hours from being deleted.
    allow_empty: no variables are not an error.
    pad_step_number: writes the step with 8 digits, so that names sort.

    Restoring needs every variable of `var_list` in the file. Draw counters are restored where the
    file has them. `sharded`, `restore_sequentially`, `defer_build` and others of TensorFlow 1's
    arguments are accepted and change nothing.
    """

    def __init__(
        self,
        var_list: Mapping[str, Variable] | Iterable[Variable] | None = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: Any = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: Any = None,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
    ):
        self._variables = _by_name(global_variables() if var_list is None else var_list)
        if not self._variables and not allow_empty:
            raise ValueError("Saver: no variables to save")
        self._reshape = reshape
        self._max_to_keep = max_to_keep or 0
        self._keep_seconds = keep_checkpoint_every_n_hours * 3600
        self._next_kept = time.time() + self._keep_seconds
        self._pad_step_number = pad_step_number
        self._last: list[tuple[str, float]] = []
        self._meta_suffix = "meta"
        self._told = False  # why there are no .meta files

    @property
    def last_checkpoints(self) -> list[str]:
        """The checkpoints that `save` has not deleted, oldest first."""
        return [path for path, _ in self._last]

    def set_last_checkpoints(self, last_checkpoints: Iterable[str]) -> None:
        """Says which checkpoints, oldest first, there are already to be deleted later."""
        self._last = [(path, float("inf")) for path in last_checkpoints]

    def recover_last_checkpoints(self, checkpoint_paths: Iterable[str]) -> None:
        """As `set_last_checkpoints`, for those that exist; their ages are their files'."""
        self._last = [
            (path, os.path.getmtime(checkpoint_file(path)))
            for path in checkpoint_paths
            if checkpoint_exists(path)
        ]

    def save(
        self,
        sess,
        save_path,
        global_step=None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
    ) -> str:
        """Writes the variables' values in `sess`; returns the checkpoint's name for `restore`.

        save_path: the name; with `global_step` (a number, variable or tensor) -<step> follows.
        write_meta_graph: also writes the graph, to <name>.meta, for `import_meta_graph`. Of a graph
            that cannot be saved, for it calls Python functions, a warning says so once.

        Raises FailedPreconditionError naming all variables without a value, and where the file
        cannot be written NotFoundError, PermissionDeniedError or ResourceExhaustedError: the
        checkpoint that was there before is then unchanged.
        """
        prefix = os.fspath(save_path)
        if global_step is not None:
            if not isinstance(global_step, (int, np.integer)):
                global_step = int(sess.run(global_step))
            digits = f"{int(global_step):08d}" if self._pad_step_number else str(int(global_step))
            prefix = f"{prefix}-{digits}"
        write_arrays(prefix, self._values(sess))
        self._meta_suffix = meta_graph_suffix
        if write_meta_graph:
            self._write_graph(sess.graph, f"{prefix}.{meta_graph_suffix}")
        if write_state:
            self._keep(prefix)
            directory = os.path.dirname(prefix) or "."
            update_checkpoint_state(directory, prefix, self.last_checkpoints, latest_filename)
            self._delete_old()
        return prefix

    def export_meta_graph(
        self, filename=None, collection_list: Iterable[str] | None = None, **ignored
    ) -> SavedGraph:
        """As `graphflow.train.export_meta_graph`, of the graph whose variables this Saver saves."""
        graph = next((v.graph for v in self._variables.values()), None) or get_default_graph()
        wanted = None if collection_list is None else list(collection_list)
        saved = SavedGraph.of(graph, wanted)
        if filename is not None:
            saved.write(filename)
        return saved

    def _write_graph(self, graph: Graph, path: str) -> None:
        try:
            saved = SavedGraph.of(graph)
        except UnsavableGraphError as error:
            if not self._told:
                self._told = True
                warnings.warn(
                    f"the checkpoint has no .meta file: {error}", RuntimeWarning, stacklevel=3
                )
            return
        saved.write(path)

    def _values(self, sess) -> dict[str, np.ndarray]:
        missing = [v.handle.name for v in self._variables.values()
                   if not sess.is_initialized(v.handle)]  # fmt: skip
        if missing:
            raise FailedPreconditionError(
                f"cannot save, uninitialised: {_listed(missing)}; run their initializers first"
            )
        arrays = {name: sess.variable_value(v.handle) for name, v in self._variables.items()}
        for name, handle in hidden_variables(sess.graph).items():
            if sess.is_initialized(handle):
                arrays[name] = sess.variable_value(handle)
        return arrays

    def _keep(self, prefix: str) -> None:
        self._last = [entry for entry in self._last if entry[0] != prefix]
        self._last.append((prefix, time.time()))
        self._doomed: list[str] = []
        while self._max_to_keep and len(self._last) > self._max_to_keep:
            path, written = self._last.pop(0)
            if written > self._next_kept:
                self._next_kept += self._keep_seconds
            else:
                self._doomed.append(path)

    def _delete_old(self) -> None:
        """After the list was written: it never names a file that is gone."""
        for path in self._doomed:
            with suppress(OSError):  # a checkpoint that stays costs space, not correctness
                os.unlink(checkpoint_file(path))
            with suppress(OSError):
                os.unlink(f"{path}.{self._meta_suffix}")

    def restore(self, sess, save_path) -> None:
        """Sets the variables in `sess` to what the checkpoint `save_path` holds: all, or none.

        Raises NotFoundError where the file does not exist or lacks variables, DataLossError where
        it is truncated, damaged or foreign, InvalidArgumentError where shapes or dtypes differ;
        nothing has changed then.
        """
        if save_path is None:
            raise ValueError("Saver.restore: save_path is None, so there is nothing to restore")
        with Reader(save_path) as reader:
            present = set(reader.names)
            self._check(reader, present)
            values: dict[VariableHandle, np.ndarray] = {}
            for name, variable in self._variables.items():
                array = reader.read(name)
                values[variable.handle] = array.reshape(variable.handle.shape)
            for name, handle in hidden_variables(sess.graph).items():
                if name in present and reader.shape(name) == handle.shape:
                    values[handle] = reader.read(name)
        sess.load_variables(values)

    def _check(self, reader: Reader, present: set[str]) -> None:
        missing = [name for name in self._variables if name not in present]
        wrong = []
        for name, variable in self._variables.items():
            if name not in present:
                continue
            handle = variable.handle
            shape, dtype = reader.shape(name), reader.dtype(name)
            fits = shape == handle.shape or (
                self._reshape and math.prod(shape) == product(handle.shape)
            )
            if not fits or dtype != handle.dtype.numpy:
                wrong.append(f"{name}: {dtype}{list(shape)} in the file, {handle.tensor_type} here")
        if missing:
            also = f"\n  and of another type: {_listed(wrong)}" if wrong else ""
            raise NotFoundError(f"{reader.path} has no {_listed(missing)}{also}")
        if wrong:
            raise InvalidArgumentError(f"{reader.path} does not fit the graph: {_listed(wrong)}")


def _by_name(var_list) -> dict[str, Variable]:
    if isinstance(var_list, Mapping):
        pairs = [(str(name), variable) for name, variable in var_list.items()]
    else:
        pairs = [(getattr(v, "handle", v), v) for v in var_list]
        pairs = [(getattr(handle, "name", ""), v) for handle, v in pairs]
    result: dict[str, Variable] = {}
    for name, variable in pairs:
        if not isinstance(variable, Variable):
            raise TypeError(f"Saver: {variable!r} is not a variable")
        if result.setdefault(name, variable) is not variable:
            raise ValueError(f"Saver: at least two variables have the name {name!r}")
    return result


def _listed(items: list[str], most: int = 8) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
