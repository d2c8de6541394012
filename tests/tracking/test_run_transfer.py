"""Runs in a file: out of one store, into another, with their identity; and a file of a stranger is refused."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import LoggedModelOutput, Run

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.core.files import write_text
from mammo.core.records import Record, read_record, record_path
from mammo.tracking import live_run, mlflow_client, publishing, run_transfer
from mammo.tracking.run_archive import LIST, RunList, read_archive
from mammo.tracking.verification import describe_difference, find_lost_artifact
from tests import mlflow_server

EXPERIMENT = "mammo"
ARCHIVE = Path("site.zip")
KERAS = b"weights of a model" * 100


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make an empty store of that name the current one; the current folder is an empty repository."""
    for variable in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    shutil.copyfile(Path(__file__).parents[2] / "params.yaml", "params.yaml")

    def use(name: str) -> None:
        (tmp_path / name).mkdir()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.new_store(tmp_path / name / "mlflow.db", empty_store))

    use("site")
    return use


def train(name: str = "light_cnn") -> Record:
    """Track a training with epochs, two folds, a file, input data and a model; return its record."""
    predictions = Path(f"data/predictions/{name}.csv")
    write_text(predictions, "sample_id,prob\na,0.5\n")
    tags = {"data": "d" * 64}
    with live_run.tracked_run("train", model=name, experiment=EXPERIMENT, parameters={"seed": 3}, tags=tags) as run:
        for number in range(2):
            with run.part(f"fold{number}", {"fold": number}) as part:
                part.log_epoch(0, {"loss": 0.5})
                part.log_metrics({"val_auc": 0.7 + number / 10})
        for epoch in range(3):
            run.log_epoch(epoch, {"loss": 1 / (epoch + 1)})
        run.log_metrics({"auc": 0.75, "undefined": float("nan")})
        run.log_artifact(predictions)
    return read_record(record_path("train", name))


def log_model(run: Run, folder: Path) -> None:
    """Log a model whose files are no Keras: what moves is bytes."""
    write_text(folder / "MLmodel", "artifact_path: here\nflavors: {}\nmodel_id: old\nrun_id: old\n")
    (folder / "data").mkdir()
    (folder / "data" / "model.keras").write_bytes(KERAS)
    client = mlflow.MlflowClient()
    model = client.create_logged_model(run.info.experiment_id, "light_cnn", run.info.run_id)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])


@pytest.fixture
def site(store: Callable[[str], None], tmp_path: Path) -> list[Record]:
    """The records of a published workspace on the site's store."""
    records = [train(), train("basic_vgg16")]
    published = publishing.publish(EXPERIMENT, records)
    log_model(published.runs[0], tmp_path / "model")
    pipeline = publishing.log_pipeline(EXPERIMENT, records, published.runs, [])
    publishing.note_promotion(pipeline, "light_cnn is version 1")
    return records


def runs() -> list[Run]:
    client = mlflow.MlflowClient()
    return list(client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id]))


def test_runs_keep_their_identity_and_publish_sends_none_of_them_again(site, store):
    before = {run.data.tags["content"]: run for run in runs() if "content" in run.data.tags}
    assert len(run_transfer.pack(EXPERIMENT, ARCHIVE)) == 3
    store("server")
    unpacked = run_transfer.unpack(EXPERIMENT, ARCHIVE)
    assert (len(unpacked.sent), unpacked.known) == (3, [])
    published = publishing.publish(EXPERIMENT, site)
    assert published.replayed == published.differing == []
    assert published.pipeline is not None
    assert published.promotion is None  # the server decides itself about its registered model
    assert len(runs()) == 2 + 4 + 1
    for run, record in zip(published.runs, site, strict=True):
        assert describe_difference(run, record) is None
        assert find_lost_artifact(run, record) is None
        old = before[record.content()]
        assert (run.info.start_time, run.info.end_time) == (old.info.start_time, old.info.end_time)
        assert run.data.params == old.data.params
        assert run.data.tags["packed.run_id"] == old.info.run_id
        assert run.data.tags["mlflow.parentRunId"] == published.pipeline
        assert run.inputs.dataset_inputs[0].dataset == old.inputs.dataset_inputs[0].dataset
    client = mlflow.MlflowClient()
    history = client.get_metric_history(published.runs[0].info.run_id, "loss")
    assert sorted((value.step, value.value) for value in history) == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


def test_parts_lie_below_their_run_and_the_model_is_loaded_by_the_new_run(site, store):
    run_transfer.pack(EXPERIMENT, ARCHIVE)
    store("server")
    run_transfer.unpack(EXPERIMENT, ARCHIVE)
    (run,) = (run for run in runs() if run.info.run_name == "train@light_cnn")
    parts = [part for part in runs() if part.data.tags.get("mlflow.parentRunId") == run.info.run_id]
    assert sorted((part.data.tags["part"], part.data.metrics["val_auc"]) for part in parts) == [
        ("fold0", pytest.approx(0.7)),
        ("fold1", pytest.approx(0.8)),
    ]
    uri = f"runs:/{run.info.run_id}/light_cnn"
    assert mlflow_client.download_model(uri).read_bytes() == KERAS
    (output,) = mlflow.MlflowClient().get_run(run.info.run_id).outputs.model_outputs
    description = (mlflow_client.download(uri) / "MLmodel").read_text()
    assert run.info.run_id in description
    assert output.model_id in description
    assert "old" not in description
    assert publishing.find_origin(run.info.run_id).records == [site[0]]


def test_a_second_time_and_what_the_server_has_sends_nothing(site, store, capsys):
    main.main(["runs", "pack", str(ARCHIVE)])
    assert "site.zip: 3 runs, 0.0 MB" in capsys.readouterr().out
    store("server")
    train("basic_vgg16")  # the same content, computed there
    main.main(["runs", "unpack", str(ARCHIVE)])
    assert "2 runs sent, 1 known already" in capsys.readouterr().out
    n_runs = len(runs())
    main.main(["runs", "unpack", str(ARCHIVE), "--json"])
    assert len(json.loads(capsys.readouterr().out)["known"]) == 3
    assert len(runs()) == n_runs
    assert publishing.publish(EXPERIMENT, site).replayed == []


def test_an_unpacking_that_was_cut_off_is_done_again(site, store, monkeypatch):
    run_transfer.pack(EXPERIMENT, ARCHIVE)
    store("server")
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_terminated", lambda *words: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_transfer.unpack(EXPERIMENT, ARCHIVE)
    assert len(run_transfer.unpack(EXPERIMENT, ARCHIVE).sent) == 3
    published = publishing.publish(EXPERIMENT, site)
    assert published.replayed == []
    assert {run.info.status for run in published.runs} == {"FINISHED"}


def test_a_choice_of_runs_and_an_unknown_one(site, store):
    (chosen,) = (run for run in runs() if run.info.run_name == "train@light_cnn")
    assert run_transfer.pack(EXPERIMENT, ARCHIVE, [chosen.info.run_id]) == ["train@light_cnn"]
    (pipeline,) = (run for run in runs() if run.data.tags["dvc.stage"] == "pipeline")
    assert len(run_transfer.pack(EXPERIMENT, ARCHIVE, [pipeline.info.run_id])) == 3
    with pytest.raises(InputError, match="run nope is no finished run"):
        run_transfer.pack(EXPERIMENT, ARCHIVE, ["nope"])
    store("empty")
    with pytest.raises(InputError, match="has no finished run of 'mammo' to pack"):
        run_transfer.pack(EXPERIMENT, ARCHIVE)


def rewrite(change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> None:
    """Write the archive again with its list and members changed."""
    with zipfile.ZipFile(ARCHIVE) as source:
        members = {name: source.read(name) for name in source.namelist()}
    listed = json.loads(members.pop(LIST))
    change(listed, members)
    with zipfile.ZipFile(ARCHIVE, "w") as target:
        target.writestr(LIST, json.dumps(listed))
        for name, content in members.items():
            target.writestr(name, content)


def first_file(listed: dict[str, Any]) -> str:
    return next(name for name in listed["files"] if name.endswith(".csv"))


def outside(name: str) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    def change(listed: dict[str, Any], members: dict[str, bytes]) -> None:
        old = first_file(listed)
        listed["files"][name], members[name] = listed["files"].pop(old), members.pop(old)

    return change


def damage(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    name = first_file(listed)
    members[name] = members[name][::-1]


def grow(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    members[first_file(listed)] += b"more"


def add(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    members["artifacts/run/extra"] = b""


def leave_out(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    del members[first_file(listed)]


def forge(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    next(run for run in listed["runs"] if run["tags"].get("content"))["tags"]["content"] = "f" * 64


def inflate(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    listed["files"][first_file(listed)]["size"] = 10**18


def another_version(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    listed["format"] = 2


def foreign_id(listed: dict[str, Any], members: dict[str, bytes]) -> None:
    listed["runs"][0]["run_id"] = "../../home"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (outside("../evil"), "is no place for a file of a run"),
        (outside("/etc/evil"), "is no place for a file of a run"),
        (outside("artifacts/../../evil"), "is no place for a file of a run"),
        (outside("artifacts\\..\\evil/x/y"), "is no place for a file of a run"),
        (outside("elsewhere/a/b"), "is no place for a file of a run"),
        (damage, "has a wrong checksum"),
        (grow, "is not of the size in its list"),
        (inflate, "is not of the size in its list"),
        (add, "'artifacts/run/extra' is not once in the file and once in its list"),
        (leave_out, "is not once in the file and once in its list"),
        (forge, "is not that of its tag `content`"),
        (another_version, "is not of this version of mammo"),
        (foreign_id, "is not of this version of mammo"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[:20],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_was_changed_is_refused_and_nothing_is_sent(packed: bytes, store, change, message):
    ARCHIVE.write_bytes(packed)
    rewrite(change)
    with pytest.raises(InputError, match=message):
        run_transfer.unpack(EXPERIMENT, ARCHIVE)
    mlflow_client.use_store()
    assert mlflow.get_experiment_by_name(EXPERIMENT) is None
    assert not list(Path().resolve().parent.rglob("evil"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> bytes:
    """A file with one run, made once."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("packed")
        patch.chdir(root)
        for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
            patch.delenv(variable, raising=False)
        shutil.copyfile(empty_store, root / "mlflow.db")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        train()
        run_transfer.pack(EXPERIMENT, ARCHIVE)
        return ARCHIVE.read_bytes()


def test_a_lying_header_writes_no_more_than_listed(packed: bytes, store, tmp_path, monkeypatch):
    ARCHIVE.write_bytes(packed)
    monkeypatch.setattr("mammo.tracking.run_archive._read_list", _list_of(packed))
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n=-1: b"x" * 10_000)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="wrong checksum"):
        read_archive(ARCHIVE, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) == 0


def _list_of(packed: bytes) -> Callable[..., Any]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        listed = RunList.model_validate(json.loads(archive.read(LIST)))
    return lambda *words: listed


@pytest.mark.parametrize("text", ["[", "- 1", ""])
def test_a_model_that_mlflow_cannot_read_is_refused_before_anything_is_sent(site, store, tmp_path, text):
    (run,) = (run for run in runs() if run.info.run_name == "train@light_cnn")
    (output,) = mlflow.MlflowClient().get_run(run.info.run_id).outputs.model_outputs
    location = mlflow.MlflowClient().get_logged_model(output.model_id).artifact_location
    (Path(location.removeprefix("file://")) / "MLmodel").write_text(text)
    run_transfer.pack(EXPERIMENT, ARCHIVE)
    store("server")
    with pytest.raises(InputError, match="MLmodel of the model light_cnn cannot be read"):
        run_transfer.unpack(EXPERIMENT, ARCHIVE)
    mlflow_client.use_store()
    assert mlflow.get_experiment_by_name(EXPERIMENT) is None


def test_a_bit_that_flipped_on_the_way_is_named(packed: bytes, tmp_path: Path) -> None:
    """In compressed data the decompressor meets it before any checksum does."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        member = max(archive.infolist(), key=lambda member: member.compress_size)
    start = member.header_offset + 30 + len(member.filename)
    (tmp_path / "out").mkdir()
    for place in range(start, start + 40):
        (tmp_path / "bad.zip").write_bytes(packed[:place] + bytes([packed[place] ^ 255]) + packed[place + 1 :])
        with pytest.raises(InputError, match=r"bad\.zip"):
            read_archive(tmp_path / "bad.zip", tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out").mkdir()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_archive_is_refused(store, content):
    ARCHIVE.write_bytes(content)
    with pytest.raises(InputError, match=r"site.zip (cannot be read|has no runs.json)"):
        run_transfer.unpack(EXPERIMENT, ARCHIVE)
    with pytest.raises(InputError, match=r"nowhere.zip cannot be read"):
        run_transfer.unpack(EXPERIMENT, Path("nowhere.zip"))
