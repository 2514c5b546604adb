"""Parallel loops: the same chunks for any number of threads; nested, concurrent, after a fork."""

import multiprocessing
import threading

import numpy as np
import pytest
from runs import Session
from step_objects import PARALLEL_FOR, step

from graphflow import runtime

# Each chunk adds 1 to the cells it covers and notes its end in the cell of its beginning.
CHUNKS = """
define internal void @body(ptr %frame, ptr %context, i64 %begin, i64 %end) {
entry:
  %marks = call ptr @pointer(ptr %frame, i64 0)
  %counts = call ptr @pointer(ptr %frame, i64 1)
  %mark = getelementptr i64, ptr %marks, i64 %begin
  store i64 %end, ptr %mark
  br label %loop
loop:
  %i = phi i64 [%begin, %entry], [%next, %loop]
  %place = getelementptr i64, ptr %counts, i64 %i
  %old = load i64, ptr %place
  %new = add i64 %old, 1
  store i64 %new, ptr %place
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}
define internal void @outer(ptr %frame, ptr %context, i64 %begin, i64 %end) {
  %f = call ptr @callback(ptr %frame, i32 0)
  %n = load i64, ptr %context
  %from = mul i64 %begin, 1000
  call void %f(ptr %frame, ptr @inner, ptr %context, i64 1000, i64 64)
  ret void
}
define internal void @inner(ptr %frame, ptr %context, i64 %begin, i64 %end) {
  %counts = call ptr @pointer(ptr %frame, i64 1)
  %width = sub i64 %end, %begin
  %old = atomicrmw add ptr %counts, i64 %width seq_cst
  ret void
}
"""

LOOP = f"""
  %marks = call ptr @pointer(ptr %frame, i64 0)
  %counts = call ptr @pointer(ptr %frame, i64 1)
  call void @llvm.memset.inline.p0.i64(ptr %marks, i8 0, i64 80000, i1 0)
  call void @llvm.memset.inline.p0.i64(ptr %counts, i8 0, i64 80000, i1 0)
  %arguments = call ptr @pointer(ptr %frame, i64 2)
  %count = load i64, ptr %arguments
  %second = getelementptr i64, ptr %arguments, i64 1
  %grain = load i64, ptr %second
  %f = call ptr @callback(ptr %frame, i32 {PARALLEL_FOR})
  call void %f(ptr %frame, ptr @body, ptr null, i64 %count, i64 %grain)
  ret i32 0
"""
MEMSET = "declare void @llvm.memset.inline.p0.i64(ptr, i8, i64, i1)\n"


def description(body=LOOP):
    return runtime.Description(
        step(body, extra=MEMSET + CHUNKS),
        feeds=[runtime.Feed(2, "int64", (2,))],
        outputs=[
            runtime.Output("int64", (10000,), pointer=0),
            runtime.Output("int64", (10000,), pointer=1),
        ],
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(
    "count, grain", [(1, 1), (10000, 1), (10000, 7), (9999, 10000), (64, 32), (64, 63), (10, 4)]
)
def test_chunks_do_not_depend_on_threads(threads, count, grain):
    session = Session(description(), threads)
    for _ in range(20):
        marks, counts = session.run([0, 1], {0: np.array([count, grain])})
        even = -(-count // -(-count // grain))
        begins = np.arange(0, count, even)
        expected = np.zeros(10000, np.int64)
        expected[begins] = np.minimum(begins + even, count)
        assert np.array_equal(marks, expected)
        assert np.array_equal(counts[:count], np.ones(count)) and not counts[count:].any()


def test_nested_loops_run():
    nested = LOOP.replace("ptr @body, ptr null", "ptr @outer, ptr %arguments")
    session = Session(description(nested), 4)
    for _ in range(50):
        counts = session.run(1, {0: np.array([50, 1])})
        assert counts[0] == 50 * 1000


def test_many_callers_share_one_pool():
    session = Session(description(), 3)
    failures = []

    def work(seed):
        for i in range(100):
            count = 5000 + 37 * seed + i
            counts = session.run(1, {0: np.array([count, 16])})
            if counts.sum() != count:
                failures.append(count)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_no_iterations():
    session = Session(description(), 2)
    assert not session.run(1, {0: np.array([0, 8])}).any()


def in_child(session, queue):
    sums = [int(session.run(1, {0: np.array([9000, 8])}).sum()) for _ in range(30)]
    session.state_set(0, np.float32(5))
    queue.put((sums, float(session.state_get(0))))


def test_a_forked_child_has_a_pool_of_its_own():
    session = Session(description(), 3)
    session.state_define(0, "w", np.dtype("float32"), ())
    session.state_set(0, 2.0)
    assert session.run(1, {0: np.array([9000, 8])}).sum() == 9000
    context = multiprocessing.get_context("fork")
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            session.run(1, {0: np.array([9999, 4])})

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(5):
            queue = context.Queue()
            child = context.Process(target=in_child, args=(session, queue))
            child.start()
            sums, value = queue.get(timeout=30)
            child.join(30)
            assert child.exitcode == 0
            assert sums == [9000] * 30 and value == 5.0
    finally:
        stop.set()
        busy.join()
    assert session.state_get(0) == 2.0
    assert session.run(1, {0: np.array([9000, 8])}).sum() == 9000


def test_pool_size():
    assert runtime.ThreadPool(3).threads == 3
    assert runtime.ThreadPool().threads == runtime.processor_count() >= 1
