"""Files of a checkpoint: arrays in the safetensors format, and the list of what was saved last.

Every file is written beside its name, brought to the disk, and then renamed, so that a name stands
for a whole file at any moment: what was there before survives a crash and a full disk. Nothing
that is read is unpickled or evaluated.

    <prefix>.safetensors    the arrays by name; metadata `graphflow` holds the format's version
                            and the CRC-32 of each array
    checkpoint              JSON: {"model_checkpoint_path": …, "all_model_checkpoint_paths": […]}
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import (
    DataLossError,
    GraphError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
)

__all__ = [
    "CheckpointState",
    "checkpoint_exists",
    "get_checkpoint_state",
    "latest_checkpoint",
    "list_variables",
    "load_variable",
    "update_checkpoint_state",
]

EXTENSION = ".safetensors"
_METADATA = "graphflow"
_VERSION = 1


def checkpoint_file(prefix) -> str:
    """The file of a checkpoint's name: the name with its extension."""
    text = os.fspath(prefix)
    return text if text.endswith(EXTENSION) else text + EXTENSION


def _safetensors():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "checkpoints need the safetensors package: pip install graphflow[checkpoint]"
        ) from None
    return safetensors


def _write_error(path: str, error: OSError) -> GraphError:
    """What a failed write means, with the file named."""
    text = f"cannot write {path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceExhaustedError(f"{text}; what was there before is unchanged")
    if error.errno == errno.ENOENT:
        return NotFoundError(f"{text}; its directory must exist")
    return PermissionDeniedError(f"{text}; what was there before is unchanged")


def write_atomically(path: str, write: Callable[[str], None]) -> None:
    """Calls `write(temporary)` and moves that file to `path` once it is whole on the disk.

    Raises ResourceExhaustedError, NotFoundError or PermissionDeniedError; `path` is then as it was.
    """
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.part"
    try:
        # Made here first, for the permissions that files get: `write` may put a new one there.
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
        mode = os.fstat(descriptor).st_mode & 0o777
        os.close(descriptor)
        write(temporary)
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        _sync_directory(os.path.dirname(path) or ".")
    except OSError as error:
        raise _write_error(path, error) from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _sync_directory(directory: str) -> None:
    """Brings a rename to the disk, where the system lets directories be opened."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems cannot; the file itself is whole either way
    finally:
        os.close(descriptor)


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data if array.size else b"")


def write_arrays(prefix, arrays: Mapping[str, np.ndarray]) -> str:
    """Writes a checkpoint; returns its file. Errors as `write_atomically`."""
    safetensors = _safetensors()
    path = checkpoint_file(prefix)
    whole = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    description = {"version": _VERSION, "crc32": {n: _checksum(a) for n, a in whole.items()}}
    metadata = {_METADATA: json.dumps(description, sort_keys=True)}

    def write(temporary: str) -> None:
        try:
            safetensors.numpy.save_file(whole, temporary, metadata=metadata)
        except safetensors.SafetensorError as error:
            raise _as_os_error(error) from None

    write_atomically(path, write)
    return path


def _as_os_error(error: Exception) -> OSError:
    """The system's error inside the package's: its text ends in "(os error N)"."""
    _, found, tail = str(error).partition("os error ")
    digits = tail.split(")")[0].strip()
    number = int(digits) if found and digits.isdigit() else errno.EIO
    return OSError(number, os.strerror(number))


class Reader:
    """A checkpoint open for reading, as a context; `names` without touching the arrays."""

    def __init__(self, prefix):
        self.path = checkpoint_file(prefix)
        given = os.fspath(prefix)
        if not os.path.isfile(self.path):
            if os.path.isfile(given):
                raise DataLossError(f"{given} is not a checkpoint: no file {self.path}")
            raise NotFoundError(f"there is no checkpoint {given} (no file {self.path})")
        self._package = _safetensors()
        try:
            self._file = self._package.safe_open(self.path, framework="numpy").__enter__()
            self.names = list(self._file.keys())
            description = json.loads((self._file.metadata() or {}).get(_METADATA, "{}"))
            self._checksums = description.get("crc32", {})
            version = description.get("version", _VERSION)
        except (self._package.SafetensorError, ValueError, AttributeError, OSError) as error:
            raise self._damaged(error) from None
        if version != _VERSION:
            raise DataLossError(
                f"{self.path} has checkpoint format {version}; this graphflow reads {_VERSION}"
            )

    def _damaged(self, error) -> DataLossError:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return DataLossError(f"{self.path} is truncated, damaged or not a checkpoint: {text}")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error) -> None:
        self._file.__exit__(*error)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(name).get_shape())

    def dtype(self, name: str) -> np.dtype:
        stored = self._file.get_slice(name).get_dtype()
        return np.dtype(self._package.numpy._TYPES.get(stored, np.void))

    def read(self, name: str) -> np.ndarray:
        """One array; DataLossError where its bytes are not those that were written."""
        try:
            array = self._file.get_tensor(name)
        except (self._package.SafetensorError, KeyError, TypeError) as error:
            raise self._damaged(error) from None
        if name in self._checksums and _checksum(array) != self._checksums[name]:
            raise DataLossError(f"{self.path} is damaged: the checksum of {name!r} does not agree")
        return array


def list_variables(ckpt_dir_or_file) -> list[tuple[str, list[int]]]:
    """(name, shape) of every variable in a checkpoint, or in a directory's latest one."""
    with Reader(_resolve(ckpt_dir_or_file)) as reader:
        return [(name, list(reader.shape(name))) for name in sorted(reader.names)]


def load_variable(ckpt_dir_or_file, name: str) -> np.ndarray:
    """The array saved under `name` (":0" may follow); NotFoundError where there is none."""
    with Reader(_resolve(ckpt_dir_or_file)) as reader:
        key = name.removesuffix(":0")
        if key not in reader.names:
            raise NotFoundError(f"{reader.path} has no variable {key!r}")
        return reader.read(key)


def _resolve(given) -> str:
    if os.path.isdir(given):
        found = latest_checkpoint(given)
        if found is None:
            raise NotFoundError(f"there is no checkpoint in {os.fspath(given)}")
        return found
    return os.fspath(given)


def checkpoint_exists(checkpoint_prefix) -> bool:
    """Whether there is a checkpoint of that name."""
    return os.path.isfile(checkpoint_file(checkpoint_prefix))


@dataclass(frozen=True)
class CheckpointState:
    """What a directory's `checkpoint` file says: the latest checkpoint, and all that are kept."""

    model_checkpoint_path: str
    all_model_checkpoint_paths: tuple[str, ...]


def _state_file(directory, latest_filename: str | None) -> str:
    return os.path.join(directory, latest_filename or "checkpoint")


def update_checkpoint_state(
    save_dir,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Iterable[str] | None = None,
    latest_filename: str | None = None,
) -> None:
    """Writes a directory's `checkpoint` file. Paths inside the directory are kept relative to it,
    so that it can be moved as a whole."""
    paths = list(all_model_checkpoint_paths or ())
    if model_checkpoint_path not in paths:
        paths.append(model_checkpoint_path)

    def stored(path: str) -> str:
        inside = os.path.abspath(os.path.dirname(path)) == os.path.abspath(save_dir)
        return os.path.basename(path) if inside else os.path.abspath(path)

    text = json.dumps(
        {
            "model_checkpoint_path": stored(model_checkpoint_path),
            "all_model_checkpoint_paths": [stored(path) for path in paths],
        },
        indent=1,
    )
    write_atomically(
        _state_file(save_dir, latest_filename),
        lambda temporary: _write_text(temporary, text + "\n"),
    )


def _write_text(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def get_checkpoint_state(
    checkpoint_dir, latest_filename: str | None = None
) -> CheckpointState | None:
    """What the directory's `checkpoint` file says, or None where there is none.

    Raises DataLossError where the file is not one of graphflow's.
    """
    path = _state_file(checkpoint_dir, latest_filename)
    if not os.path.isfile(path):
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        latest = content["model_checkpoint_path"]
        kept = content["all_model_checkpoint_paths"]
        if not all(isinstance(text, str) for text in (latest, *kept)):
            raise ValueError("a path is not a string")
    except (ValueError, KeyError, TypeError) as error:
        raise DataLossError(f"{path} is not a list of checkpoints: {error}") from None
    directory = os.fspath(checkpoint_dir)
    return CheckpointState(
        os.path.join(directory, latest), tuple(os.path.join(directory, text) for text in kept)
    )


def latest_checkpoint(checkpoint_dir, latest_filename: str | None = None) -> str | None:
    """The name of the latest checkpoint of a directory, for `Saver.restore`; None without one."""
    state = get_checkpoint_state(checkpoint_dir, latest_filename)
    if state is None or not checkpoint_exists(state.model_checkpoint_path):
        return None
    return state.model_checkpoint_path
