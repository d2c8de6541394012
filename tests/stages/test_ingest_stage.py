"""The ingest stage: every published row is a case or an excluded row, and every file is known as it was."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import workspaces
from hypothesis import given
from hypothesis import strategies as st

import stages.ingest
from mammo.core import schemas
from mammo.core.files import read_table
from mammo.data.cohort import leakage, manifest
from mammo.data.datasets import DatasetError, Located
from tests.examples import examples

UNITS = ["lesion", "image", "breast"]


@pytest.fixture
def root(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the synthetic cohort, which may be changed."""
    return shutil.copytree(cohort, tmp_path / "cohort")


@pytest.fixture
def enter(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a workspace on the copy of the cohort, with these keys of `ingest`."""

    def at(**ingest: Any) -> Path:
        return workspaces.enter(tmp_path / "workspace", monkeypatch, source="folder", root=str(root), **ingest)

    return at


def written(workspace: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Cases, excluded rows and manifest."""
    return (
        read_table(workspace / "data/cases.csv", schemas.CASES),
        read_table(workspace / "data/excluded.csv", schemas.EXCLUDED),
        read_table(workspace / "data/manifest.csv", schemas.MANIFEST),
    )


def published_rows(root: Path) -> int:
    return sum(len(pd.read_csv(path)) for path in (root / "csv").glob("*_case_description_*.csv"))


def rows_in(cases: pd.DataFrame) -> int:
    """Abnormalities that samples stand for."""
    return int(cases["abnormality_id"].str.split(schemas.PATH_SEPARATOR).str.len().sum())


def films_of(cases: pd.DataFrame) -> set[str]:
    return set(cases["image_path"].str.split(schemas.VIEW_SEPARATOR, regex=False).explode())


def damage(film: Path) -> None:
    """A JPEG with a whole header and its end, and nothing to decode between them."""
    content = film.read_bytes()
    film.write_bytes(content[: content.index(b"\xff\xda")] + b"\xff\xd9")


# The stage


@pytest.mark.parametrize("unit", UNITS)
def test_every_published_row_is_a_case_and_every_file_is_in_the_manifest(
    unit: str, root: Path, enter: Callable[..., Path]
) -> None:
    workspace = enter(unit=unit)
    stages.ingest.main()
    cases, excluded, files = written(workspace)
    assert (rows_in(cases), len(excluded)) == (published_rows(root), 0)
    films = files[files["path"].isin(films_of(cases))]
    assert len(films) == len(films_of(cases))
    assert films["perceptual_hash"].str.len().eq(leakage.HASH_BITS // 4).all()
    assert files.loc[~files["path"].isin(films["path"]), "perceptual_hash"].isna().all()
    for row in files.sample(10, random_state=0).itertuples():
        content = (root / row.path).read_bytes()
        assert (row.bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (row.height_px, row.width_px) == cv2.imread(str(root / row.path), cv2.IMREAD_GRAYSCALE).shape


@pytest.mark.parametrize("unit", UNITS)
def test_a_damaged_film_excludes_all_rows_of_its_samples_and_no_other(
    unit: str, root: Path, enter: Callable[..., Path]
) -> None:
    workspace = enter(unit=unit)
    stages.ingest.main()
    whole, _, _ = written(workspace)
    film = max(films_of(whole), key=lambda path: (whole["image_path"].str.contains(path).sum(), path))
    damage(root / film)
    stages.ingest.main()
    cases, excluded, files = written(workspace)
    lost = whole[whole["image_path"].str.split(schemas.VIEW_SEPARATOR, regex=False).map(lambda paths: film in paths)]
    assert set(cases["sample_id"]) == set(whole["sample_id"]) - set(lost["sample_id"])
    assert len(excluded) == rows_in(lost)
    assert rows_in(cases) + len(excluded) == published_rows(root)
    assert excluded["reason"].str.contains("cannot be decoded").all()
    assert not excluded["reason"].str.contains(str(root)).any()
    assert film not in set(files["path"])


def test_fail_names_the_reason_and_leaves_the_list_of_excluded_rows(root: Path, enter: Callable[..., Path]) -> None:
    workspace = enter(on_error="fail")
    stages.ingest.main()
    (workspace / "metrics/records/ingest.json").unlink()
    damage(root / written(workspace)[0]["image_path"].iloc[0])
    with pytest.raises(DatasetError, match=r"data/excluded\.csv: .* `fail`: .*cannot be decoded"):
        stages.ingest.main()
    assert len(read_table(workspace / "data/excluded.csv", schemas.EXCLUDED)) > 0
    assert not (workspace / "metrics/records/ingest.json").exists()


def test_a_part_of_the_data_set_does_not_pass_for_the_full_one(enter: Callable[..., Path]) -> None:
    enter(expect="full")
    with pytest.raises(DatasetError, match=r"test rows: \d+ instead of 704.*`ingest\.expect: subset`"):
        stages.ingest.main()


def test_the_real_mass_set_is_full_and_none_of_its_1696_rows_is_excluded(
    real_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspaces.enter(
        tmp_path,
        monkeypatch,
        source="folder",
        root=str(real_root),
        abnormality_types=["mass"],
        expect="full",
        on_error="fail",
    )
    stages.ingest.main()
    cases, excluded, files = written(tmp_path)
    assert (len(cases), len(excluded)) == (1696, 0)
    assert len(films_of(cases)) == files["perceptual_hash"].nunique() == 1592
    assert set(files["height_px"]) == set(files["width_px"]) == {800}


def test_the_record_repeats_its_bytes_and_tells_the_excluded_rows(root: Path, enter: Callable[..., Path]) -> None:
    workspace = enter()
    stages.ingest.main()
    record = workspace / "metrics/records/ingest.json"
    before = record.read_bytes()
    stages.ingest.main()
    assert record.read_bytes() == before
    assert json.loads(before)["tags"]["excluded"] == "none"
    cases, _, _ = written(workspace)
    film = cases["image_path"].value_counts().index[0]
    damage(root / film)
    stages.ingest.main()
    told = json.loads(record.read_text())
    rows = len(written(workspace)[1])
    assert told["metrics"]["excluded_rows"] == rows
    assert told["tags"]["excluded"].startswith(f"{rows} x {film}: ")
    assert (told["parameters"]["expect"], told["parameters"]["on_error"]) == ("subset", "exclude")


def test_only_the_most_frequent_reasons_are_named() -> None:
    excluded = pd.DataFrame({"reason": [f"reason {number}" for number in range(8) for _ in range(number + 1)]})
    reasons = stages.ingest._summarize_reasons(excluded).split("; ")
    assert reasons[0] == "8 x reason 7"
    assert reasons[-1] == "3 more reasons"
    assert len(reasons) == stages.ingest.MAX_REASONS + 1


# What stays when files cannot be used


def film(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (60, 40), np.uint8))


def sample(name: str, image_path: str, mask_path: str | None, **changes: str) -> dict[str, Any]:
    return {
        "sample_id": name,
        "patient_id": name,
        "laterality": "LEFT",
        "view": "CC",
        "abnormality_id": "1",
        "abnormality_type": "mass",
        "official_split": "train",
        "image_path": image_path,
        "mask_path": mask_path,
    } | changes


@pytest.fixture
def located(tmp_path: Path) -> Located:
    """A lesion with its mask, an image with a mask and a box, a breast with lesions in one view, a film without."""
    cases = pd.DataFrame(
        [
            sample("lesion", "a.png", "a_mask.png"),
            sample("image", "b.png", "b_mask.png;box:1,2,30,40", abnormality_id="1;2"),
            sample("breast", "c.png|d.png", "c_mask.png;c_other.png|", view="CC|MLO", abnormality_id="1;2"),
            sample("normal", "e.png", None, abnormality_type="none"),
        ]
    )
    files = [f"{name}.png" for name in ("a", "a_mask", "b", "b_mask", "c", "c_mask", "c_other", "d", "e")]
    for name in files:
        film(tmp_path / name)
    excluded = pd.DataFrame(columns=[*schemas.KEY, "official_split", "reason"])
    return Located(cases, excluded, files, {"rows": 6})


def test_whole_files_keep_every_sample(located: Located, tmp_path: Path) -> None:
    kept, files = manifest.examine(tmp_path, located, 2)
    assert kept is located
    assert files["path"].to_list() == located.files
    hashed = set(files.loc[files["perceptual_hash"].notna(), "path"])
    assert hashed == {"a.png", "b.png", "c.png", "d.png", "e.png"}
    schemas.check_table(files, schemas.MANIFEST, "manifest")


@pytest.mark.parametrize(
    ("broken", "lost", "rows", "files"),
    [
        ("a.png", "lesion", 1, {"a.png", "a_mask.png"}),
        ("a_mask.png", "lesion", 1, {"a.png", "a_mask.png"}),
        ("b_mask.png", "image", 2, {"b.png", "b_mask.png"}),
        ("d.png", "breast", 2, {"c.png", "c_mask.png", "c_other.png", "d.png"}),
        ("c_other.png", "breast", 2, {"c.png", "c_mask.png", "c_other.png", "d.png"}),
        ("e.png", "normal", 1, {"e.png"}),
    ],
)
@pytest.mark.parametrize("how", ["missing", "empty", "text", "cut", "folder"])
def test_a_sample_goes_whole_with_one_row_per_abnormality_and_with_its_files(
    how: str, broken: str, lost: str, rows: int, files: set[str], located: Located, tmp_path: Path
) -> None:
    content = (tmp_path / broken).read_bytes()
    (tmp_path / broken).unlink()
    if how == "folder":
        (tmp_path / broken).mkdir()
    elif how != "missing":
        (tmp_path / broken).write_bytes({"empty": b"", "text": b"not an image", "cut": content[:-40]}[how])
    kept, found = manifest.examine(tmp_path, located, 1)
    assert set(located.cases["sample_id"]) - set(kept.cases["sample_id"]) == {lost}
    assert kept.excluded["patient_id"].to_list() == [lost] * rows
    assert kept.excluded["reason"].str.startswith(f"{broken}: ").all()
    assert kept.excluded["abnormality_id"].is_unique
    assert set(located.files) - set(kept.files) == files
    assert found["path"].to_list() == kept.files
    assert kept.counts == located.counts
    schemas.check_table(kept.excluded, schemas.EXCLUDED, "excluded")


def test_a_file_that_two_samples_share_stays_for_the_one_that_stays(located: Located, tmp_path: Path) -> None:
    second = located.cases[located.cases["sample_id"] == "lesion"].assign(sample_id="second", mask_path="box:1,1,9,9")
    both = Located(pd.concat([located.cases, second], ignore_index=True), located.excluded, located.files, {})
    (tmp_path / "a_mask.png").unlink()
    kept, found = manifest.examine(tmp_path, both, 1)
    assert "second" in set(kept.cases["sample_id"])
    assert "a.png" in set(found["path"])


def test_earlier_exclusions_stay_listed(located: Located) -> None:
    earlier = located.cases[located.cases["sample_id"] == "normal"].assign(reason="unknown view")
    before = Located(located.cases.iloc[:3], earlier[located.excluded.columns], located.files, {})
    kept = manifest.exclude_samples(before, {"breast": "too dark"})
    assert kept.excluded["reason"].to_list() == ["unknown view", "too dark", "too dark"]


def test_no_usable_sample_is_an_error_with_the_first_reason(located: Located, tmp_path: Path) -> None:
    for name in located.files:
        (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match=r"none of the 4 samples is usable; first reason: a\.png: cannot be read"):
        manifest.examine(tmp_path, located, 1)


@examples(60, reuse_fixtures=True)
@given(content=st.binary(max_size=300), position=st.integers(0, 3000))
def test_whatever_bytes_a_film_holds_its_rows_are_accounted_for(
    content: bytes, position: int, located: Located, tmp_path: Path
) -> None:
    film(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:position] + content + whole[position + len(content) :])
    kept, found = manifest.examine(tmp_path, located, 1)
    assert rows_in(kept.cases) + len(kept.excluded) == rows_in(located.cases)
    schemas.check_table(found, schemas.MANIFEST, "manifest")
