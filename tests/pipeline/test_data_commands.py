"""`python -m mammo data`: nothing is wrong with what the stages left, and whatever is done to it is named."""

import json
import shutil
from pathlib import Path

import pytest
from workspaces import change

from mammo.cli import main
from mammo.core import schemas
from mammo.core.files import read_table, sha256, write_table
from mammo.core.paths import CASES, EXCLUDED, MANIFEST, RAW, SPLITS
from mammo.data.sources import demo
from mammo.pipeline import data_commands
from stages import ingest


@pytest.fixture
def workspace(finished_lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run's tables and films, of its own."""
    for name in ("params.yaml", *map(str, (CASES, EXCLUDED, MANIFEST, SPLITS))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(finished_lesions / name, tmp_path / name)
    shutil.copytree(finished_lesions / RAW, tmp_path / RAW)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems() -> str:
    return "\n".join(data_commands.check().problems)


def a_film() -> Path:
    cases = read_table(CASES, schemas.CASES)
    return RAW / "demo" / cases["image_path"].iloc[0]


def test_nothing_is_wrong_with_what_the_stages_left(workspace: Path, capsys) -> None:
    main.main(["data", "check", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert found["compared"] == list(map(str, (EXCLUDED, MANIFEST, SPLITS)))
    assert found["files"] == len(read_table(MANIFEST, schemas.MANIFEST))
    assert found["counts"]["patients"] == 30


def test_a_truncated_film_is_named_and_the_exit_code_tells(workspace: Path, capsys) -> None:
    film = a_film()
    content = film.read_bytes()
    film.write_bytes(content[: len(content) // 2])
    with pytest.raises(SystemExit, match="problems"):
        main.main(["data", "check"])
    printed = capsys.readouterr().out
    name = film.relative_to(RAW / "demo").as_posix()
    assert f"{name}: truncated" in printed
    assert f"{name}: changed since ingest" in printed
    others = [path for path in read_table(MANIFEST, schemas.MANIFEST)["path"] if path != name]
    assert not any(f"{path}: " in printed for path in others)


def test_a_missing_and_another_film_are_told_apart(workspace: Path) -> None:
    films = sorted({RAW / "demo" / path for path in read_table(CASES, schemas.CASES)["image_path"]})
    films[0].unlink()
    shutil.copyfile(films[2], films[1])
    found = problems()
    names = [film.relative_to(RAW / "demo").as_posix() for film in films]
    assert f"{names[0]}: missing, and ingest used it" in found
    assert f"{names[1]}: changed since ingest" in found
    assert names[2] not in found


def test_what_ingest_excluded_already_is_accepted_and_before_ingest_it_is_a_problem(workspace: Path) -> None:
    a_film().unlink()
    located = [row for row in data_commands.check().problems if "row" in row]
    assert located
    for path in (EXCLUDED, MANIFEST, SPLITS):
        path.unlink()
    assert data_commands.check().problems == located

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "fetch", lambda given, raw, seed: shutil.copytree(workspace / "kept", raw / "demo"))
        shutil.copytree(RAW / "demo", workspace / "kept")
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        ingest.main()
    assert data_commands.check().problems == []


def test_a_patient_in_two_splits_is_named(workspace: Path) -> None:
    splits = read_table(SPLITS, schemas.SPLITS)
    several = splits["patient_id"].value_counts()
    patient = next(name for name in several.index if several[name] > 1)
    row = splits.index[splits["patient_id"] == patient][0]
    splits.loc[row, "split"] = "val" if splits.loc[row, "split"] != "val" else "train"
    splits.to_csv(SPLITS, index=False)
    assert f"patient(s) in more than one split, e.g. {patient}" in problems()


def test_a_film_under_two_patients_in_two_splits_is_a_leak(workspace: Path) -> None:
    placed = read_table(CASES, schemas.CASES).merge(read_table(SPLITS, schemas.SPLITS)[["sample_id", "split"]])
    one, other = (placed.loc[placed["split"] == split, "image_path"].iloc[0] for split in ("train", "test"))
    files = read_table(MANIFEST, schemas.MANIFEST).set_index("path")
    files.loc[one, "perceptual_hash"] = files.loc[other, "perceptual_hash"]
    write_table(MANIFEST, files.reset_index(), schemas.MANIFEST)
    assert "leak: train-test, identical images" in problems()


def test_where_the_full_data_set_is_expected_a_part_is_a_problem(workspace: Path) -> None:
    change(workspace, ingest={"expect": "full"})
    assert "is not the full data set: train rows" in problems()


def test_the_description_counts_every_sample_once(workspace: Path, capsys) -> None:
    main.main(["data", "describe", "--json"])
    found = json.loads(capsys.readouterr().out)
    splits = read_table(SPLITS, schemas.SPLITS)
    counted = {row["split"]: row["samples"] for row in found["counts"]}
    assert counted == {**splits["split"].value_counts().to_dict(), "all": len(splits)}
    of_type = [row for row in found["composition"] if row["variable"] == "abnormality_type"]
    assert sum(row["n"] for row in of_type) == len(splits)
    main.main(["data", "describe"])
    assert str(len(splits)) in capsys.readouterr().out


def test_a_download_of_what_is_there_fetches_nothing_and_says_where_it_lies(workspace: Path, capsys) -> None:
    change(workspace, ingest={"source": "folder", "root": str(RAW / "demo")})
    files = [path for path in (RAW / "demo").rglob("*") if path.is_file()]
    main.main(["data", "download", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["bytes"]) == (len(files), sum(path.stat().st_size for path in files))
    assert Path(found["root"]) == (RAW / "demo").resolve()


def test_what_ingest_makes_is_not_downloaded(workspace: Path, capsys) -> None:
    before = sha256(RAW)
    main.main(["data", "download"])
    assert "nothing to download" in capsys.readouterr().out
    assert sha256(RAW) == before


def test_a_source_that_cannot_be_had_ends_in_its_error(workspace: Path) -> None:
    change(workspace, ingest={"source": "folder", "root": "nowhere"})
    with pytest.raises(SystemExit, match="'nowhere' is not a folder"):
        main.main(["data", "download"])
