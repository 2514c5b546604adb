"""The C reader and writer of weights files, against Python's safetensors package and damage."""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import MACHINES, needs
from weights_files import (
    BAD_DESCRIPTION,
    BAD_FILE,
    CODES,
    DTYPES,
    IO_ERROR,
    NATIVE,
    SAFETENSORS,
    SOURCES,
    Refused,
    array_of,
    compile_c,
    file_of,
    numpy_of,
)

NUMPY = [name for name in DTYPES if name not in ("bfloat16", "complex128")]


def sample(dtype, shape, seed=0):
    random = np.random.default_rng(seed)
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if np.dtype(dtype).kind in "iu":
        return random.integers(0, 127, shape).astype(dtype)
    return random.normal(size=shape).astype(dtype)


def samples():
    shapes = [(), (1,), (3,), (2, 5), (0, 4), (1, 2, 3, 4)]
    return {
        f"{dtype}/{i}": sample(dtype, shape, i) for dtype in NUMPY for i, shape in enumerate(shapes)
    }


def assert_same(read, arrays):
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        dtype, dims, data = read[name]
        assert (dtype, dims) == (array.dtype.name, array.shape), name
        assert data == np.asarray(array, order="C").tobytes(), name


def refusal(core, content, status=BAD_FILE, **how):
    with pytest.raises(Refused) as caught:
        core.parse(content, **how)
    assert caught.value.status == status
    assert str(caught.value)
    return str(caught.value)


def test_table_of_dtypes(weights_core):
    library = weights_core.library
    for name, code in CODES.items():
        assert library.gf_dtype_name(code).decode() == name
        assert library.gf_dtype_named(name.encode()) == code
        stored = SAFETENSORS.get(name)
        if stored is None:
            assert library.gf_dtype_safetensors(code) is None
        else:
            assert library.gf_dtype_safetensors(code).decode() == stored
            assert library.gf_dtype_of_safetensors(stored.encode()) == code
        size = 2 if name == "bfloat16" else np.dtype(name).itemsize
        assert library.gf_dtype_bytes(code) == size
        complex_parts = 2 if name.startswith("complex") else 1
        assert library.gf_dtype_alignment(code) == size // complex_parts
    for code in (-1, 0, len(DTYPES) + 1, 2**31 - 1):
        assert library.gf_dtype_name(code) is None
        assert library.gf_dtype_bytes(code) == 0
    assert library.gf_dtype_named(b"float") == library.gf_dtype_of_safetensors(b"F8_E4M3") == 0


def test_every_element_type_of_graphflow_has_a_code():
    from graphflow import dtypes

    for dtype in dtypes.ALL:
        assert DTYPES[CODES[dtype.name] - 1] == dtype.name


def test_reads_what_the_safetensors_package_writes(weights_core, tmp_path):
    arrays = samples()
    metadata = {"format": "np", 'ключ "\\\n\x01': "значение 🦊"}
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata=metadata)
    read = weights_core.read(path, keys=[*metadata, "none"])
    assert_same(read, arrays)
    assert read.metadata == {**metadata, "none": None}
    assert_same(weights_core.parse(path.read_bytes()), arrays)


def test_the_safetensors_package_reads_what_is_written(weights_core, tmp_path):
    arrays = samples()
    metadata = {"format": "np", 'ключ "\\\n\x01\x7f': "значение 🦊"}
    path = tmp_path / "weights.safetensors"
    weights_core.write_arrays(path, arrays, metadata.items())
    read = safetensors.numpy.load_file(path)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert metadata.items() <= file.metadata().items()
    assert_same(weights_core.read(path), arrays)
    assert list(weights_core.read(path)) == list(arrays)


def test_bfloat16_passes_both_ways(weights_core, tmp_path):
    path = tmp_path / "weights.safetensors"
    weights_core.write(path, [("w", "bfloat16", (2,), b"\x80\x3f\x00\xc0")])
    assert safetensors.deserialize(path.read_bytes())[0][1]["dtype"] == "BF16"
    assert weights_core.read(path)["w"] == ("bfloat16", (2,), b"\x80\x3f\x00\xc0")


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        NAMES.filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(NUMPY), st.lists(st.integers(0, 4), max_size=4)),
        max_size=6,
    ),
    st.dictionaries(NAMES.filter(lambda key: key != "graphflow"), NAMES, max_size=3),
)
def test_round_trips_of_any_names_and_shapes(weights_core, tmp_path_factory, described, metadata):
    path = tmp_path_factory.mktemp("round") / "weights.safetensors"
    arrays = {name: sample(dtype, tuple(dims)) for name, (dtype, dims) in described.items()}
    weights_core.write_arrays(path, arrays, metadata.items())
    read = weights_core.read(path, keys=metadata)
    assert_same(read, arrays)
    assert read.metadata == metadata
    theirs = safetensors.numpy.load_file(path)
    assert {name: array.tobytes() for name, array in theirs.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    # Of no arrays and metadata the package writes a header that it refuses itself.
    safetensors.numpy.save_file(arrays, path, metadata=metadata if arrays else None)
    assert_same(weights_core.read(path), arrays)


def test_checkpoints_are_files_of_weights(weights_core, tmp_path):
    import graphflow as tf

    w = tf.Variable(np.arange(6, dtype=np.float32).reshape(2, 3), name="scope/w")
    step = tf.Variable(np.int64(7), name="step")
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = saver.save(session, str(tmp_path / "model"), write_meta_graph=False)
        read = weights_core.read(prefix + ".safetensors", keys=["graphflow"])
        assert json.loads(read.metadata["graphflow"])["version"] == 1
        np.testing.assert_array_equal(numpy_of(read["scope/w"]), np.arange(6.0).reshape(2, 3))
        assert numpy_of(read["step"]) == 7
        # And the other way: what a host of the exported model has saved.
        arrays = {"scope/w": np.full((2, 3), 5, np.float32), "step": np.array(9)}
        weights_core.write_arrays(prefix + ".safetensors", arrays)
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(w), arrays["scope/w"])
        assert session.run(step) == 9


def test_checksums_tell_damaged_data(weights_core, tmp_path):
    path = tmp_path / "weights.safetensors"
    arrays = {f"a{i}": sample("float32", (i,), i) for i in range(20)}
    weights_core.write_arrays(path, arrays)
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 4
    weights_core.parse(bytes(whole), verify=False)
    assert "'a19' is damaged: its checksum" in refusal(weights_core, bytes(whole))
    path.write_bytes(whole)
    with pytest.raises(Exception, match="checksum of 'a19'"):
        from graphflow.train.checkpoint import Reader

        with Reader(path) as reader:
            reader.read("a19")


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ("{", "metadata 'graphflow' are damaged"),
        ('{"version": 2}', "format 2 of graphflow's files; this reads 1"),
        ('{"crc32": {"w": 0}}', "'w' is damaged"),
        ('{"crc32": {"w": "0"}}', "an integer is expected"),
        ('{"crc32": []}', "an object is expected"),
    ],
)
def test_damaged_descriptions(weights_core, description, text):
    header = {"__metadata__": {"graphflow": description}, "w": array_of("U8", [2], 0, 2)}
    assert text in refusal(weights_core, file_of(header, b"ab"))


def test_other_descriptions_pass(weights_core):
    for description in ("{}", '{"crc32": {"gone": 1}, "more": [{}]}', '{"version": 1}'):
        header = {"__metadata__": {"graphflow": description}, "w": array_of("U8", [2], 0, 2)}
        weights_core.parse(file_of(header, b"ab"))


def test_arrays_are_aligned_whatever_the_file(weights_core):
    header = {
        "a": array_of("BOOL", [1], 0, 1),
        "b": array_of("F64", [2], 1, 17),
        "c": array_of("I16", [1], 17, 19),
        "d": array_of("C64", [1], 19, 27),
        "e": array_of("F32", [0], 27, 27),
    }
    data = bytes([1]) + bytes(range(26))
    for spaces in range(8):  # which move the data
        for shift in range(8):
            content = file_of(json.dumps(header) + " " * spaces, data)
            read = weights_core.parse(content, shift=shift)
            assert [read[n][2] for n in "abcde"] == [
                data[0:1], data[1:17], data[17:19], data[19:27], b""
            ]  # fmt: skip


def test_offsets_need_not_be_in_the_order_of_the_header(weights_core):
    header = {
        "b": array_of("U8", [2], 3, 5),
        "empty": array_of("F32", [0], 3, 3),
        "a": array_of("U8", [3], 0, 3),
    }
    read = weights_core.parse(file_of(header, b"abcde"))
    assert read == {
        "b": ("uint8", (2,), b"de"),
        "empty": ("float32", (0,), b""),
        "a": ("uint8", (3,), b"abc"),
    }
    assert list(read) == ["b", "empty", "a"]


def test_files_without_arrays(weights_core, tmp_path):
    path = tmp_path / "weights.safetensors"
    assert weights_core.parse(file_of({})) == {}
    weights_core.write(path, [])
    assert weights_core.read(path) == safetensors.numpy.load_file(path) == {}


def test_many_arrays(weights_core, tmp_path):
    path = tmp_path / "weights.safetensors"
    arrays = {f"layer{i}/w": np.full((i % 3,), i, np.int32) for i in range(5000)}
    weights_core.write_arrays(path, arrays)
    assert_same(weights_core.read(path), arrays)


def test_the_same_arrays_give_the_same_bytes(weights_core, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    weights_core.write_arrays(first, samples(), {"k": "v"}.items())
    weights_core.write_arrays(second, samples(), {"k": "v"}.items())
    assert first.read_bytes() == second.read_bytes()


def test_truncated_at_every_byte(weights_core, tmp_path):
    path = tmp_path / "weights.safetensors"
    header = {"a": array_of("U8", [3], 0, 3), "b": array_of("F32", [2], 3, 11)}
    whole = file_of(header, bytes(11))
    weights_core.parse(whole)
    for count in range(len(whole)):
        text = refusal(weights_core, whole[:count])
        assert "truncated" in text or "too few" in text
        path.write_bytes(whole[:count])
        with pytest.raises(Refused, match="weights.safetensors: .*(truncated|too few)") as caught:
            weights_core.read(path)
        assert caught.value.status == BAD_FILE
    path.write_bytes(whole + b"x")
    for read in (lambda: weights_core.read(path), lambda: weights_core.parse(whole + b"x")):
        with pytest.raises(Refused, match="something follows the last array"):
            read()


W = array_of("F32", [2], 0, 8)
W_TEXT, EMPTY_TEXT = json.dumps(W), json.dumps(array_of("U8", [0], 8, 8))


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("", "its header is no JSON object"),
        ("[]", "its header is no JSON object"),
        (" {}", "its header is no JSON object"),
        ("{} x", "byte 3: something follows the end"),
        ("{", "text ends too early"),
        ('{"w"}', "a : is expected"),
        ('{"w": 3}', "an object is expected"),
        ('{"w": {}}', "'w' lacks its dtype"),
        ({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, "'w' lacks its shape"),
        ({"w": {"dtype": "F32", "shape": [2]}}, "'w' lacks its data_offsets"),
        ({"w": {**W, "dtype": "F8_E4M3"}}, "'w' has the unknown dtype 'F8_E4M3'"),
        ({"w": {**W, "dtype": "float32"}}, "'w' has the unknown dtype 'float32'"),
        ({"w": {**W, "dtype": None}}, "a string is expected"),
        ({"w": {**W, "shape": 2}}, "an array is expected"),
        ({"w": {**W, "shape": ["2"]}}, "an integer is expected"),
        ({"w": {**W, "shape": [2.0]}}, "an integer is expected"),
        ('{"w": {"dtype": "F32", "shape": [2e0], "data_offsets": [0, 8]}}', "an integer is"),
        ('{"w": {"dtype": "F32", "shape": [02], "data_offsets": [0, 8]}}', "begins with 0"),
        ('{"w": {"dtype": "F32", "shape": [2,], "data_offsets": [0, 8]}}', "an integer is"),
        ('{"w": {"dtype": "F32", "shape": [2 2], "data_offsets": [0, 8]}}', "a , or ] is"),
        ({"w": {**W, "shape": [-2]}}, "'w' has an impossible shape"),
        ({"w": {**W, "shape": [2**62, 2]}}, "'w' has an impossible shape"),
        ({"w": {**W, "shape": [2**32, 2**32]}}, "'w' has an impossible shape"),
        ({"w": {**W, "shape": [2**32, 2**32, 0]}}, "'w' has an impossible shape"),
        ({"w": {**W, "shape": [2**63]}}, "a number that is too large"),
        ({"w": {**W, "shape": [10**30]}}, "a number that is too large"),
        ({"w": {**W, "shape": [3]}}, "12 bytes by its shape, but offsets 0 to 8"),
        ({"w": {**W, "shape": []}}, "4 bytes by its shape, but offsets 0 to 8"),
        ({"w": {**W, "shape": [0]}}, "0 bytes by its shape, but offsets 0 to 8"),
        ({"w": {**W, "data_offsets": [8, 0]}}, "offsets 8 to 0"),
        ({"w": {**W, "data_offsets": [-8, 0]}}, "offsets -8 to 0"),
        ({"w": {**W, "data_offsets": [-(2**63), 2**63 - 1]}}, "offsets -9223"),
        ({"w": {**W, "data_offsets": [8]}}, "two offsets are expected"),
        ({"w": {**W, "data_offsets": [0, 8, 8]}}, "two offsets are expected"),
        ({"w": {**W, "data_offsets": [4, 12]}}, "behind a gap that begins at 0"),
        ({"v": W, "w": W}, "inside of another, which ends at 8"),
        ({"v": W, "w": {**W, "data_offsets": [4, 12]}}, "'w' begins at byte 4, inside of"),
        ({"v": W, "w": {**W, "data_offsets": [9, 17]}}, "'w' begins at byte 9, behind a gap"),
        ({"w": {**W, "shape": [2**60], "data_offsets": [0, 2**62]}}, "truncated: it has 8 bytes"),
        ({"w": {**W, "shape": [3], "data_offsets": [0, 12]}}, "truncated: it has 8 bytes of"),
        ({"w": {**W, "shape": [1], "data_offsets": [0, 4]}}, "something follows the last array"),
        ('{"w": ' + W_TEXT + ', "w": ' + EMPTY_TEXT + "}", "two arrays 'w'"),
        ('{"w": ' + W_TEXT + ', "\\u0077": ' + EMPTY_TEXT + "}", "two arrays 'w'"),
        ('{"w": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "twice"),
        ('{"__metadata__": {}, "__metadata__": {}}', "a key that is there twice"),
        ('{"__metadata__": {"k": "1", "k": "2"}}', "the metadata have 'k' twice"),
        ({"__metadata__": {"k": 1}}, "a string is expected"),
        ({"__metadata__": None}, "an object is expected"),
        (b'{"\xff": 1}', "not UTF-8"),
        (b'{"\xc0\xaf": 1}', "not UTF-8"),
        (b'{"\xed\xa0\x80": 1}', "not UTF-8"),
        (b'{"\xf4\x90\x80\x80": 1}', "not UTF-8"),
        (b'{"\xe2\x82": 1}', "not UTF-8"),
        (b'{"a\nb": 1}', "a control character in a string"),
        ('{"\\ud800": 1}', "half of a surrogate pair"),
        ('{"\\ud800\\u0041": 1}', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ('{"\\u12g4": 1}', "four hexadecimal digits"),
        ('{"\\x41": 1}', "an unknown escape"),
        ('{"\\u0000": 1}', "a zero character in a string"),
        ('{"w', "a string without an end"),
        ('{"w": {"x": %s' % ("[" * 100), "nested too deeply"),
        ('{"w": {"x": %s' % ('{"a":' * 100), "nested too deeply"),
        ('{"w": {"x": nul}}', "an unknown word"),
        ('{"w": {"x": -}}', "a digit is expected"),
        ('{"w": {"x": 1.}}', "a digit is expected"),
        ('{"w": {"x": 1e+}}', "a digit is expected"),
        ('{"w": {"x": [1}}', "a , or ] is expected"),
        ('{"w": {"x": }}', "a value is expected"),
        (b'{"w": \x00', "an object is expected"),
    ],
)  # fmt: skip
def test_damaged_headers(weights_core, tmp_path, header, text):
    content = file_of(header, bytes(8))
    assert text in refusal(weights_core, content)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(Refused) as caught:
        weights_core.read(path)
    assert caught.value.status == BAD_FILE
    assert str(caught.value).startswith(f"{path}: ")


def test_unknown_keys_of_an_array_are_passed_over(weights_core):
    extra = {"x": [1, -2.5e-3, {"y": [None, True, False, "\u20ac", {}, []]}]}
    assert weights_core.parse(file_of({"w": {**extra, **W}}, bytes(8))) == {
        "w": ("float32", (2,), bytes(8))
    }


def test_bytes_of_a_bool_are_0_or_1(weights_core):
    header = {"mask": array_of("BOOL", [3], 0, 3)}
    weights_core.parse(file_of(header, b"\0\1\1"))
    assert "'mask' of bool holds a 7" in refusal(weights_core, file_of(header, b"\0\1\7"))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**8 + 1, 10**8, 40])
def test_lengths_beyond_the_file(weights_core, tmp_path, length):
    content = length.to_bytes(8, "little") + b"{}"
    refusal(weights_core, content)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(Refused) as caught:
        weights_core.read(path)
    assert caught.value.status == BAD_FILE


def test_messages_are_cut_at_a_character(weights_core):
    content = file_of({"€" * 100: {**W, "dtype": "ü" * 100}}, bytes(8))
    assert "'F8'" in refusal(weights_core, file_of({"€" * 100: {**W, "dtype": "F8"}}, bytes(8)))
    for room in range(80):
        weights = ctypes.c_void_p()
        with pytest.raises(Refused) as caught:  # decoding the message is the test
            weights_core.call(
                "gf_weights_parse",
                content,
                ctypes.c_size_t(len(content)),
                ctypes.byref(weights),
                message_bytes=max(room, 1),
            )
        assert caught.value.status == BAD_FILE
        assert len(str(caught.value).encode()) < max(room, 1)
    status = weights_core.library.gf_weights_parse(
        content, ctypes.c_size_t(len(content)), ctypes.byref(weights), None, ctypes.c_size_t(0)
    )
    assert status == BAD_FILE


def test_refusals_of_the_system(weights_core, tmp_path):
    for path in (tmp_path / "none", tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(Refused, match="(cannot open|cannot read): ") as caught:
            weights_core.open(path)
        assert caught.value.status == IO_ERROR
    with pytest.raises(Refused, match="No such file or directory") as caught:
        weights_core.write(tmp_path / "no" / "file", [])
    assert caught.value.status == IO_ERROR
    with pytest.raises(Refused, match="no path is given") as caught:
        weights_core.write(None, [])
    assert caught.value.status == IO_ERROR
    directory = tmp_path / "directory"
    directory.mkdir()
    (directory / "kept").write_text("kept")
    with pytest.raises(Refused, match="cannot write") as caught:
        weights_core.write(directory, [])
    assert caught.value.status == IO_ERROR
    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]


@pytest.mark.parametrize(
    ("arrays", "metadata", "text"),
    [
        ([("w", "float32", (2,), bytes(7))], None, "'w' does not have the bytes"),
        ([("w", "float32", (2,), bytes(9))], None, "'w' does not have the bytes"),
        ([("w", "float32", (-2, -1), bytes(8))], None, "'w' does not have the bytes"),
        ([("w", "float32", (2**62, 2), b"")], None, "'w' does not have the bytes"),
        ([("w", "complex128", (), bytes(16))], None, "the format has no arrays of complex128"),
        ([("w", 99, (), bytes(4))], None, "the format has no arrays of unknown dtype"),
        ([(None, "int8", (), bytes(1))], None, "an array has no name"),
        ([(b"\xff", "int8", (), bytes(1))], None, "an array has no name"),
        ([("__metadata__", "int8", (), bytes(1))], None, "an array has no name"),
        ([("w", "int8", (), bytes(1))] * 2, None, "'w' is there twice"),
        ([], [("k", "1"), ("k", "2")], "'k' is there twice"),
        ([], [("graphflow", "1")], "metadata that a file cannot hold"),
        ([], [("k", b"\xff")], "metadata that a file cannot hold"),
        ([], [(b"\xff", "v")], "metadata that a file cannot hold"),
        ([], [("k",)], "metadata that a file cannot hold"),
    ],
)
def test_what_cannot_be_written(weights_core, tmp_path, arrays, metadata, text):
    path = tmp_path / "weights.safetensors"
    path.write_text("old")
    with pytest.raises(Refused, match=text) as caught:
        weights_core.write(path, arrays, metadata)
    assert caught.value.status == BAD_DESCRIPTION
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failed_write_leaves_the_old_file(weights_core, tmp_path):
    """As on a full disk: the system takes no more than a few bytes."""
    path = tmp_path / "weights.safetensors"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for most in (0, 100, 5000, 40_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
            with pytest.raises(Refused, match="weights.safetensors: cannot write: File too large"):
                weights_core.write(path, [("w", "uint8", (50_000,), bytes(50_000))])
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert path.read_text() == "old"
            assert len(list(tmp_path.iterdir())) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_others_left_does_not_stand_in_the_way(weights_core, tmp_path):
    path = tmp_path / "weights.safetensors"
    (tmp_path / "weights.safetensors.0.part").write_text("left by a crash, or being written")
    weights_core.write(path, [("w", "uint8", (1,), b"x")])
    assert weights_core.read(path) == {"w": ("uint8", (1,), b"x")}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "weights.safetensors",
        "weights.safetensors.0.part",
    ]


def test_written_files_have_the_permissions_that_files_get(weights_core, tmp_path):
    (tmp_path / "other").touch()
    weights_core.write(tmp_path / "weights", [])
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_reads_from_a_pipe(weights_core, tmp_path):
    """Nothing needs to know a file's size beforehand."""
    arrays = {"w": sample("float32", (700_000,))}
    weights_core.write_arrays(tmp_path / "weights", arrays)
    os.mkfifo(tmp_path / "pipe")
    copy = subprocess.Popen(["cp", tmp_path / "weights", tmp_path / "pipe"])
    assert_same(weights_core.read(tmp_path / "pipe"), arrays)
    assert copy.wait() == 0


@pytest.mark.skipif(sys.byteorder != "little", reason="a machine of the other kind tests itself")
def test_machines_with_the_other_byte_order(tmp_path):
    """Told that it is big-endian, the code turns every number over on its way in and out."""
    from weights_files import Core

    library = tmp_path / "libbig.so"
    flags = ["-O2", "-fPIC", "-shared", "-DGF_BIG_ENDIAN=1"]
    core = Core(compile_c(library, SOURCES, *flags))
    arrays = {
        **samples(),
        "large": sample("float64", (9000,)),
        "pair": sample("complex64", (3000,)),
    }
    core.write_arrays(tmp_path / "weights", arrays)
    assert_same(core.read(tmp_path / "weights"), arrays)
    theirs = safetensors.numpy.load_file(tmp_path / "weights")
    for name, array in arrays.items():
        unit = "f4" if array.dtype == np.complex64 else array.dtype
        turned = np.frombuffer(array.tobytes(), unit).byteswap()
        assert theirs[name].tobytes() == turned.tobytes(), name


@pytest.mark.parametrize("machine", MACHINES)
def test_every_machine_reads_and_writes_the_same_file(weights_core, tmp_path, machine):
    needs(machine)
    whole, copy = tmp_path / "weights", tmp_path / "copy"
    arrays = {**samples(), "seven": np.array(7, np.float32)}
    weights_core.write_arrays(whole, arrays, {"k": "v"}.items())
    program = machine.build(
        tmp_path / "weights_copy", *SOURCES, Path(__file__).with_name("weights_copy.c")
    )
    done = machine.run(program, str(whole), str(copy), text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert copy.read_bytes() == whole.read_bytes()
    whole.write_bytes(whole.read_bytes()[:-1])
    done = machine.run(program, str(whole), str(copy), text=True)
    assert done.returncode == 1
    assert "weights: truncated" in done.stderr


def test_memory_that_cannot_be_had(weights_core, tmp_path):
    """Every allocation that fails gives a status, and leaks nothing."""
    weights_core.write_arrays(tmp_path / "weights", samples(), {"k": "v"}.items())
    manifest = tmp_path / "manifest.json"
    manifest.write_text(
        json.dumps(
            {"format": 1, "name": "m", "version": "1", "library": "m.so", "weights": "w",
             "target": "t", "features": ["avx2"], "hash": "00", "signatures": {}}
        )
    )  # fmt: skip
    wrapped = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc")]
    program = compile_c(
        tmp_path / "weights_memory",
        [*SOURCES, Path(__file__).with_name("weights_memory.c")],
        "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *wrapped,
    )  # fmt: skip
    done = subprocess.run(
        [program, tmp_path / "weights", manifest, tmp_path / "copy"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "weights").read_bytes()


def test_headers_are_c99_and_cpp17(tmp_path):
    text = '#include "graphflow/weights.h"\n#include "graphflow/manifest.h"\n'
    for compiler, standard, name in (("gcc", "c99", "a.c"), ("g++", "c++17", "a.cpp")):
        source = tmp_path / name
        source.write_text(text)
        subprocess.run(
            [compiler, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
             f"-I{NATIVE / 'include'}", "-fsyntax-only", source],
            check=True,
        )  # fmt: skip
