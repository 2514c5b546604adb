"""The command line: show, export and the list of passes."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

import graphflow as tf
from graphflow.__main__ import main
from graphflow.commands.export import chosen_signatures


@pytest.fixture
def saved(tmp_path):
    """The names of a saved graph and of a checkpoint with w = [1, 2]."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        w = tf.Variable([0.0, 0.0], name="w")
        tf.Variable(np.zeros((300, 200), np.float32), name="large", trainable=False)
        p = tf.multiply(x, w, name="net/p")
        train = tf.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_sum(p), name="train")
        tf.train.set_signatures(
            {
                "predict": {"feeds": {"x": x}, "fetches": {"p": p}},
                "train_step": {"feeds": {"x": x}, "fetches": {"train": train}},
            }
        )
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            w.load([1.0, 2.0], session)
            path = tf.train.Saver().save(session, tmp_path / "digits-7")
    return f"{path}.meta", path


@pytest.fixture
def calls(monkeypatch):
    """The calls of a stand-in for the function that exports, with the values of w."""
    made = []

    def export(directory, signatures, session=None, **arguments):
        found = session.graph.get_operation_by_name("w")
        handle = found.attrs["variable"]
        value = session.variable_value(handle) if session.is_initialized(handle) else None
        made.append((directory, signatures, value, arguments))
        return [f"{directory}/digits.h", f"{directory}/digits.o"]

    module = ModuleType("graphflow.export")
    module.export = export
    monkeypatch.setitem(sys.modules, "graphflow.export", module)
    return made


def named(signatures):
    return {
        name: {word: {k: v.name for k, v in part.items()} for word, part in signature.items()}
        for name, signature in signatures.items()
    }


def test_export_of_saved_signatures(saved, calls, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["export", saved[0], "--checkpoint", saved[1], "--output", out]) == 0
    ((directory, signatures, value, arguments),) = calls
    assert directory == out
    assert named(signatures) == {
        "predict": {"feeds": {"x": "x:0"}, "fetches": {"p": "net/p:0"}},
        "train_step": {"feeds": {"x": "x:0"}, "fetches": {"train": "train"}},
    }
    np.testing.assert_array_equal(value, [1, 2])
    assert arguments == {"name": "digits_7", "target": None, "kind": "static", "weights": "file"}
    assert capsys.readouterr().out == f"{out}/digits.h\n{out}/digits.o\n"


def test_export_for_c(saved, tmp_path, capsys):
    arguments = ["--checkpoint", saved[1], "--output", str(tmp_path / "out"), "--name", "digits"]
    assert main(["export", saved[0], *arguments, "--target", "native"]) == 0
    files = capsys.readouterr().out.split()
    assert {f"{tmp_path}/out/digits.h", f"{tmp_path}/out/libdigits.a"} <= set(files)
    assert "digits_train_step" in (tmp_path / "out" / "digits.h").read_text()


def test_export_with_everything_said(saved, calls):
    status = main([
        "export", saved[0], "--output", "out", "--name", "d", "--target", "aarch64-linux-gnu",
        "--kind", "object", "--weights", "embedded", "--signature", "train_step",
        "--signature", "values: images=x:0 -> scores = net/p, w, train",
        "--signature", "start: -> w/Assign",
    ])  # fmt: skip
    assert status == 0
    ((_, signatures, value, arguments),) = calls
    assert value is None
    assert arguments == {
        "name": "d", "target": "aarch64-linux-gnu", "kind": "object", "weights": "embedded"
    }  # fmt: skip
    assert named(signatures) == {
        "train_step": {"feeds": {"x": "x:0"}, "fetches": {"train": "train"}},
        "values": {
            "feeds": {"images": "x:0"},
            "fetches": {"scores": "net/p:0", "w": "w:0", "train": "train"},
        },
        "start": {"feeds": {}, "fetches": {"w/Assign": "w/Assign:0"}},
    }


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("nothing", "no signature 'nothing' is saved with the graph; it has predict, train_step"),
        ("f: x", "is not of the form 'NAME: FEED, ... -> FETCH, ...'"),
        (": x -> w", "is not of the form"),
        ("f: x, y -> w", "signature 'f', feed 'y': the graph has no operation named 'y'"),
        ("f: x -> net/q", "fetch 'net/q': .* did you mean net/p"),
        ("f: x, x -> w", "signature 'f' has two feeds called 'x'"),
        ("predict", "two signatures are called 'predict'"),
    ],
)
def test_what_is_no_signature(saved, calls, capsys, signature, message):
    import re

    arguments = ["--signature", "predict", "--signature", signature]
    assert main(["export", saved[0], "--output", "out", *arguments]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not calls


def test_graphs_without_signatures_or_variables(calls, capsys, tmp_path):
    path = str(tmp_path / "g.meta")
    tf.constant(1.0, name="c")
    tf.train.export_meta_graph(path)
    assert main(["export", path, "--output", "out"]) == 1
    assert "has no signatures: name one with --signature" in capsys.readouterr().err
    arguments = ["--signature", "f: -> c", "--checkpoint", "m"]
    assert main(["export", path, "--output", "out", *arguments]) == 1
    assert "has no variables for --checkpoint to restore" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "no.meta"), "--output", "out"]) == 1
    assert "there is no saved graph" in capsys.readouterr().err
    (tmp_path / "bad.meta").write_text("program {")
    assert main(["show", str(tmp_path / "bad.meta")]) == 1
    assert "not a saved graph" in capsys.readouterr().err


def test_an_export_that_fails(saved, calls, capsys):
    missing = f"{saved[1]}-no"
    assert main(["export", saved[0], "--output", "out", "--checkpoint", missing]) == 1
    assert "python -m graphflow export: there is no checkpoint" in capsys.readouterr().err


def test_show(saved, capsys):
    assert main(["show", saved[0]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("operations, 2 variables of 240 KB")
    assert lines[1:4] == [
        "signatures",
        "  predict(x: float32[x_0,2]) -> p: float32[x_0,2]",
        "  train_step(x: float32[x_0,2]) -> train: operation",
    ]
    assert lines[4] == "placeholders"
    assert lines[5].startswith("  x  float32[x_0,2]  at ")
    assert lines[6:] == [
        "variables",
        "  w      float32[2]        8 bytes  trainable",
        "  large  float32[300,200]  240 KB",
    ]


def test_signatures_of_a_graph_are_the_default():
    graph = tf.get_default_graph()
    c = tf.constant(1.0, name="c")
    assert chosen_signatures(graph, []) == {}
    tf.train.set_signatures({"f": {"fetches": {"c": c}}})
    assert chosen_signatures(graph, []) == {"f": {"feeds": {}, "fetches": {"c": c}}}


def test_passes(capsys):
    assert main(["passes"]) == 0
    assert "fuse" in capsys.readouterr().out.split()


def test_bisect_wants_a_script(capsys):
    with pytest.raises(SystemExit):
        main(["bisect"])
    assert "which script?" in capsys.readouterr().err
