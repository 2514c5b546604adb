"""python -m graphflow show: what is in a saved graph."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

from ..ir.graph import Graph
from ..ir.node import Node, Tensor
from ..sizes import product
from ..train.meta_graph import import_meta_graph
from ..train.signatures import get_signatures


def add(commands) -> None:
    parser = commands.add_parser(
        "show",
        help="say what is in a saved graph",
        description="Prints the signatures, placeholders and variables of a graph that "
        "train.export_meta_graph or Saver.save has written (a .meta file).",
    )
    parser.add_argument("saved", metavar="SAVED", help="the file of the saved graph")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    graph = Graph()
    with graph.as_default():
        import_meta_graph(chosen.saved)
    print("\n".join(described(graph)))
    return 0


def described(graph: Graph) -> Iterator[str]:
    """The lines that say what a graph has."""
    sizes = {handle: product(handle.shape) * handle.dtype.bytes for handle in graph.variables}
    total = sum(sizes.values())
    yield f"{len(graph.nodes)} operations, {len(sizes)} variables of {_bytes(total)}"
    yield from _section("signatures", list(_signatures(get_signatures(graph))))
    feeds = [node for node in graph.nodes if node.op.name.startswith("placeholder")]
    yield from _section(
        "placeholders",
        [[n.name, str(n.types[0]), f"at {graph.location(n)}"] for n in feeds],
    )
    yield from _section(
        "variables",
        [
            [
                handle.name,
                str(handle.tensor_type),
                _bytes(sizes[handle]),
                "trainable" if variable.trainable else "",
            ]
            for handle, variable in graph.variables.items()
        ],
    )


def _signatures(signatures: Mapping) -> Iterator[list[str]]:
    for name, signature in signatures.items():
        feeds = ", ".join(f"{k}: {_type(v)}" for k, v in signature["feeds"].items())
        fetches = ", ".join(f"{k}: {_type(v)}" for k, v in signature["fetches"].items())
        yield [f"{name}({feeds}) -> {fetches}"]


def _type(value: Tensor | Node) -> str:
    return str(value.tensor_type) if isinstance(value, Tensor) else "operation"


def _section(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns under a title; nothing where there are none."""
    if not rows:
        return
    yield title
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join(cells)}".rstrip()


def _bytes(number) -> str:
    for unit in ("bytes", "KB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}" if isinstance(number, float) else f"{number} {unit}"
        number = number / 1000
    return f"{number:.3g} GB"
