"""Session.run: feeds, fetches, sizes, errors, memory."""

import collections
import gc
import threading
import weakref

import numpy as np
import pytest
from runs import HookError, Session
from step_objects import ADD, FAIL, HOST_CALL, LAUNCH_BEGIN, LAUNCH_END, step

from graphflow import runtime
from graphflow.runtime import Buffer, Check, Constant, Description, Feed, HostCall, Operand, Output

# values[0] = symbol 0, values[1] = 4 * symbol 0, values[2] = symbol 1, values[3] = s0 * s1
SIZES = """
define void @gf_sizes(ptr %symbols, ptr %values) {
  %n = load i64, ptr %symbols
  store i64 %n, ptr %values
  %b = mul i64 %n, 4
  %v1 = getelementptr i64, ptr %values, i32 1
  store i64 %b, ptr %v1
  %s1 = getelementptr i64, ptr %symbols, i32 1
  %m = load i64, ptr %s1
  %v2 = getelementptr i64, ptr %values, i32 2
  store i64 %m, ptr %v2
  %v3 = getelementptr i64, ptr %values, i32 3
  %nm = mul i64 %n, %m
  store i64 %nm, ptr %v3
  ret void
}
"""

ADD_ONE = """
  %x = call ptr @pointer(ptr %frame, i64 0)
  %y = call ptr @pointer(ptr %frame, i64 1)
  %n = call i64 @value(ptr %frame, i64 0)
  call void @add(ptr %x, ptr %y, float 1.0, i64 %n)
  ret i32 0
"""


def add_one(small=False, **changes):
    rows = {
        "symbol_count": 2,
        "value_count": 4,
        "feeds": [Feed(0, "float32", (~0,), (0,)), Feed(2, "float32", (~2,), (1,))],
        "outputs": [
            Output("float32", (~0,), pointer=1),
            Output("float32", (~0,), source="feed", index=0),
        ],
        "small": small,
    }
    return Description(step(ADD_ONE, sizes=SIZES, extra=ADD), **(rows | changes))


OTHER = np.zeros(3, np.float32)


@pytest.mark.parametrize("small", [False, True])
def test_sizes_bind_and_are_remembered(small):
    session = Session(add_one(small))
    for n in list(range(20)) + [0, 1, 19, 19]:
        result = session.run(0, {0: np.arange(n, dtype=np.float32), 1: OTHER})
        assert np.array_equal(result, np.arange(n) + 1)
    assert session.executable.inspect()["bindings"] == 22  # 0 and 1 had been dropped, 19 not
    assert session.prepared == 1


def test_nests_of_fetches():
    session = Session(add_one())
    Pair = collections.namedtuple("Pair", "left right")
    feeds = {0: [1.0, 2.0], 1: OTHER}
    result = session.run({"a": [0, (1, None)], "b": Pair(0, {"c": 1})}, feeds)
    assert list(result) == ["a", "b"] and type(result["b"]) is Pair
    assert result["a"][0].tolist() == [2, 3]
    assert result["a"][1][0].tolist() == [1, 2] and result["a"][1][1] is None
    assert result["b"].right["c"].tolist() == [1, 2]
    assert session.run([], feeds) == [] and session.run(None, feeds) is None
    ordered = session.run(collections.OrderedDict(z=0, a=1), feeds)
    assert type(ordered) is collections.OrderedDict and list(ordered) == ["z", "a"]
    deep = 0
    for _ in range(50):
        deep = [deep]
    assert str(session.run(deep, feeds)).startswith("[" * 50 + "array")


def test_calls_are_recognised_by_identity_and_text_by_value():
    class Named(Session):
        def _prepare(self, fetches, feed_keys, feed_dict=None):
            self.prepared += 1
            return runtime.Call(self.executable, 0, [int(key[-1]) for key in feed_keys])

    session = Named(add_one())
    for _ in range(3):
        name = "".join(["y", ":", "0"])
        session.run(name, {"".join(["feed", "0"]): [1], "".join(["feed", "1"]): [2]})
    assert session.prepared == 1
    session.run("z:0", {"feed0": [1], "feed1": [2]})
    session.run("y:0", {"feed1": [1], "feed0": [2]})
    assert session.prepared == 3


def test_keys_stay_alive_with_their_call():
    class Key:
        pass

    class Keyed(Session):
        def _prepare(self, fetches, feed_keys, feed_dict=None):
            self.prepared += 1
            return runtime.Call(self.executable, 0, [0, 1])

    session = Keyed(add_one())
    for _ in range(100):
        session.run(Key(), {0: [1], 1: [1]})
    assert session.prepared == 100
    key = Key()
    alive = weakref.ref(key)
    session.run(key, {0: [1], 1: [1]})
    del key
    assert alive() is not None
    session._forget_calls()
    assert alive() is None


def test_feeds_are_used_in_place_where_they_can_be():
    session = Session(add_one())
    base = np.arange(40, dtype=np.float32)
    frozen = base[:10].copy()
    frozen.flags.writeable = False
    raw = np.frombuffer(b"x" + base.tobytes(), np.uint8)[1:].view(np.float32)
    assert not raw.flags.aligned
    direct = [base, base[3:9], frozen, raw, np.ma.array(base)]
    for value in direct:
        expected = np.asarray(value) + 1
        assert np.array_equal(session.run(0, {0: value, 1: OTHER}), expected)
    assert session.counters()["feeds_copied"] == 0
    assert session.counters()["feeds_zero_copy"] == 2 * len(direct)
    copied = [
        base[::2],
        base.astype(">f4"),
        base.astype(np.float64),
        [1, 2.5],
        (True, False),
        range(4),
        np.arange(5, dtype=np.int8),
        [np.float32(1), 2],
        memoryview(base),
    ]
    for value in copied:
        expected = np.asarray(value, np.float32) + 1
        assert np.array_equal(session.run(0, {0: value, 1: OTHER}), expected)
    assert session.counters()["feeds_copied"] == len(copied)


@pytest.mark.parametrize(
    "value, kind",
    [
        ("text", None),
        (["1", "2"], None),
        ([b"1"], None),
        (np.array(["1"]), None),
        (np.array([1, 2], object), None),
        (np.array([1j]), None),
        ([1j], TypeError),
        ([[1, 2], [3]], ValueError),
        (object(), None),
        (None, None),
        ({"a": 1}, None),
        (1.0, type(None)),  # rank 0 where rank 1 is wanted
        ([[1.0]], type(None)),
        (np.array(["2020-01-01"], "M8"), None),
    ],
)
def test_feeds_that_do_not_convert(value, kind):
    session = Session(add_one())
    with pytest.raises(HookError) as caught:
        session.run(0, {1: OTHER, 0: value})
    name, feed, error = caught.value.args
    assert (name, feed) == ("feed", 0)
    if kind is None:
        assert error is None or isinstance(error, Exception)
    else:
        assert isinstance(error, kind)


def test_python_numbers_out_of_range_are_refused():
    body = " ret i32 0"
    session = Session(
        Description(
            step(body),
            feeds=[Feed(0, "uint8", (2,))],
            outputs=[Output("uint8", (2,), source="feed", index=0)],
        )
    )
    assert session.run(0, {0: [3, 4]}).tolist() == [3, 4]
    with pytest.raises(HookError) as caught:
        session.run(0, {0: [3, 300]})
    assert isinstance(caught.value.args[2], OverflowError)


def test_static_and_symbolic_sizes_are_checked():
    feeds = [Feed(0, "float32", (~0,), (0,)), Feed(2, "float32", (~2, 3, ~0), (1, -1, -1))]
    session = Session(add_one(feeds=feeds))
    session.run(0, {0: np.zeros(4), 1: np.zeros((2, 3, 4))})
    with pytest.raises(HookError) as caught:
        session.run(0, {0: np.zeros(4), 1: np.zeros((2, 5, 4))})
    assert caught.value.args == ("feed", 1, None)
    with pytest.raises(HookError) as caught:
        session.run(0, {0: np.zeros(4), 1: np.zeros((2, 3, 7))})
    assert caught.value.args == ("feed size", 1, 2, 7, 4)


def test_checks_between_sizes():
    session = Session(add_one(checks=[Check(~0, ~2, 17)]))
    session.run(0, {0: np.zeros(3), 1: OTHER})
    for _ in range(2):
        with pytest.raises(HookError) as caught:
            session.run(0, {0: np.zeros(4), 1: OTHER})
        assert caught.value.args == ("size", 17, 4, 3, [(4,), (3,)])


def test_a_hook_may_know_a_call_that_fits():
    class Adapting(Session):
        other = None

        def _size_error(self, call, message, a, b, shapes):
            self.asked = (message, shapes)
            self._forget_calls()
            return self.other

    session = Adapting(add_one(checks=[Check(~0, ~2, 17)]))
    session.other = runtime.Call(add_one().load(), 0, [0, 1])
    assert session.run(0, {0: np.zeros(4), 1: OTHER}).tolist() == [1] * 4
    assert session.asked == (17, [(4,), (3,)])
    session.other = session._prepare(0, [0, 1])
    with pytest.raises(SystemError, match="no call fits"):
        session.run(0, {0: np.zeros(4), 1: OTHER})
    session.other = None
    with pytest.raises(SystemError, match="did not raise"):
        session.run(0, {0: np.zeros(4), 1: OTHER})


def test_more_memory_than_there_is():
    description = add_one(
        feeds=[Feed(0, "float32", (1,)), Feed(2, "int64", (2,))],
        value_binds=[runtime.ValueBind(0, 1, 0), runtime.ValueBind(1, 1, 1)],
        outputs=[Output("float32", (~0, ~2), pointer=1)],
    )
    session = Session(description)
    for sizes, error in (([2**40, 2**40], "size"), ([2**30, 2**30], "run")):
        with pytest.raises(HookError) as caught:
            session.run(0, {0: [1], 1: sizes})
        assert caught.value.args[0] == error
    assert caught.value.args[1] == runtime.NO_MEMORY


def test_sizes_from_the_contents_of_a_feed():
    description = add_one(
        feeds=[Feed(0, "float32", (100,)), Feed(2, "int32", (2,))],
        value_binds=[runtime.ValueBind(0, 1, 1), runtime.ValueBind(1, 1, 0)],
        outputs=[Output("float32", (~0,), pointer=1)],
    )
    session = Session(description)
    assert session.run(0, {0: np.zeros(100), 1: [5, 7]}).tolist() == [1.0] * 7
    with pytest.raises(HookError) as caught:
        session.run(0, {0: np.zeros(100), 1: [5, -7]})
    assert caught.value.args[:4] == ("size", -1, 0, 0)


def test_outputs_are_pooled_and_the_callers():
    session = Session(add_one(), retained_bytes=1 << 20)
    feeds = {0: np.arange(1000, dtype=np.float32), 1: OTHER}
    first = session.run(0, feeds)
    assert first.flags.writeable and first.flags.c_contiguous and first.ctypes.data % 64 == 0
    address = first.ctypes.data
    second = session.run(0, feeds)
    assert second.ctypes.data != address
    first[:] = -1
    assert second[0] == 1
    del first
    assert session.counters()["retained_bytes"] >= 4000
    third = session.run(0, feeds)
    assert third.ctypes.data == address and session.counters()["buffers_reused"] == 1
    view = third[5:7]
    del third
    fourth = session.run(0, feeds)
    assert fourth.ctypes.data != address and view[0] == 6


def test_retention_is_limited():
    session = Session(add_one(), retained_bytes=100_000)
    kept = [session.run(0, {0: np.zeros(5000), 1: OTHER}) for _ in range(20)]
    assert session.counters()["live_buffers"] == 20
    del kept
    assert session.counters()["live_buffers"] == 0
    assert 20_000 <= session.counters()["retained_bytes"] <= 100_000
    none = Session(add_one(), retained_bytes=0)
    none.run(0, {0: np.zeros(5000), 1: OTHER})
    assert none.counters()["retained_bytes"] == 0


def test_a_fetched_feed_is_a_copy():
    session = Session(add_one())
    fed = np.arange(3, dtype=np.float32)
    result = session.run(1, {0: fed, 1: OTHER})
    assert not np.shares_memory(result, fed) and result.flags.writeable
    fed[:] = 9
    assert result.tolist() == [0, 1, 2]


def test_scalars_and_constants():
    body = """
  %a = call ptr @pointer(ptr %frame, i64 0)
  %c = call ptr @pointer(ptr %frame, i64 1)
  %b = call ptr @pointer(ptr %frame, i64 2)
  %v = load i64, ptr %c
  store i64 %v, ptr %a
  store i8 1, ptr %b
  ret i32 0"""
    constant = np.array([[41, 42]])
    session = Session(
        Description(
            step(body),
            constants=[Constant(1, constant)],
            outputs=[
                Output("int64", (), pointer=0),
                Output("bool", (), pointer=2),
                Output("int64", (1, 2), source="constant", index=0),
            ],
        )
    )
    number, truth, table = session.run([0, 1, 2])
    assert type(number) is np.int64 and number == 41
    assert type(truth) is np.bool_ and truth
    assert table.tolist() == [[41, 42]] and not np.shares_memory(table, constant)


def test_arena_buffers_follow_the_sizes():
    body = """
  %x = call ptr @pointer(ptr %frame, i64 0)
  %y = call ptr @pointer(ptr %frame, i64 1)
  %t = call ptr @pointer(ptr %frame, i64 3)
  %u = call ptr @pointer(ptr %frame, i64 4)
  %n = call i64 @value(ptr %frame, i64 0)
  call void @add(ptr %x, ptr %t, float 1.0, i64 %n)
  call void @add(ptr %t, ptr %u, float 2.0, i64 %n)
  call void @add(ptr %u, ptr %y, float 3.0, i64 %n)
  ret i32 0"""
    session = Session(
        Description(
            step(body, sizes=SIZES, extra=ADD),
            symbol_count=2,
            value_count=4,
            moments=3,
            feeds=[Feed(0, "float32", (~0,), (0,)), Feed(2, "float32", (~2,), (1,))],
            outputs=[Output("float32", (~0,), pointer=1)],
            buffers=[Buffer(3, ~1, 0, 1), Buffer(4, ~1, 1, 2), Buffer(5, ~1, 2, 2, alias_of=0)],
        )
    )
    for n in (10, 100_000, 3, 0, 100_000, 70):
        result = session.run(0, {0: np.arange(n), 1: OTHER})
        assert np.array_equal(result, np.arange(n) + np.float32(6))
        report = session.executable.inspect()
        assert report["arena_bytes"] == report["arena_lower_bound"] == 2 * (-(-4 * n // 64) * 64)
    assert report["arenas"] == 1
    assert session.executable.arena([1000, 3]) == (8064, 8064)
    for wrong in ([1], [-5, 3]):
        with pytest.raises(ValueError):
            session.executable.arena(wrong)


def test_failures_carry_their_site():
    body = f"""
  %f = call ptr @callback(ptr %frame, i32 {FAIL})
  call void %f(ptr %frame, i32 5, i64 -3, i64 77)
  call void %f(ptr %frame, i32 6, i64 1, i64 1)
  ret i32 1"""
    session = Session(Description(step(body)))
    for _ in range(3):
        with pytest.raises(HookError) as caught:
            session.run(None)
        assert caught.value.args == ("run", runtime.FAILED, 5, (-3, 77), -1)


def host_description(function, outputs=1):
    body = f"""
  %f = call ptr @callback(ptr %frame, i32 {HOST_CALL})
  %status = call i32 %f(ptr %frame, i32 0)
  ret i32 %status"""
    results = tuple(Operand(1 + i, "float32", (~0,)) for i in range(outputs))
    return Description(
        step(body, sizes=SIZES),
        symbol_count=2,
        value_count=4,
        feeds=[Feed(0, "float32", (~0,), (0,)), Feed(9, "float32", (~2,), (1,))],
        outputs=[Output("float32", (~0,), pointer=1 + i) for i in range(outputs)],
        calls=[HostCall((Operand(0, "float32", (~0,)),), results, function)],
    )


def test_host_calls():
    kept = []

    def function(x):
        kept.append(x)
        return x * 2, [7.0] * len(x)

    session = Session(host_description(function, 2))
    double, sevens = session.run([0, 1], {0: [1, 2, 3], 1: OTHER})
    assert double.tolist() == [2, 4, 6] and sevens.tolist() == [7, 7, 7]
    session.run([0, 1], {0: [5, 5, 5], 1: OTHER})
    assert kept[0].tolist() == [1, 2, 3]
    one = Session(host_description(lambda x: x + 1))
    assert one.run(0, {0: [1], 1: OTHER}).tolist() == [2]


@pytest.mark.parametrize(
    "function, error",
    [
        (lambda x: 1 / 0, ZeroDivisionError),
        (lambda x: x[:-1], ValueError),
        (lambda x: "text", ValueError),
        (lambda x: None, Exception),
    ],
)
def test_errors_of_host_calls_are_the_callers(function, error):
    session = Session(host_description(function))
    with pytest.raises(error):
        session.run(0, {0: [1, 2], 1: OTHER})
    with pytest.raises(error):
        session.run(0, {0: [1, 2], 1: OTHER})


def test_profiles():
    body = f"""
  %p = getelementptr %frame, ptr %frame, i32 0, i32 4
  %on = load i32, ptr %p
  %yes = icmp ne i32 %on, 0
  br i1 %yes, label %profiled, label %plain
profiled:
  %b = call ptr @callback(ptr %frame, i32 {LAUNCH_BEGIN})
  %e = call ptr @callback(ptr %frame, i32 {LAUNCH_END})
  call void %b(ptr %frame, i32 0)
  call void %e(ptr %frame, i32 0)
  call void %b(ptr %frame, i32 1)
  call void %e(ptr %frame, i32 1)
  ret i32 0
plain:
  ret i32 0"""
    session = Session(Description(step(body), moments=2))
    session.run(None)
    assert not session.profiles
    session.run(None, options="o", run_metadata="m")
    ((records, options, metadata),) = session.profiles
    assert (options, metadata) == ("o", "m")
    assert [(launch, thread) for launch, thread, _, _ in records] == [(0, 0), (1, 0)]
    times = [time for row in records for time in row[2:]]
    assert times == sorted(times) and times[0] > 0
    callable_ = session.make_callable(None, accept_options=True)
    callable_(options="o")
    assert len(session.profiles) == 2


def test_callables():
    session = Session(add_one())
    function = session.make_callable([0, 1], [1, 0])
    y, x = function(OTHER, np.float32([1, 2]))
    assert y.tolist() == [2, 3] and x.tolist() == [1, 2]
    with pytest.raises(TypeError, match="takes 2 values, but got 1"):
        function(OTHER)
    with pytest.raises(TypeError, match="options"):
        function(OTHER, OTHER, options=None)
    with pytest.raises(HookError):
        function(OTHER, "text")
    with pytest.raises(ValueError, match="twice"):
        session.make_callable(0, [0, 0])
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        function(OTHER, OTHER)


def test_arguments_of_run():
    session = Session(add_one())
    feeds = {0: [1], 1: [2]}
    assert session.run(fetches=0, feed_dict=feeds) == 2
    assert session.run(0, feed_dict=list(feeds.items())) == 2
    with pytest.raises(TypeError, match="fetches"):
        session.run(feed_dict=feeds)
    with pytest.raises(TypeError, match="unexpected argument 'feed'"):
        session.run(0, feed=feeds)
    with pytest.raises(TypeError, match="at most 4"):
        session.run(0, feeds, None, None, None)
    with pytest.raises(TypeError):
        session.run(0, feeds, fetches=0)


def test_converters_see_the_value_first():
    session = Session(add_one())
    session.converters = [lambda value: np.float32(value.split(",")), None]
    assert session.run(0, {0: "1,2", 1: OTHER}).tolist() == [2, 3]
    with pytest.raises(HookError) as caught:
        session.run(0, {0: "1,x", 1: OTHER})
    assert isinstance(caught.value.args[2], ValueError)


def test_closing():
    session = Session(add_one())
    result = session.run(0, {0: [1.0], 1: OTHER})
    session.close()
    session.close()
    assert session.closed and result.tolist() == [2]
    for call in (
        lambda: session.run(0),
        lambda: session.make_callable(0),
        lambda: session.state_get(0),
        lambda: session.state_define(0, "a", "f4", ()),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    assert session.counters()["runs"] == 1
    session = None
    gc.collect()
    result += 1
    assert result.tolist() == [3]


def test_an_uninitialised_session_says_so():
    class Forgetful(runtime.Session):
        def __init__(self):
            pass

    with pytest.raises(RuntimeError, match="__init__"):
        Forgetful().run(0)
    with pytest.raises(TypeError, match="ThreadPool"):
        runtime.Session(pool=3)


def test_prepare_must_give_a_matching_call():
    class Wrong(Session):
        answer = None

        def _prepare(self, fetches, feed_keys, feed_dict=None):
            return self.answer

    session = Wrong(add_one())
    with pytest.raises(TypeError, match="Call"):
        session.run(0)
    session.answer = runtime.Call(session.executable, 0, [0, 1])
    with pytest.raises(ValueError, match="other feeds"):
        session.run(0)
    with pytest.raises(ValueError, match="once"):
        runtime.Call(session.executable, 0, [0, 0])
    with pytest.raises(ValueError, match="does not exist"):
        runtime.Call(session.executable, [5], [0, 1])
    with pytest.raises(TypeError):
        runtime.Call(session.executable, {"a": 1.5}, [0, 1])


@pytest.mark.parametrize(
    "rows",
    [
        {"feeds": [Feed(0, "float32", (~9,))]},
        {"feeds": [Feed(0, "float32", (1,) * 40)]},
        {"feeds": [Feed(0, "float32", (~0,), (0,))]},  # symbol 1 stays unbound
        {"checks": [Check(0, ~9, 0)]},
        {"outputs": [Output("float32", (), source="feed", index=7)]},
        {"outputs": [Output("float32", (), source="state_out", index=0)]},
        {"buffers": [Buffer(3, 64, 2, 1)]},
        {"buffers": [Buffer(3, 64, 0, 0, alias_of=0)]},
        {"buffers": [Buffer(3, 64, 0, 0, alias_of=1), Buffer(4, 64, 0, 0, alias_of=0)]},
        {"buffers": [Buffer(3, 64, 0, 0, offset=3)]},
        {"buffers": [Buffer(3, 64, 0, 0, offset=64), Buffer(4, 64, 0, 0)]},
        {"states": [runtime.State(-1, "float32", ())]},
        {"states": [runtime.State(1, "float32", ()), runtime.State(1, "float32", ())]},
        {"value_binds": [runtime.ValueBind(0, 0, 0)]},  # from a float feed
        {"outputs": [Output("float32", (2,), pointer=-1)]},
        {"outputs": [Output("float32", (2,), pointer=1), Output("float32", (2,), pointer=1)]},
        {"feeds": [Feed(-2, "float32", (~0,), (0,)), Feed(1, "float32", (~0,), (1,))]},
        {"constants": [Constant(1 << 30, np.zeros(3))]},
    ],
)
def test_unsound_descriptions_are_refused(rows):
    with pytest.raises(ValueError):
        add_one(**rows).load()


def test_many_threads_run_one_session():
    session = Session(add_one(), threads=2)
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(300):
            x = rng.random(int(rng.integers(1, 40000)), np.float32)
            if not np.array_equal(session.run(0, {0: x, 1: OTHER}), x + 1):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert session.executable.inspect()["arenas"] <= 5


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_nothing_leaks():
    session = Session(add_one(True))
    function = session.make_callable([0, {"a": 1}], [0, 1])
    x = np.arange(64, dtype=np.float32)

    def many(count):
        for i in range(count):
            session.run([0, 1], {0: x, 1: OTHER})
            function([1.0, 2.0], OTHER)
            if i % 10 == 0:
                with pytest.raises(HookError):
                    function("text", OTHER)
                with pytest.raises(HookError):
                    session.run(0, {0: [[1.0]], 1: OTHER})

    many(2000)
    gc.collect()
    before = resident_bytes()
    many(50_000)
    gc.collect()
    assert resident_bytes() - before < 3 << 20
    assert session.counters()["live_buffers"] == 0


def test_sessions_in_cycles_are_collected():
    class Cyclic(Session):
        pass

    def function(x):
        return x

    session = Cyclic(host_description(function))
    function.session = session
    session.me = session
    session.callable = session.make_callable(0, [0, 1])
    session.callable([1], [1])
    gone = weakref.ref(session)
    del session, function
    gc.collect()
    assert gone() is None
