"""From sequences of words or characters to arrays: vocabularies, padding, buckets of lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from snli import SHIFT, Pair, Sentence

PADDING, UNKNOWN = 0, 1  # ids that every vocabulary has
SKIP = 2  # a transition that does nothing


class Vocabulary:
    """Words (or characters) and their ids: `<pad>` is 0, `<unknown>` 1, and then the words given.
    Ids are int32."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = ("<pad>", "<unknown>", *words)
        self._ids = {word: number for number, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            raise ValueError("a word is twice in the vocabulary")

    def __len__(self) -> int:
        return len(self.words)

    def ids(self, words: Iterable[str]) -> np.ndarray:
        """[n] int32; words that are not known get UNKNOWN."""
        return np.array([self._ids.get(word, UNKNOWN) for word in words], np.int32)

    def spelled(self, ids: Iterable[int]) -> list[str]:
        return [self.words[number] for number in ids]


def build_vocabulary(
    sequences: Iterable[Iterable[str]], least: int = 1, most: int | None = None
) -> Vocabulary:
    """The words that are there `least` times, the most frequent first (those equally frequent in
    the order of their letters), and at most `most` of them."""
    counts = Counter(word for sequence in sequences for word in sequence)
    known = sorted((w for w in counts if counts[w] >= least), key=lambda w: (-counts[w], w))
    return Vocabulary(known[:most])


def words(sentence: Sentence) -> list[str]:
    """In lower case: the beginning of a sentence makes no other word of it."""
    return [token.lower() for token in sentence.tokens]


def pad(sequences: Sequence[np.ndarray], width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(ids [n, width], lengths [n]), both int32: sequences side by side, padded behind.

    width: of the longest sequence unless given. Raises ValueError where one is longer.
    """
    lengths = np.array([len(sequence) for sequence in sequences], np.int32)
    longest = int(lengths.max(initial=0))
    width = longest if width is None else width
    if longest > width:
        raise ValueError(f"a sequence of {longest} does not fit into a width of {width}")
    ids = np.full((len(sequences), width), PADDING, np.int32)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths


def buckets(lengths: Sequence[int], batch: int, seed: int | None = None) -> list[np.ndarray]:
    """Positions of sequences of like lengths, `batch` at a time (the last of all may be fewer).

    Every position is in one of them. With a seed, equal lengths are shuffled, and so is the order
    of the batches; without, they are in order of length.
    """
    lengths = np.asarray(lengths)
    rng = None if seed is None else np.random.default_rng(seed)
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]
    return parts if rng is None else [parts[number] for number in rng.permutation(len(parts))]


class PairBatch(NamedTuple):
    """Arrays of int32; the widths of premises and hypotheses differ.

    premise, hypothesis: [batch, width] ids; their lengths [batch]; labels [batch]
    """

    premise: np.ndarray
    premise_length: np.ndarray
    hypothesis: np.ndarray
    hypothesis_length: np.ndarray
    labels: np.ndarray


def pair_batch(pairs: Sequence[Pair], vocabulary: Vocabulary) -> PairBatch:
    sides = [[p.premise for p in pairs], [p.hypothesis for p in pairs]]
    padded = [pad([vocabulary.ids(words(s)) for s in side]) for side in sides]
    return PairBatch(*padded[0], *padded[1], np.array([pair.label for pair in pairs], np.int32))


class TreeBatch(NamedTuple):
    """Sentences as programs for a stack, arrays of int32.

    words:       [batch, room] ids
    transitions: [batch, steps] of SHIFT, REDUCE and SKIP
    lengths:     [batch] words of each sentence
    """

    words: np.ndarray
    transitions: np.ndarray
    lengths: np.ndarray


def tree_batch(
    sentences: Sequence[Sentence], vocabulary: Vocabulary, leading: bool = False
) -> TreeBatch:
    """Programs of one length: 2n - 1 steps, n the words of the longest sentence.

    Padded behind, a shorter sentence does nothing (SKIP) after its last step: its phrase stays on
    top of the stack. Words are padded behind too, room is n.

    leading: padded in front, as in Bowman et al. 2016, with SHIFTs of padding words: all sentences
        are done at the last step, their phrase lies on top of what the padding left behind, and no
        third transition is needed. A sentence of k words has 2(n - k) padding words in front;
        room is 2n - 1.
    """
    ids = [vocabulary.ids(words(sentence)) for sentence in sentences]
    programs = [np.array(sentence.transitions, np.int32) for sentence in sentences]
    most = max(map(len, programs), default=0)
    transitions = np.full((len(sentences), most), SHIFT if leading else SKIP, np.int32)
    front = [most - len(program) if leading else 0 for program in programs]
    for row, program, start in zip(transitions, programs, front, strict=True):
        row[start : start + len(program)] = program
    lengths = np.array([len(sentence) for sentence in ids], np.int32)
    moved = [np.pad(sentence, (start, 0)) for sentence, start in zip(ids, front, strict=True)]
    return TreeBatch(pad(moved, most if leading else None)[0], transitions, lengths)
