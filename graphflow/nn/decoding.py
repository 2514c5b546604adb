"""Sequences from a model that gives the next token: the likeliest one, samples, and beam search.

A model is a function `step(tokens, state) -> (logits, new state)`. tokens: int32 [rows], the last
token of each sequence. logits: floats [rows, vocabulary], of the next one. state: a nest of
tensors [rows, ...], or scalars; the new one has the same structure, dtypes and shapes. It may hold
what it likes: states of recurrent cells, a cache of keys and values, a position.

    def step(tokens, state):
        output, state = cell(tf.nn.embedding_lookup(embeddings, tokens), state)
        return output @ projection, state

Each of them is one `while_loop`, which ends when all sequences have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..control_flow import while_loop
from ..dtypes import DType, as_dtype, bool_, float32, int32, int64
from ..framework import name_scope
from ..ir.node import Tensor
from ..nest import assert_same_structure, flatten, map_structure, pack_sequence_as
from ..ops.arg_reduction import argmax
from ..ops.arithmetic import pow as power
from ..ops.convert import as_known_int, as_size, convert, reject
from ..ops.creation import range as range_of
from ..ops.creation import zeros, zeros_like
from ..ops.indexing import gather_op
from ..ops.logic import (
    cast,
    equal,
    logical_and,
    logical_not,
    logical_or,
    where,
    where_v2,
)
from ..ops.movement import expand_dims, reshape
from ..ops.random import multinomial
from ..ops.reduction import reduce_all
from ..ops.shapes import size_as_tensor
from ..ops.sorting import top_k as largest
from ..sizes import Dim
from .losses import log_softmax

__all__ = ["BeamSearch", "Decoded", "beam_search", "greedy_decode", "sample_sequence"]

Step = Callable[[Tensor, Any], tuple[Any, Any]]


class Decoded(NamedTuple):
    """Decoded sequences, one of each row.

    ids: int32 [batch, max_length], the end token past the end
    lengths: int32 [batch]; an end token counts
    log_probs: [batch], the logarithms of the probabilities that the model gives the sequences
    """

    ids: Tensor
    lengths: Tensor
    log_probs: Tensor


class BeamSearch(NamedTuple):
    """The sequences that a beam search found, best first.

    ids: int32 [batch, beam, max_length], the end token past the end
    lengths: int32 [batch, beam]; an end token counts
    scores: [batch, beam]; -inf, of length 0, where there are fewer sequences than the beam is wide
    log_probs: [batch, beam], the scores without a length penalty
    """

    ids: Tensor
    lengths: Tensor
    scores: Tensor
    log_probs: Tensor


# -- one sequence a row --------------------------------------------------------------------------


def greedy_decode(
    step: Step,
    initial_state,
    start_tokens,
    end_token: int | None,
    max_length,
    dtype=None,
    name: str | None = None,
) -> Decoded:
    """The sequences whose every token is the likeliest; the first one of those that are equal.

    step: the model, see above. initial_state: a nest of tensors [batch, ...]
    start_tokens: int32 or int64 [batch], what `step` sees first; not part of the result
    end_token: the token that ends a sequence; None: nothing does
    max_length: where all others end: a number or a symbolic size
    dtype: of the log-probabilities; if None that of the state's first floats, else float32

    Raises TypeRuleError for wrong dtypes and shapes, and ValueError or TypeRuleError where `step`
    returns something else than it should.
    """

    def choose(logits: Tensor) -> Tensor:
        return argmax(logits, 1, output_type=int32)

    with name_scope(name, "greedy_decode"):
        model = _Model(
            "greedy_decode", step, initial_state, start_tokens, end_token, max_length, dtype
        )
        return _decode(model, choose)


def sample_sequence(
    step: Step,
    initial_state,
    start_tokens,
    end_token: int | None,
    max_length,
    temperature=1.0,
    top_k: int | None = None,
    seed: int | None = None,
    dtype=None,
    name: str | None = None,
) -> Decoded:
    """As `greedy_decode`, with every token drawn from softmax(logits / temperature).

    temperature: a number above 0, or a tensor: a scalar, or [batch, 1]
    top_k: draws from the k likeliest tokens only
    seed: of the random numbers, as random operations take it; runs of a session go on in its
        sequence
    """
    what = "sample_sequence"
    if isinstance(temperature, (int, float)) and not temperature > 0:
        reject(what, f"temperature={temperature} must be above 0; see greedy_decode", ValueError)
    count = None if top_k is None else as_known_int(top_k, what)
    if count is not None and count < 1:
        reject(what, f"top_k={count} must be at least 1", ValueError)

    def choose(logits: Tensor) -> Tensor:
        places = None
        if count is not None:
            logits, places = largest(logits, count)
        logits = logits / convert(temperature, logits.dtype, what=what)
        drawn = multinomial(logits, 1, seed, output_dtype=int32)
        if places is not None:
            drawn = gather_op(places, drawn, axis=1, batch_dims=1)
        return reshape(drawn, (drawn.dims[0],))

    with name_scope(name, what):
        model = _Model(what, step, initial_state, start_tokens, end_token, max_length, dtype)
        return _decode(model, choose)


def _decode(model: _Model, choose: Callable[[Tensor], Tensor]) -> Decoded:
    batch, limit = model.batch, model.limit

    def body(at, ids, lengths, log_probs, last, ended, state):
        logits, after = model.next(last, state)
        token = where_v2(ended, model.end, choose(logits))
        gained = gather_op(log_softmax(logits), expand_dims(token, 1), axis=1, batch_dims=1)
        gained = cast(reshape(gained, (batch,)), model.dtype)
        return (
            at + 1,
            where_v2(equal(model.positions, at), expand_dims(token, 1), ids),
            lengths + cast(logical_not(ended), int32),
            log_probs + where(ended, zeros_like(gained), gained),
            token,
            logical_or(ended, model.ends(token)),
            after,
        )

    begin = (
        0,
        zeros((batch, limit), int32) + model.end,
        zeros((batch,), int32),
        zeros((batch,), model.dtype),
        model.start,
        zeros((batch,), bool_),
        model.state,
    )
    _, ids, lengths, log_probs, *_ = while_loop(model.going, body, begin)
    return Decoded(ids, lengths, log_probs)


# -- a beam of sequences a row -------------------------------------------------------------------


def beam_search(
    step: Step,
    initial_state,
    start_tokens,
    end_token: int | None,
    beam_width: int,
    max_length,
    length_penalty: float = 0.0,
    dtype=None,
    name: str | None = None,
) -> BeamSearch:
    """The best sequences that a beam of `beam_width` finds.

    step: the model, see above; it is called with batch * beam_width rows
    initial_state: a nest of tensors [batch, ...]
    start_tokens, end_token, max_length, dtype: as in `greedy_decode`
    length_penalty: alpha of the score log_prob / ((5 + length) / 6)**alpha by which sequences are
        kept (Wu et al. 2016, "Google's neural machine translation system", equation 14); 0: none

    At each token the best `beam_width` of all continuations are kept; a sequence that has ended
    stays as it is, and competes with those that go on. Raises as `greedy_decode`.
    """
    what = "beam_search"
    with name_scope(name, what):
        model = _Model(what, step, initial_state, start_tokens, end_token, max_length, dtype)
        width = as_known_int(beam_width, what)
        if width < 1:
            reject(what, f"beam_width={width} must be at least 1", ValueError)
        if isinstance(length_penalty, bool) or not isinstance(length_penalty, (int, float)):
            reject(what, f"length_penalty must be a number, not {length_penalty!r}", TypeError)
        return _search(model, width, float(length_penalty))


def _search(model: _Model, width: int, alpha: float) -> BeamSearch:
    batch, limit, end = model.batch, model.limit, model.end
    first = expand_dims(range_of(size_as_tensor(batch, int32)) * width, 1)  # row of each beam

    def rows_of(x: Tensor, numbers: Tensor) -> Tensor:
        """The rows of [batch * width, ...] at `numbers`, [batch, width]."""
        return gather_op(x, reshape(numbers, (batch * width,)), axis=0) if x.rank else x

    def penalty(lengths: Tensor) -> Tensor:
        return power((cast(lengths, model.dtype) + 5.0) / 6.0, convert(alpha, model.dtype))

    def body(at, ids, lengths, log_probs, scores, last, ended, state):
        logits, after = model.next(last, state)
        vocabulary = logits.dims[1]
        words = size_as_tensor(vocabulary, int32)
        gained = cast(log_softmax(logits), model.dtype)
        gained = reshape(gained, (batch, width, vocabulary))
        # What has ended goes on with end tokens only, and at no cost.
        stays = where_v2(equal(range_of(words), end), zeros((), model.dtype), float("-inf"))
        gained = where_v2(expand_dims(ended, 2), stays, gained)
        total = expand_dims(log_probs, 2) + gained
        lengths = lengths + cast(logical_not(ended), int32)
        ranked = total / expand_dims(penalty(lengths), 2) if alpha else total

        flat = (batch, width * vocabulary)
        scores, chosen = largest(reshape(ranked, flat), width)
        source, token = chosen // words, chosen % words

        def of(x: Tensor) -> Tensor:
            return gather_op(x, source, axis=1, batch_dims=1)

        # A score of -inf is of no sequence; it must not keep the loop going.
        over = logical_or(logical_or(of(ended), model.ends(token)), equal(scores, float("-inf")))
        return (
            at + 1,
            where_v2(equal(model.positions, at), expand_dims(token, 2), of(ids)),
            of(lengths),
            gather_op(reshape(total, flat), chosen, axis=1, batch_dims=1),
            scores,
            reshape(token, (batch * width,)),
            over,
            map_structure(lambda x: rows_of(x, first + source), after),
        )

    grid = (batch, width)
    # All sequences of a beam are still the same: only the first of them counts.
    others = zeros(grid, int32) + range_of(width) > 0
    scores = where_v2(others, float("-inf"), zeros(grid, model.dtype))
    same = zeros(grid, int32) + expand_dims(range_of(size_as_tensor(batch, int32)), 1)
    begin = (
        0,
        zeros((*grid, limit), int32) + end,
        zeros(grid, int32),
        scores,
        scores,
        rows_of(model.start, same),
        others,
        map_structure(lambda x: rows_of(x, same), model.state),
    )
    _, ids, lengths, log_probs, scores, *_ = while_loop(model.going, body, begin)
    found = scores > float("-inf")
    ids = where_v2(expand_dims(found, 2), ids, end)
    return BeamSearch(ids, where(found, lengths, zeros_like(lengths)), scores, log_probs)


# -- the model -----------------------------------------------------------------------------------


class _Model:
    """What a decoder was given, checked.

    batch, limit: sizes of the result. start: int32 [batch]. state: a nest of tensors
    end: the end token; 0, as padding, where there is none. positions: 0 … limit - 1
    dtype: of log-probabilities
    """

    def __init__(self, what: str, step, initial_state, start_tokens, end_token, max_length, dtype):
        if not callable(step):
            reject(what, f"step must be a function, not {step!r}", TypeError)
        start = convert(start_tokens, what=f"{what}: start_tokens")
        if start.dtype not in (int32, int64) or start.rank != 1:
            reject(
                what,
                f"start_tokens must be int32 or int64 [batch], but {start.name} is "
                f"{start.tensor_type}",
            )
        self.what, self.step = what, step
        self.start = cast(start, int32)
        self.batch: Dim = start.dims[0]
        self.limit = as_size(max_length, what)
        if isinstance(self.limit, int) and self.limit < 0:
            reject(what, f"max_length={self.limit} must not be negative", ValueError)
        self.endless = end_token is None
        self.end = 0 if end_token is None else as_known_int(end_token, what)
        if self.end < 0:
            reject(what, f"end_token={self.end} is no token; None: nothing ends", ValueError)
        self.state = map_structure(self._checked, initial_state)
        self.dtype = self._dtype(dtype)
        self.positions = range_of(size_as_tensor(self.limit, int32))

    def _checked(self, value) -> Tensor:
        x = convert(value, what=f"{self.what}: initial_state")
        if x.rank is None:
            reject(self.what, f"the rank of {x.name} in initial_state is unknown")
        size = x.dims[0] if x.rank else self.batch
        if isinstance(size, int) and isinstance(self.batch, int) and size != self.batch:
            reject(
                self.what,
                f"{x.name} in initial_state is {x.tensor_type}, but there are {self.batch} "
                "start_tokens",
            )
        return x

    def _dtype(self, dtype) -> DType:
        floats = [x.dtype for x in flatten(self.state) if x.dtype.is_floating]
        found = as_dtype(dtype) if dtype is not None else [*floats, float32][0]
        if not found.is_floating:
            reject(self.what, f"dtype={found} of log-probabilities must be floating-point")
        return found

    def going(self, at, *variables) -> Tensor:
        """Whether a sequence goes on; whether they have ended is the last variable but one."""
        *_, ended, _ = variables
        below = at < size_as_tensor(self.limit, int32)
        return logical_and(below, logical_not(reduce_all(ended)))

    def ends(self, token: Tensor) -> Tensor:
        return zeros_like(token, bool_) if self.endless else equal(token, self.end)

    def next(self, tokens: Tensor, state) -> tuple[Tensor, Any]:
        """(logits, new state in the containers of the old one) that the model gives."""
        found = self.step(tokens, state)
        if not isinstance(found, tuple) or len(found) != 2:
            reject(self.what, f"step must return (logits, state), not {found!r}", TypeError)
        logits = convert(found[0], what=f"{self.what}: logits")
        if not logits.dtype.is_floating or logits.rank != 2:
            reject(
                self.what,
                "step must return floating-point logits [rows, vocabulary], but "
                f"{logits.name} is {logits.tensor_type}",
            )
        vocabulary = logits.dims[1]
        if isinstance(vocabulary, int) and self.end >= vocabulary:
            reject(self.what, f"end_token={self.end} is outside a vocabulary of {vocabulary}")
        assert_same_structure(state, found[1], check_types=False)
        after = [convert(x, what=f"{self.what}: the new state") for x in flatten(found[1])]
        return logits, pack_sequence_as(state, after)
