"""Files of weights and manifests as tests make them, and the C readers of them."""

import ctypes
import json
import subprocess
from pathlib import Path

import numpy as np

NATIVE = Path(__file__).resolve().parents[2] / "native"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
INCLUDES = [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'core'}"]
PARTS = [
    *("checksum", "dtype", "files", "json", "manifest", "memory", "report", "safetensors"),
    *("weights", "weights_header", "weights_verify", "weights_write"),
]
SOURCES = [NATIVE / "core" / f"{part}.c" for part in PARTS]

OK, NO_MEMORY, BAD_DESCRIPTION, BAD_FILE, IO_ERROR = 0, 3, 21, 24, 25
# In the order of enum gf_dtype, which begins with 1; and their names in the format.
SAFETENSORS = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "complex128": None,
}
DTYPES = list(SAFETENSORS)
CODES = {name: code for code, name in enumerate(DTYPES, 1)}


def compile_c(output, sources, *flags, compiler="gcc"):
    """Builds C11 sources with warnings as errors."""
    command = [compiler, "-std=c11", *flags, *WARNINGS, *INCLUDES, *map(str, sources)]
    subprocess.run([*command, "-pthread", "-o", str(output)], check=True)
    return output


def file_of(header, data=b"") -> bytes:
    """A safetensors file: a header, as it is or to be written as JSON, and data."""
    if not isinstance(header, (bytes, str)):
        header = json.dumps(header)
    text = header if isinstance(header, bytes) else header.encode()
    return len(text).to_bytes(8, "little") + text + data


def array_of(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


class Weight(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_int64),
    ]


class Manifest(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_char_p),
        ("library", ctypes.c_char_p),
        ("weights", ctypes.c_char_p),
        ("target", ctypes.c_char_p),
        ("hash", ctypes.c_char_p),
        ("feature_count", ctypes.c_int32),
        ("features", ctypes.POINTER(ctypes.c_char_p)),
    ]


class Refused(Exception):
    """A status that is not GF_OK, with its message."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class File(dict):
    """name -> (dtype, dims, bytes), in the order of the file; `metadata(key)` while it is open."""


class Core:
    """The C functions through ctypes."""

    def __init__(self, library):
        self.library = ctypes.CDLL(str(library))
        self.library.gf_weights_at.restype = Weight
        self.library.gf_weights_metadata.restype = ctypes.c_char_p
        for function in ("gf_dtype_name", "gf_dtype_safetensors"):
            getattr(self.library, function).restype = ctypes.c_char_p
        for function in ("gf_dtype_bytes", "gf_dtype_alignment"):
            getattr(self.library, function).restype = ctypes.c_int64

    def call(self, function, *arguments, message_bytes=200):
        message = ctypes.create_string_buffer(message_bytes)
        size = ctypes.c_size_t(message_bytes)
        status = getattr(self.library, function)(*arguments, message, size)
        if status != OK:
            raise Refused(status, message.value.decode())

    def open(self, path):
        weights = ctypes.c_void_p()
        self.call("gf_weights_open", str(path).encode(), ctypes.byref(weights))
        return weights

    def read(self, path, keys=(), verify=True):
        """All arrays of a file, and the values of these keys of its metadata."""
        return self._take(self.open(path), keys, verify)

    def parse(self, content, keys=(), verify=True, shift=0):
        """The same for a file in memory, `shift` bytes behind an address that is aligned."""
        buffer = (ctypes.c_uint64 * (len(content) // 8 + 2))()
        address = ctypes.addressof(buffer) + shift
        ctypes.memmove(address, content, len(content))
        weights = ctypes.c_void_p()
        size = ctypes.c_size_t(len(content))
        self.call("gf_weights_parse", ctypes.c_void_p(address), size, ctypes.byref(weights))
        return self._take(weights, keys, verify)

    def _take(self, weights, keys, verify):
        try:
            if verify:
                self.call("gf_weights_verify", weights)
            found = File()
            for index in range(self.library.gf_weights_count(weights)):
                array = self.library.gf_weights_at(weights, index)
                assert self.library.gf_weights_find(weights, array.name) == index
                assert array.data % self.library.gf_dtype_alignment(array.dtype) == 0
                data = ctypes.string_at(array.data, array.bytes)
                dims = tuple(array.dims[: array.rank])
                found[array.name.decode()] = (DTYPES[array.dtype - 1], dims, data)
            found.metadata = {
                key: value.decode() if value is not None else None
                for key in keys
                for value in [self.library.gf_weights_metadata(weights, key.encode())]
            }
            return found
        finally:
            self.library.gf_weights_close(weights)

    def write(self, path, arrays, metadata=None):
        """`arrays`: (name, dtype, dims, bytes of data) each; dtype a name or a number."""
        records = (Weight * max(len(arrays), 1))()
        alive = []
        for record, (name, dtype, dims, data) in zip(records, arrays, strict=False):
            buffer = ctypes.create_string_buffer(data, max(len(data), 1))
            shape = (ctypes.c_int64 * max(len(dims), 1))(*dims)
            alive += [buffer, shape]
            record.name = name if isinstance(name, bytes) or name is None else name.encode()
            record.dtype = CODES.get(dtype, dtype) if isinstance(dtype, str) else dtype
            record.rank, record.dims = len(dims), shape
            record.data, record.bytes = ctypes.addressof(buffer), len(data)
        pairs = None
        if metadata is not None:
            texts = [text for pair in metadata for text in pair]
            texts = [text.encode() if isinstance(text, str) else text for text in texts]
            pairs = (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
        target = None if path is None else str(path).encode()
        self.call("gf_weights_write", target, records, ctypes.c_int32(len(arrays)), pairs)

    def write_arrays(self, path, arrays, metadata=None):
        """The same for NumPy's arrays by name."""
        records = [
            (n, a.dtype.name, a.shape, np.asarray(a, order="C").tobytes())
            for n, a in arrays.items()
        ]
        self.write(path, records, metadata)

    def manifest(self, path=None, content=None, folder=None):
        """A manifest as a dictionary, from a file or from memory."""
        found = ctypes.POINTER(Manifest)()
        if path is not None:
            self.call("gf_manifest_open", str(path).encode(), ctypes.byref(found))
        else:
            size = ctypes.c_size_t(len(content))
            self.call("gf_manifest_parse", content, size, folder, ctypes.byref(found))
        try:
            m = found.contents
            texts = {name: getattr(m, name) for name, _ in Manifest._fields_[:6]}
            read = {name: text and text.decode() for name, text in texts.items()}
            read["features"] = [m.features[i].decode() for i in range(m.feature_count)]
            return read
        finally:
            self.library.gf_manifest_close(found)


def numpy_of(entry):
    """What `Core.read` gives for a name, as a NumPy array."""
    dtype, dims, data = entry
    return np.frombuffer(data, dtype).reshape(dims)
