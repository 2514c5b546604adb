"""The command line of the benchmarks; see README.md beside this file."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from . import ablations, plots, report
from .figures import Figures
from .runner import DEFAULT, ROOT, Record, Runner, Settings
from .systems import SYSTEMS
from .workloads import WORKLOADS, Workload, by_name, matching

STUDIES = (
    "dispatch_cost", "steps", "sizes", "lengths", "loops", "dead_rows", "exports",
    "compile_time", "planned_memory",
)  # fmt: skip
ABLATIONS = "ablations"
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = ROOT / "build" / "benchmarks"
ONE_THREAD = ("mlp-train", "simplecnn-train", "transformer-infer", "gemm")


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="workloads, studies, `ablations`; by default all")
    parser.add_argument("--systems", help="only these, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="to measure each figure")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--out", type=Path, help="folder of the report")
    parser.add_argument(
        "--again", type=Path, nargs="+", help="write the report of these records, taken together"
    )
    return parser.parse_args(given)


def chosen_systems(given: str | None) -> list:
    wanted = given.split(",") if given else [system.name for system in SYSTEMS]
    unknown = [name for name in wanted if name not in {system.name for system in SYSTEMS}]
    if unknown:
        known = ", ".join(system.name for system in SYSTEMS)
        raise SystemExit(f"no system named {', '.join(unknown)}; there are {known}")
    return [s for s in SYSTEMS if s.name in wanted or s.name == "machine"]


def chosen_workloads(names: list[str]) -> list[Workload]:
    workloads = matching([name for name in names if name not in (*STUDIES, ABLATIONS)])
    for name in names:
        if name not in (*STUDIES, ABLATIONS) and not matching([name]):
            known = ", ".join([*(w.name for w in WORKLOADS), *STUDIES, ABLATIONS])
            raise SystemExit(f"nothing named {name}; there are {known}")
    if names and all(name in (*STUDIES, ABLATIONS) for name in names):
        return []
    return workloads


def measure(options: argparse.Namespace, workloads: list[Workload]) -> list[Record]:
    systems = [s for s in chosen_systems(options.systems) if s.installed()]
    settings = Settings(SCRATCH, options.rounds, options.seconds)
    if options.quick:
        settings = Settings(SCRATCH, 1, 0.2, allocators=(DEFAULT,))
    runner = Runner(settings, systems)
    whole = not options.names and not options.systems
    ablated = ABLATIONS in options.names or whole
    needed = [by_name(name) for name in ablations.WORKLOADS] if ablated else []
    runner.prepare([*workloads, *needed])
    runner.run(workloads, options.threads)
    if whole and options.threads > 1:
        runner.run([w for w in workloads if w.name in ONE_THREAD], 1, rounds=1)
    if ablated:
        quick = ("mlp-train",) if options.quick else ablations.WORKLOADS
        ablations.run(runner, quick, rounds=1 if options.quick else 2)
    return runner.records


def write(records: list[Record], absent: list[str], minutes: float, folder: Path) -> None:
    """The report, its pictures and the records behind it."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = Figures(records)
    pictures = plots.draw(figures, folder)
    text = report.markdown(figures, absent, minutes, pictures)
    (folder / "peak.md").write_text(text)
    (folder / "static_graph.md").write_text(report.static_graph(figures))
    kept = {"absent": absent, "minutes": minutes, "records": [r.to_json() for r in records]}
    (folder / "records.json").write_text(json.dumps(kept))
    print(text)
    print(f"written to {folder}")


def main(given: list[str]) -> int:
    options = arguments(given)
    if options.again:
        parts = [json.loads(path.read_text()) for path in options.again]
        records = [Record.from_json(fields) for part in parts for fields in part["records"]]
        absent = list(dict.fromkeys(name for part in parts for name in part["absent"]))
        minutes = sum(part["minutes"] for part in parts)
        write(records, absent, minutes, options.out or SCRATCH / "report")
        return 0
    workloads = chosen_workloads(options.names)
    start = time.time()
    if workloads or ABLATIONS in options.names:
        records = measure(options, workloads)
        whole = not options.names and not options.systems and not options.quick
        folder = options.out or (RESULTS if whole else SCRATCH / "report")
        write(records, report.absent(), (time.time() - start) / 60, folder)
    for study in [name for name in options.names if name in STUDIES]:
        importlib.import_module(f"benchmarks.studies.{study}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
