"""Sentence pairs in the file format of SNLI, the corpus of Bowman et al. 2015 (arXiv:1508.05326).

A pair is a premise, a hypothesis, and what the first says about the second. Its sentences come with
binary parses, `( ( The cat ) ( sits . ) )`, which a shift-reduce encoder such as SPINN (Bowman et
al. 2016, arXiv:1603.06021) reads as a program for a stack: SHIFT puts the next word on it, REDUCE
puts one phrase in the place of the two on top. Both forms of the files are read and written: one
JSON object a line (`.jsonl`), and tab-separated columns under a header (`.txt`).

    pairs = list(snli.read("snli_1.0_dev.jsonl"))  # or .txt; https://nlp.stanford.edu/projects/snli
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

LABELS = ("entailment", "neutral", "contradiction")
NO_LABEL = "-"  # of pairs whose annotators do not agree
SHIFT, REDUCE = 0, 1
ANNOTATORS = 5
COLUMNS = (
    *("gold_label", "sentence1_binary_parse", "sentence2_binary_parse"),
    *("sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "captionID", "pairID"),
    *(f"label{number + 1}" for number in range(ANNOTATORS)),
)


class FormatError(ValueError):
    """A file is not what it should be; the message begins with the file and the line."""


@dataclass(frozen=True)
class Sentence:
    """A sentence as it was written, its binary parse, and its parse in the manner of the Penn
    Treebank, which may be empty."""

    text: str
    binary_parse: str
    parse: str = ""

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        return tokens(self.binary_parse)

    @cached_property
    def transitions(self) -> tuple[int, ...]:
        return transitions(self.binary_parse)


@dataclass(frozen=True)
class Pair:
    """label: a position in LABELS"""

    label: int
    premise: Sentence
    hypothesis: Sentence
    name: str = ""


# -- parses ----------------------------------------------------------------------------------------


def tokens(binary_parse: str) -> tuple[str, ...]:
    """The words of a binary parse, in order. Only spaces part them: some words of the real corpus
    hold other blanks (`1\\xa01/2`). Brackets that were written are `-LRB-` and `-RRB-` in it."""
    return tuple(item for item in binary_parse.split(" ") if item not in ("", "(", ")"))


def transitions(binary_parse: str) -> tuple[int, ...]:
    """SHIFT and REDUCE in the order that builds the tree of a binary parse: 2n - 1 for n words.

    A sentence of one word may lack brackets, and brackets round one phrase are no step. Raises
    ValueError where brackets do not match, or hold nothing or more than two phrases.
    """
    found: list[int] = []
    inside = [0]  # phrases so far, in each bracket that is open
    for item in binary_parse.split(" "):
        if item == "(":
            inside.append(0)
        elif item == ")":
            if len(inside) == 1:
                raise ValueError(f"a bracket closes that was not opened: {binary_parse!r}")
            phrases = inside.pop()
            if phrases not in (1, 2):
                raise ValueError(
                    f"brackets round {phrases} phrases, where 1 or 2 belong: {binary_parse!r}"
                )
            found += [REDUCE] * (phrases - 1)
            inside[-1] += 1
        elif item:
            found.append(SHIFT)
            inside[-1] += 1
    if len(inside) > 1:
        raise ValueError(f"{len(inside) - 1} brackets are left open: {binary_parse!r}")
    if inside[0] != 1:
        raise ValueError(f"{inside[0]} phrases, where one sentence belongs: {binary_parse!r}")
    return tuple(found)


def tree(words: Iterable[Any], steps: Iterable[int]) -> Any:
    """Nested pairs of words, as the transitions build them; a sentence of one word is that word.

    Raises ValueError for transitions that do not make one tree of the words.
    """
    waiting = list(words)[::-1]
    stack: list[Any] = []
    for position, step in enumerate(steps):
        if step == SHIFT and waiting:
            stack.append(waiting.pop())
        elif step == REDUCE and len(stack) > 1:
            right = stack.pop()
            stack.append((stack.pop(), right))
        else:
            raise ValueError(
                f"transition {position} is {step}, with {len(waiting)} words to come and "
                f"{len(stack)} phrases on the stack"
            )
    if len(stack) != 1 or waiting:
        raise ValueError(f"transitions leave {len(stack)} phrases and {len(waiting)} words")
    return stack[0]


def bracketed(tree: Any) -> str:
    """The binary parse of nested pairs of words."""
    if isinstance(tree, str):
        return tree
    left, right = tree
    return f"( {bracketed(left)} {bracketed(right)} )"


# -- files -----------------------------------------------------------------------------------------


def read(path: str | Path) -> Iterator[Pair]:
    """The pairs of a `.jsonl` or `.txt` file that have a label, one after the other.

    Raises FormatError, with file and line, for what is not in the format.
    """
    path = Path(path)
    lines = _json_lines(path) if path.suffix == ".jsonl" else _table_lines(path)
    for number, fields in lines:
        if fields["gold_label"] != NO_LABEL:
            try:
                yield _pair(fields)
            except (KeyError, ValueError) as error:
                what = f"no {error}" if isinstance(error, KeyError) else error
                raise FormatError(f"{path}:{number}: {what}") from None


def _pair(fields: dict[str, Any]) -> Pair:
    label = fields["gold_label"]
    if label not in LABELS:
        raise ValueError(f"gold_label is {label!r}, not one of {', '.join(LABELS)} or {NO_LABEL}")
    premise, hypothesis = (
        Sentence(fields[name], fields[f"{name}_binary_parse"], fields.get(f"{name}_parse", ""))
        for name in ("sentence1", "sentence2")
    )
    for sentence in (premise, hypothesis):
        transitions(sentence.binary_parse)  # raises for a parse that is none
    return Pair(LABELS.index(label), premise, hypothesis, fields.get("pairID", ""))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Only line feeds end a line: words may hold other characters that str.splitlines obeys."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise FormatError(f"{path}:{number}: not UTF-8 ({error.reason})") from None


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise FormatError(f"{path}:{number}: not JSON ({error})") from None
        if not isinstance(fields, dict) or "gold_label" not in fields:
            raise FormatError(f"{path}:{number}: not an object with a gold_label")
        for name, value in fields.items():
            if name in COLUMNS and not isinstance(value, str):
                raise FormatError(f"{path}:{number}: {name} is {value!r}, not text")
        yield number, fields


def _table_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Columns are known by the header; those of annotators who gave no label may be missing."""
    lines = _lines(path)
    _, header = next(lines, (1, ""))
    names = header.split("\t")
    missing = [name for name in COLUMNS[:3] + COLUMNS[5:7] if name not in names]
    if missing:
        raise FormatError(f"{path}:1: the header has no column {', '.join(missing)}")
    needed = max(names.index(name) for name in COLUMNS[:9] if name in names) + 1
    for number, line in lines:
        if not line:
            continue
        cells = line.split("\t")
        if not needed <= len(cells) <= len(names):
            raise FormatError(
                f"{path}:{number}: {len(cells)} columns, where the header has {len(names)}"
            )
        yield number, dict(zip(names, cells, strict=False))


def write(path: str | Path, pairs: Iterable[Pair]) -> None:
    """A file that `read` reads: `.jsonl`, or else the columns of `.txt`."""
    path = Path(path)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        if path.suffix != ".jsonl":
            file.write("\t".join(COLUMNS) + "\n")
        for pair in pairs:
            fields = _fields(pair)
            if path.suffix == ".jsonl":
                labels = [fields.pop(name) for name in COLUMNS[-ANNOTATORS:]]
                fields["annotator_labels"] = [label for label in labels if label]
                file.write(json.dumps(fields, ensure_ascii=False, sort_keys=True) + "\n")
            else:
                cells = [fields[name] for name in COLUMNS]
                if any(set(cell) & set("\t\r\n") for cell in cells):
                    raise ValueError(f"a tab or a line's end inside of pair {pair.name!r}")
                file.write("\t".join(cells) + "\n")


def _fields(pair: Pair) -> dict[str, Any]:
    """As the corpus has them where a single annotator gave the label."""
    label = LABELS[pair.label]
    fields = dict.fromkeys(COLUMNS, "") | {"gold_label": label, "label1": label}
    fields |= {"pairID": pair.name, "captionID": pair.name.partition("#")[0]}
    for name, sentence in (("sentence1", pair.premise), ("sentence2", pair.hypothesis)):
        fields[name] = sentence.text
        fields[f"{name}_binary_parse"] = sentence.binary_parse
        fields[f"{name}_parse"] = sentence.parse
    return fields
