"""The passes from a cut Program to the one that is lowered: one list, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..ir.node import Node, Tensor
from ..ir.program import Program
from ..ir.verify import verify
from .analysis.bodies import each_body
from .convolution.fold_scales import fold_scales
from .convolution.layout import layout
from .loops.batch_iterations import batch_iterations
from .loops.checkpoint_loops import checkpoint_loops
from .loops.checkpoint_whiles import checkpoint_whiles
from .loops.hoist import hoist
from .loops.rotate_loops import rotate_loops
from .loops.trim_bodies import trim_bodies
from .loops.unroll_loops import unroll_loops
from .rewrite.check_numerics import check_numerics
from .rewrite.cse import cse
from .rewrite.dce import dce
from .rewrite.dead_rows import dead_rows
from .rewrite.find_attention import find_attention
from .rewrite.fold import fold
from .rewrite.inline_calls import inline_calls
from .rewrite.simplify import RULES, simplify


@dataclass(frozen=True)
class PassOptions:
    """What a compilation asks of its passes.

    disable: names of passes and rewrite rules to leave out
    verify:  check the program before the first and after every pass
    checkpoint: have loops compute values again rather than keep those of all iterations
    checkpoint_whiles: the same for those of which nothing tells how many iterations they have
    check_numerics: have every operation that computes floats checked for NaN and infinity
    observe: called with (pass name, before, after, seconds) after every pass
    fired:   called with (rule, node before, tensor after) for every rewrite
    """

    disable: frozenset[str] = frozenset()
    verify: bool = False
    checkpoint: bool = False
    checkpoint_whiles: bool = False
    check_numerics: bool = False
    observe: Callable[[str, Any, Any, float], None] | None = None
    fired: Callable[[str, Node, Tensor], None] | None = None


Pass = Callable[[Program, PassOptions], Program]

GRAPH_PASSES: tuple[tuple[str, Pass], ...] = (
    # Before everything else, so that what is checked is what the user wrote.
    ("check_numerics", lambda p, o: check_numerics(p) if o.check_numerics else p),
    # One body for each loop, so that its condition is computed along with what it looks at.
    ("rotate_loops", lambda p, o: rotate_loops(p)),
    # Bodies are programs: all that follows happens to them first.
    ("bodies", lambda p, o: each_body(p, partial(_body_passes, options=o))),
    # Rules see through composites only once they are laid out.
    ("inline_calls", lambda p, o: inline_calls(p)),
    # Numbers that the user's program computed from numbers: rules look for constants.
    ("fold", lambda p, o: fold(p)),
    ("simplify", lambda p, o: simplify(p, o.disable, o.fired)),
    # Bodies are simple now, and what is outside of them too.
    ("trim_bodies", lambda p, o: trim_bodies(p)),
    ("hoist", lambda p, o: hoist(p)),
    # Once bodies hold no more than they need.
    ("unroll_loops", lambda p, o: unroll_loops(p)),
    # Before anything is stacked that need not be.
    ("checkpoint_loops", lambda p, o: checkpoint_loops(p) if o.checkpoint else p),
    ("checkpoint_whiles", lambda p, o: checkpoint_whiles(p) if o.checkpoint_whiles else p),
    # While products are in the iterations whose masks say which of their rows are zeros.
    ("dead_rows", lambda p, o: dead_rows(p)),
    # What is the same in all iterations is an operand now.
    ("batch_iterations", lambda p, o: batch_iterations(p)),
    # Rules merge constants, and gradients multiply them.
    ("fold", lambda p, o: fold(p)),
    # After simplify, which makes expressions equal that were not.
    ("cse", lambda p, o: cse(p)),
    # Of what rules and sharing have left.
    ("find_attention", lambda p, o: find_attention(p)),
    # Where it pays: what is settled is computed once, unless that is switched off.
    ("fold_scales", lambda p, o: p if "prepare" in o.disable else fold_scales(p)),
    # Once nothing changes what convolutions read: rules see through the forms that people write.
    ("layout", lambda p, o: layout(p)),
    # Last: forgets what the others dropped.
    ("dce", lambda p, o: dce(p)),
)


def names() -> tuple[str, ...]:
    """Every pass and rewrite rule that can be left out, by name.

    `inline_calls` cannot: nothing else knows how to run a call.
    """
    passes = dict.fromkeys(name for name, _ in GRAPH_PASSES if name not in _NEEDED)
    return (*passes, "fuse", "rematerialize", *rule_names())


def rule_names() -> tuple[str, ...]:
    """The finer of those names: rewrite rules, and what fusion, scheduling and memory do."""
    return (*(rule.name for rule in RULES), *PLAN_RULES)


# What the passes from a Program to its Plan can be told not to do; `fuse` leaves out all fusion.
PLAN_RULES = (
    "inline",
    "fuse_pointwise",
    "fuse_rows",
    "fuse_columns",
    "fuse_full",
    "fuse_epilogue",
    "fuse_pooling",
    "fuse_siblings",
    "winograd",
    "prepare",
    "merge_launches",
    "side_by_side",
    "in_place_state",
    "memory.in_place",
)

_NEEDED = ("inline_calls", "check_numerics", "rotate_loops", "bodies")
# What does not happen to bodies: their nodes are the whole program's, and so are their weights.
_WHOLE = ("dce", "fold_scales")


def _body_passes(program: Program, options: PassOptions) -> Program:
    quiet = replace(options, observe=None, verify=False)
    return run_graph_passes(program, replace(quiet, disable=options.disable | {*_WHOLE}))


def run_graph_passes(program: Program, options: PassOptions = PassOptions()) -> Program:
    """Rewrites `program` by every pass of GRAPH_PASSES that is not disabled, in order."""
    if options.verify:
        verify(program, "cut")
    for name, rewrite in GRAPH_PASSES:
        if name in options.disable and name not in _NEEDED:
            continue
        start = time.perf_counter()
        after = rewrite(program, options)
        if options.observe is not None:
            options.observe(name, program, after, time.perf_counter() - start)
        if options.verify and after is not program:
            verify(after, name)
        program = after
    return program
