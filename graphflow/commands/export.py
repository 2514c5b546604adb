"""python -m graphflow export: a library that C and C++ programs link, made of a saved graph."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..ir.graph import Graph
from ..session import Session
from ..train.meta_graph import import_meta_graph
from ..train.signatures import Signatures, element, get_signatures

_SIGNATURE = "NAME: FEED, ... -> FETCH, ..."


def add(commands) -> None:
    parser = commands.add_parser(
        "export",
        help="make a library for C and C++ programs of a saved graph",
        description="Compiles the signatures of a graph that train.export_meta_graph or Saver.save "
        "has written (a .meta file) to a library with a C header.",
    )
    parser.add_argument("saved", metavar="SAVED", help="the file of the saved graph")
    parser.add_argument("--output", metavar="DIR", required=True, help="the directory to write to")
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", help="the checkpoint with the values of the variables"
    )
    parser.add_argument(
        "--signature",
        metavar="TEXT",
        action="append",
        default=[],
        help=f"{_SIGNATURE} by names of tensors or operations, each with `name=` before it for "
        "another name in C; or the NAME alone of a signature that is saved with the graph. May be "
        "given several times. Without it: all that are saved with the graph",
    )
    parser.add_argument("--name", help="of the library; that of the file if not given")
    parser.add_argument(
        "--target", help="a triple such as aarch64-linux-gnu, an instruction set, or native"
    )
    parser.add_argument("--kind", choices=("static", "shared", "object"), default="static")
    parser.add_argument("--weights", choices=("file", "embedded"), default="file")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    from ..export import export

    graph = Graph()
    with graph.as_default():
        saver = import_meta_graph(chosen.saved)
    signatures = chosen_signatures(graph, chosen.signature)
    if not signatures:
        raise ValueError(
            f"{chosen.saved} has no signatures: name one with --signature '{_SIGNATURE}'"
        )
    with Session(graph=graph) as session:
        if chosen.checkpoint is not None:
            if saver is None:
                raise ValueError(f"{chosen.saved} has no variables for --checkpoint to restore")
            saver.restore(session, chosen.checkpoint)
        written = export(
            chosen.output,
            signatures,
            session=session,
            name=chosen.name or _name_of(chosen.saved),
            target=chosen.target,
            kind=chosen.kind,
            weights=chosen.weights,
        )
    print("\n".join(map(str, written)))
    return 0


def _name_of(path: str) -> str:
    """The file's name, without what cannot stand in the name of a C function."""
    stem = Path(path).name.partition(".")[0]
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in stem)
    return name if name[:1].isalpha() else f"model_{name}" if name else "model"


def chosen_signatures(graph: Graph, texts: Sequence[str]) -> Signatures:
    """The signatures that texts describe, or pick from those of the graph; those if none do.

    Raises ValueError for what is no signature, and NotFoundError for unknown names.
    """
    known = get_signatures(graph)
    if not texts:
        return known
    result: Signatures = {}
    for text in texts:
        name, colon, rest = text.partition(":")
        name = name.strip()
        if not colon:
            if name not in known:
                have = ", ".join(known) or "none"
                raise ValueError(f"no signature {name!r} is saved with the graph; it has {have}")
            signature = known[name]
        else:
            feeds, arrow, fetches = rest.partition("->")
            if not name or not arrow:
                raise ValueError(f"--signature {text!r} is not of the form '{_SIGNATURE}'")
            signature = {
                "feeds": _elements(graph, name, "feed", feeds),
                "fetches": _elements(graph, name, "fetch", fetches),
            }
        if name in result:
            raise ValueError(f"two signatures are called {name!r}")
        result[name] = signature
    return result


def _elements(graph: Graph, signature: str, what: str, text: str) -> dict:
    result: dict = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        alias, equals, target = map(str.strip, entry.partition("="))
        name = target if equals else alias
        key = alias if equals else name.removesuffix(":0")
        if key in result:
            raise ValueError(f"signature {signature!r} has two {what}s called {key!r}")
        result[key] = element(graph, f"signature {signature!r}, {what} {key!r}", name)
    return result
