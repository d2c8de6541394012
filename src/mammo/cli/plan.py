"""`python -m mammo plan`: the stages that `dvc repro` will run, why, and how long each took last time."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples

if TYPE_CHECKING:
    from mammo.pipeline.plan import Plan, Step


def add_parser(subparsers: Subparsers) -> None:
    """Add `plan`."""
    parser = subparsers.add_parser(
        "plan",
        help="which stages `dvc repro` will run, why, and how long each took last time",
        description="Lists the stages that `dvc repro` will run, with the parameter, file or stage that is the reason, "
        "and the time that each took last time here; of a training that has not run here, that of its run in MLflow. "
        "Runs nothing.",
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="as `dvc repro` takes them; default: all")
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo plan                      all stages",
        "python -m mammo plan train@light_cnn      one stage, and what it rests on",
        "python -m mammo plan --json | jq '.steps[].stage'",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the plan."""
    from mammo.pipeline.plan import make_plan, time_trainings

    with output.progress_to_stderr():
        plan = time_trainings(make_plan(args.stages))
    if args.json:
        print(output.as_json({"steps": list(plan.steps), "stages": plan.n_stages, "seconds": plan.seconds()}), end="")
    else:
        print(output.render(*lines(plan)), end="")


def lines(plan: "Plan") -> Iterator[Any]:
    """Yield the table of the stages, and how long they took together."""
    if plan.steps:
        rows = ([step.stage, _time(step), tuple(_reasons(step))] for step in plan.steps)
        yield output.table(f"{len(plan.steps)} of {plan.n_stages} stages", ["stage", "last time", "why"], rows)
    else:
        yield f"nothing to do: all {plan.n_stages} stages are up to date"
    running = [step for step in plan.steps if not step.restored]
    unknown = sum(step.seconds is None for step in running)
    if running:
        beside = f", beside {unknown} of unknown time" if unknown else ""
        yield f"At most {format_seconds(plan.seconds())}{beside}: a stage `after` others does not"
        yield "run where what they write comes out the same, or the run cache has its outputs."


def format_seconds(seconds: float) -> str:
    """Return `12 s`, `3.5 min` or `2.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _time(step: "Step") -> str:
    if step.restored:
        return "restored"
    return "unknown" if step.seconds is None else format_seconds(step.seconds)


def _reasons(step: "Step") -> Iterator[str]:
    yield from step.reasons
    groups: dict[str, list[str]] = {}
    for name in step.after:
        groups.setdefault(name.split("@")[0], []).append(name)
    names = (members[0] if len(members) == 1 else f"{group} ({len(members)})" for group, members in groups.items())
    if step.after:
        yield f"after {', '.join(names)}"
