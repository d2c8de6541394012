"""What each command of `python -m mammo` does with what it was asked (argparse), and how it shows what came of it."""

import argparse
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.core.errors import InputError
from mammo.inference.bundle import About
from mammo.pipeline.reproduce import Reproduced

if TYPE_CHECKING:  # a command imports what it needs: Keras and MLflow take seconds
    import pandas as pd

SHORT_HASH = 12  # characters of a hash in a table
PROBLEMS_SHOWN = 20
P_SHOWN = 0.001
REPORT, MODEL_CARDS, DATA_REPORT = (
    Path(path) for path in ("data/report/report.html", "data/report/model_cards", "data/data_report/data.html")
)
PLACES = {
    "table": "metrics/comparison.csv and .md (read back from the tracking server)",
    "figures": "data/figures/, data/gradcam/",
    "report": f"{REPORT}, {MODEL_CARDS}/",
    "data": f"{DATA_REPORT}",
    "runs": "`make ui`",
}


def predict(asked: argparse.Namespace) -> None:
    """Exit code 1 where a file failed; the others are done."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from mammo.inference import predictor

    boxes = None if asked.boxes is None else predictor.read_boxes(asked.boxes)
    found = predictor.load(asked.model).predict(
        asked.files,
        asked.box,
        boxes,
        confidence=asked.confidence,
        heat_maps=asked.heat_maps,
        method=asked.method,
        workers=asked.workers,
    )
    output.write(asked, found, found, lambda: [_predictions_table(found)])
    failed = found["error"].dropna()
    for message in failed:
        print(f"error: {message}", file=sys.stderr)
    if len(failed):
        sys.exit(f"{len(failed)} of {len(found)} failed")


def _predictions_table(found: "pd.DataFrame") -> Any:
    first = found.iloc[0]
    version = f", record {first['version'][:SHORT_HASH]}" if first["version"] else ""
    title = f"{first['model']}{version}, file {first['model_sha256'][:SHORT_HASH]}"
    columns = [
        name for name in ("file", "box", "prob", "calibrated", "call", "set", "heat_map") if found[name].notna().any()
    ]
    rows = []
    for _, row in found.iterrows():
        values = [f"{row[name]:.3f}" if name in ("prob", "calibrated") else row[name] for name in columns]
        remarks = f"error: {row['error']}" if row["error"] else f"no mammogram? {row['doubt']}" if row["doubt"] else ""
        rows.append([*("" if value in (None, "nan") else value for value in values), remarks])
    return output.table(title, [*columns, "remarks"], rows)


def export(asked: argparse.Namespace) -> None:
    """Write a bundle."""
    from mammo.inference import bundle

    with _said_aside():
        about = bundle.write(asked.name, asked.out, _more_formats(asked.formats) if asked.formats else None)
    if asked.json:
        print(output.as_json({"bundle": asked.out, **about.model_dump()}), end="")
        return
    print(f"{asked.out}: {about.name}, one {about.unit} at a time, record {about.record}")
    print(f"try it: python -m mammo predict FILE --model {asked.out}")


def _more_formats(names: list[str]) -> "Callable[[Path, About], None]":
    """What adds further formats to a bundle's folder."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from mammo import models
    from mammo.inference import bundle
    from mammo.inference import export as formats_export

    return lambda folder, about: formats_export.write(folder, about, models.load(folder / bundle.MODEL), names)


def data_download(asked: argparse.Namespace) -> None:
    """Fetch what params.yaml names."""
    _find_stages()
    from mammo.pipeline import data_commands

    with _said_aside():
        found = data_commands.download()
    if asked.json:
        print(output.as_json(found), end="")
    elif found.made_by_ingest:
        print(f"ingest.source {found.source}: nothing to download, `dvc repro ingest` makes {found.dataset}")
    else:
        print(f"{found.root}: {found.files:,} files, {found.bytes / 1e9:,.2f} GB of {found.dataset} ({found.source})")
        print("`python -m mammo data check` reads them all, `dvc repro` takes them in")


def data_check(asked: argparse.Namespace) -> None:
    """Exit code 1 where something is wrong."""
    _find_stages()
    from mammo.pipeline import data_commands

    found = data_commands.check()
    if asked.json:
        print(output.as_json(found), end="")
    else:
        counts = ", ".join(f"{name} {count:,}" for name, count in found.counts.items())
        print(f"{found.root}: {found.files:,} usable files; {counts}")
        print(f"compared with {', '.join(map(str, found.compared)) or 'no table: ingest has not run'}")
        for problem in found.problems[:PROBLEMS_SHOWN]:
            print(f"- {problem}")
        if (more := len(found.problems) - PROBLEMS_SHOWN) > 0:
            print(f"... and {more:,} more; --json lists all")
    if found.problems:
        sys.exit(f"{len(found.problems):,} problem{'s' if len(found.problems) > 1 else ''}")
    print("nothing is wrong", file=sys.stderr)


def data_describe(asked: argparse.Namespace) -> None:
    """Count the samples of the splits."""
    _find_stages()
    from mammo.pipeline import data_commands

    found = data_commands.describe()
    output.write(asked, vars(found), found.composition, lambda: _description(found.counts, found.composition))


def _description(counts: "pd.DataFrame", composition: "pd.DataFrame") -> Iterator[Any]:
    yield output.table("Samples of the splits", counts.columns, counts.itertuples(index=False))
    splits = list(dict.fromkeys(composition["split"]))
    rows = []
    for (variable, value), own in composition.groupby(["variable", "value"], sort=False):
        shares = own.set_index("split").loc[splits]
        rows.append([variable, value, *(_share(row) for _, row in shares.iterrows())])
    yield output.table("Samples: n, of them malignant (95 % interval by patient)", ["", "", *splits], rows)


def _share(row: "pd.Series[Any]") -> str:
    """`112: 0.393 (0.311-0.472)`."""
    from mammo.reporting import comparison

    if not row["n"]:
        return "0"
    limits = {limit: f"prevalence_{limit}" for limit in ("low", "high")}
    return f"{row['n']:,}: {comparison.with_interval(row.rename(limits), 'prevalence')}"


def compare(asked: argparse.Namespace) -> None:
    """Rows of the comparison table, and the paired tests between those that are named."""
    from mammo.reporting import comparison

    rows = comparison.rows(asked.models, asked.level, asked.sort)
    tested = len(rows) > 1 and asked.models and asked.level in (None, rows["unit"].iloc[0])
    tests = comparison.tests(rows["model"].to_list()) if tested else comparison.NO_TESTS
    content = {"level": asked.level, "models": rows, "paired_tests": tests}
    more = [] if asked.sort is None else [asked.sort]
    output.write(asked, content, rows, lambda: _comparison(rows, tests, more))


def summary(asked: argparse.Namespace) -> None:
    """The comparison table, and where the rest is."""
    from mammo.reporting import comparison

    rows = comparison.rows()
    if asked.json:
        print(output.as_json({"models": rows, "places": PLACES}), end="")
        return
    places = (f"{name:8} {place}" for name, place in PLACES.items())
    print(output.drawn(*_comparison(rows, comparison.NO_TESTS), *places), end="")


def _comparison(rows: "pd.DataFrame", tests: "pd.DataFrame", more: Sequence[str] = ()) -> Iterator[Any]:
    """The rows with the headline metrics and `more` columns; the tests where there are any."""
    from mammo.reporting import comparison

    metrics = list(dict.fromkeys([*comparison.HEADLINE_METRICS, *more]))
    shown = []
    for _, row in rows.iterrows():
        count = f"{row['n']:.0f} ({row['n_patients']:.0f})"
        values = [comparison.with_interval(row, name) if f"{name}_low" in row else f"{row[name]:g}" for name in metrics]
        shown.append([row["model"], row["weights"], row["samples"], count, *values])
    title = "In brackets: intervals resampled by patient"
    yield output.table(title, ["model", "weights", "samples", "n (patients)", *metrics], shown)
    yield "baseline_*: no image is seen; cross_validate_*: training patients, out of fold; others: official test"
    if len(tests):
        columns = ["a", "b", "AUC of b - AUC of a", "p", "p after Holm"]
        title = "Paired tests on the same samples; Holm's correction over all pairs of rows"
        yield output.table(title, columns, (_tested(test) for _, test in tests.iterrows()))


def _tested(test: "pd.Series[Any]") -> list[str]:
    difference = f"{test['difference']:+.3f} ({test['low']:+.3f} to {test['high']:+.3f})"
    p_values = (f"{p:.3f}" if p >= P_SHOWN else f"< {P_SHOWN}" for p in (test["p"], test["p_holm"]))
    return [test["model_a"], test["model_b"], difference, *p_values]


def report(asked: argparse.Namespace) -> None:
    """Exit code 1 where there is no report."""
    from mammo.pipeline import repro

    stages = ("report", "data_report")
    if asked.update:
        repro.run("repro", *stages, show=True)
    if not REPORT.is_file():
        raise InputError(f"{REPORT} does not exist; run `dvc repro report`")
    stale = repro.stale(*stages)
    if asked.json:
        cards = sorted(MODEL_CARDS.glob("*.md"))
        content = {"report": REPORT, "model_cards": cards, "data_report": DATA_REPORT, "stale": stale}
        print(output.as_json(content), end="")
    else:
        print(REPORT.resolve())
        if stale:
            print(f"it is stale: {', '.join(stale)} would run again; `python -m mammo report --update` does it")
    if asked.open:
        webbrowser.open(REPORT.resolve().as_uri())


def profile(asked: argparse.Namespace) -> None:
    """Merge a profile into params.yaml."""
    from mammo.pipeline import profiles

    changed = profiles.apply(asked.name)
    print(f"params.yaml: {len(changed)} values changed ({', '.join(changed) or 'it was merged already'})")
    print("`git diff params.yaml` shows the experiment, `dvc repro` runs it, `git checkout params.yaml` undoes it")


def results(asked: argparse.Namespace) -> None:
    """Write the pages of results under docs/."""
    from mammo.reporting.results import write

    command = f"python -m mammo profile {asked.name} && dvc repro"
    for path in write(asked.name, command):
        print(path)


def search(asked: argparse.Namespace) -> None:
    """Have trials, and say how far the best is to be believed."""
    from mammo.core.config import load_config
    from mammo.training import search_space

    if asked.trials < 1:
        raise InputError(f"--trials is {asked.trials}; ask for 1 or more")
    wanted = search_space.parse(asked.space, asked.spaces)
    search_space.check(wanted, asked.model, load_config())
    _find_stages()
    from mammo.pipeline import parameter_search  # it imports Keras, which takes seconds

    with _said_aside():
        verdict = parameter_search.main(asked.model, wanted, asked.trials, asked.folds)
    changed = parameter_search.apply(verdict) if asked.apply and verdict is not None else None
    if asked.json:
        print(output.as_json(parameter_search.told(verdict, asked.model) | {"applied": changed}), end="")
    else:
        print(output.drawn(*parameter_search.summary(verdict, asked.model, changed)), end="")


def reproduce(asked: argparse.Namespace) -> None:
    """Exit code 1 where a metric differs by more than the tolerance."""
    from mammo.core.paths import project_root
    from mammo.pipeline import reproduce as pipeline_reproduce

    found = pipeline_reproduce.reproduce(asked.run_id, project_root(), asked.keep)
    same = found.largest() <= asked.tolerance
    if asked.json:
        print(output.as_json({"reproduced": same, "largest": found.largest(), **vars(found)}), end="")
    else:
        print(output.drawn(*_reproduced(found)), end="")
    count = f"{len(found.compared)} run{'s' if len(found.compared) > 1 else ''}"
    if not same:
        raise InputError(f"not reproduced: a metric of {count} differs by {found.largest():.2g}")
    if not asked.json:
        how = "with the same bytes" if not found.differences else f"metrics within {found.largest():.2g}"
        print(f"reproduced: {count}, {how}")


def _reproduced(found: "Reproduced") -> Iterator[Any]:
    if found.differences:
        rows = [
            [row.run, row.what, row.before, row.now, f"{row.distance:.2g}" if row.distance else "other bytes"]
            for row in found.differences
        ]
        yield output.table("What came out otherwise", ["run", "what", "then", "now", "difference"], rows)
    for tag, (then, now) in found.machine.items():
        yield f"{tag}: then {then}; now {now}"


def ui(asked: argparse.Namespace) -> None:
    """Serve the embedded store, or name the page of the server that holds the runs."""
    from mammo.core.config import load_config
    from mammo.tracking import mlflow_client

    store, page = mlflow_client.table_page(load_config().tracking.experiment)
    if store.startswith("http"):
        print(f"the comparison table's runs: {store.rstrip('/')}{page}")
        return
    print(f"the comparison table's runs: http://127.0.0.1:{asked.port}{page}", flush=True)
    server = ["mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(asked.port)]
    os.execvp(server[0], server)


def _said_aside() -> "AbstractContextManager[object]":
    """What libraries say of their progress goes to standard error: standard output is for the result."""
    return redirect_stdout(sys.stderr)


def _find_stages() -> None:
    """Let the repository's stages be imported, also by an installed `mammo`."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
