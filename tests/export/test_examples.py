"""The hosts of native/examples, built as their reader would, and under each sanitizer."""

from pathlib import Path

import hosts
import numpy as np
import pytest
from safetensors.numpy import load_file

import graphflow as gf
from graphflow.codegen.target import host

EXAMPLES = Path(gf.__file__).resolve().parent / "native" / "examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.cpp"))
SANITIZERS = {
    "plain": ["-O2"],
    "address": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-O1", "-g", "-fsanitize=thread"],
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two models, several files of weights, and data."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("digits", "letters")):
        gf.reset_default_graph()
        signatures, _ = hosts.digits(seed)
        with hosts.session() as session:
            gf.export(folder, signatures, session, name=name)
    gf.reset_default_graph()
    signatures, _ = hosts.digits(5)
    with hosts.session() as session:
        gf.export(folder / "other", signatures, session, name="digits")
    x, labels = batch()
    (folder / "pictures.bin").write_bytes(x.tobytes())
    rows = [x[i].tobytes() + labels[i].tobytes() for i in range(len(x))]
    (folder / "examples.bin").write_bytes(b"".join(rows))
    return folder


def batch():
    rng = np.random.default_rng(5)
    return rng.standard_normal((16, 64)).astype(np.float32), rng.integers(0, 10, 16)


@pytest.fixture(scope="module")
def build(exported, tmp_path_factory):
    """Builds a program; the runtime once for each compiler and sanitizer."""
    runtimes = {}

    def runtime(cc: str, sanitizer: str) -> list[Path]:
        if (cc, sanitizer) not in runtimes:
            objects = tmp_path_factory.mktemp("runtime")
            folder = exported / "runtime"
            flags = ["-std=c11", *SANITIZERS[sanitizer], "-c", f"-I{folder}"]
            hosts.run([hosts.compiler(cc), *flags, *sorted(folder.glob("*.c"))], cwd=objects)
            runtimes[cc, sanitizer] = sorted(objects.glob("*.o"))
        return runtimes[cc, sanitizer]

    def make(name: str, cxx: str, sanitizer: str) -> Path:
        program = tmp_path_factory.mktemp(name) / name
        cc = {"g++": "gcc", "clang++": "clang"}[cxx]
        libraries = [exported / "libdigits.a", exported / "libletters.a"]
        hosts.run([
            hosts.compiler(cxx), "-std=c++17", *SANITIZERS[sanitizer], *hosts.WARNINGS,
            f"-I{exported}", EXAMPLES / f"{name}.cpp", *runtime(cc, sanitizer), *libraries,
            "-o", program, "-pthread", "-lm",
        ])  # fmt: skip
        return program

    return make


ARGUMENTS = {
    "predict": ["digits.safetensors", "pictures.bin"],
    "train": ["digits.safetensors", "examples.bin", "100", "trained.safetensors"],
    "several_models": ["digits.safetensors", "letters.safetensors"],
    "many_threads": ["digits.safetensors"],
    "hot_swap": ["digits.safetensors", "other/digits.safetensors"],
    "batching_queue": ["digits.safetensors"],
}
PRINTED = {
    "several_models": "untouched, learnt, 10 classes\n",
    "many_threads": "1000 runs, 0 wrong\n",
    "hot_swap": "0 mixed answers, 50 of 50 files refused\n",
    "batching_queue": "400 requests in fewer batches: yes, 0 wrong\n",
}


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("cxx", ["g++", "clang++"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example(name, cxx, sanitizer, exported, build):
    program = build(name, cxx, sanitizer)
    printed = hosts.run([program, *ARGUMENTS[name]], cwd=exported)
    assert printed == PRINTED.get(name, printed)


def test_predictions_are_those_of_a_session(exported, build):
    program = build("predict", "g++", "plain")
    printed = hosts.run([program, *ARGUMENTS["predict"]], cwd=exported)
    _, graph = hosts.digits(0)
    with hosts.session() as session:
        expected = session.run(graph["p"], {graph["x"]: batch()[0]}).argmax(1)
    assert [int(line) for line in printed.split()] == expected.tolist()


def test_training_leaves_the_bits_that_a_session_leaves(exported, build, monkeypatch):
    level = "avx2" if host().has_fma else "sse2"
    if host().machine != "x86_64":
        level = host().machine
    monkeypatch.setenv("GRAPHFLOW_TARGET", level)
    program = build("train", "g++", "plain")
    hosts.run([program, *ARGUMENTS["train"], level], cwd=exported)
    _, graph = hosts.digits(0)
    x, labels = batch()
    with hosts.session() as session:
        for _ in range(100):
            session.run([graph["train"]], {graph["x"]: x, graph["labels"]: labels})
        found = load_file(exported / "trained.safetensors")
        assert len(found) > 10
        for variable in session._handles:
            assert session.variable_value(variable).tobytes() == found[variable.name].tobytes()
