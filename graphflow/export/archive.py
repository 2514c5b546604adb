"""Static libraries: `ar` archives with an index of symbols, as System V and GNU have them.

Written here so that an export needs no tools of the target. The index is what linkers look names up
in; objects are added as they are. All times, owners and modes are constants: the same objects
give the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MAGIC = b"!<arch>\n"


def _header(name: str, size: int) -> bytes:
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode()


def _padded(data: bytes) -> bytes:
    return data + b"\n" * (len(data) % 2)


def archive(members: Sequence[tuple[str, bytes, Sequence[str]]]) -> bytes:
    """An archive of objects: (file name, bytes, names of the symbols it defines) each."""
    names = "".join(f"{name}/\n" for name, _, _ in members)
    positions, end = [], 0
    for name, _, _ in members:
        positions.append(end)
        end += len(name) + 2
    symbols = [(symbol, i) for i, (_, _, found) in enumerate(members) for symbol in found]
    index_size = 4 + 4 * len(symbols) + sum(len(symbol) + 1 for symbol, _ in symbols)
    start = len(_MAGIC) + 60 + index_size + index_size % 2 + 60 + len(names) + len(names) % 2
    offsets = []
    for _, data, _ in members:
        offsets.append(start)
        start += 60 + len(data) + len(data) % 2
    index = struct.pack(">I", len(symbols))
    index += b"".join(struct.pack(">I", offsets[i]) for _, i in symbols)
    index += b"".join(symbol.encode() + b"\0" for symbol, _ in symbols)
    parts = [_MAGIC, _header("/", len(index)), _padded(index)]
    parts += [_header("//", len(names)), _padded(names.encode())]
    for (_, data, _), position in zip(members, positions, strict=True):
        parts += [_header(f"/{position}", len(data)), _padded(data)]
    return b"".join(parts)
