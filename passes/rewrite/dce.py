"""Drops what no result needs.

    update w = state(w)  -->  (nothing)

A program is what its results and effects reach, so most dead code is gone by itself. What is left
are updates that write the value a variable has, and what the interner still remembers of nodes
that no pass will meet again.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.node import all_nodes
from ...ir.program import Interner, Program


def dce(program: Program) -> Program:
    """`program` without updates that change nothing, and without memory of dropped nodes."""
    updates = {
        variable: value
        for variable, value in program.updates.items()
        if value.node.op.name != "state" or value.node.attrs["variable"] is not variable
    }
    if len(updates) != len(program.updates):
        program = replace(program, updates=updates)
    live = {*all_nodes(program.nodes()), *(feed.node for feed in program.feeds)}
    if len(live) == len(program.interner.origins):
        return program
    return replace(program, interner=Interner.of(program.interner, live))
