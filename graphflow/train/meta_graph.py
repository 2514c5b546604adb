"""TensorFlow 1's names for saving a graph and reading it again; the file is in saved_graph.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..ir.graph import Graph, GraphKeys, get_default_graph
from .saved_graph import SavedGraph
from .saver import Saver

__all__ = ["export_meta_graph", "import_meta_graph"]


def export_meta_graph(
    filename=None,
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: Collection | None = None,
    as_text: bool = True,
    graph: Graph | None = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
    signatures: Mapping[str, Any] | None = None,
) -> SavedGraph:
    """Writes a graph to `filename` (None: to no file) as text; returns what it has written.

    The graph is saved as it is: every operation with its name, line and control dependencies,
    bodies of loops and branches, constants, variables with their initialisers (not their values,
    which are a `Saver`'s), and collections.

    collection_list: the names of the collections to save; all if None.
    graph: the current one if None.
    signatures: name -> {"feeds": {name: tensor}, "fetches": {name: tensor or operation}}, what
        `python -m graphflow export` makes of the file; those kept with the graph if None.

    Raises UnsavableGraphError where operations call Python functions (py_func), with their lines;
    NotFoundError, PermissionDeniedError or ResourceExhaustedError where the file cannot be
    written: what was there before is then unchanged. Items of collections that are no tensors,
    operations, variables or plain values are left out with a warning. `graph_def` and
    `export_scope` are refused; TensorFlow 1's other arguments change nothing.
    """
    for name, value in (("graph_def", graph_def), ("export_scope", export_scope)):
        if value is not None:
            raise ValueError(
                f"export_meta_graph: {name} is not supported; the graph is saved whole"
            )
    saved = SavedGraph.of(graph or get_default_graph(), collection_list, signatures)
    if filename is not None:
        saved.write(filename)
    return saved


def import_meta_graph(
    meta_graph_or_file, clear_devices: bool = False, import_scope: str | None = None, **ignored
) -> Saver | None:
    """Adds a saved graph to the current graph; a Saver of its variables, None where it has none.

    meta_graph_or_file: the name of a file, or what `export_meta_graph` returned.
    import_scope: put before all names, which lets a graph be read beside another one.

    The Saver reads and writes the checkpoints of the graph that was saved. Signatures are kept with
    the current graph (`get_signatures`). What was a Python function is gone: gradients through
    `custom_gradient`, and constraints of variables, raise where they are asked for.

    Raises NotFoundError where there is no such file, DataLossError where it is truncated, damaged
    or not a saved graph, GraphMismatchError where the current graph has operations of the same
    names; the current graph is then unchanged.
    """
    saved = meta_graph_or_file
    if not isinstance(saved, SavedGraph):
        saved = SavedGraph.read(meta_graph_or_file)
    graph = get_default_graph()
    imported = saved.load(graph, import_scope)
    saved_ones = set(graph.get_collection(GraphKeys.GLOBAL_VARIABLES))
    variables = {name: v for name, v in imported.variables.items() if v in saved_ones}
    return Saver(variables) if variables else None
