"""What is run, and the figures to reach: one literal table."""

from __future__ import annotations

from dataclasses import dataclass

TRAIN, INFER, KERNELS, GEMM, DISPATCH = "train", "infer", "kernels", "gemm", "dispatch"
# Recurrent nets, also over batches of many lengths; shift-reduce encoders; trees.
RECURRENT_TRAIN, RECURRENT_INFER, LENGTHS = "recurrent-train", "recurrent-infer", "lengths"
SPINN, TREES = "spinn", "trees"
SEQUENCES = (RECURRENT_TRAIN, RECURRENT_INFER, LENGTHS, SPINN, TREES)
TRAINING = (TRAIN, RECURRENT_TRAIN, SPINN, TREES)


@dataclass(frozen=True)
class Workload:
    """What one process runs.

    target:   the fastest peer takes at least this many times as long as graphflow
    small:    too small for the allocator to matter: it is run with its default only
    images:   a system may try both layouts
    steps:    of a sequence
    against:  a system that is to take at least so many times as long as graphflow
    """

    name: str
    kind: str
    title: str
    model: str = ""
    batch: int = 0
    optimizer: str = ""
    rate: float = 0.0
    target: float | None = None
    small: bool = False
    images: bool = False
    steps: int = 0
    against: tuple[str, float] | None = None


def _train(name, title, batch, optimizer, rate, target, suffix="", **more) -> Workload:
    return Workload(
        f"{name}-train{suffix}", TRAIN, title, name, batch, optimizer, rate, target, **more
    )


def _infer(name, title, batch, target, suffix="", **more) -> Workload:
    return Workload(f"{name}-infer{suffix}", INFER, title, name, batch, target=target, **more)


def _recurrent(name, title, batch, steps, target, suffix="", **more) -> Workload:
    kind = RECURRENT_INFER if suffix else RECURRENT_TRAIN
    how = {} if suffix else {"optimizer": "adam", "rate": 1e-3}
    full = f"{name}-{'infer' if suffix else 'train'}{suffix}"
    return Workload(full, kind, title, name, batch, target=target, steps=steps, **how, **more)


def _small(name, cell) -> Workload:
    title = f"{cell} 32, batch 16, 50 steps"
    return _recurrent(name, title, 16, 50, 4.0, small=True, against=(LOOP, 10.0))


LOOP = "torch-loop"
LSTM = "LSTM classifier 5000-300-300, 32 steps"
MANY_LENGTHS = "the LSTM classifier over 40 batches of 5–60 steps"
SPINN_TITLE = "SPINN 100, tracker 64, batch 64, up to 25 words"
TREES_TITLE = "TreeLSTM 100, 64 new trees of up to 25 words"
ONE_BY_ONE = ("torch", 5.0)  # tree after tree
MLP = "MLP 784-512-256-10"

WORKLOADS = (
    Workload("dispatch", DISPATCH, "y = x + 1 on 4 floats", target=1.0, small=True),
    _train("xor", "XOR 2-5-2, batch 4", 4, "sgd", 0.5, 4.0, small=True),
    _train("fizzbuzz", "FizzBuzz 10-100-4, batch 64", 64, "sgd", 0.1, 4.0, small=True),
    _train("mlp", f"{MLP}, batch 128, momentum", 128, "momentum", 0.01, 1.25),
    _train("mlp", f"{MLP}, batch 1280", 1280, "momentum", 0.01, 1.0, "-x10"),
    _train("mlp", f"{MLP}, batch 13", 13, "momentum", 0.01, 1.0, "-tenth"),
    _infer("mlp", f"{MLP}, batch 1", 1, 1.0, "-1", small=True),
    _infer("mlp", f"{MLP}, batch 128", 128, 0.95, "-128"),
    _train("simplecnn", "SimpleCNN, batch 100", 100, "momentum", 0.01, 2.0, images=True),
    _train("simplecnn", "SimpleCNN, batch 1000", 1000, "momentum", 0.01, 1.0, "-x10", images=True),
    _train("simplecnn", "SimpleCNN, batch 10", 10, "momentum", 0.01, 1.0, "-tenth", images=True),
    _infer("simplecnn", "SimpleCNN, batch 100", 100, 1.8, images=True),
    _train("resnet18", "ResNet-18 224×224, batch 8", 8, "momentum", 0.01, 1.2, images=True),
    _infer("resnet18", "ResNet-18 224×224, batch 1", 1, 1.05, images=True),
    _train("linknet", "LinkNet 256×256, batch 2", 2, "adam", 1e-4, 1.3, images=True),
    _infer("linknet", "LinkNet 256×256, batch 1", 1, 1.1, images=True),
    _train("transformer", "transformer encoder 4×256, batch 8", 8, "adam", 1e-4, 1.25),
    _infer("transformer", "transformer encoder 4×256, batch 8", 8, 1.1),
    _recurrent("lstm", f"{LSTM}, batch 64", 64, 32, 1.1, against=(LOOP, 3.0)),
    _recurrent("lstm", f"{LSTM}, batch 64", 64, 32, 1.0, "-64"),
    _recurrent("lstm", f"{LSTM}, batch 1", 1, 32, 1.3, "-1", small=True),
    _small("lstm32", "LSTM"),
    _small("gru32", "GRU"),
    _small("rnn32", "simple RNN"),
    Workload("lstm-lengths", LENGTHS, MANY_LENGTHS, "lstm", 64, "adam", 1e-3, 1.0),
    Workload("spinn-train", SPINN, SPINN_TITLE, "spinn", 64, "sgd", 0.1, 3.0),
    Workload("treelstm-train", TREES, TREES_TITLE, "treelstm", 64, "sgd", 0.1, against=ONE_BY_ONE),
    Workload("kernels", KERNELS, "kernels", target=1.0),
    Workload("gemm", GEMM, "matrix products", target=1.0),
)

WARM_LENGTHS = 1.2  # times what graphflow takes with a warm cache: the fastest of the peers
RECOMPILING, TIMES_RECOMPILING = ("jax", "xla", "torch.compile"), 10.0  # for each length

GELU_ELEMENTS = 10_000_000
ROWS = (4096, 1024)  # of softmax and layer normalisation
SQUARE = 4096  # of the matrix that is summed
KERNEL_NAMES = ("gelu", "softmax", "layer_norm", "sum_axis0", "sum_axis1")
FMA_PEAK, COPY = "fma peak", "copy"  # rows of the machine itself
OF_COPY_BANDWIDTH = 0.9  # that gelu is to reach

GEMM_SIZES = (
    (64, 64, 64),
    (128, 128, 128),
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (1, 512, 512),
    (128, 784, 512),
    (64, 300, 1200),
    (97, 1023, 511),
)
AT_PEAK = ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048))  # held to the FMA peak
OF_FMA_PEAK = 0.92


def gemm_name(size: tuple[int, int, int], constant: bool) -> str:
    return f"{'x'.join(map(str, size))}{' constant' if constant else ''}"


def by_name(name: str) -> Workload:
    return next(workload for workload in WORKLOADS if workload.name == name)


def matching(names: list[str]) -> list[Workload]:
    """The workloads whose name is or begins with one of `names`; all of them if none is given."""
    return [w for w in WORKLOADS if not names or any(_matches(w.name, name) for name in names)]


def _matches(workload: str, name: str) -> bool:
    return workload == name or workload.startswith(name + "-")
