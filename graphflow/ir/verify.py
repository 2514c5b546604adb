"""What every Program must be, checked: between passes in tests and on request.

* types are what the type rules give for the inputs and attributes
* inputs come before users, and all nodes are this program's own
* regions are closed: a body uses its parameters and its own nodes only
* effects are in the order of their serials, and each is there once
* a variable's new value has the variable's type
* every node knows the definition it comes from
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from ..errors import GraphError, InternalError
from ..sizes import symbols_of
from .build import infer
from .loop_sizes import bound_in
from .node import Node, Region, all_nodes
from .op import STATE
from .program import Program
from .types import SizeRules


def verify(program: Program, after: str = "cut") -> None:
    """Raises InternalError, which names the pass `after` which it was found, the node and the
    user's line, for the first thing that is not as it must be."""
    _Verifier(program, after).check()


class _Verifier:
    def __init__(self, program: Program, after: str):
        self.program = program
        self.after = after

    def fail(self, message: str, node: Node | None = None) -> NoReturn:
        lines = [f"after pass {self.after}: {message}"]
        if node is not None:
            inputs = ", ".join(f"{t.node.op.name} {t.tensor_type}" for t in node.inputs)
            types = ", ".join(map(str, node.types))
            lines.append(f"  node {node.op.name}({inputs}) -> {types}")
            lines += [f"  {origin}" for origin in self.program.origin(node)[:2]]
        raise InternalError("\n".join(lines))

    def check(self) -> None:
        program = self.program
        nodes = program.nodes()
        seen: set[Node] = set()
        for node in nodes:
            for need in [t.node for t in node.inputs] + list(node.controls):
                if need not in seen:
                    self.fail(f"{need.op.name} does not come before its user", node)
            seen.add(node)
            self.node(node, outer=True)
        self.feeds(nodes)
        self.effects(seen)
        for variable, tensor in program.updates.items():
            if tensor.tensor_type != variable.tensor_type:
                self.fail(
                    f"variable {variable} is {variable.tensor_type}, its new value "
                    f"{tensor.tensor_type}",
                    tensor.node,
                )

    def node(self, node: Node, outer: bool) -> None:
        if node.op.kind == STATE:
            self.fail("a state operation is left", node)
        if node.op.name == "placeholder":
            self.fail("a placeholder is left", node)
        for tensor in node.inputs:
            if tensor.index >= len(tensor.node.outputs) or (
                tensor.node.outputs[tensor.index] is not tensor
            ):
                self.fail("an input is no output of its node", node)
        for type_ in node.types:
            if type_.shape is None:
                self.fail("the rank of a result is unknown", node)
        effects = any(region.effects for region in node.regions)
        if bool(node.serial) != (node.op.serial or effects):
            self.fail("only effects have serial numbers", node)
        self.types(node)
        for region in node.regions:
            self.region(region, node)
        if outer and not self.program.origin(node):
            self.fail("the definition it comes from is lost", node)

    def types(self, node: Node) -> None:
        rules = SizeRules()
        try:
            types = infer(node.op, node.inputs, node.attrs, node.regions, rules)
        except GraphError as error:
            self.fail(f"its type rule refuses it: {error}", node)
        if types != node.types:
            wanted = ", ".join(map(str, types))
            self.fail(f"its type rule gives {wanted}", node)

    def region(self, region: Region, node: Node) -> None:
        nodes = region.nodes()
        parameters = set(region.parameters)
        serials = [effect.serial for effect in region.effects if effect.serial]
        if serials != sorted(serials):
            self.fail(f"effects of region {region.name} are out of order: {serials}", node)
        for inner in nodes:
            if inner.op.name == "parameter" and not parameters.issuperset(inner.outputs):
                self.fail(f"region {region.name} uses a parameter of another region", node)
            if inner.op.name in ("feed", "state"):
                self.fail(f"region {region.name} uses a {inner.op.name} of the program", node)
            self.node(inner, outer=False)

    def feeds(self, nodes: Iterable[Node]) -> None:
        program = self.program
        for index, feed in enumerate(program.feeds):
            if feed.node.op.name != "feed" or feed.node.attrs["index"] != index:
                self.fail(f"feed {index} is no feed node of that index", feed.node)
        known = set(program.feeds)
        bound = set(symbols_of(tuple(type_.shape for type_ in program.bound_types())))
        for inner in all_nodes(nodes):
            bound.update(bound_in(inner.attrs))
        for node in nodes:
            if node.op.name == "feed" and node.outputs[0] not in known:
                self.fail("a feed that is not the program's", node)
            for symbol in symbols_of(tuple(type_.shape for type_ in node.types)):
                if symbol not in bound:
                    self.fail(f"no feed gives the size {symbol} its value", node)

    def effects(self, seen: set[Node]) -> None:
        effects = self.program.effects
        serials = [effect.serial for effect in effects if effect.serial]
        if len(set(effects)) != len(effects) or serials != sorted(serials):
            self.fail(f"effects are out of order: {serials}")
        for node in seen:
            if node.op.kind == "effect" and node not in effects:
                self.fail("an effect that the program does not list", node)
