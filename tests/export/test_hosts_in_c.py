"""Exported models in C programs: the same numbers as a Session's, and nothing unexpected."""

import subprocess
from pathlib import Path

import hosts
import numpy as np
import pytest
from safetensors.numpy import load_file

import graphflow as gf

TRAIN = """
#include "digits.h"
#include <stdio.h>
#include <stdlib.h>

static float x[16 * 64];
static int64_t labels[16];
static float p[16 * 10];

int main(int count, char **arguments)
{
    digits_options options = {.threads = count > 2 ? atoi(arguments[2]) : 1,
                              .weights = "digits.safetensors",
                              .instruction_set = arguments[1]};
    digits_model *model;
    float loss = 0;
    int32_t status = digits_create(&options, &model);
    FILE *data = fopen("data.bin", "rb");
    if (data == NULL || fread(x, sizeof x, 1, data) != 1 ||
        fread(labels, sizeof labels, 1, data) != 1) {
        return 2;
    }
    fclose(data);
    for (int i = 0; i < 100 && status == DIGITS_OK; i++) {
        status = digits_train_step(model, 16, x, labels, &loss);
    }
    if (status == DIGITS_OK) {
        status = digits_predict(model, 16, x, p);
    }
    if (status == DIGITS_OK) {
        status = digits_save(model, "after.safetensors");
    }
    if (status != DIGITS_OK) {
        fprintf(stderr, "%d %s\\n", status, digits_message());
        return 1;
    }
    fwrite(p, sizeof p, 1, stdout);
    digits_destroy(model);
    return 0;
}
"""


def batch():
    rng = np.random.default_rng(5)
    return rng.standard_normal((16, 64)).astype(np.float32), rng.integers(0, 10, 16)


def test_a_hundred_steps_leave_the_very_bits_a_session_leaves(tmp_path, monkeypatch):
    from graphflow.codegen.target import host

    signatures, graph = hosts.digits()
    x, labels = batch()
    (tmp_path / "data.bin").write_bytes(x.tobytes() + labels.tobytes())
    with hosts.session() as session:
        gf.export(tmp_path, signatures, session, name="digits")
    program = hosts.build(tmp_path, TRAIN, [tmp_path / "libdigits.a"])
    levels = ["sse2"] if host().machine == "x86_64" else [host().machine]
    levels += [
        name for name, has in (("avx2", host().has_fma), ("avx512", host().has_masks)) if has
    ]
    for level in levels:
        monkeypatch.setenv("GRAPHFLOW_TARGET", level)
        printed = subprocess.run(
            [program, level, "2"], cwd=tmp_path, capture_output=True, check=True
        ).stdout
        with hosts.session() as session:
            for _ in range(100):
                session.run([graph["train"]], {graph["x"]: x, graph["labels"]: labels})
            expected = session.run(graph["p"], {graph["x"]: x})
            assert printed == expected.tobytes(), level
            for name, value in load_file(tmp_path / "after.safetensors").items():
                variable = next(v for v in session._handles if v.name == name)
                here = session.variable_value(variable)
                assert here.tobytes() == value.tobytes(), (level, name)


def test_the_same_export_is_the_same_bytes(tmp_path):
    found = []
    for number in range(2):
        gf.reset_default_graph()
        signatures, _ = hosts.digits()
        with hosts.session() as session:
            files = gf.export(tmp_path / str(number), signatures, session, name="digits")
        folder = tmp_path / str(number)
        found.append({str(Path(p).relative_to(folder)): Path(p).read_bytes() for p in files})
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []


CHECKS = """
#include "digits.h"
#include <stdio.h>
#include <string.h>

static int failures;

static void expect(int32_t status, int32_t wanted, const char *part)
{
    if (status != wanted || (wanted != DIGITS_OK && strstr(digits_message(), part) == NULL)) {
        printf("got %d, not %d, and: %s\\n", status, wanted, digits_message());
        failures++;
    }
}

int main(void)
{
    static float x[4 * 64], p[4 * 10], w[32 * 10], kept[32 * 10];
    static _Alignas(64) char arena[1 << 20];
    int64_t labels[4] = {0, 1, 2, 3}, bytes = -1, dims[2] = {0, 0};
    float loss;
    digits_model *model;
    digits_options options = {.weights = "digits.safetensors", .threads = 1};
    expect(digits_create(&options, NULL), DIGITS_BAD_ARGUMENT, "NULL");
    options.instruction_set = "mmx";
    expect(digits_create(&options, &model), DIGITS_BAD_ARGUMENT, "mmx");
    options.instruction_set = NULL;
    options.weights = "nothing";
    expect(digits_create(&options, &model), DIGITS_IO_ERROR, "nothing");
    options.weights = "truncated.safetensors";
    expect(digits_create(&options, &model), DIGITS_BAD_FILE, "truncated.safetensors");
    options.weights = "foreign.safetensors";
    expect(digits_create(&options, &model), DIGITS_BAD_FILE, "hidden/w");
    if (model != NULL) {
        puts("a model was made");
        return 1;
    }
    options.weights = NULL;
    expect(digits_create(&options, &model), DIGITS_OK, "");
    expect(digits_predict(model, 4, x, p), DIGITS_UNINITIALIZED, "has no value yet");
    expect(digits_load(model, "foreign.safetensors"), DIGITS_BAD_FILE, "hidden/w");
    expect(digits_load(model, "other.safetensors"), DIGITS_BAD_FILE, "out/w");
    expect(digits_predict(model, 4, x, p), DIGITS_UNINITIALIZED, "has no value yet");
    expect(digits_load(model, "digits.safetensors"), DIGITS_OK, "");
    expect(digits_get(model, DIGITS_OUT_W, kept, sizeof kept, dims), DIGITS_OK, "");
    expect(dims[0] == 32 && dims[1] == 10 ? DIGITS_OK : DIGITS_FAILED, DIGITS_OK, "");
    expect(digits_predict(NULL, 4, x, p), DIGITS_BAD_ARGUMENT, "model");
    expect(digits_predict(model, 4, NULL, p), DIGITS_BAD_ARGUMENT, "feed x is NULL");
    expect(digits_predict(model, -1, x, p), DIGITS_BAD_SIZE, "batch is negative");
    expect(digits_predict(model, INT64_MAX / 2, x, p), DIGITS_BAD_SIZE, "too large");
    expect(digits_predict(model, 0, NULL, p), DIGITS_OK, "");
    expect(digits_predict(model, 4, x, NULL), DIGITS_OK, "");
    labels[2] = 17;
    expect(digits_train_step(model, 4, x, labels, &loss), DIGITS_FAILED, "17");
    expect(digits_get(model, DIGITS_OUT_W, w, sizeof w, NULL), DIGITS_OK, "");
    expect(memcmp(w, kept, sizeof w) == 0 ? DIGITS_OK : DIGITS_FAILED, DIGITS_OK, "");
    expect(digits_get(model, DIGITS_OUT_W, w, 10, NULL), DIGITS_BAD_ARGUMENT, "room for 10");
    expect(digits_get(model, DIGITS_OUT_W, NULL, sizeof w, NULL), DIGITS_BAD_ARGUMENT, "NULL");
    expect(digits_get(model, 99, w, sizeof w, NULL), DIGITS_BAD_ARGUMENT, "no number 99");
    expect(digits_set(model, DIGITS_OUT_W, w, 12, NULL), DIGITS_BAD_ARGUMENT, "takes 1280 bytes");
    expect(digits_set(model, DIGITS_OUT_W, w, sizeof w, dims), DIGITS_OK, "");
    dims[0] = 31;
    expect(digits_set(model, DIGITS_OUT_W, w, sizeof w, dims), DIGITS_BAD_ARGUMENT, "axis 0");
    expect(digits_save(model, "no/such/folder"), DIGITS_IO_ERROR, "no/such/folder");
    expect(digits_predict_arena_bytes(model, 4, &bytes), DIGITS_OK, "");
    expect(bytes > 0 ? DIGITS_OK : DIGITS_FAILED, DIGITS_OK, "");
    digits_destroy(model);
    options = (digits_options){.weights = "digits.safetensors", .threads = 1, .arena = arena + 1,
                               .arena_bytes = sizeof arena - 1};
    expect(digits_create(&options, &model), DIGITS_BAD_ARGUMENT, "aligned");
    options.arena = arena;
    options.arena_bytes = bytes;
    expect(digits_create(&options, &model), DIGITS_OK, "");
    expect(digits_predict(model, 4, x, p), DIGITS_OK, "");
    expect(digits_predict(model, 400, x, p), DIGITS_ARENA_TOO_SMALL, "the arena has");
    expect(digits_predict(model, 4, x, p), DIGITS_OK, "");
    digits_destroy(model);
    digits_destroy(NULL);
    return failures != 0;
}
"""


def test_what_is_wrong_is_said_and_nothing_changes(tmp_path):
    signatures, _ = hosts.digits()
    with hosts.session() as session:
        gf.export(tmp_path, signatures, session, name="digits")
    whole = (tmp_path / "digits.safetensors").read_bytes()
    (tmp_path / "truncated.safetensors").write_bytes(whole[:-5])
    from safetensors.numpy import save_file

    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "foreign.safetensors")
    values = load_file(tmp_path / "digits.safetensors")
    values["out/w"] = np.zeros((32, 11), np.float32)
    save_file(values, tmp_path / "other.safetensors")
    program = hosts.build(
        tmp_path, CHECKS, [tmp_path / "libdigits.a"], ["-O1", "-g", "-fsanitize=address,undefined"]
    )
    assert hosts.run([program], cwd=tmp_path) == ""


COUNTS = """
#include "digits.h"
#include <stdio.h>
#include <stdlib.h>

static long count;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t items, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t items, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    count++;
    return __real_malloc(bytes);
}
void *__wrap_calloc(size_t items, size_t bytes)
{
    count++;
    return __real_calloc(items, bytes);
}
void *__wrap_realloc(void *memory, size_t bytes)
{
    count++;
    return __real_realloc(memory, bytes);
}
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    count++;
    return __real_posix_memalign(memory, alignment, bytes);
}

int main(void)
{
    static float x[8 * 64], p[8 * 10];
    int64_t labels[8] = {0};
    float loss;
    digits_model *model;
    digits_options options = {.weights = "digits.safetensors", .threads = 2};
    if (digits_create(&options, &model) || digits_predict_reserve(model, 8, 2) ||
        digits_train_step_reserve(model, 8, 2)) {
        puts(digits_message());
        return 1;
    }
    long before = count;
    for (int i = 0; i < 20; i++) {
        if (digits_predict(model, 8, x, p) || digits_train_step(model, 8, x, labels, &loss)) {
            puts(digits_message());
            return 1;
        }
    }
    printf("%d\\n", count - before != 0);
    printf("%ld\\n", count - before);
    digits_destroy(model);
    return 0;
}
"""


def test_runs_allocate_nothing_where_memory_was_reserved(tmp_path):
    signatures, _ = hosts.digits()
    with hosts.session() as session:
        gf.export(tmp_path, signatures, session, name="digits")
    wrapped = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "posix_memalign")]
    program = hosts.build(tmp_path, COUNTS, [tmp_path / "libdigits.a"], ["-O1", *wrapped])
    assert hosts.run([program], cwd=tmp_path).split()[-1] == "0"


def names(library: str, *flags: str) -> set[str]:
    """Symbols of a library that nm lists, without versions."""
    rows = [
        line.split() for line in hosts.run([hosts.compiler("nm"), *flags, library]).splitlines()
    ]
    return {row[-1].partition("@")[0] for row in rows if len(row) >= 2}


def exported(tmp_path, kind: str, weights: str) -> str:
    signatures, _ = hosts.digits()
    with hosts.session() as session:
        files = gf.export(tmp_path, signatures, session, name="digits", kind=kind, weights=weights)
    return next(f for f in files if f.endswith((".a", ".o", ".so")))


@pytest.mark.parametrize("weights", ["file", "embedded"])
@pytest.mark.parametrize("kind", ["static", "object"])
def test_code_needs_the_runtime_alone(tmp_path, kind, weights):
    library = exported(tmp_path, kind, weights)
    assert all(
        name.startswith("gf_model_") or name == "gf_message" for name in names(library, "-u")
    )
    shown = names(library, "-g", "--defined-only")
    assert all(name.startswith("digits_") for name in shown)
    assert {"digits_spec", "digits_create", "digits_predict", "digits_train_step"} <= shown
    assert not [name for name in shown if "avx" in name or "sse" in name or "data" in name]


def test_shared_libraries_need_the_c_library_alone(tmp_path):
    library = exported(tmp_path, "shared", "embedded")
    program = tmp_path / "every_symbol.c"
    program.write_text("int main(void) { return 0; }")
    # What is undefined must be found in libc, libm and the threads, and nowhere else.
    command = [hosts.compiler(), program, "-o", tmp_path / "program", library, "-Wl,--no-undefined"]
    hosts.run([*command, "-nodefaultlibs", "-lc", "-lm", "-pthread"])
    shown = names(library, "-D", "--defined-only") - {"gf_model_entry"}
    assert all(name.startswith("digits_") for name in shown)
    assert not [n for n in names(library, "-D", "-u") if n.startswith(("gf_", "_Z", "Py", "LLVM"))]


def test_numbers_are_those_of_the_c_headers():
    from graphflow.export import model, model_object

    headers = Path(gf.__file__).resolve().parent / "native" / "include" / "graphflow"
    dtypes = (headers / "dtype.h").read_text()
    for name, number in model_object.NUMBERS.items():
        assert f"GF_{name.upper()} = {number}," in dtypes
    text = (headers / "model.h").read_text()
    assert f"#define GF_MODEL_FORM {model_object.FORM}\n" in text
    assert model.COMPUTED == -(2**63) and "#define GF_COMPUTED INT64_MIN" in text
