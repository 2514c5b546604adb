"""SNLI's file format: what is written is read, real files' oddities, errors with file and line."""

from __future__ import annotations

import json

import entailment
import pytest
import snli
from hypothesis import given
from hypothesis import strategies as st
from snli import REDUCE, SHIFT, FormatError

TREES = st.recursive(
    st.sampled_from(["cat", "sits", ".", "-LRB-", "1\xa01/2"]), lambda t: st.tuples(t, t)
)


def flat(tree):
    return [tree] if isinstance(tree, str) else flat(tree[0]) + flat(tree[1])


@given(TREES)
def test_transitions_build_the_tree_again(tree):
    parse = snli.bracketed(tree)
    words, steps = snli.tokens(parse), snli.transitions(parse)
    assert list(words) == flat(tree)
    assert len(steps) == 2 * len(words) - 1
    assert snli.tree(words, steps) == tree


def test_transitions_of_the_sentence_in_the_paper():
    parse = "( ( The cat ) ( sits . ) )"
    assert snli.tokens(parse) == ("The", "cat", "sits", ".")
    assert snli.transitions(parse) == (SHIFT, SHIFT, REDUCE, SHIFT, SHIFT, REDUCE, REDUCE)


def test_one_word_may_have_brackets_or_not():
    assert snli.transitions("n/a") == snli.transitions("( n/a )") == (SHIFT,)
    assert snli.transitions("( ( ( a ) b ) )") == (SHIFT, SHIFT, REDUCE)


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        ("( a b", "1 brackets are left open"),
        ("( a b ) )", "closes that was not opened"),
        ("( a b c )", "round 3 phrases"),
        ("( a ( ) )", "round 0 phrases"),
        ("a b", "2 phrases, where one sentence"),
        ("", "0 phrases, where one sentence"),
    ],
)
def test_brackets_that_do_not_match(parse, message):
    with pytest.raises(ValueError, match=message):
        snli.transitions(parse)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((SHIFT, REDUCE), "transition 1 is 1"),
        ((SHIFT, SHIFT, SHIFT), "transition 2 is 0, with 0 words"),
        ((SHIFT, SHIFT), "leave 2 phrases"),
        ((SHIFT,), "leave 1 phrases and 1 words"),
        ((SHIFT, 2), "transition 1 is 2"),
    ],
)
def test_transitions_that_build_no_tree(steps, message):
    with pytest.raises(ValueError, match=message):
        snli.tree(["a", "b"], steps)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.txt"])
def test_what_is_written_is_read(tmp_path, name):
    pairs = entailment.corpus(60)
    snli.write(tmp_path / name, pairs)
    assert list(snli.read(tmp_path / name)) == pairs


def test_fields_and_columns_are_those_of_the_corpus(tmp_path):
    pairs = entailment.corpus(3)
    snli.write(tmp_path / "a.jsonl", pairs)
    snli.write(tmp_path / "a.txt", pairs)
    assert set(json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])) == {
        *("annotator_labels", "captionID", "gold_label", "pairID"),
        *("sentence1", "sentence1_binary_parse", "sentence1_parse"),
        *("sentence2", "sentence2_binary_parse", "sentence2_parse"),
    }
    assert (tmp_path / "a.txt").read_text().splitlines()[0] == (
        "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tcaptionID\tpairID\tlabel1\tlabel2\tlabel3\t"
        "label4\tlabel5"
    )


def line(label="neutral", first="( A cat )", second="cat", **more):
    fields = {"gold_label": label, "sentence1": "A cat", "sentence2": "Café", **more}
    fields |= {"sentence1_binary_parse": first, "sentence2_binary_parse": second}
    return json.dumps(fields)


def written(tmp_path, *lines, name="x.jsonl"):
    path = tmp_path / name
    path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
    return path


def test_what_real_files_hold(tmp_path):
    """Pairs without a label, whatever their parse; one word without brackets; blanks in a word;
    characters that end lines elsewhere; empty lines; fields that nobody asked for."""
    path = written(
        tmp_path,
        line("-", "( broken"),
        line(annotator_labels=["neutral", "entailment"], genre="fiction"),
        "",
        json.dumps(json.loads(line("contradiction", "( 1\xa01/2 \x85 )"))),
    )
    neutral, contradiction = snli.read(path)
    assert (neutral.label, contradiction.label) == (1, 2)
    assert neutral.hypothesis.tokens == ("cat",)
    assert neutral.hypothesis.text == "Café"
    assert contradiction.premise.tokens == ("1\xa01/2", "\x85")


def test_the_columns_of_real_files(tmp_path):
    """Annotators who gave no label, and line ends of another system."""
    header = "\t".join(snli.COLUMNS)
    row = "entailment\t( A cat )\tcat\t(ROOT A)\t(ROOT B)\tA cat\tCat\t1.jpg#0\t1.jpg#0r1e"
    path = written(tmp_path, header, row + "\tentailment", row + "\ta\tb\tc\td\te\r", name="x.txt")
    first, second = snli.read(path)
    assert first == second
    assert (first.label, first.name) == (0, "1.jpg#0r1e")
    assert first.premise == snli.Sentence("A cat", "( A cat )", "(ROOT A)")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", r"x\.jsonl:2: not JSON"),
        ("[]", r"x\.jsonl:2: not an object with a gold_label"),
        ('{"gold_label": "neutral"}', r"x\.jsonl:2: no 'sentence1'"),
        (line("maybe"), r"x\.jsonl:2: gold_label is 'maybe', not one of entailment, neutral"),
        (line(first="( A cat"), r"x\.jsonl:2: 1 brackets are left open"),
        (line(pairID=3), r"x\.jsonl:2: pairID is 3, not text"),
        (line(["neutral"]), r"x\.jsonl:2: gold_label is \['neutral'\], not text"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, message):
    path = written(tmp_path, line(), bad, line())
    with pytest.raises(FormatError, match=message):
        list(snli.read(path))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["gold_label\tsentence1"], r"x\.txt:1: the header has no column sentence1_binary_parse"),
        ([], r"x\.txt:1: the header has no column gold_label"),
        (["\t".join(snli.COLUMNS), "neutral\ta"], r"x\.txt:2: 2 columns, where the header has 14"),
        (["\t".join(snli.COLUMNS), "a\t" * 20], r"x\.txt:2: 21 columns"),
    ],
)
def test_a_bad_table_is_named(tmp_path, lines, message):
    with pytest.raises(FormatError, match=message):
        list(snli.read(written(tmp_path, *lines, name="x.txt")))


def test_other_bytes_than_utf8(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(line().encode() + b"\n" + b'{"gold_label": "\xff"}\n')
    with pytest.raises(FormatError, match=r"x\.jsonl:2: not UTF-8"):
        list(snli.read(path))


def test_a_table_cannot_hold_tabs(tmp_path):
    sentence = snli.Sentence("a\tb", "( a b )")
    with pytest.raises(ValueError, match="a tab or a line's end inside of pair 'p'"):
        snli.write(tmp_path / "x.txt", [snli.Pair(0, sentence, sentence, "p")])
    snli.write(tmp_path / "x.jsonl", [snli.Pair(0, sentence, sentence, "p")])
    assert next(snli.read(tmp_path / "x.jsonl")).premise.text == "a\tb"
