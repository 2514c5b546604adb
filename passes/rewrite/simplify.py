"""Rewrites programs by named rules of algebra until none applies.

    add(x, 0)  -->  x          transpose(transpose(x))  -->  x

The rules are in arithmetic.py, movement.py, channels.py, pooling.py and
writes.py, each under its name with the algebra beside it. Every rule makes a program smaller,
cheaper or more stable, or moves a transpose towards the results, so they come to an end.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import GraphError
from ...ir.node import Node, Tensor
from ...ir.program import Program
from . import arithmetic as rules_arithmetic
from . import channels as rules_channels
from . import movement as rules_movement
from . import pooling as rules_pooling
from . import writes as rules_writes
from .rules import Rule, RuleTable

_ROUNDS = 8  # a rule may make several nodes, whose turn comes in the next round
_STEPS = 32  # rules applied one after the other to one node

RULES: tuple[Rule, ...] = (
    *rules_arithmetic.rule.rules,
    *rules_movement.rule.rules,
    *rules_channels.rule.rules,
    *rules_pooling.rule.rules,
    *rules_writes.rule.rules,
)


def simplify(
    program: Program,
    disable: frozenset[str] = frozenset(),
    fired: Callable[[str, Node, Tensor], None] | None = None,
) -> Program:
    """`program` with the rules applied, but for those whose names are in `disable`.

    fired: called with (rule, node before, tensor after) for every application
    """
    table = RuleTable()
    table.rules = list(RULES)
    rules = table.by_op(disable)

    def apply(node: Node) -> Tensor | None:
        result: Tensor | None = None
        for _ in range(_STEPS):
            step = _first(rules.get(node.op.name, ()), node, fired)
            if step is None:
                break
            result, node = step, step.node
            if len(node.outputs) != 1:
                break
        return result

    for _ in range(_ROUNDS):
        after = program.rewrite(apply)
        if after is program:
            break
        program = after
    return program


def _first(rules, node: Node, fired) -> Tensor | None:
    for rule in rules:
        try:
            result = rule.apply(node)
        except GraphError:
            continue  # sizes that the type rules cannot prove equal: the rule does not apply
        if result is None or result is node.outputs[0]:
            continue
        if result.tensor_type != node.types[0]:
            continue  # the same shape in another text: not worth a doubt
        if fired is not None:
            fired(rule.name, node, result)
        return result
    return None
