"""Time the comparison table from a full store: `python benchmarks/tracking.py` (about two minutes, one core).

Processor time, which other work on the machine changes little.

Prints what `publish` and the table of one workspace cost where its runs are alone in the store, and where 500 runs are;
and what a process costs that has nothing to replay, beside one that imports MLflow and one that asks its store a
question. Such a process must not have imported TensorFlow.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core.records import Record, read_record, record_path
from mammo.tracking import live_run, publishing

SOURCE = Path(__file__).resolve().parents[1] / "src"
EXPERIMENT, WORKSPACE, STORED, REPEATS = "benchmark", 5, 500, 7
TABLES = 20  # in one call, because processor time is counted in hundredths of a second
METRICS = [f"metric{number}" for number in range(48)]  # as many as a row of the comparison table has
QUESTION = """
import mlflow
mlflow.MlflowClient().get_experiment_by_name("benchmark")
"""
PUBLISH = """
import sys
from pathlib import Path
from mammo.core.records import read_record
from mammo.tracking import publishing
published = publishing.publish("benchmark", [read_record(path) for path in sorted(Path("metrics").rglob("*.json"))])
assert published.replayed == [] and len(publishing.table_of_runs(published.runs, ["model"]))
assert not {"tensorflow", "keras"} & set(sys.modules), "publish has imported TensorFlow"
"""


def evaluated(number: int) -> Record:
    """Track one row of a comparison table, without files."""
    name = f"model{number}"
    tags = {"order": f"{number:03d}", "data": "abc"}
    with live_run.tracked_run(
        "evaluate", model=name, experiment=EXPERIMENT, parameters={"seed": number}, tags=tags
    ) as run:
        run.log_metrics(dict.fromkeys(METRICS, number / STORED))
    return read_record(record_path("evaluate", name))


def workspace() -> list[Record]:
    """The records of one finished workspace, published as `stages.publish` does."""
    records = [evaluated(number) for number in range(WORKSPACE)]
    published = publishing.publish(EXPERIMENT, records)
    publishing.log_pipeline(EXPERIMENT, records, published.runs, [])
    return records


def seconds(work: Callable[[], object]) -> float:
    """Median processor time, of this process and its children, of REPEATS calls after one to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = sum(os.times()[:4])
        work()
        times.append(sum(os.times()[:4]) - start)
    return median(times)


def table(records: list[Record]) -> None:
    """What `publish` reads for metrics/comparison.csv, so many times."""
    for _ in range(TABLES):
        published = publishing.publish(EXPERIMENT, records)
        assert published.replayed == []
        assert len(publishing.table_of_runs(published.runs, ["model"])) == WORKSPACE


def process(script: str) -> Callable[[], object]:
    """A fresh interpreter that runs `script`."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return lambda: subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def main() -> None:
    """Print both comparisons."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        records = workspace()
        few = seconds(lambda: table(records))
        alone = {
            "import mlflow": seconds(process("import mlflow")),
            "and ask its store once": seconds(process(QUESTION)),
        }
        alone["publish, nothing to replay"] = seconds(process(PUBLISH))
        for number in range(WORKSPACE, STORED):
            evaluated(number)
            record_path("evaluate", f"model{number}").unlink()
        many = seconds(lambda: table(records))
        full = seconds(process(PUBLISH))
    print(f"table of a workspace of {WORKSPACE} runs, SQLite, median of {REPEATS}")
    print(f"  {WORKSPACE:4} runs in the store {few / TABLES * 1000:8.1f} ms")
    print(f"  {STORED:4} runs in the store {many / TABLES * 1000:8.1f} ms   {many / few:.2f}x")
    print("a process of its own")
    first = next(iter(alone.values()))
    for name, took in (alone | {f"the same, {STORED} runs in the store": full}).items():
        print(f"  {name:34} {took:6.2f} s   {took / first:.2f}x")


if __name__ == "__main__":
    main()
