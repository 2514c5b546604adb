"""The compile cache on disk: finished objects by the content they were compiled from.

A file holds one compiled step: a JSON header (what the entry was made from, and the compiler's
report) followed by binary blobs (the runtime's description of the step). Its name starts with
the digest of the program and goes on with the digest of everything else that decides the code
(options, target, versions), so that a miss can be explained by what differs.

Layout of a file, all integers little-endian:

    8 bytes   magic "GFCACHE1"
    32 bytes  SHA-256 of everything that follows
    8 bytes   length of the header
    header    JSON, UTF-8; header["blobs"] lists the lengths of the blobs in order
    blobs

A reader checks the digest, so a truncated or damaged file is a miss, never a crash. A writer makes
a private temporary file and renames it, so concurrent writers never show half an entry. The folder
is readable by its owner only. Nothing read is ever unpickled or evaluated.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAGIC = b"GFCACHE1"
LIMIT_BYTES = 1 << 30  # the oldest entries go once the folder holds more
_SHARE = 64  # between two looks, so much of the limit is written


@dataclass
class CacheStats:
    """Counts of one session, and why each look-up missed."""

    memory_hits: int = 0
    memory_misses: int = 0
    disk_hits: int = 0
    disk_misses: int = 0
    reasons: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Key:
    """What an entry is found by: `program` from the graph, `setting` from all the rest."""

    program: str
    setting: str

    @staticmethod
    def of(program_text: str, settings: dict[str, str]) -> Key:
        def digest(text: str) -> str:
            return hashlib.sha256(text.encode()).hexdigest()[:32]

        return Key(digest(program_text), digest(json.dumps(settings, sort_keys=True)))

    @property
    def filename(self) -> str:
        return f"{self.program}-{self.setting}.gfo"


class DiskCache:
    """A folder of entries. Every failure of the file system is a miss or a write not made."""

    def __init__(self, directory: Path):
        self.directory = directory

    def load(self, key: Key, settings: dict[str, str]) -> tuple[dict | None, list[bytes], str]:
        """(header, blobs, "") for a hit; (None, [], why not) for a miss."""
        path = self._place(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None, [], self._why_absent(key, settings)
        except OSError as error:
            return None, [], f"the cache cannot be read: {error.strerror}"
        entry = _decode(content)
        if entry is None:
            with contextlib.suppress(OSError):
                path.unlink()
            return None, [], "the entry was damaged; it is compiled again"
        with contextlib.suppress(OSError):
            os.utime(path)
        return *entry, ""

    def store(self, key: Key, header: dict, blobs: list[bytes]) -> None:
        """Writes an entry; on any failure of the file system nothing is written."""
        header = {**header, "blobs": [len(blob) for blob in blobs]}
        encoded = json.dumps(header, separators=(",", ":")).encode()
        body = b"".join([len(encoded).to_bytes(8, "little"), encoded, *blobs])
        digest = hashlib.sha256(body).digest()
        path = self._place(key)
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(MAGIC + digest + body)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
            # Looking at all entries takes time in proportion to their number: one write in so many
            # does it, a large one sooner, and which ones is a matter of chance.
            chance = int.from_bytes(digest[:8], "little") / (1 << 64)
            if chance < len(body) / (LIMIT_BYTES / _SHARE):
                self._evict()
        except OSError:
            return

    def _place(self, key: Key) -> Path:
        """In one of many folders: a miss looks through those entries that lie beside it."""
        return self.directory / key.program[:2] / key.filename

    def _why_absent(self, key: Key, settings: dict[str, str]) -> str:
        for other in self._place(key).parent.glob(f"{key.program}-*.gfo"):
            try:
                entry = _decode(other.read_bytes())
            except OSError:
                continue
            if entry is not None:
                theirs = entry[0].get("settings", {})
                changed = [
                    f"{name} was {theirs.get(name)!r}, is {value!r}"
                    for name, value in settings.items()
                    if theirs.get(name) != value
                ]
                return "the same graph was compiled before, but " + "; ".join(changed)
        return "no graph like this was compiled before"

    def _evict(self) -> None:
        entries = sorted(
            ((p.stat().st_mtime, p.stat().st_size, p) for p in self.directory.rglob("*.gfo")),
            key=lambda entry: entry[0],
        )
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= LIMIT_BYTES:
                break
            path.unlink()
            total -= size


def _decode(content: bytes) -> tuple[dict, list[bytes]] | None:
    if len(content) < 48 or content[:8] != MAGIC:
        return None
    body = content[40:]
    if hashlib.sha256(body).digest() != content[8:40]:
        return None
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    blobs, at = [], 8 + length
    for size in header["blobs"]:
        blobs.append(body[at : at + size])
        at += size
    return header, blobs
