"""Variables: versions, transactions, concurrency."""

import threading
import time

import numpy as np
import pytest
from runs import HookError, Session
from step_objects import ADD, FAIL, HOST_CALL, POLL, step

from graphflow import runtime
from graphflow.runtime import Description, Feed, HostCall, Output, State

SIZE = 1000

# w += 1, unless the fed number is negative, which fails after half the work is done
UPDATE = f"""
  %in = call ptr @pointer(ptr %frame, i64 0)
  %out = call ptr @pointer(ptr %frame, i64 1)
  call void @add(ptr %in, ptr %out, float 1.0, i64 {SIZE})
  %x = call ptr @pointer(ptr %frame, i64 2)
  %v = load float, ptr %x
  %bad = fcmp olt float %v, 0.0
  br i1 %bad, label %fail, label %fine
fail:
  %f = call ptr @callback(ptr %frame, i32 {FAIL})
  call void %f(ptr %frame, i32 3, i64 1, i64 2)
  ret i32 1
fine:
  ret i32 0
"""


def update(in_place=True, small=False, outputs=("state_out", "state_in")):
    return Description(
        step(UPDATE, extra=ADD),
        feeds=[Feed(2, "float32", ())],
        states=[State(4, "float32", (SIZE,), pointer_in=0, pointer_out=1, in_place=in_place)],
        outputs=[Output("float32", (SIZE,), source=s, index=0) for s in outputs],
        small=small,
    )


def started(description, value=0.0, **options):
    session = Session(description, **options)
    session.state_set(4, np.full(SIZE, value, np.float32))
    return session


@pytest.mark.parametrize("small", [False, True])
def test_writes_go_in_place_when_nobody_holds_the_version(small):
    session = started(update(small=small, outputs=["state_out"]))
    for _ in range(5):
        session.run(None, {0: 1.0})
    assert session.counters()["in_place_writes"] == 5
    held = session.state_get(4)
    assert held[0] == 5 and not held.flags.writeable
    session.run(None, {0: 1.0})
    assert held[0] == 5 and session.state_get(4)[0] == 6
    assert session.counters()["new_versions"] == 1
    del held
    session.run(None, {0: 1.0})
    assert session.counters()["in_place_writes"] == 6
    assert session.state_get(4).tolist() == [7.0] * SIZE


def test_fetching_the_old_version_keeps_it():
    session = started(update())
    new, old = session.run([0, 1], {0: 1.0})
    assert (old[0], new[0]) == (0, 1)
    assert not old.flags.writeable and not new.flags.writeable
    new2 = session.run(0, {0: 1.0})
    assert (old[0], new[0], new2[0]) == (0, 1, 2)
    assert session.counters()["in_place_writes"] == 0


def test_fetched_values_survive_everything():
    session = started(update(outputs=["state_out"]))
    kept = [session.run(0, {0: 1.0}) for _ in range(10)]
    session.state_set(4, np.zeros(SIZE))
    session.close()
    del session
    assert [array[-1] for array in kept] == list(range(1, 11))


def test_a_failing_run_changes_nothing():
    session = started(update(in_place=False, outputs=["state_out"]), 3.0)
    for _ in range(3):
        with pytest.raises(HookError):
            session.run(0, {0: -1.0})
        with pytest.raises(HookError):
            session.run(0, {0: "text"})
        assert session.state_get(4).tolist() == [3.0] * SIZE
    assert session.run(0, {0: 1.0})[0] == 4
    assert session.counters()["live_buffers"] == 1


def test_results_that_cannot_be_built_change_nothing():
    """The nest is built before the commit."""
    import collections

    class Refuses(collections.namedtuple("Refuses", "a")):
        armed = False

        def __new__(cls, *args):
            if cls.armed:
                raise MemoryError("no room")
            return super().__new__(cls, *args)

    session = started(update(in_place=False, outputs=["state_out"]))
    fetches = Refuses(0)
    Refuses.armed = True
    with pytest.raises(MemoryError):
        session.run(fetches, {0: 1.0})
    assert session.state_get(4)[0] == 0


def test_uninitialised_variables_are_all_listed():
    description = Description(
        step(" ret i32 0"),
        states=[State(slot, "float32", (), pointer_in=slot) for slot in (5, 2, 9)],
    )
    session = Session(description)
    session.state_set(2, 1.0)
    with pytest.raises(HookError) as caught:
        session.run(None)
    assert caught.value.args == ("uninitialized", [5, 9])
    assert session.state_initialized(2) and not session.state_initialized(5)
    assert session.state_get(5) is None
    session.state_set(5, 1.0)
    session.state_set(9, 1.0)
    session.run(None)


def test_set_and_get():
    session = runtime.Session()
    session.state_define(0, "w", np.dtype("float32"), (2, -1))
    session.state_set(0, [[1, 2, 3], [4, 5, 6]])
    value = session.state_get(0)
    assert value.dtype == np.float32 and value.tolist() == [[1, 2, 3], [4, 5, 6]]
    copy = session.state_get(0, True)
    copy[:] = 0
    assert value[0, 0] == 1 and session.state_get(0)[0, 0] == 1
    source = np.ones((2, 1), np.float32)
    session.state_set(0, source)
    source[:] = 9
    assert session.state_get(0).tolist() == [[1], [1]] and value.shape == (2, 3)
    for wrong in ([1, 2], np.zeros((3, 3)), 1.0):
        with pytest.raises(ValueError, match="variable w does not take"):
            session.state_set(0, wrong)
    with pytest.raises(TypeError, match="variable w takes numbers"):
        session.state_set(0, "text")
    with pytest.raises(KeyError, match="slot 3"):
        session.state_get(3)
    with pytest.raises(ValueError):
        session.state_define(-1, "w", np.dtype("float32"), ())
    session.state_define(7, "s", np.dtype("int64"), ())
    session.state_set(7, 12)
    assert session.state_get(7) == 12 and type(session.state_get(7)) is np.int64


GROW = """
define void @gf_sizes(ptr %symbols, ptr %values) {
  %n = load i64, ptr %symbols
  store i64 %n, ptr %values
  %m = add i64 %n, 1
  %v1 = getelementptr i64, ptr %values, i32 1
  store i64 %m, ptr %v1
  ret void
}
"""


def test_variables_may_change_their_size():
    """The new version has one element more than the old one, whose size binds the symbol."""
    body = """
  %in = call ptr @pointer(ptr %frame, i64 0)
  %out = call ptr @pointer(ptr %frame, i64 1)
  %n = call i64 @value(ptr %frame, i64 0)
  call void @add(ptr %in, ptr %out, float 1.0, i64 %n)
  %last = getelementptr float, ptr %out, i64 %n
  store float 0.0, ptr %last
  ret i32 0"""
    description = Description(
        step(body, sizes=GROW, extra=ADD),
        symbol_count=1,
        value_count=2,
        states=[State(0, "float32", (~1,), pointer_in=0, pointer_out=1, in_place=True, binds=(0,))],
        outputs=[
            Output("float32", (~0,), source="state_in", index=0),
            Output("float32", (~1,), source="state_out", index=0),
        ],
    )
    session = Session(description)
    session.state_set(0, [5.0])
    for n in range(1, 30):
        old, new = session.run([0, 1])
        assert old.shape == (n,) and new.shape == (n + 1,)
    assert session.state_get(0).tolist()[:2] == [34.0, 28.0]


# Says it has begun (flag 1), waits for the caller's word (flag 0), then adds 1 to the variable.
WAIT = f"""
  %flags = call ptr @pointer(ptr %frame, i64 2)
  %begun = getelementptr i32, ptr %flags, i32 1
  store atomic i32 1, ptr %begun seq_cst, align 4
  br label %wait
wait:
  %go = load atomic i32, ptr %flags seq_cst, align 4
  %ready = icmp ne i32 %go, 0
  br i1 %ready, label %on, label %wait
on:
  %in = call ptr @pointer(ptr %frame, i64 0)
  %out = call ptr @pointer(ptr %frame, i64 1)
  call void @add(ptr %in, ptr %out, float 1.0, i64 {SIZE})
  ret i32 0
"""


def waiting(in_place):
    return Description(
        step(WAIT, extra=ADD),
        feeds=[Feed(2, "int32", (2,))],
        states=[State(4, "float32", (SIZE,), pointer_in=0, pointer_out=1, in_place=in_place)],
        outputs=[],
    )


def begin(session):
    flags = np.zeros(2, np.int32)
    thread = threading.Thread(target=session.run, args=(None, {0: flags}))
    thread.start()
    while not flags[1]:
        time.sleep(0.0005)
    return flags, thread


def test_readers_see_the_old_version_during_a_write():
    session = started(waiting(in_place=False))
    flags, thread = begin(session)
    assert session.state_get(4)[0] == 0
    flags[0] = 1
    thread.join()
    assert session.state_get(4)[0] == 1


def test_readers_wait_for_a_write_in_place():
    session = started(waiting(in_place=True))
    flags, thread = begin(session)
    seen = []
    reader = threading.Thread(target=lambda: seen.append(session.state_get(4)[0]))
    reader.start()
    time.sleep(0.05)
    assert not seen
    flags[0] = 1
    thread.join()
    reader.join()
    assert seen == [1] and session.counters()["in_place_writes"] == 1


def test_writers_come_one_after_another():
    session = started(waiting(in_place=True))
    flags, thread = begin(session)
    others = []
    for _ in range(4):
        other = np.array([1, 0], np.int32)
        others.append((other, threading.Thread(target=session.run, args=(None, {0: other}))))
        others[-1][1].start()
    time.sleep(0.05)
    assert not any(other[1] for other, _ in others)
    flags[0] = 1
    for _, waiting_thread in others:
        waiting_thread.join()
    thread.join()
    assert session.state_get(4).tolist() == [5.0] * SIZE


def test_closing_waits_for_runs_and_frees_later():
    session = started(waiting(in_place=True))
    flags, thread = begin(session)
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run(None, {0: np.ones(2, np.int32)})
    flags[0] = 1
    thread.join()
    assert session.counters()["live_buffers"] == 0


@pytest.mark.parametrize("in_place", [False, True])
def test_no_update_is_lost_and_no_version_is_torn(in_place):
    session = started(update(in_place, outputs=["state_out"]))
    torn, stop = [], threading.Event()

    def write():
        for _ in range(400):
            session.run(None, {0: 1.0})

    def read():
        last = -1.0
        while not stop.is_set():
            value = session.state_get(4)
            if value.min() != value.max() or value[0] < last:
                torn.append(value)
            last = value[0]

    writers = [threading.Thread(target=write) for _ in range(3)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not torn
    assert session.state_get(4).tolist() == [1200.0] * SIZE


def test_a_run_sees_all_its_variables_at_one_moment():
    """Two variables are always changed together, so no reader ever sees them apart."""
    body = """
  %a = call ptr @pointer(ptr %frame, i64 0)
  %b = call ptr @pointer(ptr %frame, i64 1)
  %c = call ptr @pointer(ptr %frame, i64 2)
  %d = call ptr @pointer(ptr %frame, i64 3)
  call void @add(ptr %a, ptr %b, float 1.0, i64 100)
  call void @add(ptr %c, ptr %d, float 1.0, i64 100)
  ret i32 0"""
    pair = Description(
        step(body, extra=ADD),
        states=[
            State(0, "float32", (100,), pointer_in=0, pointer_out=1, in_place=True),
            State(1, "float32", (100,), pointer_in=2, pointer_out=3, in_place=False),
        ],
    )
    look = Description(
        step(" ret i32 0"),
        states=[
            State(1, "float32", (100,), pointer_in=1),
            State(0, "float32", (100,), pointer_in=0),
        ],
        outputs=[Output("float32", (100,), source="state_in", index=i) for i in (0, 1)],
    ).load()

    class Both(Session):
        def _prepare(self, fetches, feed_keys, feed_dict=None):
            if fetches == "look":
                return runtime.Call(look, (0, 1), [])
            return super()._prepare(fetches, feed_keys)

    session = Both(pair)
    for slot in (0, 1):
        session.state_set(slot, np.zeros(100))
    apart, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            one, two = session.run("look")
            if not np.array_equal(one, two):
                apart.append((one, two))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(1000):
        session.run(None)
    stop.set()
    reader.join()
    assert not apart and session.state_get(1)[0] == 1000


def test_a_function_that_waits_for_its_own_run_is_told():
    body = f"""
  %f = call ptr @callback(ptr %frame, i32 {HOST_CALL})
  %status = call i32 %f(ptr %frame, i32 0)
  ret i32 %status"""
    heard = []

    def function():
        for use in (lambda: session.state_set(4, np.zeros(SIZE)), lambda: session.run(None)):
            try:
                use()
            except Exception as error:
                heard.append(error)
        heard.append(session.state_get(4)[0])  # the old version is there to be read

    session = started(
        Description(
            step(body),
            states=[State(4, "float32", (SIZE,), pointer_in=0, pointer_out=1)],
            calls=[HostCall((), (), function)],
        ),
        8.0,
    )
    session.run(None)
    assert isinstance(heard[0], RuntimeError)
    assert heard[1].args[:2] == ("run", runtime.REENTERED)
    assert heard[2] == 8.0


INTERRUPTIBLE = f"""
  %in = call ptr @pointer(ptr %frame, i64 0)
  %out = call ptr @pointer(ptr %frame, i64 1)
  call void @add(ptr %in, ptr %out, float 1.0, i64 {SIZE})
  %limit = call ptr @pointer(ptr %frame, i64 2)
  %f = call ptr @callback(ptr %frame, i32 {POLL})
  %last = load i64, ptr %limit
  br label %wait
wait:
  %i = phi i64 [0, %0], [%next, %again]
  %stop = call i32 %f(ptr %frame)
  %stopped = icmp ne i32 %stop, 0
  br i1 %stopped, label %interrupted, label %again
again:
  %next = add i64 %i, 1
  %done = icmp sge i64 %next, %last
  br i1 %done, label %fine, label %wait
interrupted:
  ret i32 2
fine:
  ret i32 0
"""


def interruptible():
    return Description(
        step(INTERRUPTIBLE, extra=ADD),
        feeds=[Feed(2, "int64", ())],
        states=[State(4, "float32", (SIZE,), pointer_in=0, pointer_out=1)],
    )


def interrupt_soon():
    import os
    import signal

    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_interrupt_stops_a_run_and_changes_nothing():
    session = started(interruptible())
    for _ in range(3):
        timer = interrupt_soon()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            session.run(None, {0: 10**13})
        timer.join()
        assert time.monotonic() - begun < 5
        assert session.state_get(4)[0] == 0
    session.run(None, {0: 10})
    assert session.state_get(4)[0] == 1


def test_a_handler_that_does_not_raise_lets_the_run_go_on():
    import signal

    calls = []
    previous = signal.signal(signal.SIGINT, lambda *_: calls.append(time.monotonic()))
    try:
        session = started(interruptible())
        timer = interrupt_soon()
        session.run(None, {0: 10**8})
        assert len(calls) == 1 and calls[0] < time.monotonic() - 0.01
        timer.join()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        timer = interrupt_soon()
        session.run(None, {0: 10**8})
        timer.join()
        assert len(calls) == 1
    finally:
        signal.signal(signal.SIGINT, previous)


def test_interrupt_reaches_a_run_that_waits_for_a_variable():
    session = started(waiting(in_place=True))
    flags, thread = begin(session)
    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        session.run(None, {0: np.ones(2, np.int32)})
    timer.join()
    flags[0] = 1
    thread.join()
    assert session.state_get(4)[0] == 1
