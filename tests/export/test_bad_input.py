"""What `export` refuses, as Python sees it: each with the name, and the line where there is one.
And names that C would stumble over."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest
from hosts import WARNINGS, compiler

import graphflow as gf
from graphflow import errors
from graphflow.export.signatures import FUNCTIONS


@pytest.fixture
def simple():
    """(x, w, y): y = x * w, with a session in which w is 1."""
    x = gf.placeholder(gf.float32, [None, 3], name="x")
    w = gf.Variable([1.0, 1.0, 1.0], name="w")
    y = gf.multiply(x, w, name="y")
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        yield x, w, y


def refused(error, message, signatures, tmp_path, **arguments):
    """Exporting raises this, and writes nothing."""
    folder = tmp_path / "out"
    with pytest.raises(error, match=message):
        gf.export(folder, signatures, **arguments)
    assert not folder.exists()


def predict(feeds, fetches):
    return {"predict": {"feeds": feeds, "fetches": fetches}}


# -- signatures ----------------------------------------------------------------------------------


def test_what_is_no_signature(simple, tmp_path):
    x, _, y = simple
    for given in (None, {}, [y], "predict", 3):
        refused(TypeError, "signatures must be a dict such as", given, tmp_path)
    for given in (y, [y], {"inputs": {"x": x}}, {"feeds": {}, "fetches": {"y": y}, "more": {}}):
        refused(TypeError, "'predict' must be a dict with \"feeds\"", {"predict": given}, tmp_path)
    refused(
        TypeError, "feeds of 'predict' must be a dict by name", predict([x], {"y": y}), tmp_path
    )
    refused(TypeError, "fetches of 'predict' must be", predict({"x": x}, [y]), tmp_path)
    refused(TypeError, "feeds of 'predict' must be", predict({x: x}, {"y": y}), tmp_path)
    refused(ValueError, "signature 'predict' fetches nothing", predict({"x": x}, {}), tmp_path)


def test_signatures_without_names(simple, tmp_path):
    x, _, y = simple
    for name in (3, None, ""):
        given = {name: {"feeds": {"x": x}, "fetches": {"y": y}}}
        refused((TypeError, ValueError), "name", given, tmp_path)


def test_feeds_and_fetches_that_are_none(simple, tmp_path):
    x, w, y = simple
    for bad in (None, 3, "nothing:0", np.zeros(3), object()):
        refused(errors.FeedError, "signature 'predict'", predict({"x": bad}, {"y": y}), tmp_path)
        refused(errors.FetchError, "signature 'predict'", predict({"x": x}, {"y": bad}), tmp_path)
    refused(
        errors.FetchError, "fetch 'both'.*not one", predict({"x": x}, {"both": [y, w]}), tmp_path
    )


def test_tensors_of_another_graph(simple, tmp_path):
    x, _, y = simple
    with gf.Graph().as_default():
        a = gf.placeholder(gf.float32, [3], name="a")
        b = gf.exp(a, name="b")
        refused(errors.FeedError, "a:0", predict({"x": a}, {"y": y}), tmp_path)
        refused(errors.FetchError, "b:0", predict({"x": x}, {"y": b}), tmp_path)
    with gf.Graph().as_default(), gf.Session() as other:
        refused(errors.FeedError, "x:0", predict({"x": x}, {"y": y}), tmp_path, session=other)


def test_a_feed_that_is_missing(simple, tmp_path):
    _, _, y = simple
    refused(errors.FeedError, rf"x:0.*must be fed\n  defined at {re.escape(__file__)}:\d+",
            predict({}, {"y": y}), tmp_path)  # fmt: skip


def test_a_feed_that_reaches_no_fetch(simple, tmp_path):
    """It is part of the signature all the same: hosts may have it to give."""
    x, w, y = simple
    unused = gf.placeholder(gf.float32, [None], name="unused")
    gf.export(tmp_path / "out", predict({"x": x, "unused": unused}, {"y": y}), target="sse2")
    assert re.search(r"\bunused\b", (tmp_path / "out" / "model.h").read_text())


def test_one_thing_twice(simple, tmp_path):
    x, _, y = simple
    refused(errors.FetchError, "'a' and 'b' fetch the same tensor, y:0",
            predict({"x": x}, {"a": y, "b": y}), tmp_path)  # fmt: skip
    refused(errors.FeedError, "x:0", predict({"a": x, "b": x}, {"y": y}), tmp_path)


def test_unknown_ranks(tmp_path):
    x = gf.placeholder(gf.float32, name="x")
    y = gf.exp(x)
    with gf.Session():
        refused(errors.FeedError, rf"feed 'x' \(x:0, defined at {re.escape(__file__)}:\d+\) has no "
                "rank: declare its shape", predict({"x": x}, {"y": y}), tmp_path)  # fmt: skip


# -- Python --------------------------------------------------------------------------------------


def line_of(text: str) -> int:
    """The line of this file that has a text."""
    with open(__file__) as file:
        (found,) = [n for n, line in enumerate(file, 1) if line.rstrip().endswith(text)]
    return found


def test_python_functions_are_refused_with_their_lines(simple, tmp_path):
    x, _, y = simple
    a = gf.py_func(np.sin, [y], gf.float32, shapes=[y.shape], name="sine")  # the first
    b = gf.map_fn(
        lambda row: gf.py_func(np.cos, [row], gf.float32, shapes=[row.shape]),  # the second
        x,
    )
    for fetch, text in ((a, "# the first"), (b, "# the second")):
        refused(errors.GraphError, rf"signature 'predict'.*Python(?s:.*){re.escape(__file__)}:"
                rf"{line_of(text)}", predict({"x": x}, {"y": fetch}), tmp_path)  # fmt: skip
    # What does not need them can be exported.
    assert gf.export(tmp_path / "out", predict({"x": x}, {"y": y}))


def test_prints_are_refused_with_their_lines(simple, tmp_path):
    x, _, y = simple
    shown = gf.Print(y, [y], "values")  # the print
    refused(errors.GraphError, rf"Python(?s:.*){re.escape(__file__)}:{line_of('# the print')}",
            predict({"x": x}, {"y": shown}), tmp_path)  # fmt: skip


# -- variables and sessions ----------------------------------------------------------------------


def test_variables_without_values(tmp_path):
    x = gf.placeholder(gf.float32, [3], name="x")
    w = gf.Variable([1.0, 2.0, 3.0], name="layer/w")  # the variable
    y = x * w
    with gf.Session() as session:
        given = predict({"x": x}, {"y": y})
        message = (
            rf"no value(?s:.*)layer/w, defined at {re.escape(__file__)}:{line_of('# the variable')}"
        )
        refused(errors.FailedPreconditionError, message, given, tmp_path)
        # A signature that initialises it will do, and so does its initializer, run before.
        start = {"start": {"fetches": {"w": w.initializer}}}
        assert gf.export(tmp_path / "a", {**given, **start})
        session.run(w.initializer)
        assert gf.export(tmp_path / "b", given)


def test_what_is_no_session(simple, tmp_path):
    x, _, y = simple
    given = predict({"x": x}, {"y": y})
    refused(TypeError, "session must be a compiled Session", given, tmp_path, session="here")
    other = gf.Session(backend="reference")
    refused(TypeError, "session must be a compiled Session", given, tmp_path, session=other)


def test_a_closed_session(simple, tmp_path):
    x, _, y = simple
    session = gf.Session()
    session.run(gf.global_variables_initializer())
    session.close()
    refused((RuntimeError, errors.GraphError), "closed", predict({"x": x}, {"y": y}), tmp_path,
            session=session)  # fmt: skip


# -- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "dynamic"}, "kind must be one of static, shared, object, got 'dynamic'"),
        ({"weights": "inline"}, "weights must be one of"),
        ({"name": "my-model"}, "name must be a C identifier.* got 'my-model'"),
        ({"name": "3d"}, "name must be a C identifier"),
        ({"name": "int"}, "name must be a C identifier"),
        ({"name": ""}, "name must be a C identifier"),
        ({"name": None}, "name must be a C identifier"),
        ({"target": "z80"}, "z80"),
        ({"target": "aarch99-linux-gnu"}, "aarch99"),
    ],
)
def test_arguments(simple, tmp_path, arguments, message):
    x, _, y = simple
    refused((ValueError, errors.GraphError), message, predict({"x": x}, {"y": y}), tmp_path,
            **arguments)  # fmt: skip


def test_directories_that_cannot_be_written(simple, tmp_path):
    x, _, y = simple
    given = predict({"x": x}, {"y": y})
    (tmp_path / "file").write_text("here already")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing/here"):
        with pytest.raises(errors.PermissionDeniedError, match=f"cannot write {folder}"):
            gf.export(folder, given)
    assert (tmp_path / "file").read_text() == "here already"


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [("a/b", "a_b"), ("a-b", "a/b"), ("int", "int_"), ("1", "_1"), ("é", "_")],
)
def test_names_that_are_one_in_c(names, simple, tmp_path):
    x, _, y = simple
    first, second = names
    again = gf.exp(y)
    message = f"{re.escape(repr(first))} and {re.escape(repr(second))} are both called"
    one = {"feeds": {"x": x}, "fetches": {"y": y}}
    refused(ValueError, message, {first: one, second: one}, tmp_path)
    refused(ValueError, message, predict({"x": x}, {first: y, second: again}), tmp_path)
    refused(ValueError, message, predict({first: x}, {second: y}), tmp_path)


def test_signatures_that_are_functions_of_every_model(simple, tmp_path):
    x, _, y = simple
    for name in ("create", "destroy", "get", "save", "load", "spec"):
        given = {name: {"feeds": {"x": x}, "fetches": {"y": y}}}
        refused(ValueError, f"has a function {name} already", given, tmp_path)


NAMES = [
    "int", "class", "operator", "template", "new", "this", "restrict", "NULL", "model", "options",
    "a/b:0", "3d", "été", "with space", "a-b", "_", "__x", "EOF", "status", "size", "batch",
    "size_t", "int32_t", "float", "main", "errno", "predict", "self", "dims", "out", "result",
]  # fmt: skip


def test_headers_compile_whatever_things_are_called(tmp_path):
    """Feeds, fetches, signatures and variables with the names of keywords, types and macros."""
    x = gf.placeholder(gf.float32, [None], name="x")
    signatures = {}
    for word in NAMES:
        clean = re.sub(r"[^A-Za-z0-9_./]", "_", word).lstrip("_") or "v"
        with gf.name_scope(None):
            v = gf.Variable([1.0], name=clean)
        name = f"{word} run" if word in FUNCTIONS else word
        signatures[name] = {"feeds": {word: x}, "fetches": {f"of {word}": x * v}}
        signatures[f"{word} read"] = {"fetches": {word: v}}
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        gf.export(tmp_path / "out", signatures, target="sse2", name="things")
    for cc, language, header in (
        ("gcc", "c99", "things.h"), ("g++", "c++17", "things.h"), ("g++", "c++17", "things.hpp")
    ):  # fmt: skip
        source = tmp_path / ("host.cpp" if cc == "g++" else "host.c")
        source.write_text(f'#include "{header}"\nint main(void) {{ return 0; }}\n')
        folders = [f"-I{tmp_path}/out", f"-I{tmp_path}/out/runtime"]
        command = [compiler(cc), f"-std={language}", *WARNINGS, *folders, "-fsyntax-only", source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{header}: {done.stderr[:3000]}"
