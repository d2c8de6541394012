"""`mammo plan` says what `dvc repro` then does, and why."""

import json
import shutil
from pathlib import Path

import pytest
from dvc_project import repro

from mammo.cli import main
from mammo.core import durations
from mammo.core.errors import InputError
from mammo.pipeline import plan as planning
from mammo.pipeline.plan import ALWAYS, NEVER_RUN, Step, make_plan

pytestmark = pytest.mark.usefixtures("dvc_project")


def steps() -> dict[str, Step]:
    return {step.stage: step for step in make_plan().steps}


def test_an_unchanged_project_runs_what_always_runs():
    plan = make_plan()
    assert [(step.stage, step.reasons, step.after) for step in plan.steps] == [("publish", (ALWAYS,), ())]
    assert plan.n_stages == 3
    assert make_plan(["fit"]).steps == ()


def test_a_parameter_is_named_with_its_old_and_new_value_and_what_follows_comes_after():
    Path("params.yaml").write_text("rate: 4\nnet: {depth: 2, width: 9, skip: true}\n")
    assert list(steps()) == ["fit", "publish"]
    assert steps()["fit"].reasons == ("rate: 3 -> 4", "net.width: 8 -> 9", "net.skip: none -> True")
    assert steps()["publish"].after == ("fit",)


def test_the_files_of_a_changed_folder_are_named():
    Path("src/tables/read.py").write_text("COLUMNS = []\n")
    Path("src/tables/more.py").write_text("")
    assert steps()["prepare"].reasons == ("src/tables changed: more.py, read.py",)
    assert steps()["fit"].reasons == ()  # of what it reads nothing is known until prepare has run
    assert steps()["fit"].after == ("prepare",)
    assert steps()["publish"].after == ("fit",)


def test_a_version_that_no_commit_holds_is_a_changed_folder():
    Path("src/tables/read.py").write_text("1")
    repro()
    Path("src/tables/read.py").write_text("2")
    assert steps()["prepare"].reasons == ("src/tables changed",)


def test_missing_files_a_changed_command_and_a_stage_that_never_ran():
    shutil.rmtree("data/model")
    Path("raw.csv").unlink()
    text = Path("dvc.yaml").read_text().replace('cmd: "true"', 'cmd: "false"')
    Path("dvc.yaml").write_text(text + "  late: {cmd: touch late, outs: [late]}\n")
    planned = steps()
    assert planned["prepare"].reasons == ("raw.csv is missing",)
    assert planned["fit"].reasons == ("data/model is missing",)
    assert planned["publish"].reasons == (ALWAYS, "its command in dvc.yaml changed")
    assert planned["late"].reasons == (NEVER_RUN,)


def test_what_the_cache_holds_is_restored_and_takes_no_time():
    shutil.rmtree("data/model")
    assert steps()["fit"].restored
    repro()
    before = Path("params.yaml").read_text()
    Path("params.yaml").write_text("rate: 4\nnet: {}\n")
    assert not steps()["fit"].restored
    repro()
    Path("params.yaml").write_text(before)
    assert steps()["fit"].restored
    assert steps()["fit"].reasons[0] == "rate: 4 -> 3"


def test_nothing_is_written(dvc_project: Path):
    Path("params.yaml").write_text("rate: 4\nnet: {}\n")
    before = {
        path: path.stat().st_mtime_ns for path in dvc_project.rglob("*") if path.is_file() and ".git" not in path.parts
    }
    make_plan()
    after = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    scratch = dvc_project / ".dvc" / "tmp"
    assert {path for path in before if scratch not in path.parents and before[path] != after.get(path)} == set()


def test_a_stage_leaves_the_time_that_it_took(monkeypatch):
    durations.note_duration()
    assert durations.read_duration("fit") is None
    monkeypatch.setenv("DVC_STAGE", "fit")
    durations.note_duration()
    seconds = durations.read_duration("fit")
    assert seconds is not None
    assert seconds > 0
    Path("params.yaml").write_text("rate: 4\nnet: {}\n")
    assert make_plan().seconds() == seconds


def test_a_time_that_cannot_be_written_fails_no_stage(monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "fit")
    Path(".dvc/tmp/durations").write_text("no folder")
    durations.note_duration()
    assert durations.read_duration("fit") is None


def test_the_time_of_a_training_that_never_ran_here_is_the_servers(monkeypatch):
    plan = planning.Plan((Step("train@a", (), (), False, None), Step("report", (), (), False, None)), 2)
    asked = []
    monkeypatch.setattr(
        "mammo.tracking.run_times.read_run_times",
        lambda experiment, names: asked.append(list(names)) or {"train@a": 7.0},
    )
    shutil.copyfile(Path(__file__).parents[2] / "params.yaml", "params.yaml")
    assert [step.seconds for step in planning.time_trainings(plan).steps] == [7.0, None]
    assert asked == [["train@a"]]


def test_the_command_prints_a_table_of_80_columns_and_json(capsys):
    Path("params.yaml").write_text("rate: 4\nnet: {}\n")
    main.main(["plan"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "\\n" not in printed
    for part in ("2 of 3 stages", "rate: 3 -> 4", "after fit", "unknown", "beside 2 of unknown time"):
        assert part in printed
    main.main(["plan", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert [step["stage"] for step in content["steps"]] == ["fit", "publish"]
    main.main(["plan", "prepare"])
    assert "nothing to do" in capsys.readouterr().out


def test_bad_input_is_one_message(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="Stage 'nope' not found"):
        make_plan(["nope"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is in no DVC project"):
        make_plan()
