"""Random damage for the C readers of weights and manifests, under sanitizers: libFuzzer where
clang is found, and mutations of our own everywhere."""

import json
import re
import shutil
import subprocess
from random import Random

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from test_manifest import WHOLE
from weights_files import NATIVE, SOURCES, Refused, array_of, compile_c, file_of

FUZZ = NATIVE / "fuzz"
SANITIZERS = ["-O1", "-g", "-fno-sanitize-recover=all"]


def weights_seeds(folder):
    """Files of every kind, small ones first, and headers by themselves (of 64 bytes of data)."""
    arrays = {
        "w": np.arange(3, dtype=np.float32),
        "mask": np.array([True, False, True]),
        "é/\U0001f98a": np.zeros((2, 0, 3), np.float64),
        "scalar": np.array(3, np.int64),
        "z": np.array([1 + 2j], np.complex64),
    }
    header = {
        "__metadata__": {"k": "v\n\u20ac"},
        "a": array_of("F32", [2, 4], 0, 32),
        "b": {**array_of("BOOL", [31], 32, 63), "more": [{"x": [1.5e-3, None, True]}]},
        "c": array_of("I8", [1], 63, 64),
    }
    described = {
        "__metadata__": {"graphflow": '{"crc32": {"w": 1, "v": 2}, "version": 1}'},
        "w": array_of("U8", [64], 0, 64),
    }
    for name, content in {
        "empty": file_of({}),
        "unaligned": file_of(header, bytes(64)),
        "header": json.dumps(header).encode(),
        "escapes": json.dumps({**header, "\U0001f98a\t": array_of("U8", [0], 64, 64)}).encode(),
        "described": file_of(described, bytes(64)),
        "description": json.dumps(described).encode(),
        "package": safetensors.numpy.save(arrays, metadata={"format": "np"}),
    }.items():
        (folder / name).write_bytes(content)


def manifest_seeds(folder):
    for name, content in {
        "whole": WHOLE,
        "bare": {**WHOLE, "library": None, "weights": None, "features": [], "signatures": {}},
        "nested": {**WHOLE, "library": "lib/x.so", "more": [[{"é": [1.5e-3, True]}]]},
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=name != "nested"))


READERS = {"fuzz_weights": weights_seeds, "fuzz_manifest": manifest_seeds}


def seeds_of(reader, tmp_path):
    folder = tmp_path / "seeds"
    folder.mkdir()
    READERS[reader](folder)
    return folder


def run(command, **how):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=200, check=False, **how
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stderr


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files(tmp_path, reader):
    sources = [*SOURCES, FUZZ / f"{reader}.c", FUZZ / "mutate.c"]
    program = compile_c(tmp_path / reader, sources, *SANITIZERS, "-fsanitize=address,undefined")
    seeds = sorted(seeds_of(reader, tmp_path).iterdir())
    run([program, 20_000, 1, *seeds])


# What is refused here and not by the package.
STRICTER = "of bool|twice|two arrays|zero character|impossible shape|unknown dtype|no JSON object"


def changed(random, content):
    """A few small changes of a header, with its length put right."""
    pieces = [*'{}[],:"\\0 -.e', "null", '"F32"', "[0,0]", "\\u0041", "\\ud83e\\udd8a", "é"]
    pieces += ["{}", '"a":', "18446744073709551615", "9223372036854775807"]
    length = int.from_bytes(content[:8], "little")
    header, data = bytearray(content[8 : 8 + length]), content[8 + length :]
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(header) + 1)
        gone = random.choice([0, 0, 1, random.randrange(8)])
        new = random.choice(["", *pieces, str(random.randrange(70))]).encode()
        header[at : at + gone] = new
    return file_of(bytes(header), data[: random.choice([len(data)] * 9 + [len(data) // 2])])


def test_agrees_with_the_safetensors_package(weights_core, tmp_path):
    """What the one accepts the other accepts, with the same content, but for what is listed."""
    seeds = [path.read_bytes() for path in sorted(seeds_of("fuzz_weights", tmp_path).iterdir())]
    seeds = [content for content in seeds if content[:1] != b"{"]
    random = Random(5)
    accepted = 0
    for _ in range(20_000):
        content = changed(random, random.choice(seeds))
        try:
            theirs = {
                name: (tuple(entry["shape"]), bytes(entry["data"]))
                for name, entry in safetensors.deserialize(content)
            }
        except safetensors.SafetensorError:
            theirs = None
        try:
            read = weights_core.parse(content, verify=False)
            assert theirs == {name: (dims, data) for name, (_, dims, data) in read.items()}
            accepted += 1
        except Refused as refused:
            assert theirs is None or re.search(STRICTER, str(refused)), (content, str(refused))
    assert accepted > 500


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", READERS)
def test_libfuzzer(tmp_path, reader, seconds):
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed, and libFuzzer comes with it")
    sources = [*SOURCES, FUZZ / f"{reader}.c"]
    flags = [*SANITIZERS, "-fsanitize=fuzzer,address,undefined"]
    program = compile_c(tmp_path / reader, sources, *flags, compiler="clang")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    command = [program, corpus, seeds_of(reader, tmp_path), f"-max_total_time={seconds}"]
    printed = run([*command, "-max_len=2048", "-seed=1", "-timeout=20"], cwd=tmp_path)
    assert "Done" in printed
