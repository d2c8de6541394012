"""The ways in which DVC and MLflow could come to disagree, each with the tests that show what happens.

`python -m tests.scenarios` runs them on SQLite, and on PostgreSQL where `initdb` is there, and writes
docs/scenarios.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import mlflow_server

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scenarios.md"
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
NOT_RUN = "not run"
BOTH = (SQLITE, POSTGRESQL)
WHOLE = "stages/test_whole_pipeline.py"
RUNS, SERVERS, FAILURES = "tracking/test_runs.py", "tracking/test_servers.py", "tracking/test_failures.py"
PROVENANCE, PACKS, CLEANING = (
    "tracking/test_provenance.py",
    "tracking/test_run_transfer.py",
    "pipeline/test_cleaning.py",
)
HEAD = """# Scenarios

What can make DVC and MLflow disagree, or lose something, and the tests that show what happens instead. They use the
real git, DVC and MLflow; those of the whole pipeline also a real `mlflow server`. This page is written by

```
python -m tests.scenarios
```

which runs all of them, on SQLite and, where `initdb` is installed, on PostgreSQL. A dash: the scenario has no such
store. In brackets: how many tests, with their cases. `--store`, `--quick` and `--missing` run a part, and keep the
other cells.

"""


@dataclass(frozen=True)
class Scenario:
    """Something that happens, the tests that show it (file below tests/, then names), and the stores it concerns."""

    title: str
    tests: Mapping[str, tuple[str, ...]]
    stores: tuple[str, ...] = BOTH


DEFECTS = [
    Scenario(
        "Somebody changes a metric, parameter or tag of a finished run on the server",
        {
            RUNS: (
                "test_a_run_that_says_something_else_than_its_record_is_named_and_never_shown",
                "test_a_tampered_pipeline_run_is_published_again",
            )
        },
    ),
    Scenario(
        "A parameter is edited, the stage is killed, the change is committed, the stage goes on",
        {
            RUNS: (
                "test_a_run_that_goes_on_has_the_origin_of_the_last_attempt",
                "test_a_clean_run_is_reproduced_without_the_patch_of_an_earlier_attempt",
            )
        },
    ),
    Scenario(
        "A `.env`, or a patient's film, lies untracked in the repository",
        {
            PROVENANCE: (
                "test_of_what_git_does_not_track_the_number_alone_leaves_the_workspace",
                "test_what_can_show_films_or_hold_passwords_stays_here_also_where_git_tracks_it",
            )
        },
        (),
    ),
    Scenario(
        "Hundreds of megabytes of untracked DICOM lie in the repository; a patch is too large",
        {
            PROVENANCE: (
                "test_many_large_untracked_files_cost_nothing",
                "test_a_patch_too_large_for_code_is_named_and_not_kept",
            )
        },
        (),
    ),
    Scenario(
        "Registering the model is refused, or its process is killed",
        {"pipeline/test_promotion.py": ("test_a_promotion_that_failed_happens_at_the_next_publish_and_once",)},
        (SQLITE,),
    ),
    Scenario(
        "A person may read an experiment, and not write",
        {SERVERS: ("test_who_may_only_read_an_experiment_is_told_and_publishes_once_he_may_write",)},
        (POSTGRESQL,),
    ),
    Scenario(
        "Two clones publish the same records at once",
        {
            RUNS: (
                "test_two_clones_that_publish_at_once_leave_one_run_of_each_record",
                "test_two_clones_may_enter_the_same_data_set_at_once",
                "test_a_twin_decides_the_same_whoever_looks",
            )
        },
    ),
    Scenario(
        "The artifacts are lost, the database is not",
        {RUNS: ("test_a_run_whose_artifacts_are_lost_is_sent_again",)},
    ),
    Scenario(
        "An experiment is first created from a queued copy of the repository",
        {RUNS: ("test_without_an_address_the_store_lies_in_the_users_repository",)},
        (SQLITE,),
    ),
    Scenario(
        "The embedded store is damaged, of another version, locked, or its experiment deleted",
        {
            FAILURES: (
                "test_a_broken_embedded_store_stops_no_stage_and_both_messages_have_the_cure",
                "test_a_locked_embedded_store_stops_no_stage",
            )
        },
        (SQLITE,),
    ),
    Scenario(
        "A server accepts connections and never answers",
        {
            FAILURES: (
                "test_a_silent_server_costs_one_time_out_and_one_message_in_a_whole_repro",
                "test_publish_asks_a_silent_server_once",
                "test_a_search_asks_a_silent_server_once_for_all_its_trials",
            )
        },
        (),
    ),
    Scenario(
        "The same bytes in DVC's cache and in the artifact store",
        {"tracking/test_artifact_links.py": ("test_what_the_cache_holds_is_stored_once",)},
        (SQLITE,),
    ),
    Scenario(
        "Old runs are freed; a kept one is checked out, or its parameters are set again",
        {
            CLEANING: (
                "test_what_no_kept_run_needs_is_freed_and_every_kept_one_comes_back",
                "test_a_freed_workspace_can_be_computed_again_and_is_sent_again",
                "test_a_kept_run_whose_needs_are_unknown_stops_it",
            )
        },
        (SQLITE,),
    ),
    Scenario(
        "The registered model is asked: it says what the table says",
        {
            "inference/test_served_model.py": (
                "test_the_champion_takes_uint8_and_says_what_the_table_says",
                "test_threshold_and_calibration_stand_on_the_version_and_in_the_model",
            )
        },
        (SQLITE,),
    ),
    Scenario(
        "Runs come in a file from a site without a network, and the workspace publishes afterwards",
        {
            PACKS: (
                "test_runs_keep_their_identity_and_publish_sends_none_of_them_again",
                "test_an_unpacking_that_was_cut_off_is_done_again",
                "test_a_file_that_was_changed_is_refused_and_nothing_is_sent",
            )
        },
    ),
]
GOOD = [
    Scenario("A second `dvc repro`", {WHOLE: ("test_a_second_repro_runs_publish_alone_and_replays_nothing",)}),
    Scenario(
        "A parameter is changed, and changed back",
        {WHOLE: ("test_an_applied_experiment_is_the_workspace_and_back_again_trains_nothing",)},
    ),
    Scenario(
        "The store is deleted",
        {
            WHOLE: ("test_three_processes_at_once_that_publish_to_a_lost_store_send_each_run_once",),
            RUNS: ("test_a_lost_server_gets_every_record_back_once",),
        },
    ),
    Scenario(
        "A fresh clone pulls", {WHOLE: ("test_a_clone_that_pulls_computes_nothing_and_fills_a_store_of_its_own",)}
    ),
    Scenario(
        "An older commit is checked out; an experiment becomes a branch",
        {WHOLE: ("test_a_branch_of_an_experiment_and_a_checkout_of_the_commit_before_it",)},
    ),
    Scenario(
        "A queue with two workers, beside a `dvc repro`",
        {WHOLE: ("test_two_queued_experiments_and_a_repro_at_once_land_in_the_same_store",)},
    ),
    Scenario(
        "An experiment is applied, or reproduced from its commit and patch",
        {
            WHOLE: (
                "test_an_applied_experiment_is_the_workspace_and_back_again_trains_nothing",
                "test_a_run_of_an_experiment_is_reproduced_from_its_commit_and_patch",
            )
        },
    ),
    Scenario("A training is killed between two epochs", {WHOLE: ("test_a_killed_training_goes_on_as_the_same_run",)}),
    Scenario(
        "20 kills at random moments of train, cross_validate, preprocess, ensemble and publish",
        {WHOLE: ("test_stages_that_are_killed_at_random_moments_end_with_the_same_bytes",)},
    ),
    Scenario(
        "A search is killed and resumed",
        {
            "pipeline/test_parameter_search.py": (
                "test_a_search_that_is_killed_goes_on_within_its_trial_and_its_runs_are_not_doubled",
            )
        },
        (SQLITE,),
    ),
    Scenario(
        "Several clones train and publish at once",
        {SERVERS: ("test_several_pipelines_at_once_lose_and_double_nothing",)},
        (POSTGRESQL,),
    ),
    Scenario(
        "The server dies in the middle of a stage",
        {
            SERVERS: ("test_a_server_that_goes_away_stops_no_training_and_gets_all_of_it_when_it_is_back",),
            RUNS: ("test_a_server_that_leaves_midway_changes_no_record",),
        },
        (POSTGRESQL,),
    ),
]
ALL = (*DEFECTS, *GOOD)


def main(words: Sequence[str] | None = None) -> None:
    """Run the tests and write the page; what is not run keeps its cell. Exit with 1 where a test failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("--store", choices=BOTH, help="run this one alone; default: both")
    parser.add_argument("--quick", action="store_true", help=f"leave out tests/{WHOLE}, which takes minutes")
    parser.add_argument("--missing", action="store_true", help="run those alone whose cell says `not run`")
    args = parser.parse_args(words)
    cells = read_cells(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    if args.store in (None, SQLITE):
        chosen = choose(SQLITE, cells, args.quick, args.missing)
        _update(cells, SQLITE, chosen, run_tests(SQLITE, chosen, {}))
    if args.store in (None, POSTGRESQL):
        chosen = choose(POSTGRESQL, cells, args.quick, args.missing)
        try:
            with mlflow_server.postgres() as address:
                mlflow_server.make_template(address)
                environment = {mlflow_server.POSTGRESQL: address}
                _update(cells, POSTGRESQL, chosen, run_tests(POSTGRESQL, chosen, environment))
        except pytest.skip.Exception as reason:
            sys.stderr.write(f"without PostgreSQL: {reason}\n")
    if failed := [title for (title, _), cell in cells.items() if cell.startswith("failed")]:
        sys.exit(f"failed: {'; '.join(failed)}")


def choose(store: str, cells: Mapping[tuple[str, str], str], quick: bool, missing: bool) -> list[Scenario]:
    """Return the scenarios to run on a store; quick: none of the whole pipeline, missing: none that was run there."""
    chosen = [scenario for scenario in ALL if not (quick and WHOLE in scenario.tests)]
    return [scenario for scenario in chosen if not missing or _was_not_run(scenario, store, cells)]


def _was_not_run(scenario: Scenario, store: str, cells: Mapping[tuple[str, str], str]) -> bool:
    return cells.get((scenario.title, store), NOT_RUN).startswith(NOT_RUN)


def _update(
    cells: dict[tuple[str, str], str], store: str, chosen: Iterable[Scenario], results: Mapping[str, list[str]]
) -> None:
    """Set the cells of a store, and write the page."""
    cells |= {(scenario.title, store): _cell(scenario, store, results) for scenario in chosen}
    PAGE.write_text(render(cells), encoding="utf-8")


def read_cells(page: str) -> dict[tuple[str, str], str]:
    """Return the cells of a page by scenario and store."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {(title, store): cell for title, *cells, _ in rows for store, cell in zip(BOTH, cells, strict=True)}


def run_tests(store: str, scenarios: Iterable[Scenario], environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Run the tests that concern a store, on SQLite those that concern none too; return the results by test."""
    names = {
        (file, name)
        for scenario in scenarios
        if store in (scenario.stores or (SQLITE,))
        for file, tests in scenario.tests.items()
        for name in tests
    }
    ordered = sorted(names, key=_place)  # those of the whole pipeline are the hours of one day
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "loadfile",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
        ]
        variables = os.environ | {mlflow_server.SCENARIOS: "1"} | environment
        nodes = [f"tests/{file}::{name}" for file, name in ordered]
        subprocess.run([sys.executable, *words, *nodes], cwd=ROOT, env=variables)
        return read_report(report)


def _place(test: tuple[str, str]) -> tuple[str, int]:
    """Return the file of a test and its place there."""
    file, name = test
    return file, (ROOT / "tests" / file).read_text(encoding="utf-8").index(f"def {name}(")


def read_report(path: Path) -> dict[str, list[str]]:
    """Return "passed", "failed" or "skipped" of each case by `file::test`."""
    results: dict[str, list[str]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        file = case.get("classname", "").removeprefix("tests.").replace(".", "/")
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        results.setdefault(f"{file}.py::{case.get('name', '').split('[')[0]}", []).append(result)
    return results


def render(cells: Mapping[tuple[str, str], str]) -> str:
    """Return the page; cells: by scenario and store."""
    lines = [HEAD]
    for title, scenarios in (("Defects that are none any more", DEFECTS), ("What a day brings", GOOD)):
        lines += [f"## {title}\n", f"| scenario | {SQLITE} | {POSTGRESQL} | shown by |", "|---|---|---|---|"]
        for scenario in scenarios:
            shown = [cells.get((scenario.title, store), _cell(scenario, store, {})) for store in BOTH]
            tests = "<br>".join(f"`tests/{file}`: {_words(names)}" for file, names in scenario.tests.items())
            lines.append("| " + " | ".join([scenario.title, *shown, tests]) + " |")
        lines.append("")
    return "\n".join(lines)


def _words(names: Iterable[str]) -> str:
    return "; ".join(name.removeprefix("test_").replace("_", " ") for name in names)


def _cell(scenario: Scenario, store: str, results: Mapping[str, list[str]]) -> str:
    if store not in (scenario.stores or (SQLITE,)):
        return "-"
    names = [f"{file}::{name}" for file, tests in scenario.tests.items() for name in tests]
    cases = [result for name in names for result in results.get(name, [NOT_RUN])]
    worst = next((kind for kind in ("failed", NOT_RUN, "skipped") if kind in cases), "passed")
    return f"{worst} ({len(cases)})"


if __name__ == "__main__":
    main()
