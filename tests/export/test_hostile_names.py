"""Headers of models whose names, shapes and sizes are the worst that a graph can have."""

import hosts
import numpy as np
import pytest

import graphflow as gf

NAMES = [
    "int", "model", "0x", "größe", "class", "a*/b", "/*", 'quo"te', "back\\slash", "line\nbreak",
    "??/", "INT64_C_", "errno", "batch", "_Bool", "std", "status", "sizes", "feeds", "%s",
]  # fmt: skip


def hostile():
    """Signatures with such names, and what a C and a C++ program know of them."""
    inputs = {name: gf.placeholder(gf.float32, [None, 2]) for name in NAMES}
    scalar = gf.placeholder(gf.float64, [])
    empty = gf.placeholder(gf.int64, [0, 3])
    a, b = gf.placeholder(gf.float32, [None, None]), gf.placeholder(gf.float32, [None])
    clash = [gf.Variable(np.float32(i), name=n) for i, n in enumerate(("a/b_0", "a_b_0", "A_B_0"))]
    more = [gf.Variable(np.zeros(0, np.uint8), name=n) for n in ("ok", "hash", "H")]
    total = gf.add_n(list(inputs.values()))
    strided = b[::3][1:]
    return {
        "predict": {"feeds": inputs, "fetches": {"result": total, "x": total + clash[0]}},
        "Predict": {"feeds": {"x": scalar}, "fetches": {"X": scalar + 1, "x": scalar * 2}},
        "a": {"feeds": {"b_c": empty}, "fetches": {"double": gf.reduce_sum(empty)}},
        "a_b": {"feeds": {"c": a}, "fetches": {"d": gf.transpose(a), "e": gf.reduce_sum(a, 1)}},
        "strides": {"feeds": {"b": b}, "fetches": {"s": strided, "t": gf.concat([b, b], 0)}},
        "nothing": {"fetches": {"done": gf.assign(clash[1], 1.0).op}},
        "no_feeds": {"fetches": {f"r{i}": v.read_value() for i, v in enumerate((*clash, *more))}},
        "while": {"feeds": {}, "fetches": {"v": gf.constant([1.0, 2.0])}},
        "span": {"feeds": {"C": b}, "fetches": {"T": b * 2}},
        "try_a": {"feeds": {"Feeds": b}, "fetches": {"Span": b * 2}},
    }


USES = """
#include "worst.hpp"
int main()
{
    worst::Model model{worst::Options()};
    worst::AB::Feeds feeds;
    const std::vector<float> c{1, 2, 3, 4, 5, 6};
    feeds.c = c;
    feeds.c_dim0 = 2;
    worst::AB::Results results;
    if (model.try_a_b(feeds, results) != worst::Status::bad_argument) {
        return 1; /* nothing tells how many columns there are */
    }
    feeds.c_dim1 = 3;
    results = model.a_b(feeds);
    if (results.d.shape != std::array<std::int64_t, 2>{3, 2} || results.d[1] != 4 ||
        results.e[1] != 15) {
        return 2;
    }
    for (std::int64_t n = 0; n < 20; n++) {
        const std::vector<float> b(static_cast<std::size_t>(n) + 1);
        worst::Strides::Feeds strides;
        strides.b = {b.data(), static_cast<std::size_t>(n)};
        const auto found = model.strides(strides);
        const auto length = (n + 2) / 3 > 1 ? (n + 2) / 3 - 1 : 0;
        if (found.s.shape[0] != length || static_cast<std::int64_t>(found.s.size()) != length ||
            found.t.shape[0] != 2 * n) {
            return 3;
        }
    }
    model.nothing();
    if (model.no_feeds().r1 != 1 || model.while_().v[1] != 2) {
        return 4;
    }
    worst::Predict__::Feeds scalar;
    scalar.x = 3;
    return model.Predict(scalar).x_out == 6 ? 0 : 5;
}
"""


@pytest.fixture(scope="module")
def worst(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worst")
    gf.reset_default_graph()
    with gf.Session() as session:
        signatures = hostile()
        session.run(gf.global_variables_initializer())
        gf.export(folder, signatures, session, name="worst", weights="embedded")
    return folder


def test_lines_are_of_at_most_a_hundred_columns(worst):
    for name in ("worst.h", "worst.hpp"):
        lines = (worst / name).read_text().splitlines()
        long = [line for line in lines if len(line) > 100]
        assert not [line for line in long if "runtime/[a-z]*.c" not in line]  # one command is long


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("standard", ["c99", "c11", "gnu17"])
def test_the_c_header_compiles_as_c(worst, compiler, standard):
    (worst / "use.c").write_text('#include "worst.h"\nint main(void) { return WORST_OK; }\n')
    hosts.run([
        hosts.compiler(compiler), f"-std={standard}", "-pedantic", *hosts.WARNINGS,
        "-fsyntax-only", worst / "use.c",
    ])  # fmt: skip


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("more", [[], ["-fno-exceptions"]], ids=["exceptions", "codes"])
def test_both_headers_compile_as_cpp(worst, compiler, more):
    for name in ("worst.h", "worst.hpp"):
        for standard in ("c++17", "c++20", "gnu++17"):
            (worst / "use.cpp").write_text(f'#include "{name}"\nint main() {{}}\n')
            hosts.run([
                hosts.compiler(compiler), f"-std={standard}", *more, *hosts.WARNINGS,
                "-fsyntax-only", worst / "use.cpp",
            ])  # fmt: skip


def test_the_example_in_the_c_header_is_a_program(worst):
    text = (worst / "worst.h").read_text()
    rows = text.split("A complete program")[1].split(" * One command")[0].splitlines()[2:-1]
    (worst / "host.c").write_text("\n".join(row[5:] for row in rows) + "\n")
    command = next(row[5:] for row in text.splitlines() if "runtime/[a-z]*.c" in row).strip()
    hosts.run(["sh", "-c", f"{command} -Wall -Wextra -Wpedantic -Wshadow -Werror"], cwd=worst)
    assert hosts.run([worst / "host"]) == "0\n"


def test_models_of_such_names_run(worst):
    from test_hosts_in_cpp import build

    hosts.run([build(worst, USES)])


@pytest.mark.parametrize(
    "name", ["math", "string", "m", "c", "pthread", "std", "_Upper", "0x", "a-b", "", "main"]
)
def test_names_that_would_stand_in_the_way_are_refused(tmp_path, name):
    gf.reset_default_graph()
    x = gf.placeholder(gf.float32, [2])
    with pytest.raises(ValueError, match="export: name must be a C identifier"):
        gf.export(tmp_path, {"f": {"feeds": {"x": x}, "fetches": {"y": x}}}, name=name)


def test_signatures_that_would_be_called_alike_are_refused(tmp_path):
    gf.reset_default_graph()
    x = gf.placeholder(gf.float32, [2])
    one = {"feeds": {"x": x}, "fetches": {"y": x * 2}}
    with pytest.raises(ValueError, match="has a function f_reserve already"):
        gf.export(tmp_path, {"f": one, "f_reserve": one})
    with pytest.raises(ValueError, match="both called f_g in C"):
        gf.export(tmp_path, {"f/g": one, "f-g": one})
