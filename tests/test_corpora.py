"""What the corpora of the lessons say, and how they become batches."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import batches
import entailment
import numpy as np
import pytest
import snli
import text
from batches import SKIP, Vocabulary
from entailment import Predicate, Statement, consistent, label, subject_set
from hypothesis import given, settings
from hypothesis import strategies as st
from snli import LABELS, REDUCE, SHIFT

RUN, MOVE, SLEEP = Predicate("run"), Predicate("move"), Predicate("sleep")


def told(premise: Statement, hypothesis: Statement) -> str | None:
    found = label(premise, hypothesis)
    return None if found is None else LABELS[found]


@pytest.mark.parametrize(
    ("premise", "hypothesis", "wanted"),
    [
        (Statement("all", "dogs", RUN), Statement("all", "dogs", MOVE), "entailment"),
        (Statement("all", "dogs", MOVE), Statement("all", "dogs", RUN), "neutral"),
        (Statement("no", "dogs", MOVE), Statement("no", "dogs", RUN), "entailment"),
        (Statement("all", "animals", RUN), Statement("some", "dogs", RUN), "entailment"),
        (Statement("some", "animals", RUN), Statement("some", "dogs", RUN), "neutral"),
        (Statement("some", "dogs", RUN), Statement("some", "animals", RUN), "entailment"),
        (Statement("all", "dogs", RUN), Statement("no", "dogs", RUN), "contradiction"),
        (Statement("all", "dogs", RUN), Statement("some", "dogs", SLEEP), "contradiction"),
        (Statement("all", "dogs", RUN), Statement("not all", "dogs", MOVE), "contradiction"),
        (Statement("some", "dogs", RUN), Statement("not all", "dogs", SLEEP), "entailment"),
        (Statement("all", "dogs", RUN), Statement("all", "cats", RUN), "neutral"),
        (Statement("all", "dogs", RUN), Statement("all", "dogs", RUN, "small"), "entailment"),
        (Statement("all", "dogs", RUN, "small"), Statement("all", "dogs", RUN), "neutral"),
        (
            Statement("some", "dogs", SLEEP, that=Predicate("happy")),
            Statement("some", "dogs", Predicate("happy"), that=SLEEP),
            "entailment",
        ),
        (
            Statement("all", "dogs", SLEEP, that=Predicate("happy")),
            Statement("all", "dogs", Predicate("happy"), that=SLEEP),
            "neutral",
        ),
        # The hypothesis speaks of dogs that run: the premise denies that there are any.
        (Statement("no", "dogs", RUN), Statement("all", "dogs", MOVE, that=RUN), None),
    ],
)
def test_what_follows_from_what(premise, hypothesis, wanted):
    assert told(premise, hypothesis) == wanted


def test_labels_are_those_of_all_worlds_of_two_individuals():
    """The definition of entailment, by going through worlds. Statements about inhabited sets need
    one individual each, so that few individuals are enough to refute; none may contradict."""
    rng = np.random.default_rng(0)
    draw = entailment._Draw(5)
    kinds = rng.choice(len(entailment.TYPES), 40, replace=False).tolist()
    worlds = [sum(1 << k for k in chosen) for n in (1, 2) for chosen in combinations(kinds, n)]

    def true(statement, world):
        subject, about, empty = entailment.sets(statement)
        return bool(subject & world), bool(about & world) != empty

    checked = Counter()
    for _ in range(150):
        premise, hypothesis = draw.pair()
        wanted = told(premise, hypothesis)
        for world in worlds:
            (there, holds), (other, follows) = true(premise, world), true(hypothesis, world)
            if there and holds and other:
                assert wanted is not None
                assert follows or wanted != "entailment"
                assert not follows or wanted != "contradiction"
                checked[wanted] += 1
    assert min(checked.values()) > 100
    assert len(checked) == 3


def test_a_neutral_pair_has_a_world_for_and_one_against():
    for pair in range(30):
        premise, hypothesis = entailment._Draw(pair).pair()
        if told(premise, hypothesis) != "neutral":
            continue
        subject, about, empty = entailment.sets(premise)
        _, said, _ = entailment.sets(hypothesis)
        known = (subject, subject_set(hypothesis), *(() if empty else (about,)))
        assert consistent(((about,) if empty else ()) + (said,), known)
        assert consistent((about,) if empty else (), (*known, said))


def test_sentences_and_their_parses():
    statement = Statement(
        "not all", "dogs", Predicate("run", "the park", True), "small", SLEEP, "or",
        Predicate("happy"),
    )  # fmt: skip
    sentence = entailment.sentence(statement)
    assert sentence.text == "Not all small dogs that sleep do not run in the park or are happy."
    assert sentence.binary_parse == (
        "( ( ( Not all ) ( ( small dogs ) ( that sleep ) ) ) "
        "( ( ( do ( not ( run ( in ( the park ) ) ) ) ) ( or ( are happy ) ) ) . ) )"
    )
    assert sentence.parse.startswith("(ROOT (S (NP (QP (RB Not) (DT all)) (NP (NP (JJ small)")
    assert sentence.parse.count("(") == sentence.parse.count(")")


def test_the_corpus_is_balanced_and_the_same_every_time():
    pairs = entailment.corpus(300, seed=3)
    assert pairs == entailment.corpus(300, seed=3)
    assert pairs != entailment.corpus(300, seed=4)
    assert Counter(pair.label for pair in pairs) == {0: 100, 1: 100, 2: 100}
    assert len({(p.premise.text, p.hypothesis.text) for p in pairs}) == 300
    assert [p.label for p in pairs[:30]] != sorted([0, 1, 2] * 10)
    for sentence in (s for pair in pairs for s in (pair.premise, pair.hypothesis)):
        snli.tree(sentence.tokens, sentence.transitions)
        assert len(sentence.tokens) <= 25


def test_words_alone_do_not_tell():
    """Pairs of sentences of the same words, in another order, are of more than one label."""
    labels = Counter(
        pair.label
        for pair in entailment.corpus(6000)
        if sorted(batches.words(pair.premise)) == sorted(batches.words(pair.hypothesis))
    )
    assert sorted(labels.values())[-2] > 10


# -- batches ---------------------------------------------------------------------------------------


def test_a_vocabulary_by_frequency():
    vocabulary = batches.build_vocabulary([["the", "cat", "the", "dog"], ["the", "dog", "a"]])
    assert vocabulary.words == ("<pad>", "<unknown>", "the", "dog", "a", "cat")
    assert vocabulary.ids(["cat", "the", "horse"]).tolist() == [5, 2, 1]
    assert vocabulary.spelled([3, 0]) == ["dog", "<pad>"]
    assert len(batches.build_vocabulary([["a", "a", "b"]], least=2)) == 3
    assert batches.build_vocabulary([["a", "a", "b", "c"]], most=2).words[2:] == ("a", "b")
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"])


def test_padding_behind():
    ids, lengths = batches.pad([np.array([5, 6, 7]), np.array([], int), np.array([8])])
    assert ids.tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert lengths.tolist() == [3, 0, 1]
    assert ids.dtype == lengths.dtype == np.int32
    assert batches.pad([np.array([5])], width=3)[0].tolist() == [[5, 0, 0]]
    assert batches.pad([])[0].shape == (0, 0)
    with pytest.raises(ValueError, match="a sequence of 3 does not fit into a width of 2"):
        batches.pad([np.arange(3)], width=2)


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=50)
def test_buckets_hold_everything_once(lengths, batch, seed):
    for given_seed in (None, seed):
        parts = batches.buckets(lengths, batch, given_seed)
        assert sorted(np.concatenate([*parts, []])) == list(range(len(lengths)))
        assert sum(len(part) < batch for part in parts) <= 1
        spans = sorted((min(a), max(a)) for a in ([lengths[i] for i in part] for part in parts))
        assert all(high <= low for (_, high), (low, _) in zip(spans, spans[1:], strict=False))
    again = batches.buckets(lengths, batch, seed)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_a_batch_of_pairs():
    pairs = entailment.corpus(10)
    sentences = [s for p in pairs for s in (p.premise, p.hypothesis)]
    vocabulary = batches.build_vocabulary(map(batches.words, sentences))
    batch = batches.pair_batch(pairs, vocabulary)
    assert batch.labels.tolist() == [pair.label for pair in pairs]
    for row, pair in enumerate(pairs):
        length = batch.hypothesis_length[row]
        assert vocabulary.spelled(batch.hypothesis[row, :length]) == batches.words(pair.hypothesis)
        assert not batch.hypothesis[row, length:].any()
        assert batch.premise_length[row] == len(pair.premise.tokens)


@pytest.mark.parametrize("leading", [False, True])
def test_padded_transitions_build_each_tree(leading):
    sentences = [pair.premise for pair in entailment.corpus(40)] + [snli.Sentence("no", "no")]
    vocabulary = batches.build_vocabulary(map(batches.words, sentences))
    batch = batches.tree_batch(sentences, vocabulary, leading)
    longest = max(len(s.tokens) for s in sentences)
    assert batch.transitions.shape == (41, 2 * longest - 1)
    assert batch.words.shape == (41, 2 * longest - 1 if leading else longest)
    for row, sentence in enumerate(sentences):
        waiting = vocabulary.spelled(batch.words[row])[::-1]
        stack = []
        for step in batch.transitions[row]:
            if step == SHIFT:
                stack.append(waiting.pop())
            elif step == REDUCE:
                right = stack.pop()
                stack.append((stack.pop(), right))
            else:
                assert step == SKIP and not leading
        assert stack.pop() == snli.tree(batches.words(sentence), sentence.transitions)
        assert set(stack) <= {"<pad>"} if leading else not stack
        assert batch.lengths[row] == len(sentence.tokens)


# -- characters ------------------------------------------------------------------------------------


def test_a_text_is_the_same_every_time_and_longer_ones_begin_alike():
    assert text.corpus(2000, seed=1) == text.corpus(5000, seed=1)[:2000]
    assert text.corpus(2000, seed=1) != text.corpus(2000, seed=2)
    assert len(text.corpus(4321)) == 4321


def test_stories_are_written_properly():
    for story, _ in zip(text.stories(), range(200), strict=False):
        assert story.startswith("Once ") and story.endswith(("\n",))
        assert story.count('"') % 2 == 0
        assert not set(story) & set("{}") and "  " not in story
        assert all(s.lstrip('"')[0].isupper() for s in story.strip().split(". "))


def test_characters_and_back():
    sample = text.corpus(500)
    vocabulary = text.characters(sample)
    assert "".join(vocabulary.spelled(vocabulary.ids(sample))) == sample
    assert vocabulary.words[2] == " "


def test_any_text_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfCaf\xc3\xa9\r\nb\n")
    assert text.read(path) == "Café\nb\n"
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8 at byte 2"):
        text.read(path)


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 60))
def test_streams_go_on_where_they_stopped(batch, steps, more):
    ids = np.arange(batch * steps + 1 + more, dtype=np.int32)
    parts = list(text.streams(ids, batch, steps))
    inputs = np.concatenate([x for x, _ in parts], 1)
    targets = np.concatenate([y for _, y in parts], 1)
    assert all(x.shape == y.shape == (batch, steps) for x, y in parts)
    assert (np.diff(inputs, axis=1) == 1).all()
    assert (targets == inputs + 1).all()
    assert len(np.unique(inputs)) == inputs.size >= len(ids) - batch * steps
    assert inputs.dtype == np.int32


def test_a_text_too_short_for_a_batch():
    with pytest.raises(ValueError, match="6 characters are too few for 2 streams of 3 steps: 7"):
        next(text.streams(np.arange(6), 2, 3))
