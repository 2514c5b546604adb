"""Exported models in C hosts: latency, size and memory, beside the Session and ONNX Runtime.

Processes take turns, several rounds each; of a process the median of its calls counts, and of the
rounds the best one.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import graphflow as tf

from .. import data
from ..models import MODELS, perceptron
from ..onnx_export import OnnxNet
from ..systems.on_graphflow import GraphflowNet
from . import timing

ROUNDS = 5
# The classifier of tutorials/digits.py, and ResNet-18.
DIGITS = perceptron((64, 512, 256, 10), "relu")
NETWORKS = {"digits": (DIGITS, (64,)), "resnet18": (MODELS["resnet18"].network, (224, 224, 3))}

# Latency of NAME_predict, and of its kernels alone: the same run's step, again and again. Times are
# medians, in nanoseconds; memory is the process's peak, in KB.
HOST = r"""
#define _POSIX_C_SOURCE 199309L
#include "@NAME@.h"
#include "internal.h"
#include "model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float x[@IN@], y[@OUT@];

int main(void)
{
    enum { SAMPLES = @SAMPLES@, CALLS = @CALLS@ };
    static double whole[SAMPLES], kernels[SAMPLES];
    char line[256];
    @NAME@_model *model;
    @NAME@_options options = {.weights = "@NAME@.safetensors", .threads = @THREADS@};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        x[i] = (float)(i % 17) / 17;
    }
    double begin = now();
    if (@NAME@_create(&options, &model) != 0 || @NAME@_predict(model, x, y) != 0) {
        fprintf(stderr, "%s\n", @NAME@_message());
        return 1;
    }
    double ready = now() - begin;
    gf_model *inside = (gf_model *)model;
    for (int s = 0; s < SAMPLES; s++) {
        double start = now();
        for (int i = 0; i < CALLS; i++) {
            @NAME@_predict(model, x, y);
        }
        whole[s] = (now() - start) / CALLS;
        gf_run *run = gf_run_begin(inside->executables[0], inside->pool, NULL);
        gf_run_feed_data(run, 0, x);
        gf_run_receive(run, 0, y, sizeof y);
        if (gf_run_pin(run, inside->store, 0) != 0 || gf_run_bind(run, inside->heap) != 0) {
            return 1;
        }
        start = now();
        for (int i = 0; i < CALLS; i++) {
            inside->executables[0]->code.step(&run->frame);
        }
        kernels[s] = (now() - start) / CALLS;
        gf_run_end(run);
    }
    qsort(whole, SAMPLES, sizeof *whole, compare);
    qsort(kernels, SAMPLES, sizeof *kernels, compare);
    long peak = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            peak = atol(line + 6);
        }
    }
    printf("{\"call\": %.1f, \"kernels\": %.1f, \"peak\": %ld, \"ready\": %.0f, \"y\": %.6g}\n",
           whole[SAMPLES / 2], kernels[SAMPLES / 2], peak, ready, (double)y[0]);
    return 0;
}
"""

PLAIN = r"""
#include "@NAME@.h"

static float x[@IN@], y[@OUT@];

int main(void)
{
    @NAME@_model *model;
    @NAME@_options options = {.weights = "@NAME@.safetensors"};
    return @NAME@_create(&options, &model) || @NAME@_predict(model, 1, x, y);
}
"""

ONNX = """
import json, sys, time
import numpy as np
import onnxruntime
path, shape, samples, calls, threads = json.loads(sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
begin = time.perf_counter()
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
x = (np.arange(int(np.prod(shape))) % 17 / 17).astype(np.float32).reshape(shape)
session.run(None, {"x": x})
ready = time.perf_counter() - begin
times = []
for _ in range(samples):
    start = time.perf_counter()
    for _ in range(calls):
        session.run(None, {"x": x})
    times.append((time.perf_counter() - start) / calls * 1e9)
peak = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps({"call": sorted(times)[len(times) // 2], "peak": peak, "ready": ready * 1e9}))
"""


# What torch.export and AOTInductor make of the digits MLP: a package that libtorch loads.
AOT = """
import json, os, sys, time
import numpy as np
import torch
path, samples, calls, threads = json.loads(sys.argv[1])
torch.set_num_threads(threads)
x = torch.from_numpy((np.arange(64) % 17 / 17).astype(np.float32).reshape(1, 64))
if not os.path.exists(path):
    layers = [torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256),
              torch.nn.ReLU(), torch.nn.Linear(256, 10)]
    program = torch.export.export(torch.nn.Sequential(*layers).eval(), (x,))
    start = time.perf_counter()
    torch._inductor.aoti_compile_and_package(program, package_path=path)
    print(json.dumps({"export": time.perf_counter() - start, "bytes": os.path.getsize(path)}))
    sys.exit()
begin = time.perf_counter()
run = torch._inductor.aoti_load_package(path)
run(x)
ready = time.perf_counter() - begin
times = []
for _ in range(samples):
    start = time.perf_counter()
    for _ in range(calls):
        run(x)
    times.append((time.perf_counter() - start) / calls * 1e9)
peak = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps({"call": sorted(times)[len(times) // 2], "peak": peak, "ready": ready * 1e9}))
"""


def declare(name: str):
    """(session, x, y, weights) of a network for inference."""
    network, shape = NETWORKS[name]
    weights = dict(data.initial(name)) if name in MODELS else _random(network)
    tf.reset_default_graph()
    x = tf.placeholder(tf.float32, [1, *shape], name="x")
    names = {key: key.replace("/", "_") for key in weights}
    variables = {key: tf.Variable(value, name=names[key]) for key, value in weights.items()}
    y = tf.identity(network(GraphflowNet(tf, variables, training=False), x), name="y")
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session, x, y, weights


def _random(network) -> dict[str, np.ndarray]:
    from ..net import Declaration

    noted = Declaration()
    network(noted, None)
    rng = np.random.default_rng(3)
    return {
        name: (rng.standard_normal(shape) * 0.05).astype(np.float32)
        for name, (shape, _) in noted.parameters.items()
    }


def filled(source: str, name: str, classes: int, samples: int, calls: int, threads: int) -> str:
    shape = NETWORKS[name][1]
    values = {
        "NAME": name, "IN": int(np.prod(shape)), "OUT": classes, "SAMPLES": samples,
        "CALLS": calls, "THREADS": threads,
    }  # fmt: skip
    for key, value in values.items():
        source = source.replace(f"@{key}@", str(value))
    return source


def compiled(folder: Path, name: str, source: str, flags: list[str]) -> Path:
    (folder / "host.c").write_text(source)
    program = folder / "host"
    runtime = folder / "runtime"
    command = [
        "cc", "-std=c11", "-O2", *flags, f"-I{runtime}", str(folder / "host.c"),
        *map(str, sorted(runtime.glob("*.c"))), str(folder / f"lib{name}.a"), "-o", str(program),
        "-pthread", "-lm",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return program


def said(command: list, folder: Path) -> dict:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-1000:])
    return json.loads(done.stdout.splitlines()[-1])


def stripped_bytes(folder: Path, name: str, classes: int) -> int:
    """Of a program that predicts once, linked as one ships it."""
    source = filled(PLAIN, name, classes, 1, 1, 1)
    flags = ["-Os", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-s"]
    return compiled(folder, name, source, flags).stat().st_size


def sizes_of_digits(folder: Path) -> None:
    rng = np.random.default_rng(0)
    tf.reset_default_graph()
    x = tf.placeholder(tf.float32, [None, 64], name="x")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    h = x
    for i, (n, m) in enumerate(((64, 512), (512, 256), (256, 10))):
        w = tf.Variable((rng.standard_normal((n, m)) * 0.05).astype(np.float32), name=f"w{i}")
        h = tf.matmul(h, w) + tf.Variable(np.zeros(m, np.float32), name=f"b{i}")
        h = tf.nn.relu(h) if i < 2 else h
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=h))
    train = tf.train.AdamOptimizer().minimize(loss)
    predict = {"predict": {"feeds": {"x": x}, "fetches": {"y": h}}}
    both = {
        **predict,
        "train_step": {
            "feeds": {"x": x, "labels": labels},
            "fetches": {"loss": loss, "train": train},
        },
    }
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    rows = (
        ("predict, one instruction set", predict, "avx2"),
        ("predict, all of them", predict, None),
        ("predict and train_step, one instruction set", both, "avx2"),
        ("predict and train_step, all of them", both, None),
    )
    print("\nStripped C programs with the digits MLP, without its weights:\n")
    for number, (title, signatures, target) in enumerate(rows):
        place = folder / f"size{number}"
        tf.export(place, signatures, session, name="digits", target=target)
        size = stripped_bytes(place, "digits", 10)
        print(f"- {title}: {size / 1000:.1f} KB")
        if number == 0:
            timing.verdict("  the size of a host that predicts", size / 1000, 100, " KB")


def latencies(name: str, folder: Path, samples: int, calls: int, threads: int) -> None:
    session, x, y, weights = declare(name)
    classes = int(y.shape[-1])
    start = time.perf_counter()
    signatures = {"predict": {"feeds": {"x": x}, "fetches": {"y": y}}}
    written = tf.export(folder, signatures, session, name=name, target="native")
    exported = time.perf_counter() - start
    host = compiled(folder, name, filled(HOST, name, classes, samples, calls, threads), [])
    shape = (1, *NETWORKS[name][1])
    pixels = (np.arange(int(np.prod(shape))) % 17 / 17).astype(np.float32).reshape(shape)
    call = session.make_callable(y, [x])
    call(pixels)
    onnx = importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")
    if onnx:
        net = OnnxNet(weights)
        result = NETWORKS[name][0](net, "x")
        fed = shape if len(shape) == 2 else (1, shape[3], shape[1], shape[2])
        net.write(folder / "model.onnx", result, {"x": fed}, 2)
    found: dict[str, list[dict]] = {
        "C host": [], "Session": [], "ONNX Runtime": [], "AOTInductor": []
    }  # fmt: skip
    ahead = [sys.executable, "-c", AOT, json.dumps(["model.pt2", samples, calls, threads])]
    made = said(ahead, folder) if name == "digits" and timing.installed("torch") else None
    for _ in range(ROUNDS):
        if made is not None:
            found["AOTInductor"].append(said(ahead, folder))
        found["C host"].append(said([host], folder))
        times = [timing.seconds_per_call(lambda: call(pixels), 0.02) * 1e9 for _ in range(samples)]
        found["Session"].append({"call": statistics.median(times)})
        if onnx:
            request = json.dumps(["model.onnx", fed, samples, calls, threads])
            found["ONNX Runtime"].append(said([sys.executable, "-c", ONNX, request], folder))
    best = {
        system: {key: min(row[key] for row in rows) for key in rows[0]}
        for system, rows in found.items()
        if rows
    }
    print(f"\n{name}, batch 1, {threads} threads (µs a call; ms and MB of the process):\n")
    print("| | call | kernels | create and first call, ms | peak, MB |\n|---|---|---|---|---|")
    for system, row in best.items():
        cells = [f"{row['call'] / 1e3:.2f}"]
        cells.append(f"{row['kernels'] / 1e3:.2f}" if "kernels" in row else "")
        cells.append(f"{row['ready'] / 1e6:.1f}" if "ready" in row else "")
        cells.append(f"{row['peak'] / 1e3:.1f}" if "peak" in row else "")
        print(f"| {system} | {' | '.join(cells)} |")
    library = next(Path(path) for path in written if path.endswith(".a"))
    weight_bytes = sum(value.nbytes for value in weights.values())
    print(f"\nExport: {exported:.2f} s; code {library.stat().st_size / 1e3:.0f} KB, "
          f"weights {weight_bytes / 1e6:.2f} MB")  # fmt: skip
    if made is not None:
        print(f"AOTInductor: {made['export']:.1f} s, package with weights "
              f"{made['bytes'] / 1e6:.2f} MB")  # fmt: skip
    over = min(row["call"] - row["kernels"] for row in found["C host"]) / 1e3
    if name == "digits":
        timing.verdict("a call beyond its kernels", over, 1, " µs")
        if onnx:
            ratio = best["C host"]["call"] / best["ONNX Runtime"]["call"]
            timing.verdict("a call over ONNX Runtime's", ratio, 0.5)
    else:
        ratio = best["C host"]["call"] / best["Session"]["call"]
        timing.verdict("a call over the Session's", ratio, 1.03)
        timing.verdict("export", exported, 5, " s")


def main() -> None:
    timing.heading("exported models in C hosts")
    with tempfile.TemporaryDirectory() as folder:
        sizes_of_digits(Path(folder))
        latencies("digits", Path(folder) / "digits", 41, 400, 2)
        latencies("resnet18", Path(folder) / "resnet18", 15, 4, 2)


if __name__ == "__main__":
    main()
