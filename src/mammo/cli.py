"""`python -m mammo`: what is done beside `dvc repro`."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo.errors import InputError

if TYPE_CHECKING:  # a command imports what it needs: Keras and MLflow take seconds
    import pandas as pd

    from mammo.bundle import About

SUMMARY_WIDTH = 170
FORMATS = ("table", "json", "csv")
SHORT_HASH = 12  # characters of a hash in a table


def main(words: Sequence[str] | None = None) -> None:
    """Run one command; bad input ends in one message and exit code 1."""
    asked = _parser().parse_args(words)
    try:
        asked.run(asked)
    except InputError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mammo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_export(commands)
    profile = commands.add_parser("profile", help="merge profiles/NAME.yaml into params.yaml, keeping its comments")
    profile.add_argument("name", metavar="NAME", help="a file of profiles/, without .yaml")
    profile.set_defaults(run=_profile)
    result = commands.add_parser(
        "results", help="write docs/results/NAME and docs/data/NAME from the finished run, and README's table"
    )
    result.add_argument("name", metavar="NAME")
    result.set_defaults(run=_results)
    search = commands.add_parser(
        "search", help="search the parameters of models.MODEL: TPE proposes them, validation patients alone judge them"
    )
    search.add_argument("model", metavar="MODEL")
    search.add_argument(
        *("-S", "--space"),
        action="append",
        default=[],
        metavar="KEY=SPACE",
        help="what may change, e.g. 'models.light_cnn.learning_rate=log(1e-4,1e-2)'; there are uniform(a,b), log(a,b), "
        "int(a,b) and choice(a,b,...)",
    )
    search.add_argument("--spaces", type=Path, metavar="FILE", help="more of them, in YAML, nested as params.yaml")
    search.add_argument("--trials", type=int, default=30, help="in all, those of earlier calls included (30)")
    search.add_argument(
        "--folds",
        action="store_true",
        help="judge by the folds of all training patients, not by the validation patients: less luck, more time",
    )
    search.add_argument("--apply", action="store_true", help="write the best trial's values into params.yaml")
    search.set_defaults(run=_search)
    summary = commands.add_parser("summary", help="print the comparison table, and where figures and runs are")
    summary.set_defaults(run=_summary)
    again = commands.add_parser(
        "reproduce", help="run a finished MLflow run again from its commit, in a temporary worktree, and compare"
    )
    again.add_argument("run_id", metavar="RUN_ID", help="of a stage or a whole pipeline; `make ui` shows it")
    again.add_argument("--tolerance", type=float, default=1e-6, help="largest difference of a metric (default 1e-6)")
    again.add_argument("--keep", action="store_true", help="leave the worktree")
    again.set_defaults(run=_reproduce)
    ui = commands.add_parser("ui", help="open the MLflow UI of this workspace's runs")
    ui.add_argument("--port", type=int, default=5000)
    ui.set_defaults(run=_ui)
    return parser


def _add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    predict = commands.add_parser(
        "predict",
        help="what a finished model says of image files",
        description="What a finished model says of DICOM, PNG, JPEG and TIFF files. A model of lesions needs a box "
        "around each lesion, a model of images takes whole films. A file that fails has its error in its row, and the "
        "exit code is 1 then.",
    )
    predict.add_argument("files", nargs="+", metavar="FILE", help="image files, or folders of them")
    predict.add_argument(
        "--model",
        required=True,
        help="a model of this workspace (its name), a bundle (folder or .zip), a .keras file, or an MLflow URI "
        "(runs:/RUN/NAME, models:/NAME/VERSION)",
    )
    box = predict.add_mutually_exclusive_group()
    box.add_argument(
        "--box", metavar="X0,Y0,X1,Y1", type=_corners, help="the lesion in the one FILE, in px of the film"
    )
    box.add_argument("--boxes", metavar="CSV", type=Path, help="a table: file, x0, y0, x1, y1; a row per lesion")
    predict.add_argument("--confidence", type=float, help="of the prediction sets (default: .9 where the model has it)")
    predict.add_argument("--heat-maps", metavar="FOLDER", type=Path, help="write where the model looked, a PNG per row")
    predict.add_argument("--method", default="layercam", help="of the heat maps (default: %(default)s)")
    predict.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="threads that read files")
    _add_output(predict)
    predict.set_defaults(run=_predict)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = commands.add_parser(
        "export", help="write a finished model with all that is needed to use it elsewhere: a bundle"
    )
    export.add_argument("name", metavar="NAME", help="a model of this workspace")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER|FILE.zip")
    export.add_argument(
        "--formats",
        nargs="+",
        default=[],
        metavar="FORMAT",
        help="beside .keras: saved_model (TensorFlow), onnx (pip install -r requirements/onnx.txt)",
    )
    export.set_defaults(run=_export)


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=FORMATS, help="default: by the suffix of --out, else table")
    command.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    command.add_argument("--out", type=Path, metavar="FILE", help="write there, not to standard output")


def _corners(text: str) -> tuple[int, ...]:
    corners = tuple(int(part) for part in text.split(","))
    if len(corners) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not X0,Y0,X1,Y1")
    return corners


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return count


def _predict(asked: argparse.Namespace) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from mammo import prediction

    boxes = None if asked.boxes is None else prediction.read_boxes(asked.boxes)
    found = prediction.load(asked.model).predict(
        asked.files,
        asked.box,
        boxes,
        confidence=asked.confidence,
        heat_maps=asked.heat_maps,
        method=asked.method,
        workers=asked.workers,
    )
    _put_out(found, asked, _predictions_table)
    failed = found["error"].dropna()
    for message in failed:
        print(f"error: {message}", file=sys.stderr)
    if len(failed):
        sys.exit(f"{len(failed)} of {len(found)} failed")


def _put_out(found: "pd.DataFrame", asked: argparse.Namespace, as_table: Callable[["pd.DataFrame"], Any]) -> None:
    """Write a table of results in the format that was asked for; missing values are null in JSON and empty in CSV."""
    from mammo import tables

    suffix = "table" if asked.out is None else asked.out.suffix.lstrip(".")
    kind = asked.format or (suffix if suffix in FORMATS else "table")
    if kind == "json":
        records = found.astype(object).where(found.notna(), None).to_dict(orient="records")
        text = json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    elif kind == "csv":
        text = found.to_csv(index=False, lineterminator="\n")
    else:
        text = _drawn(as_table(found))
    if asked.out is None:
        print(text, end="")
    else:
        tables.write_text(asked.out, text)


def _drawn(table: Any) -> str:
    from rich.console import Console

    console = Console(width=SUMMARY_WIDTH)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _predictions_table(found: "pd.DataFrame") -> Any:
    from rich.table import Table

    first = found.iloc[0]
    version = f", record {first['version'][:SHORT_HASH]}" if first["version"] else ""
    table = Table(title=f"{first['model']}{version}, file {first['model_sha256'][:SHORT_HASH]}")
    columns = [
        name for name in ("file", "box", "prob", "calibrated", "call", "set", "heat_map") if found[name].notna().any()
    ]
    for column in [*columns, "remarks"]:
        table.add_column(column, overflow="fold")
    for _, row in found.iterrows():
        values = [f"{row[name]:.3f}" if name in ("prob", "calibrated") else row[name] for name in columns]
        remarks = f"error: {row['error']}" if row["error"] else f"no mammogram? {row['doubt']}" if row["doubt"] else ""
        table.add_row(*("" if value in (None, "nan") else str(value) for value in values), remarks)
    return table


def _export(asked: argparse.Namespace) -> None:
    from mammo import bundle

    about = bundle.write(asked.name, asked.out, _more_formats(asked.formats) if asked.formats else None)
    print(f"{asked.out}: {about.name}, one {about.unit} at a time, record {about.record}")
    print(f"try it: python -m mammo predict FILE --model {asked.out}")


def _more_formats(names: list[str]) -> "Callable[[Path, About], None]":
    """What adds further formats to a bundle's folder."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from mammo import bundle, formats, models

    return lambda folder, about: formats.write(folder, about, models.load(folder / bundle.MODEL), names)


def _profile(asked: argparse.Namespace) -> None:
    from mammo import profiles

    changed = profiles.apply(asked.name)
    print(f"params.yaml: {len(changed)} values changed ({', '.join(changed) or 'it was merged already'})")
    print("`git diff params.yaml` shows the experiment, `dvc repro` runs it, `git checkout params.yaml` undoes it")


def _results(asked: argparse.Namespace) -> None:
    from mammo import results

    command = f"python -m mammo profile {asked.name} && dvc repro"
    for path in results.write(asked.name, command):
        print(path)


def _search(asked: argparse.Namespace) -> None:
    from mammo import params, spaces

    if asked.trials < 1:
        raise InputError(f"--trials is {asked.trials}; ask for 1 or more")
    wanted = spaces.parse(asked.space, asked.spaces)
    spaces.check(wanted, asked.model, params.load())
    sys.path.insert(0, str(Path.cwd()))  # the repository's stages, also for an installed `mammo`
    from stages import search  # it imports Keras, which takes seconds

    search.main(asked.model, wanted, asked.trials, asked.folds, asked.apply)


def _summary(asked: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from mammo import report, results

    comparison = results.read_comparison()
    table = Table(title="In brackets: intervals resampled by patient")
    for column in ("model", "weights", "samples", "n (patients)", *report.HEADLINE_METRICS):
        table.add_column(column, no_wrap=True)
    for _, row in comparison.iterrows():
        count = f"{row['n']:.0f} ({row['n_patients']:.0f})"
        values = [report.with_interval(row, name) for name in report.HEADLINE_METRICS]
        table.add_row(row["model"], row["weights"], row["samples"], count, *values)
    console = Console(width=SUMMARY_WIDTH)
    console.print(table)
    console.print(
        "baseline_*: no image is seen; cross_validate_*: training patients, out of fold; others: official test"
    )
    console.print("table    metrics/comparison.csv and .md (read back from the tracking server)", highlight=False)
    console.print("figures  data/figures/, data/gradcam/", highlight=False)
    console.print("report   data/report/report.html, data/report/model_cards/", highlight=False)
    console.print("data     data/data_report/data.html", highlight=False)
    console.print("runs     `make ui`", highlight=False)


def _reproduce(asked: argparse.Namespace) -> None:
    """Exit code 1 where a metric differs by more than the tolerance."""
    from rich.console import Console
    from rich.table import Table

    from mammo import project, reproduce

    found = reproduce.reproduce(asked.run_id, project.root(), asked.keep)
    console = Console(width=SUMMARY_WIDTH)
    if found.differences:
        table = Table(title="What came out otherwise")
        for column in ("run", "what", "then", "now", "difference"):
            table.add_column(column)
        for row in found.differences:
            table.add_row(
                row.run, row.what, row.before, row.now, f"{row.distance:.2g}" if row.distance else "other bytes"
            )
        console.print(table)
    for tag, (then, now) in found.machine.items():
        console.print(f"{tag}: then {then}; now {now}", highlight=False)
    count = f"{len(found.compared)} run{'s' if len(found.compared) > 1 else ''}"
    if found.largest() > asked.tolerance:
        raise InputError(f"not reproduced: a metric of {count} differs by {found.largest():.2g}")
    same = "with the same bytes" if not found.differences else f"metrics within {found.largest():.2g}"
    console.print(f"reproduced: {count}, {same}")


def _ui(asked: argparse.Namespace) -> None:
    """Serve the embedded store, or name the page of the server that holds the runs."""
    from mammo import params, tracking

    store, page = tracking.table_page(params.load().tracking.experiment)
    if store.startswith("http"):
        print(f"the comparison table's runs: {store.rstrip('/')}{page}")
        return
    print(f"the comparison table's runs: http://127.0.0.1:{asked.port}{page}", flush=True)
    server = ["mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(asked.port)]
    os.execvp(server[0], server)
