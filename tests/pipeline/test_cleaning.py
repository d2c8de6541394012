"""`mammo clean` on real git, DVC and MLflow: it frees what no kept run needs, and every kept one comes back."""

import json
import os
import random
import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest
import yaml
from dvc.repo import Repo
from dvc_project import commit, git, repro

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.core.records import Record, read_record, record_path
from mammo.pipeline import cleaning
from mammo.pipeline.cleaning import Keep, clean, parse_keep
from mammo.tracking import artifact_links, mlflow_client, publishing

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path("data/models/light_cnn.bin")
RECORD = record_path("train", "light_cnn")
SIZE = 100_000
DVC_YAML = f"""stages:
  train:
    cmd: echo run >> runs && mkdir -p {MODEL.parent} {RECORD.parent} && cp next.bin {MODEL} &&
      cp next.json {RECORD} && cp next.json history.json
    params: [seed]
    outs: [{MODEL}, {RECORD}]
    metrics: [history.json: {{cache: false}}]
"""


def compute(seed: int) -> Record:
    """Run the pipeline with this seed, and publish its workspace."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(content | {"seed": seed}))
    Path("next.bin").write_bytes(random.Random(seed).randbytes(SIZE))
    artifacts = {MODEL.as_posix(): sha256(Path("next.bin"))}
    made = Record("train", "light_cnn", {"seed": seed}, {}, {"auc": seed / 10}, [], [], artifacts, None)
    Path("next.json").write_text(made.text())
    repro()
    record = read_record(RECORD)
    published = publishing.publish("mammo", [record])
    if published.pipeline is None:
        publishing.log_pipeline("mammo", [record], published.runs, [])
    return record


def n_runs() -> int:
    """How often the stage was computed, and not restored."""
    return Path("runs").read_text().count("run")


def run_of(record: Record) -> mlflow.entities.Run:
    """The run of a record, by its parameter: what was freed has lost its content."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("mammo").experiment_id
    condition = f"params.seed = '{record.parameters['seed']}'"
    (run,) = client.search_runs([experiment], condition)
    return run


def artifacts(record: Record) -> set[str]:
    return {file.path for file in mlflow.MlflowClient().list_artifacts(run_of(record).info.run_id)}


def cached(seed: int) -> bool:
    content = random.Random(seed).randbytes(SIZE)
    return any(file.read_bytes() == content for file in Path(".dvc/cache/files/md5").glob("??/*"))


def make_history(empty_store: Path) -> dict[int, Record]:
    """Five finished workspaces: 1 tagged, 2 the champion that no commit holds, 3 an experiment, 4 nothing, 5 HEAD."""
    shutil.copyfile(empty_store, "mlflow.db")
    Path("dvc.yaml").write_text(DVC_YAML)
    Path(".gitignore").write_text("/mlflow.db\n/mlartifacts\n/runs\n/next.*\n/data\n/metrics\n")
    git("init", "--quiet")
    Repo.init().close()
    records = {1: compute(1)}
    commit("first")
    git("tag", "-a", "v1", "-m", "first")
    records[2] = compute(2)
    client = mlflow.MlflowClient()
    client.create_registered_model("mammo-demo-lesion")
    version = client.create_model_version("mammo-demo-lesion", "file:///nowhere", run_of(records[2]).info.run_id)
    client.set_registered_model_alias("mammo-demo-lesion", "champion", version.version)
    records[3] = compute(3)
    baseline = git("rev-parse", "HEAD")
    git("checkout", "--quiet", "--detach")
    git("update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/third", commit("third"))
    git("checkout", "--quiet", "-")
    records[4] = compute(4)
    records[5] = compute(5)
    commit("fifth")
    return records


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[Path, dict[int, Record]]:
    """The folder of these workspaces, to be copied, and their records."""
    root = tmp_path_factory.mktemp("finished") / "project"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_"))]:
            patch.delenv(variable)
        patch.setenv("DVC_SITE_CACHE_DIR", str(root.with_name("site")))
        patch.chdir(root)
        return root, make_history(empty_store)


@pytest.fixture
def history(
    finished: tuple[Path, dict[int, Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[int, Record]:
    """The records of the workspaces, and a copy of their folder as the current one, which its store names."""
    root, records = finished
    for variable in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    shutil.copytree(root, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    with sqlite3.connect("mlflow.db") as store:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(root), str(Path.cwd())))
    mlflow_client.use_store()
    return records


def test_what_no_kept_run_needs_is_freed_and_every_kept_one_comes_back(history):
    found = clean(parse_keep("champion,tagged,last:1"), remove=True)
    assert [cached(seed) for seed in range(1, 6)] == [True, True, False, False, True]
    assert [name.rsplit("/", 1)[-1] for name in found.experiments] == ["third"]
    assert git("for-each-ref", "refs/exps/*/*/third") == ""
    assert [bool(artifacts(record)) for record in history.values()] == [True, True, False, False, True]
    for seed in (3, 4):  # what they logged stays
        assert run_of(history[seed]).data.metrics["auc"] == seed / 10
    before = n_runs()
    for seed, record in ((2, history[2]), (5, history[5])):  # a parameter and back: restored, nothing is computed
        content = yaml.safe_load(Path("params.yaml").read_text())
        Path("params.yaml").write_text(yaml.safe_dump(content | {"seed": seed}))
        repro()
        assert MODEL.read_bytes() == random.Random(seed).randbytes(SIZE)
        assert publishing.publish("mammo", [read_record(RECORD)]).replayed == []
        assert read_record(RECORD) == record
    git("checkout", "--quiet", "--force", "v1")
    with Repo() as repo:
        repo.checkout(force=True)
        assert repo.status() == {}
    assert MODEL.read_bytes() == random.Random(1).randbytes(SIZE)
    assert publishing.publish("mammo", [read_record(RECORD)]).replayed == []
    assert n_runs() == before


def test_a_freed_workspace_can_be_computed_again_and_is_sent_again(history):
    clean(Keep(False, False, 0), remove=True)
    before = n_runs()
    record = compute(4)
    assert n_runs() == before + 1
    assert record == history[4]
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("mammo").experiment_id
    runs = client.search_runs([experiment], f"tags.content = '{record.content()}'")
    assert len(runs) == 1


def test_without_yes_nothing_is_touched_and_the_size_is_said(history, capsys):
    before = {path for path in Path().rglob("*") if path.is_file() and ".git" not in path.parts}
    main.main(["clean", "--keep", "champion,tagged,last:1"])
    printed = capsys.readouterr().out
    assert "would be freed:" in printed
    assert "experiments: third" in printed
    assert "v1 (" in printed
    assert "(champion)" in printed
    assert "nothing was removed" in printed
    main.main(["clean", "--keep", "champion,tagged,last:1", "--dry-run", "--json"])
    content = json.loads(capsys.readouterr().out)
    # a model of each in the cache and as an artifact, and their small records
    assert content["n_bytes"] == pytest.approx(4 * SIZE, rel=0.2)
    assert not content["freed"]
    scratch = Path(".dvc") / "tmp"
    after = {path for path in Path().rglob("*") if path.is_file() and ".git" not in path.parts}
    assert {path for path in before ^ after if scratch not in path.parents and path.suffix != ".db-journal"} == set()
    main.main(["clean", "--keep", "champion,tagged,last:1", "--yes"])
    assert "\nfreed:" in capsys.readouterr().out
    main.main(["clean", "--keep", "champion,tagged,last:1"])
    assert "together 0.0 MB" in capsys.readouterr().out


def test_the_size_is_what_the_disk_gets_back(history):
    # Artifacts are stored once where the cache has them: the link counts once.
    runs = [run_of(record) for record in history.values()]
    assert artifact_links.link_artifacts(runs) == 5 * SIZE
    used = {
        (path.stat().st_dev, path.stat().st_ino): path.stat().st_size for path in Path().rglob("*") if path.is_file()
    }
    found = clean(parse_keep("champion,tagged,last:1"), remove=True)
    left = {(path.stat().st_dev, path.stat().st_ino) for path in Path().rglob("*") if path.is_file()}
    gone = sum(size for file, size in used.items() if file not in left)
    assert found.n_bytes == pytest.approx(gone, abs=3000)  # git's refs, the database's own files
    assert found.n_bytes == pytest.approx(2 * SIZE, rel=0.2)


def test_a_kept_run_whose_needs_are_unknown_stops_it(history):
    shutil.rmtree(".dvc/cache/runs")
    with pytest.raises(InputError, match=r"pipeline .* is to be kept, .* says what train@light_cnn of it needs"):
        clean(parse_keep("champion"), remove=True)
    assert all(cached(seed) for seed in range(1, 6))
    assert not cached(6)


def test_without_a_store_neither_the_champion_nor_the_last_ones_are_given_up(history):
    Path("mlflow.db").unlink()
    for keep in ("champion", "tagged,last:2"):
        with pytest.raises(InputError, match="MLflow knows no finished workspace"):
            clean(parse_keep(keep), remove=True)
    assert all(cached(seed) for seed in range(1, 6))


def test_without_a_champion_it_is_said(history):
    mlflow.MlflowClient().delete_registered_model_alias("mammo-demo-lesion", "champion")
    assert clean(parse_keep("champion"), remove=False).notes == ["no champion is registered here, so that none is kept"]


def test_a_cache_outside_of_the_repository_is_left_alone(history, tmp_path):
    shutil.move(".dvc/cache", tmp_path / "shared")
    Path(".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    found = clean(parse_keep("tagged"), remove=True)
    assert found.cache_files == []
    assert "may be others' too" in found.notes[0]
    assert len(list((tmp_path / "shared/files/md5").glob("??/*"))) >= 5


def test_artifacts_outside_of_the_repository_are_left_alone(history, tmp_path, monkeypatch):
    kept = {seed: artifacts(record) for seed, record in history.items()}
    monkeypatch.setattr(cleaning.stored_runs, "project_root", lambda: tmp_path / "another")
    assert clean(parse_keep("tagged"), remove=True).runs == []
    monkeypatch.undo()
    assert {seed: artifacts(record) for seed, record in history.items()} == kept


@pytest.mark.parametrize("text", ["", "all", "champion,last", "last:x", "last:1,last:2", "last:-1", "champion;tagged"])
def test_a_wrong_choice_is_refused(text):
    with pytest.raises(InputError, match=r"name some of champion, tagged and last:N"):
        parse_keep(text)


def test_outside_of_a_project_there_is_nothing_to_clean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is in no DVC project"):
        clean(Keep(True, True, 1), remove=True)
