"""Exported models in C++ programs: named arguments, sizes from lengths, errors of both kinds."""

import hosts
import numpy as np
import pytest

import graphflow as gf

# What a program may be compiled as. Each is warned about as much as compilers can.
DIALECTS = [
    [compiler, f"-std={standard}", *more]
    for compiler in ("g++", "clang++")
    for standard in ("c++17", "c++20")
    for more in ([], ["-fno-exceptions"])
]


def compile_only(folder, source, dialect):
    path = folder / "only.cpp"
    path.write_text(source)
    compiler, *flags = dialect
    hosts.run([
        hosts.compiler(compiler), *flags, *hosts.WARNINGS, "-Wconversion", f"-I{folder}",
        "-fsyntax-only", path,
    ])  # fmt: skip


def build(folder, source, flags=("-std=c++17",), compiler="g++"):
    """A program from C++ source and the static library of `folder`."""
    (folder / "host.cpp").write_text(source)
    runtime = folder / "runtime" / "runtime.o"
    if not runtime.exists():
        hosts.run([
            hosts.compiler("gcc"), "-std=c11", "-O1", "-r", "-nostdlib", f"-I{folder / 'runtime'}",
            *sorted((folder / "runtime").glob("*.c")), "-o", runtime,
        ])  # fmt: skip
    program = folder / "host"
    hosts.run([
        hosts.compiler(compiler), *flags, *hosts.WARNINGS, "-O1", f"-I{folder}",
        folder / "host.cpp", runtime, *folder.glob("*.a"), "-o", program, "-pthread", "-lm",
    ])  # fmt: skip
    return program


CALLS = """
#include "digits.hpp"
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#if defined(__cpp_lib_span) || __cplusplus >= 202002L
#include <span>
#endif

static int failures;

static void expect(bool holds, const char *what)
{
    if (!holds) {
        std::printf("%s: %s\\n", what, digits::message());
        failures++;
    }
}

static void refused(digits::Status status, digits::Status wanted, const char *text)
{
    expect(status == wanted, text);
    expect(std::strstr(digits::message(), text) != nullptr, text);
}

/* The host's own threads: one for each task, here. */
struct Pool {
    int calls = 0;
    void operator()(std::int32_t tasks, digits::Task task)
    {
        calls++;
        std::vector<std::thread> threads;
        for (std::int32_t i = 0; i < tasks; i++) {
            threads.emplace_back([task, i] { task(i); });
        }
        for (auto &thread : threads) {
            thread.join();
        }
    }
};

static void codes()
{
    using digits::Status;
    digits::Options options;
    options.weights = digits::weights_file;
    options.threads = 1;
    digits::Model model, nothing;
    expect(!model && model.handle() == nullptr, "no model yet");
    expect(digits::Model::try_create(options, model) == Status::ok, "create");
    expect(bool(model), "a model");
    options.weights = "nothing";
    refused(digits::Model::try_create(options, nothing), Status::io_error, "nothing");
    expect(!nothing, "none was made");

    const std::vector<float> x(3 * 64);
    digits::Predict::Feeds feeds;
    feeds.x = x;
    digits::Predict::Results results;
    expect(model.try_predict(feeds, results) == Status::ok, "predict");
    expect(results.p.shape == std::array<std::int64_t, 2>{3, 10}, "shape");
    expect(results.p.size() == 30 && results.p[0] > 0, "values");
    float room[30];
    expect(model.try_predict(feeds, {room}) == Status::ok, "into an array");
    expect(std::memcmp(room, results.p.data(), sizeof room) == 0, "the same");
    expect(model.try_predict(feeds, digits::Predict::Into{}) == Status::ok, "nothing is wanted");
    refused(model.try_predict(feeds, {{room, 29}}), Status::bad_argument,
            "digits.predict: output p has room for 29 elements, [batch,10] takes 30");
    refused(nothing.try_predict(feeds, results), Status::bad_argument, "model");

    feeds.x = {x.data(), 65};
    refused(model.try_predict(feeds, results), Status::feed_mismatch,
            "digits.predict: feed x has 65 elements, [batch,64] takes 64");
    feeds.x = x;
    feeds.batch = 2;
    refused(model.try_predict(feeds, results), Status::feed_mismatch, "takes 128");
    feeds.batch = INT64_MAX;
    refused(model.try_predict(feeds, results), Status::feed_mismatch, "feed x has 192");
    feeds = {};
    refused(model.try_predict(feeds, results), Status::bad_argument,
            "digits.predict: no length tells size batch, and it is not set");
    feeds.batch = 0;
    expect(model.try_predict(feeds, results) == Status::ok, "none at all");
    expect(results.p.size() == 0 && results.p.shape[1] == 10, "no values");

    const std::array<std::int64_t, 3> labels{1, 2, 3};
    digits::TrainStep::Feeds train;
    train.x = x;
    train.labels = labels;
    float loss = -1;
    expect(model.try_train_step(train, {&loss}) == Status::ok && loss > 0, "train");
    train.labels = {labels.data(), 2};
    refused(model.try_train_step(train, {&loss}), Status::feed_mismatch, "feed labels");

    using digits::Variable;
    digits::Array<float, 2> w;
    expect(model.try_get<Variable::out_w>(w) == Status::ok, "get");
    expect(w.shape == digits::Declared<Variable::out_w>::shape && w.size() == 320, "its shape");
    w[7] = 42;
    expect(model.try_set<Variable::out_w>(w) == Status::ok, "set");
    refused(model.try_set<Variable::out_w>({w.data(), 3}), Status::bad_argument, "takes 1280");
    std::vector<float> copy(320);
    expect(model.try_get<Variable::out_w>(digits::Span<float>(copy)) == Status::ok, "get into");
    expect(copy[7] == 42, "what was set");
    float power = 0;
    expect(model.try_get<Variable::beta1_power>(power) == Status::ok, "a scalar");
    expect(power > 0.8f && power < 0.82f, "of one step");
    expect(model.try_set<Variable::beta1_power>(0.9f) == Status::ok, "set a scalar");
    expect(std::strcmp(digits::variable_names[int(Variable::out_w)], "out/w") == 0, "its name");

    expect(model.try_save("saved.safetensors") == Status::ok, "save");
    expect(model.try_load("saved.safetensors") == Status::ok, "load");
    refused(model.try_load("no"), Status::io_error, "no");
    std::int64_t bytes = 0;
    expect(model.try_predict_reserve(3, 2) == Status::ok, "reserve");
    expect(model.try_predict_arena_bytes(3, bytes) == Status::ok && bytes > 0, "arena");

    options = {};
    options.weights = "saved.safetensors";
    alignas(64) static std::byte arena[1 << 16];
    options.arena = arena;
    options.instruction_set = "mmx";
    refused(digits::Model::try_create(options, nothing), Status::bad_argument, "mmx");
    options.instruction_set.clear();
    Pool pool;
    options.pool = digits::host_pool(pool);
    options.threads = 2;
    expect(digits::Model::try_create(options, nothing) == Status::ok, "an arena and a pool");
    feeds = {};
    feeds.x = x;
    expect(nothing.try_predict(feeds, results) == Status::ok, "predict with them");
    options.arena = {};
    expect(digits::Model::try_create(options, nothing) == Status::ok, "a pool");
    model = std::move(nothing);
    expect(bool(model) && !nothing, "moved");

    static_assert(digits::Predict::feeds[0].rank == 2 && digits::Predict::feeds.size() == 1);
    static_assert(digits::TrainStep::outputs[0].elements == 1);
    expect(std::strcmp(digits::name, "digits") == 0, "its name");
    expect(digits::weights_bytes > 0 && digits::hash[0] != 0, "constants");
    expect(std::strcmp(digits::Predict::feeds[0].shape, "batch,64") == 0, "a feed's shape");
}

#if defined(__cpp_exceptions)
static void exceptions()
{
    digits::Options options;
    options.weights = digits::weights_file;
    const digits::Model model(options);
    std::vector<float> x(64, 0.5f);
#if __cplusplus >= 202002L
    const auto results = model.predict({.x = x});
    const std::span<const float> seen = results.p;
    expect(seen.size() == 10 && model.predict({.x = seen.subspan(0, 0), .batch = 0}).p.size() == 0,
           "std::span");
#else
    const auto results = model.predict({x});
#endif
    float total = 0;
    for (const float p : results.p) {
        total += p;
    }
    expect(total > 0.99f && total < 1.01f, "probabilities");
    digits::Predict::Results again;
    digits::Predict::Feeds feeds;
    feeds.x = x;
    model.predict(feeds, again);
    model.predict(feeds, digits::Predict::Into{again.p});
    try {
        feeds.x = {x.data(), 63};
        model.predict(feeds, again);
        expect(false, "a length that is wrong");
    } catch (const digits::Error &error) {
        expect(error.status() == digits::Status::feed_mismatch, "its status");
        expect(std::strstr(error.what(), "feed x has 63 elements") != nullptr, "its text");
    }
    try {
        digits::Model other(digits::Options{"none.safetensors"});
        expect(false, "a file that is missing");
    } catch (const digits::Error &error) {
        expect(error.status() == digits::Status::io_error, "its status");
    }
    digits::Model trained(options);
    const std::vector<std::int64_t> labels{3};
    digits::TrainStep::Feeds train;
    train.x = x;
    train.labels = labels;
    const float loss = trained.train_step(train).loss;
    expect(trained.train_step(train).loss != loss, "it learns");
    trained.set<digits::Variable::hidden_b>(std::vector<float>(32));
    expect(trained.get<digits::Variable::hidden_b>()[31] == 0, "set and got");
    expect(trained.get<digits::Variable::beta1_power>() < 0.9f, "a scalar");
    trained.save("after.safetensors");
    trained.load("after.safetensors");
    trained.predict_reserve(4);
    expect(trained.predict_arena_bytes(4) > 0 && trained.instruction_set()[0] != 0, "facts");
}
#endif

int main()
{
    codes();
#if defined(__cpp_exceptions)
    exceptions();
#endif
    return failures != 0;
}
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    gf.reset_default_graph()
    signatures, _ = hosts.digits()
    with hosts.session() as session:
        gf.export(folder, signatures, session, name="digits")
    return folder


@pytest.mark.parametrize("dialect", DIALECTS, ids=" ".join)
def test_every_dialect_compiles_without_a_warning(digits, dialect):
    compiler, *flags = dialect
    assert hosts.run([build(digits, CALLS, flags, compiler)], cwd=digits) == ""


def test_sanitizers_find_nothing(digits):
    flags = ["-std=c++20", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    assert hosts.run([build(digits, CALLS, flags)], cwd=digits) == ""


def test_two_models_go_into_one_file(digits, tmp_path):
    gf.reset_default_graph()
    x = gf.placeholder(gf.float32, [None, 3], name="x")
    gf.export(tmp_path, {"predict": {"feeds": {"x": x}, "fetches": {"y": x * 2}}}, name="twice")
    source = """
#include "twice.hpp"
#include "digits.hpp"
int main()
{
    return twice::Model(twice::Options()).predict({std::vector<float>(3)}).y.size() == 3 &&
           digits::Status::ok == static_cast<digits::Status>(twice::Status::ok);
}
"""
    for name in ("digits.h", "digits.hpp"):
        (tmp_path / name).write_bytes((digits / name).read_bytes())
    for dialect in DIALECTS:
        if "-fno-exceptions" not in dialect:
            compile_only(tmp_path, source, dialect)


def test_an_older_standard_is_refused_in_words(digits):
    with pytest.raises(AssertionError, match=r"digits.hpp needs C\+\+17"):
        compile_only(digits, '#include "digits.hpp"\n', ["g++", "-std=c++14", "-Wfatal-errors"])


OPEN = """
#include "counts.hpp"
#include <cstdio>

int main()
{
    counts::Model model{counts::Options()};
    counts::Count_::Feeds feeds;
    for (const std::int32_t n : {0, 3, 256, 257, 5000}) {
        feeds.n = n;
        const auto before = model.get<counts::Variable::total>();
        const auto results = model.count(feeds);
        std::printf("%lld %lld", static_cast<long long>(results.squares.shape[0]),
                    static_cast<long long>(results.last));
        if (model.get<counts::Variable::total>() != before + 1) {
            return 2;
        }
        for (std::int32_t i = 0; i < n; i++) {
            if (results.squares[static_cast<std::size_t>(i)] != float(i * i)) {
                return 1;
            }
        }
    }
    float room[2];
    std::array<std::int64_t, 1> shape{};
    feeds.n = 3;
    if (model.try_count(feeds, {nullptr, room, &shape}) != counts::Status::bad_argument ||
        shape[0] != 3 || model.get<counts::Variable::total>() != 5) {
        return 3;
    }
    feeds.n.reset();
    if (model.try_count(feeds, counts::Count_::Into{}) != counts::Status::bad_argument) {
        return 4;
    }
    std::printf(" %s", counts::message());
    return 0;
}
"""


def test_outputs_whose_lengths_a_run_finds_out(tmp_path):
    gf.reset_default_graph()
    n = gf.placeholder(gf.int32, [], name="n")
    total = gf.Variable(np.int64(0), name="total")
    rows = gf.TensorArray(gf.float32, size=0, dynamic_size=True, element_shape=[])
    last, rows = gf.while_loop(
        lambda i, rows: i < n,
        lambda i, rows: (i + 1, rows.write(i, gf.cast(i * i, gf.float32))),
        [0, rows],
    )
    fetches = {"last": last, "squares": rows.stack(), "count": gf.assign_add(total, 1).op}
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        gf.export(
            tmp_path, {"count": {"feeds": {"n": n}, "fetches": fetches}}, session, name="counts",
            weights="embedded",
        )  # fmt: skip
    printed = hosts.run([build(tmp_path, OPEN, ["-std=c++17", "-g", "-fsanitize=address"])])
    assert printed == "0 03 3256 256257 2575000 5000 counts.count: feed n is not set"
