"""Saved graphs: models, loops and their gradients, checkpoints in another process, bad files."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import graphflow as tf
from graphflow import errors
from graphflow.ir.text import pool_of, print_program
from graphflow.passes.cut.functionalize import cut

RANDOM = np.random.default_rng(7)


def program(graph, fetches, feeds) -> tuple[str, list[str]]:
    """The program of a run by names, and the digests of its arrays."""

    def found(names):
        return [graph.as_graph_element(name) for name in names]

    made = cut(graph, found(fetches), found(feeds))
    return print_program(made, origins=False), list(pool_of(made))


def reread(saved=None):
    """The current graph, saved and read into a graph of its own."""
    graph = tf.Graph()
    with graph.as_default():
        tf.train.import_meta_graph(saved)
    return graph


def names(*values):
    return [value.name for value in values]


# -- what comes back -----------------------------------------------------------------------------


def images(side, channels=3):
    return tf.placeholder(tf.float32, [None, side, side, channels], name="x")


MODELS = {
    "mlp": lambda: tf.models.mlp(tf.placeholder(tf.float32, [None, 20], name="x"), [16], 10),
    "lenet": lambda: tf.models.lenet(images(28, 1)),
    "simplecnn": lambda: tf.models.simplecnn(images(32)),
    "resnet18": lambda: tf.models.resnet18(images(32), classes=10, training=True),
    "linknet": lambda: tf.models.linknet(images(64), 10, training=True),
    "transformer": lambda: tf.models.transformer_encoder(
        tf.placeholder(tf.float32, [None, 9, 16], name="x"), 2, 2, training=True
    ),
}


@pytest.mark.parametrize("model", MODELS)
def test_models(model):
    """Inference and a training step are the same programs, and so is one defined after reading."""
    y = MODELS[model]()
    loss = tf.reduce_mean(tf.square(y), name="loss")
    before = tf.train.export_meta_graph()

    def train():
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            loss = tf.get_default_graph().get_tensor_by_name("loss:0")
            return tf.train.AdamOptimizer(0.01).minimize(loss, name="train").name

    step = train()
    saved = tf.train.export_meta_graph()
    graph = reread(saved)
    with graph.as_default():
        assert tf.train.export_meta_graph().content == saved.content
    here = tf.get_default_graph()
    assert program(graph, names(y, loss), ["x:0"]) == program(here, names(y, loss), ["x:0"])
    assert program(graph, [step], ["x:0"]) == program(here, [step], ["x:0"])
    later = reread(before)
    with later.as_default():
        assert train() == step
    assert program(later, [step], ["x:0"]) == program(here, [step], ["x:0"])


def lstm():
    words = tf.placeholder(tf.int32, [None, None], name="words")
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    labels = tf.placeholder(tf.int32, [None], name="labels")
    table = tf.get_variable("table", [50, 8])
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(6), tf.nn.rnn_cell.GRUCell(6)])
    outputs, _ = tf.nn.dynamic_rnn(
        cell, tf.nn.embedding_lookup(table, words), sequence_length=lengths, dtype=tf.float32
    )
    logits = tf.layers.dense(tf.reduce_max(outputs, axis=1), 3)
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits), name="loss"
    )


def test_training_of_a_recurrent_network_is_bit_equal(every_backend, tmp_path):
    tf.set_random_seed(3)
    loss = lstm()
    tf.train.AdamOptimizer(0.05).minimize(loss, name="train")
    path = tmp_path / "lstm.meta"
    tf.train.export_meta_graph(path)
    feeds = {
        "words:0": RANDOM.integers(0, 50, (4, 7)).astype(np.int32),
        "lengths:0": np.int32([7, 3, 1, 5]),
        "labels:0": np.int32([0, 1, 2, 0]),
    }

    def losses(graph):
        with tf.Session(graph=graph) as session, graph.as_default():
            session.run(tf.global_variables_initializer())
            return [session.run(["loss:0", "train"], feeds)[0] for _ in range(4)]

    assert losses(tf.get_default_graph()) == losses(reread(path))


def test_loops_and_branches(every_backend):
    x = tf.placeholder(tf.float64, [3], name="x")
    n = tf.placeholder(tf.int32, [], name="n")
    w = tf.Variable(np.full(3, 0.5), name="w")
    seen = tf.Variable(0, trainable=False, name="seen")

    def body(i, y):
        with tf.control_dependencies([tf.assign_add(seen, 1), tf.Assert(i < 9, [i])]):
            step = tf.cond(tf.equal(i % 2, 0), lambda: tf.sin(y) * w, lambda: y + x)
        return i + 1, step

    _, y = tf.while_loop(lambda i, _: i < n, body, [0, x * w])
    rows = tf.scan(lambda a, row: a * row + w[0], y, tf.constant(1.0, tf.float64))
    loss = tf.reduce_sum(rows, name="loss")
    saved = tf.train.export_meta_graph()
    tf.gradients(loss, [x, w])
    second = tf.train.export_meta_graph()
    again, graph = reread(saved), reread(second)

    def slopes(graph):
        with graph.as_default():
            w = next(v for v in tf.global_variables() if v.name == "w:0")
            x = graph.get_tensor_by_name("x:0")
            first = tf.gradients(graph.get_tensor_by_name("loss:0"), [x, w])
            return first + tf.gradients(tf.reduce_sum(first[0]), [x, w])

    feeds = {"x:0": np.array([0.3, -0.2, 0.7]), "n:0": 4}
    results = []
    for each in (tf.get_default_graph(), again, graph):
        found = slopes(each)
        with tf.Session(graph=each) as session, each.as_default():
            session.run(tf.global_variables_initializer())
            results.append([*session.run(["loss:0", *found], feeds), session.run("seen:0")])
            with pytest.raises(errors.InvalidArgumentError, match="test_meta_graph.py"):
                session.run("loss:0", {**feeds, "n:0": 12})
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    # Gradients made before the graph was saved are there, too.
    assert "gradients" in {name.split("/")[0] for name in graph.names.values()}


def test_constants_of_every_type_and_size():
    arrays = [
        np.array(value, dtype.numpy)
        for dtype in (tf.float32, tf.float64, tf.int8, tf.int32, tf.int64, tf.uint8, tf.uint32,
                      tf.bool)
        for value in (0, [], [1, 0, 1], np.arange(100).reshape(4, 25) % 120, np.zeros((0, 3)))
    ]  # fmt: skip
    arrays += [np.float32([np.nan, np.inf, -np.inf, -0.0, 1e-45]), np.full(40, np.nan)]
    arrays += [np.asfortranarray(RANDOM.random((9, 8))), np.arange(60)[::3]]
    constants = [tf.constant(array) for array in arrays]
    graph = reread(tf.train.export_meta_graph())
    with tf.Session(graph=graph, backend="reference") as session:
        found = session.run(names(*constants))
    for a, b in zip(arrays, found, strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_variables_and_collections(tmp_path):
    w = tf.get_variable("layer/w", [3], regularizer=tf.nn.l2_loss)
    b = tf.Variable(w.initialized_value() * 2.0, trainable=False, name="b")
    local = tf.get_local_variable("count", [], tf.int32)
    step = tf.train.get_or_create_global_step()
    update = tf.assign_add(b, [1.0, 1.0, 1.0]).op
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    for item in ("text", 3, 0.1, None, True, (1, "a"), w, local, step, update, b.value()):
        tf.add_to_collection("mine", item)
    saved = tf.train.export_meta_graph(tmp_path / "g")
    with reread(tmp_path / "g").as_default() as graph:
        assert names(*tf.global_variables()) == ["layer/w:0", "b:0", "global_step:0"]
        assert names(*tf.trainable_variables()) == ["layer/w:0"]
        assert names(*tf.local_variables()) == ["count:0"]
        assert tf.train.get_global_step().name == "global_step:0"
        assert [v.trainable for v in tf.global_variables()] == [True, False, False]
        assert names(*tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == [update.name]
        assert len(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)) == 1
        mine = tf.get_collection("mine")
        assert mine[:6] == ["text", 3, 0.1, None, True, (1, "a")]
        assert mine[6] is tf.global_variables()[0]
        assert all(item.graph is graph for item in mine[6:])
        v = tf.global_variables()[0]
        assert v.op is graph.get_operation_by_name("layer/w")
        assert v.initializer is graph.get_operation_by_name(w.initializer.name)
        assert tf.train.export_meta_graph().content == saved.content
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            v.load([1, 2, 3], session)
            session.run(v.assign_add([1.0, 1.0, 1.0]))
            np.testing.assert_array_equal(session.run(v + 1.0), [3, 4, 5])
        # A new variable of the same name gets another one.
        assert tf.Variable(1.0, name="b").name == "b_1:0"
        with tf.name_scope("layer"):
            assert tf.constant(1.0).name.startswith("layer_1/")


def test_chosen_collections():
    tf.add_to_collection("a", 1)
    tf.add_to_collection("b", 2)
    graph = reread(tf.train.export_meta_graph(collection_list=["b"]))
    assert (graph.get_collection("a"), graph.get_collection("b")) == ([], [2])


def test_a_collection_of_something_else_warns():
    tf.add_to_collection("things", object())
    tf.add_to_collection("things", 5)
    with pytest.warns(RuntimeWarning, match="'things' is saved without <object"):
        saved = tf.train.export_meta_graph()
    assert reread(saved).get_collection("things") == [5]


def test_random_numbers_go_on():
    tf.set_random_seed(5)
    tf.random_normal([3], name="a")
    free = reread(tf.train.export_meta_graph())
    tf.random_uniform([2], name="b")
    saved = tf.train.export_meta_graph()
    with free.as_default():
        tf.random_uniform([2], name="b")

    def draws(graph):
        with tf.Session(graph=graph) as session:
            return [session.run(["a:0", "b:0"]) for _ in range(2)]

    wanted = draws(tf.get_default_graph())
    for graph in (reread(saved), free):
        for a, b in zip(wanted, draws(graph), strict=True):
            np.testing.assert_array_equal(np.concatenate(a), np.concatenate(b))


def test_two_copies_in_one_graph(tmp_path):
    x = tf.placeholder(tf.float32, [2], name="x")
    w = tf.get_variable("w", [2])
    tf.multiply(x, w + tf.random_uniform([2]) * 0.0, name="y")
    saved = tf.train.export_meta_graph()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(session, tmp_path / "m")
        value = session.run(w)
    with tf.Graph().as_default() as graph:
        first = tf.train.import_meta_graph(saved)
        with pytest.raises(errors.GraphMismatchError, match="already has operations named"):
            tf.train.import_meta_graph(saved)
        count = len(graph.nodes)
        second = tf.train.import_meta_graph(saved, import_scope="copy")
        assert len(graph.nodes) == 2 * count
        third = tf.train.import_meta_graph(saved, import_scope="copy")
        assert names(*tf.global_variables()) == ["w:0", "copy/w:0", "copy_1/w:0"]
        with tf.Session() as session:
            for saver in (first, second, third):
                saver.restore(session, path)
            feeds = {name: [1.0, 1.0] for name in ("x:0", "copy/x:0", "copy_1/x:0")}
            for found in session.run(["y:0", "copy/y:0", "copy_1/y:0"], feeds):
                np.testing.assert_array_equal(found, value)


def test_seeds_of_sessions_are_one_variable_per_graph():
    tf.random_uniform([4], name="r")
    saved = tf.train.export_meta_graph()
    with tf.Graph().as_default() as graph:
        tf.random_uniform([4], name="own")
        tf.train.import_meta_graph(saved, import_scope="a")

        def draw(seed):
            with tf.Session(config=tf.ConfigProto(seed=seed)) as session:
                return np.concatenate(session.run(["own:0", "a/r:0"]))

        np.testing.assert_array_equal(draw(1), draw(1))
        assert not np.any(draw(1) == draw(2))
        found = [h.name for h in graph.get_collection("random_states")]
        assert found == ["graphflow/seed", "own/draws", "a/r/draws"]


def test_no_variables_no_saver():
    tf.constant(1.0)
    saved = tf.train.export_meta_graph()
    with tf.Graph().as_default():
        assert tf.train.import_meta_graph(saved) is None


def test_signatures_are_kept():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    w = tf.Variable([1.0, 2.0], name="w")
    train = tf.group(w.assign_add([1.0, 1.0]), name="train")
    p = tf.multiply(x, w, name="p")
    tf.train.set_signatures(
        {
            "predict": {"feeds": {"x": x}, "fetches": {"p": "p", "w": w}},
            "train": {"fetches": {"train": train}},
        }
    )
    graph = reread(tf.train.export_meta_graph())
    found = tf.train.get_signatures(graph)
    assert found == {
        "predict": {
            "feeds": {"x": graph.get_tensor_by_name("x:0")},
            "fetches": {
                "p": graph.get_tensor_by_name("p:0"),
                "w": graph.get_tensor_by_name("w:0"),
            },
        },
        "train": {"feeds": {}, "fetches": {"train": graph.get_operation_by_name("train")}},
    }
    other = reread(tf.train.export_meta_graph(signatures={"q": {"fetches": {"p": p}}}))
    assert list(tf.train.get_signatures(other)) == ["q"]


@pytest.mark.parametrize(
    ("signatures", "message"),
    [
        ({"f": {"fetches": {}}}, "signature 'f' has no fetches"),
        ({"f": {"fetches": {"y": "nothing"}}}, "'f', fetch 'y': .*no operation named 'nothing'"),
        ({"f": {"fetches": {"y": "x:1"}}}, "'f', fetch 'y': operation 'x' has 1 outputs"),
        ({"f": {"fetches": {"y": 3}}}, "fetch 'y' is 3, not a tensor"),
        ({"f": {"feeds": {"t": "train"}, "fetches": {"y": "x"}}}, "operation train, which cannot"),
        ({"f": ["x"]}, "signature 'f' must be"),
        ({"f": {"inputs": {}}}, "signature 'f' must be"),
        ({1: {"fetches": {"y": "x"}}}, "name must be a string"),
    ],
)
def test_what_is_no_signature(signatures, message):
    tf.placeholder(tf.float32, [2], name="x")
    tf.no_op(name="train")
    with pytest.raises((ValueError, TypeError, errors.NotFoundError), match=message):
        tf.train.export_meta_graph(signatures=signatures)


def test_a_signature_of_another_graph():
    with tf.Graph().as_default():
        x = tf.constant(1.0, name="x")
    with pytest.raises(errors.GraphMismatchError, match="x:0 belongs to another graph"):
        tf.train.set_signatures({"f": {"fetches": {"y": x}}})


# -- with checkpoints ----------------------------------------------------------------------------

SCRIPT = """
import numpy as np, sys
import graphflow as tf
saver = tf.train.import_meta_graph(sys.argv[1] + ".meta")
with tf.Session() as session:
    saver.restore(session, sys.argv[1])
    for _ in range(3):
        session.run("train")
    np.savez(sys.argv[2], *session.run(tf.global_variables()), session.run("noise:0"))
"""


@pytest.mark.parametrize("seed", [None, 4])
def test_another_process_needs_the_files_only(seed, tmp_path):
    """Trained on from a checkpoint by a process that knows no line of the model: bit-equal."""
    if seed is not None:
        tf.set_random_seed(seed)
    w = tf.get_variable("w", [5])
    noise = tf.random_normal([5], name="noise")
    tf.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(tf.square(w - noise)), name="train")
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run("train")
        path = saver.save(session, tmp_path / "model", global_step=1)
        for _ in range(3):
            session.run("train")
        wanted = [*session.run(tf.global_variables()), session.run(noise)]
    subprocess.run([sys.executable, "-c", SCRIPT, path, tmp_path / "found.npz"], check=True)
    with np.load(tmp_path / "found.npz") as found:
        for a, b in zip(wanted, found.values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_save_without_the_graph(tmp_path):
    tf.Variable(1.0, name="w")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, tmp_path / "m", write_meta_graph=False)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "m.safetensors"]


def test_the_savers_own_export(tmp_path):
    with tf.Graph().as_default():
        w = tf.Variable(1.0, name="w")
    tf.train.Saver([w]).export_meta_graph(tmp_path / "g.meta")
    assert reread(tmp_path / "g.meta").get_operation_by_name("w").type == "variable_read"


# -- Python functions ----------------------------------------------------------------------------


def test_python_functions_are_refused_with_their_lines():
    def double(a):
        return a * 2

    x = tf.placeholder(tf.float32, [2], name="x")
    tf.py_func(double, [x], tf.float32, shapes=[x.shape], name="twice")
    tf.map_fn(lambda row: tf.py_func(double, [row], tf.float32, shapes=[[]], name="inner"), x)
    with pytest.raises(
        tf.train.UnsavableGraphError,
        match=r"(?s)twice \(host_call\) calls py_func double, at .*test_meta_graph.py:\d+.*inner",
    ):
        tf.train.export_meta_graph()


def test_a_checkpoint_of_such_a_graph_says_so_once(tmp_path):
    tf.Variable(1.0, name="w")
    tf.py_func(print, [1.0], [], name="shout")
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.warns(RuntimeWarning, match=r"no \.meta file.*\n.*shout"):
            path = saver.save(session, tmp_path / "m")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            saver.save(session, path)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "m.safetensors"]


def test_gradients_of_users_are_lost():
    @tf.custom_gradient
    def clipped(x):
        return x * 2.0, lambda g: tf.clip_by_value(g, -1.0, 1.0)

    x = tf.placeholder(tf.float32, [], name="x")
    y = clipped(x)
    (g,) = tf.gradients(y * 5.0, x)
    graph = reread(tf.train.export_meta_graph())
    with tf.Session(graph=graph) as session, graph.as_default():
        assert session.run(names(y, g), {"x:0": 3.0}) == [6.0, 1.0]
        with pytest.raises(errors.NonDifferentiableError, match="gradient of clipped is a Python"):
            tf.gradients(graph.get_tensor_by_name(y.name), graph.get_tensor_by_name("x:0"))


def test_constraints_are_lost():
    tf.Variable([3.0], name="w", constraint=lambda w: tf.clip_by_value(w, -1.0, 1.0))
    loss = tf.reduce_sum(tf.global_variables()[0] * 2.0, name="loss")
    tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
    with reread(tf.train.export_meta_graph()).as_default() as graph, tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run("train")
        np.testing.assert_array_equal(session.run("w:0"), [1.0])
        with pytest.raises(errors.GraphError, match="constraint of variable w is a Python"):
            tf.train.GradientDescentOptimizer(0.1).minimize(graph.get_tensor_by_name("loss:0"))


def test_prints_are_saved(capfd, tmp_path):
    x = tf.placeholder(tf.float32, [2], name="x")
    y = tf.Print(x, [x], "here: ", first_n=2, name="y")
    with tf.control_dependencies([
        tf.print("x is", {"a": x}, output_stream=sys.stdout),
        tf.print(tf.reduce_max(x), output_stream=f"file://{tmp_path}/log", end="|"),
    ]):  # fmt: skip
        tf.identity(y, name="z")
    graph = reread(tf.train.export_meta_graph())
    with tf.Session(graph=graph) as session:
        for _ in range(3):
            session.run("z:0", {"x:0": [1, 2]})
    out, err = capfd.readouterr()
    assert err.count("here: ") == 2
    assert out.count("x is {'a': [1. 2.]}\n") == 3
    assert (tmp_path / "log").read_text() == "2.0|2.0|2.0|"


def test_a_stream_of_ones_own_is_refused():
    class Stream:
        def write(self, text):
            """Drops it."""

    tf.print("x", output_stream=Stream(), name="say")
    with pytest.raises(tf.train.UnsavableGraphError, match="say"):
        tf.train.export_meta_graph()


# -- bad files -----------------------------------------------------------------------------------


def some_graph(path=None):
    x = tf.placeholder(tf.float32, [None, 30], name="x")
    w = tf.get_variable("w", [30, 2])
    y = tf.matmul(x * np.arange(30, dtype=np.float32), w, name="y")
    tf.map_fn(lambda row: tf.cond(row[0] > 0.0, lambda: row, lambda: -row), y)
    tf.add_to_collection("mine", y)
    signatures = {"predict": {"feeds": {"x": x}, "fetches": {"y": y}}}
    return tf.train.export_meta_graph(path, signatures=signatures)


def test_every_truncation_is_noticed(tmp_path):
    content = some_graph().content
    path = tmp_path / "g.meta"
    for end in [*range(0, len(content) - 2, 41), len(content) - 2]:
        path.write_bytes(content[:end])
        with tf.Graph().as_default() as graph:
            with pytest.raises(errors.DataLossError, match="g.meta is truncated, damaged or not"):
                tf.train.import_meta_graph(path)
            assert not graph.nodes
            assert not graph.collections


WORDS = [
    b"", b"-", b"0", b"(", b")", b"n", b"none", b"%x", b"@w", b"''", b"//0", b"1e999", b"max(",
    b"{", b"}", b"9" * 30, b"\n", b"dense(float32, [2], [1])", b"scalar(int32, x)", b"token[]",
    b'pool(float32,[1],"")', b"printer()", b"gradient_rule(1)", b";", b"<x>", b"nan", b"*0",
]  # fmt: skip


def test_random_damage_is_noticed_or_harmless(tmp_path):
    """Bytes and words changed at random: read as another graph, or refused; nothing else."""
    content = some_graph().content
    path = tmp_path / "g.meta"
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for position in RANDOM.integers(0, len(content), 2):
            if RANDOM.random() < 0.5:
                damaged[position] = RANDOM.integers(0, 256)
            else:
                end = position + RANDOM.integers(0, 6)
                damaged[position:end] = WORDS[RANDOM.integers(0, len(WORDS))]
        path.write_bytes(damaged)
        with tf.Graph().as_default() as graph:
            try:
                tf.train.import_meta_graph(path)
            except errors.DataLossError:
                refused += 1
                assert not graph.nodes
    assert refused > 200


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"graphflow graph 1", b"graphflow graph 7", "has format 7 of saved graphs; this .* 1"),
        (b"graphflow graph 1", b"\x7fELF", "line 1: 'graphflow graph 1' was expected"),
        (b"placeholder(", b"placemaker(", r"line \d: there is no operation 'placemaker'"),
        (b"reads %w ", b"reads %v ", "%v is not defined before it is used"),
        (b"collections {", b"collected {", "'collections {' was expected"),
        (b"tensor %y", b"tensor %y:3", "%y has 1 outputs"),
        (b"AAgD8AAABA", b"AAgD8AAABB", "is not what its digest says"),
        (b"AAgD8AAABA", b"!AgD8AAABA", "an array of the pool is damaged"),
        (b"cond", b"c\xffnd", "not text"),
    ],
)
def test_what_is_wrong_is_said(old, new, message, tmp_path):
    content = some_graph().content
    assert old in content
    (tmp_path / "g").write_bytes(content.replace(old, new))
    with pytest.raises(errors.DataLossError, match=message):
        reread(tmp_path / "g")


def test_files_that_are_not_there_or_cannot_be_written(tmp_path):
    with pytest.raises(errors.NotFoundError, match="there is no saved graph .*nothing"):
        tf.train.import_meta_graph(tmp_path / "nothing")
    with pytest.raises(errors.NotFoundError, match="its directory must exist"):
        tf.train.export_meta_graph(tmp_path / "no" / "g")


def test_only_at_the_top_of_a_graph_that_is_open():
    saved = some_graph()

    def inside(x):
        tf.train.import_meta_graph(saved, import_scope="copy")
        return x

    with pytest.raises(errors.GraphError, match="cannot be read inside the body of map_fn"):
        tf.map_fn(inside, tf.zeros([3]))
    with pytest.raises(errors.GraphError, match="cannot be saved inside the body of map_fn"):
        tf.map_fn(lambda x: tf.train.export_meta_graph() and x, tf.zeros([3]))
    graph = tf.Graph()
    graph.finalize()
    with pytest.raises(errors.GraphError, match="finalized"), graph.as_default():
        tf.train.import_meta_graph(saved)
    with pytest.raises(ValueError, match="export_scope is not supported"):
        tf.train.export_meta_graph(export_scope="a")
