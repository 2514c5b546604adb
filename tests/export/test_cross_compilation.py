"""Exports for other machines: linked by their compilers, run by what plays them."""

import hosts
import machines
import numpy as np
import pytest
from safetensors.numpy import load_file

import graphflow as gf

TRIPLES = {"aarch64": "aarch64-linux-gnu", "riscv64": "riscv64-linux-gnu", "wasm32": "wasm32"}

HOST = """
#include "digits.h"
#include <stdio.h>
#include <string.h>

static float x[6 * 64], p[6 * 10];
static int64_t labels[6];

static const char *in(const char *folder, const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

int main(int count, char **arguments)
{
    const char *folder = arguments[count - 1];
    digits_model *model;
    float loss = 0;
    for (int i = 0; i < 6 * 64; i++) {
        x[i] = (float)(i % 23) / 23 - 0.5F;
        labels[i % 6] = i % 10;
    }
    digits_options options = {.threads = 2};
    options.weights = EMBEDDED ? NULL : in(folder, "digits.safetensors");
    int32_t status = digits_create(&options, &model);
    for (int i = 0; i < 5 && status == DIGITS_OK; i++) {
        status = digits_train_step(model, 6, x, labels, &loss);
    }
    status = status == DIGITS_OK ? digits_predict(model, 6, x, p) : status;
    status = status == DIGITS_OK ? digits_save(model, in(folder, "after.safetensors")) : status;
    if (status != DIGITS_OK) {
        fprintf(stderr, "%d %s\\n", status, digits_message());
        return 1;
    }
    labels[3] = -1;
    if (digits_train_step(model, 6, x, labels, &loss) != DIGITS_FAILED ||
        strstr(digits_message(), "-1") == NULL) {
        fprintf(stderr, "%s\\n", digits_message());
        return 1;
    }
    for (int i = 0; i < 60; i++) {
        printf("%.9g\\n", (double)p[i]);
    }
    digits_destroy(model);
    return 0;
}
"""


def machine_named(name: str) -> machines.Machine:
    return next(p.values[0] for p in machines.MACHINES if p.id == name)


@pytest.mark.parametrize("weights", ["file", "embedded"])
@pytest.mark.parametrize("name", TRIPLES)
def test_a_host_for_another_machine_predicts_and_trains(tmp_path, name, weights):
    machine = machine_named(name)
    machines.needs(machine)
    signatures, graph = hosts.digits()
    x = ((np.arange(6 * 64) % 23) / np.float32(23) - np.float32(0.5)).astype(np.float32)
    x = x.reshape(6, 64)
    labels = np.zeros(6, np.int64)
    for i in range(6 * 64):
        labels[i % 6] = i % 10
    with hosts.session() as session:
        gf.export(tmp_path, signatures, session, "digits", TRIPLES[name], weights=weights)
        for _ in range(5):
            session.run([graph["train"]], {graph["x"]: x, graph["labels"]: labels})
        expected = session.run(graph["p"], {graph["x"]: x})
        values = {h.name: session.variable_value(h) for h in session._handles}
    source = tmp_path / "host.c"
    source.write_text(HOST.replace("EMBEDDED", str(int(weights == "embedded"))))
    runtime = tmp_path / "runtime"
    program = machine.build(
        tmp_path / "host", f"-I{runtime}", f"-I{tmp_path}", source, *sorted(runtime.glob("*.c")),
        tmp_path / "libdigits.a",
    )  # fmt: skip
    # The first argument that is a path tells WASI which folder it may see.
    done = machine.run(program, str(tmp_path / "after.safetensors"), str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.array(done.stdout.split(), np.float32).reshape(6, 10)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    after = load_file(tmp_path / "after.safetensors")
    assert after.keys() == values.keys()
    for variable, value in values.items():
        np.testing.assert_allclose(after[variable], value, rtol=1e-3, atol=1e-6, err_msg=variable)


@pytest.mark.parametrize("kind", ["object", "static"])
@pytest.mark.parametrize("name", TRIPLES)
def test_objects_for_other_machines_need_the_runtime_alone(tmp_path, name, kind):
    """Without any tool of that machine."""
    signatures, _ = hosts.digits()
    with hosts.session() as session:
        files = gf.export(tmp_path, signatures, session, "digits", TRIPLES[name], kind=kind)
    assert any(path.endswith(".o" if kind == "object" else ".a") for path in files)
    again = tmp_path / "again"
    with hosts.session() as session:
        gf.export(again, signatures, session, "digits", TRIPLES[name], kind=kind)
    for path in files:
        other = again / path[len(str(tmp_path)) + 1 :]
        with open(path, "rb") as first:
            assert first.read() == other.read_bytes(), path


CHOOSES = """
#include "digits.h"
#include <stdio.h>

static float x[3 * 64], p[3 * 10];

int main(void)
{
    digits_model *model;
    int32_t status = digits_create(NULL, &model);
    if (status != DIGITS_OK) {
        printf("%d %s\\n", status, digits_message());
        return 0;
    }
    for (int i = 0; i < 3 * 64; i++) {
        x[i] = (float)i / 192;
    }
    status = digits_predict(model, 3, x, p);
    printf("%d %s %.6f\\n", status, digits_instruction_set(model), (double)p[0]);
    digits_destroy(model);
    return 0;
}
"""

PROCESSORS = {"Nehalem": "sse2", "Haswell": "avx2"}


@pytest.mark.parametrize("target", ["x86-64-linux-gnu", "avx2", "avx512"])
def test_old_processors_run_what_they_can_and_nothing_else(tmp_path, target):
    """One artefact for all of x86-64, or a refusal: never an instruction that is not there."""
    if hosts.run(["uname", "-m"]).strip() != "x86_64":
        pytest.skip("needs an x86-64 compiler")
    player = hosts.compiler("qemu-x86_64")
    signatures, graph = hosts.digits()
    with hosts.session() as session:
        gf.export(tmp_path, signatures, session, "digits", target, weights="embedded")
        x = (np.arange(3 * 64, dtype=np.float32) / np.float32(192)).reshape(3, 64)
        expected = session.run(graph["p"], {graph["x"]: x})[0, 0]
    program = hosts.build(tmp_path, CHOOSES, [tmp_path / "libdigits.a"])
    for cpu, level in PROCESSORS.items():
        printed = hosts.run([player, "-cpu", cpu, program]).split()
        if target.startswith("x86") or (target == "avx2" and level == "avx2"):
            assert printed[:2] == ["0", level]
            assert abs(float(printed[2]) - expected) < 1e-5
        else:
            assert printed[0] == "28"  # UNSUPPORTED_CPU
            assert ("avx512f" if level == "avx2" else "avx2") in " ".join(printed)
