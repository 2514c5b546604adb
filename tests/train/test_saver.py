"""Checkpoints: what is in them, and what happens when they or the disk are bad."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphflow as tf
from graphflow import errors
from graphflow.train import checkpoint

BACKENDS = ["reference", "op-by-op", "compiled"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def model(seed=None, units=3):
    """A training step with slots, a step counter and random numbers: (train, all of its state)."""
    if seed is not None:
        tf.set_random_seed(seed)
    w = tf.Variable(tf.random_normal([units]), name="w")
    mask = tf.Variable([True, False], trainable=False, name="mask")
    step = tf.train.get_or_create_global_step()
    noise = tf.random_normal([units])
    train = tf.train.AdamOptimizer(0.1).minimize(
        tf.reduce_sum(tf.square(w - noise)), global_step=step
    )
    return train, [*tf.global_variables()], noise, mask


@pytest.mark.parametrize("seed", [None, 11])
def test_training_continues_bit_equal(backend, seed, tmp_path):
    train, state, noise, _ = model(seed)
    saver = tf.train.Saver()
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train)
        path = saver.save(session, tmp_path / "model", global_step=3)
        for _ in range(3):
            session.run(train)
        wanted, drawn = session.run(state), session.run(noise)
    assert path == str(tmp_path / "model-3")
    with tf.Session(backend=backend) as session:
        saver.restore(session, path)
        for _ in range(3):
            session.run(train)
        found, again = session.run(state), session.run(noise)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(drawn, again)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
import graphflow as tf
from test_saver import model
train, state, noise, _ = model({seed})
saver = tf.train.Saver()
with tf.Session(backend={backend!r}) as session:
    if {first}:
        session.run(tf.global_variables_initializer())
    else:
        saver.restore(session, tf.train.latest_checkpoint({folder!r}))
    for _ in range(4):
        session.run(train)
        if {first} and session.run(tf.train.get_global_step()) == 2:
            saver.save(session, {folder!r} + "/model", global_step=2)
    np.savez({folder!r} + "/{name}.npz", *session.run(state))
"""


@pytest.mark.parametrize("seed", [None, 5])
def test_another_process_continues_bit_equal(backend, seed, tmp_path):
    """Four steps in one process; two of them, saved, and the rest in another one."""

    def run(first, name):
        text = SCRIPT.format(
            tests=str(Path(__file__).parent),
            seed=seed,
            backend=backend,
            first=first,
            folder=str(tmp_path),
            name=name,
        )
        if not first:
            text = text.replace("range(4)", "range(2)")
        subprocess.run([sys.executable, "-c", text], check=True)
        with np.load(tmp_path / f"{name}.npz") as arrays:
            return [arrays[key] for key in arrays]

    for a, b in zip(run(True, "whole"), run(False, "rest"), strict=True):
        np.testing.assert_array_equal(a, b)


def filled(backend, **values):
    session = tf.Session(backend=backend)
    for name, value in values.items():
        tf.Variable(value, name=name)
    session.run(tf.global_variables_initializer())
    return session


def test_what_is_in_a_file(backend, tmp_path):
    session = filled(backend, a=1.5, b=np.arange(6, dtype=np.int64).reshape(2, 3), c=[True, False])
    path = tf.train.Saver().save(session, tmp_path / "m")
    assert tf.train.list_variables(path) == [("a", []), ("b", [2, 3]), ("c", [2])]
    np.testing.assert_array_equal(tf.train.load_variable(tmp_path, "b:0"), [[0, 1, 2], [3, 4, 5]])
    assert tf.train.load_variable(path, "c").dtype == np.bool_
    with pytest.raises(errors.NotFoundError, match="no variable 'x'"):
        tf.train.load_variable(path, "x")


def test_names_of_ones_own(backend, tmp_path):
    session = filled(backend, a=1.0, b=2.0)
    a, b = tf.global_variables()
    path = tf.train.Saver({"other": a}).save(session, tmp_path / "m")
    assert tf.train.list_variables(path) == [("other", [])]
    tf.train.Saver({"other": b}).restore(session, path)
    assert session.run([a, b]) == [1.0, 1.0]
    tf.train.Saver([a]).save(session, tmp_path / "list")
    assert tf.train.list_variables(tmp_path / "list") == [("a", [])]


def test_max_to_keep_and_the_list_of_checkpoints(backend, tmp_path):
    session = filled(backend, a=1.0)
    saver = tf.train.Saver(max_to_keep=2)
    assert tf.train.latest_checkpoint(tmp_path) is None
    paths = [saver.save(session, str(tmp_path / "m"), global_step=n) for n in range(4)]
    assert saver.last_checkpoints == paths[2:]
    assert tf.train.latest_checkpoint(tmp_path) == paths[3]
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint",
        "m-2.meta",
        "m-2.safetensors",
        "m-3.meta",
        "m-3.safetensors",
    ]
    state = tf.train.get_checkpoint_state(tmp_path)
    assert state.model_checkpoint_path == paths[3]
    assert list(state.all_model_checkpoint_paths) == paths[2:]
    # The folder can be moved: its list is relative.
    moved = tmp_path.parent / "moved"
    os.rename(tmp_path, moved)
    assert tf.train.latest_checkpoint(moved) == str(moved / "m-3")
    assert tf.train.checkpoint_exists(moved / "m-2")
    os.rename(moved, tmp_path)


def test_saving_again_under_one_name(backend, tmp_path):
    session = filled(backend, a=1.0)
    (a,) = tf.global_variables()
    saver = tf.train.Saver(max_to_keep=1)
    for value in (1.0, 2.0):
        a.load(value, session)
        path = saver.save(session, tmp_path / "m")
    a.load(0.0, session)
    saver.restore(session, path)
    assert session.run(a) == 2.0
    assert saver.last_checkpoints == [path]


def test_keeping_one_every_n_hours(backend, tmp_path, monkeypatch):
    session = filled(backend, a=1.0)
    now = [0.0]
    monkeypatch.setattr("graphflow.train.saver.time.time", lambda: now[0])
    saver = tf.train.Saver(max_to_keep=1, keep_checkpoint_every_n_hours=1.0)
    for hour in (0.5, 1.1, 1.2, 2.3):
        now[0] = hour * 3600
        saver.save(session, tmp_path / "m", global_step=int(hour * 10))
    kept = sorted(p.name for p in tmp_path.glob("*.safetensors"))
    assert kept == ["m-11.safetensors", "m-23.safetensors"]


# -- bad input --------------------------------------------------------------------------------


def test_missing_and_misshapen_variables_are_all_listed(backend, tmp_path):
    session = filled(backend, a=1.0, b=[1.0, 2.0], c=[1, 2])
    path = tf.train.Saver().save(session, tmp_path / "m")
    with tf.Graph().as_default():
        other = filled(backend, a=9.0, b=[9.0, 9.0, 9.0], c=[9.0, 9.0], d=9.0, e=9.0)
        variables = tf.global_variables()
        with pytest.raises(errors.NotFoundError) as error:
            tf.train.Saver().restore(other, path)
        text = str(error.value)
        assert "has no d, e" in text
        assert "b: float32[2] in the file, float32[3] here" in text
        assert len(text.splitlines()) < 12
        with pytest.raises(errors.InvalidArgumentError) as error:
            tf.train.Saver(variables[:3]).restore(other, path)
        assert "b: float32[2]" in str(error.value)
        assert "c: int32[2]" in str(error.value)
        for value in other.run(variables):
            assert (value == 9).all()


def test_reshape(backend, tmp_path):
    session = filled(backend, a=[1.0, 2.0, 3.0, 4.0])
    path = tf.train.Saver().save(session, tmp_path / "m")
    with tf.Graph().as_default():
        other = filled(backend, a=np.zeros((2, 2), np.float32))
        tf.train.Saver(reshape=True).restore(other, path)
        assert other.run(tf.global_variables()[0]).tolist() == [[1, 2], [3, 4]]


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def _empty(path):
    path.write_bytes(b"")


def _foreign(path):
    path.write_bytes(b"\x80\x04\x95 this is a pickle, or anything else")


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [_truncate, _empty, _foreign, _flip])
def test_damaged_files_change_nothing(backend, damage, tmp_path):
    session = filled(backend, a=[1.0, 2.0], b=[3.0])
    saver = tf.train.Saver()
    path = saver.save(session, tmp_path / "m")
    for variable in tf.global_variables():
        session.load_variable(variable.handle, np.zeros(variable.dims, np.float32))
    damage(tmp_path / "m.safetensors")
    with pytest.raises(errors.DataLossError, match=r"m\.safetensors"):
        saver.restore(session, path)
    for value in session.run(tf.global_variables()):
        assert (value == 0).all()


def test_no_such_checkpoint(backend, tmp_path):
    session = filled(backend, a=1.0)
    saver = tf.train.Saver()
    with pytest.raises(errors.NotFoundError, match="there is no checkpoint"):
        saver.restore(session, tmp_path / "nothing")
    with pytest.raises(ValueError, match="None"):
        saver.restore(session, tf.train.latest_checkpoint(tmp_path))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m"\n')
    with pytest.raises(errors.DataLossError, match="not a list of checkpoints"):
        tf.train.latest_checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text(json.dumps({"model_checkpoint_path": "m"}))
    with pytest.raises(errors.DataLossError):
        tf.train.latest_checkpoint(tmp_path)


def test_uninitialised_variables_are_all_listed(backend, tmp_path):
    session = filled(backend, a=1.0)
    tf.Variable(1.0, name="late")
    tf.Variable(1.0, name="later")
    with pytest.raises(errors.FailedPreconditionError, match="late, later"):
        tf.train.Saver().save(session, tmp_path / "m")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "number, error",
    [
        (errno.ENOSPC, errors.ResourceExhaustedError),
        (errno.EROFS, errors.PermissionDeniedError),
        (errno.EIO, errors.PermissionDeniedError),
    ],
)
@pytest.mark.parametrize("moment", ["write", "sync", "rename"])
def test_a_failing_disk_leaves_the_old_checkpoint(
    backend, number, error, moment, tmp_path, monkeypatch
):
    session = filled(backend, a=1.0)
    (a,) = tf.global_variables()
    saver = tf.train.Saver()
    path = saver.save(session, tmp_path / "m")
    before = (tmp_path / "m.safetensors").read_bytes()
    a.load(2.0, session)

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    import safetensors.numpy

    if moment == "write":
        monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    else:
        monkeypatch.setattr(checkpoint.os, {"sync": "fsync", "rename": "replace"}[moment], fail)
    with pytest.raises(error, match=r"cannot write .*m\.safetensors: .*what was there before"):
        saver.save(session, path)
    monkeypatch.undo()
    assert (tmp_path / "m.safetensors").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "m.meta", "m.safetensors"]
    saver.restore(session, path)
    assert session.run(a) == 1.0


def test_a_file_that_cannot_grow(backend, tmp_path):
    """The system itself refuses the write, halfway through the file."""
    session = filled(backend, a=1.0)
    saver = tf.train.Saver()
    path = saver.save(session, tmp_path / "m")
    with tf.Graph().as_default():
        large = filled(backend, a=np.zeros(10000, np.float32))
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(errors.ResourceExhaustedError, match="cannot write"):
                tf.train.Saver().save(large, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
    saver.restore(session, path)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "m.meta", "m.safetensors"]


def test_files_have_the_permissions_of_others(backend, tmp_path):
    session = filled(backend, a=1.0)
    tf.train.Saver().save(session, tmp_path / "m")
    (tmp_path / "other").touch()
    wanted = (tmp_path / "other").stat().st_mode
    assert (tmp_path / "m.safetensors").stat().st_mode == wanted
    assert (tmp_path / "checkpoint").stat().st_mode == wanted


def test_a_directory_that_is_not_there(backend, tmp_path):
    session = filled(backend, a=1.0)
    with pytest.raises(errors.NotFoundError, match="its directory must exist"):
        tf.train.Saver().save(session, tmp_path / "no" / "m")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda a: tf.train.Saver([]), "no variables to save"),
        (lambda a: tf.train.Saver([a, tf.constant(1.0)]), "is not a variable"),
        (lambda a: tf.train.Saver({"a": 3}), "is not a variable"),
    ],
)
def test_wrong_lists(make, message):
    a = tf.Variable(1.0, name="a")
    with pytest.raises((ValueError, TypeError), match=message):
        make(a)
    assert tf.train.Saver([], allow_empty=True)
