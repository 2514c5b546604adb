"""Lines of C and C++ that people read: of at most 100 columns, with comments that line up."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 100


def with_comments(rows: Sequence[tuple[str, str]], indent: str = "    ") -> list[str]:
    """Lines of code and what is said about each: beside it, or above it where there is no room."""
    widths = [len(code) for code, comment in rows if comment]
    column = max((w for w in widths if w <= WIDTH // 2), default=0)
    lines = []
    for code, comment in rows:
        beside = f"{indent}{code:<{column}} /* {comment} */"
        if not comment:
            lines.append(f"{indent}{code}")
        elif len(beside) <= WIDTH:
            lines.append(beside)
        else:
            lines += [*block_comment(comment, indent), f"{indent}{code}"]
    return lines


def block_comment(text: str, indent: str = "") -> list[str]:
    """A comment of its own lines."""
    lines = wrapped(text, WIDTH - len(indent) - 6)
    lines[-1] += " */"
    return [f"{indent}/* {lines[0]}", *(f"{indent} * {line}" for line in lines[1:])]


def wrapped(text: str, width: int) -> list[str]:
    """Text in lines of at most `width`, unless a word is longer."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def call(
    head: str, arguments: Sequence[str], tail: str, indent: str = "", width: int = WIDTH
) -> list[str]:
    """`head(arguments)tail`, on lines as spread() makes them."""
    return spread(f"{head}(", arguments, f"){tail}", indent, width)


def spread(
    start: str, parts: Sequence[str], end: str, indent: str = "", width: int = WIDTH
) -> list[str]:
    """Parts with commas between `start` and `end`, continued on lines that are indented by four
    more."""
    lines = [f"{indent}{start}"]
    for i, part in enumerate(parts):
        piece = part + ("," if i + 1 < len(parts) else end)
        glue = "" if i == 0 or lines[-1].endswith("(") else " "
        if len(lines[-1]) + len(glue) + len(piece) > width:
            lines.append(f"{indent}    {piece}")
        else:
            lines[-1] += glue + piece
    if not parts:
        lines[-1] += end
    return lines


__all__ = ["WIDTH", "block_comment", "call", "spread", "with_comments", "wrapped"]
