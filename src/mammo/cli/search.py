"""`python -m mammo search`: search the parameters of one architecture."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples
from mammo.core.errors import InputError

if TYPE_CHECKING:
    from mammo.pipeline.trials import Verdict

TRIALS_SHOWN = 5
SIGNIFICANCE = 0.05


def add_parser(subparsers: Subparsers) -> None:
    """Add `search`."""
    parser = subparsers.add_parser(
        "search", help="search the parameters of models.MODEL: TPE proposes them, validation patients alone judge them"
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        *("-S", "--space"),
        action="append",
        default=[],
        metavar="KEY=SPACE",
        help="what may change, e.g. 'models.light_cnn.learning_rate=log(1e-4,1e-2)'; there are uniform(a,b), log(a,b), "
        "int(a,b) and choice(a,b,...)",
    )
    parser.add_argument("--spaces", type=Path, metavar="FILE", help="more of them, in YAML, nested as params.yaml")
    parser.add_argument("--trials", type=int, default=30, help="in all, those of earlier calls included (30)")
    parser.add_argument(
        "--folds",
        action="store_true",
        help="judge by the folds of all training patients, not by the validation patients: less luck, more time",
    )
    parser.add_argument("--apply", action="store_true", help="write the best trial's values into params.yaml")
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo search light_cnn -S 'models.light_cnn.learning_rate=log(1e-4,1e-2)' --trials 30",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the trials, and print the best with what it can be expected to reach."""
    from mammo.core.config import load_config
    from mammo.pipeline import search_space

    if args.trials < 1:
        raise InputError(f"--trials is {args.trials}; ask for 1 or more")
    spaces = search_space.parse_spaces(args.space, args.spaces)
    search_space.check_spaces(spaces, args.model, load_config())
    from mammo.pipeline import parameter_search  # it imports Keras, which takes seconds

    with output.progress_to_stderr():
        verdict = parameter_search.main(args.model, spaces, args.trials, args.folds)
    changed = parameter_search.apply(verdict) if args.apply and verdict is not None else None
    if args.json:
        print(output.as_json(to_content(verdict, args.model) | {"applied": changed}), end="")
    else:
        print(output.render(*summarize(verdict, args.model, changed)), end="")


def to_content(verdict: "Verdict | None", model: str) -> dict[str, Any]:
    """Return the JSON content: the trials, best first, and what the best can be expected to reach."""
    if verdict is None:
        return {"model": model, "trials": []}
    return {
        "model": model,
        "best": verdict.best.number,
        "auc": verdict.interval,
        "auc_corrected": verdict.corrected,
        "gain": verdict.gain,
        "pruned": verdict.pruned,
        "trials": [
            {"number": trial.number, "auc": trial.auc, "baseline": trial.baseline, "parameters": trial.parameters}
            for trial in verdict.finished
        ],
    }


def summarize(verdict: "Verdict | None", model: str, applied: Sequence[str] | None) -> Iterator[Any]:
    """Yield the best trials, what the best can be expected to reach, and the keys that were `applied`."""
    if verdict is None:
        yield "no trial has finished: all were stopped early, or are still in another process"
        return
    yield _trials_table(verdict)
    best, interval = verdict.best, verdict.interval
    yield (
        f"best: trial {best.number}, AUC {interval.value:.3f} ({interval.low:.3f}-{interval.high:.3f}) "
        f"on {interval.n} samples of {interval.n_patients} patients, none of them of the test set"
    )
    if math.isfinite(verdict.corrected):
        yield f"the best of many is partly the luckiest: {verdict.corrected:.3f} is to be expected of it"
    yield from _gain_lines(verdict)
    from mammo.core.config import PARAMS_FILE

    if applied is None:
        yield f"--apply writes its values into {PARAMS_FILE}; then `dvc repro` trains {model} with them"
    else:
        yield f"{PARAMS_FILE}: {len(applied)} values changed ({', '.join(applied) or 'it held them already'})"


def _trials_table(verdict: "Verdict") -> Any:
    rows = [
        [f"{trial.number}{' (params.yaml)' if trial.baseline else ''}", f"{trial.auc:.3f}", *trial.parameters.values()]
        for trial in verdict.finished[:TRIALS_SHOWN]
    ]
    title = f"{len(verdict.finished)} trials finished, {verdict.pruned} stopped early"
    return output.table(title, ["trial", "AUC", *verdict.best.parameters], rows)


def _gain_lines(verdict: "Verdict") -> Iterator[str]:
    gain = verdict.gain
    if gain is not None and not verdict.best.baseline:
        significant = gain.p_value < SIGNIFICANCE
        reading = "before any correction for having been chosen" if significant else "not told apart"
        limits = f"{gain.difference:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        yield f"gain over params.yaml: {limits}, p = {gain.p_value:.3f}, {reading}"
