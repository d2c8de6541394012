"""Leaks: a changed copy of a film is recognised, another film is not, and whatever is on two sides is found."""

import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import workspaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import stages.ingest
import stages.split
from mammo.core import schemas
from mammo.core.files import read_splits, read_table
from mammo.data import plausibility
from mammo.data.cohort import leakage, splits
from mammo.data.cohort.leakage import LeakError
from mammo.data.cohort.splits import Split
from mammo.data.images import io
from mammo.data.sources import _phantoms
from tests.examples import examples

Film = npt.NDArray[np.uint8]

DIGITS = leakage.HASH_BITS // 4
HASHES = st.text("0123456789abcdef", min_size=DIGITS, max_size=DIGITS)
SIDES = ["train-val", "train-test", "val-test", "folds"]
Sound = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]  # cases, manifest, splits
KINDS = ["patients", "breasts", "views", "identical_images", "identical_files"]


def jpeg(film: Film, quality: int) -> Film:
    _, content = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), np.uint8)


def half(film: Film) -> Film:
    return np.asarray(cv2.resize(film, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def gamma(film: Film, exponent: float) -> Film:
    return np.asarray((255 * (film / 255) ** exponent).round(), np.uint8)


def window(film: Film, low: int, high: int) -> Film:
    return np.asarray(np.clip((film - float(low)) * (255 / (high - low)), 0, 255), np.uint8)


def mirror(film: Film) -> Film:
    return np.ascontiguousarray(film[:, ::-1])


CHANGES: dict[str, Callable[[Film], Film]] = {
    "mirrored": mirror,
    "re-encoded": lambda film: jpeg(film, 50),
    "resized": half,
    "brighter": lambda film: gamma(film, 0.8),
    "darker": lambda film: gamma(film, 1.25),
    "windowed": lambda film: window(film, 15, 220),
    "all at once": lambda film: gamma(jpeg(half(mirror(film)), 50), 0.8),
}


def apart(one: Film, other: Film) -> int:
    return int(leakage.hash_distances([leakage.perceptual_hash(one)], [leakage.perceptual_hash(other)])[0, 0])


@pytest.fixture(scope="module")
def films() -> list[Film]:
    """Both views of six synthetic breasts, as scanned: labels, tape and white borders included."""
    rng = np.random.default_rng(5)
    draws: list[Film] = []
    for density in (1, 2, 3, 4, 2, 3):
        anatomy = _phantoms.draw_anatomy(rng, density)
        projections = [_phantoms.Projection("LEFT", view, 512) for view in ("CC", "MLO")]
        draws += [_phantoms.draw_film(rng, anatomy, projection, []).pixels for projection in projections]
    return draws


# The hash


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_the_same_film(change: str, films: list[Film]) -> None:
    assert max(apart(film, CHANGES[change](film)) for film in films) <= leakage.MAX_DISTANCE


def test_other_films_are_not_the_same_not_even_the_other_view_of_the_breast(films: list[Film]) -> None:
    hashes = [leakage.perceptual_hash(film) for film in films]
    between = leakage.hash_distances(hashes, hashes)[np.triu_indices(len(films), 1)]
    assert between.min() > leakage.MAX_DISTANCE


def test_of_real_films_a_changed_copy_is_the_same_and_another_film_is_not(real_root: Path) -> None:
    folders = sorted((real_root / "jpeg").iterdir())[::60]
    displayed = [io.read_grey(path) for folder in folders for path in sorted(folder.iterdir())[:1]]
    displayed = [film for film in displayed if film.shape == (800, 800) and np.unique(film).size > 200]
    hashes = [leakage.perceptual_hash(film) for film in displayed]
    assert len(displayed) > 20
    assert leakage.hash_distances(hashes, hashes)[np.triu_indices(len(displayed), 1)].min() > leakage.MAX_DISTANCE
    for change in CHANGES.values():
        assert max(apart(film, change(film)) for film in displayed) <= leakage.MAX_DISTANCE


@examples(60)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=90)))
def test_any_film_has_a_hash_that_the_manifest_takes_and_that_mirroring_keeps(film: Film) -> None:
    digest = leakage.perceptual_hash(film)
    assert len(digest) == DIGITS
    assert set(digest) <= set("0123456789abcdef")
    assert apart(film, mirror(film)) <= 8


@examples(60)
@given(st.lists(HASHES, min_size=1, max_size=4), st.lists(HASHES, min_size=1, max_size=4))
def test_distances_count_the_bits_that_differ(one: list[str], other: list[str]) -> None:
    result = leakage.hash_distances(one, other)
    counted = [[(int(a, 16) ^ int(b, 16)).bit_count() for b in other] for a in one]
    assert result.tolist() == counted


@pytest.mark.parametrize("foreign", ["0" * (DIGITS - 1), None, float("nan")])
def test_a_hash_of_another_kind_is_refused_with_the_cure(foreign: Any) -> None:
    with pytest.raises(LeakError, match=r"1 film\(s\) without a perceptual hash .*dvc repro -f ingest"):
        leakage.hash_distances(["0" * DIGITS, foreign], ["0" * DIGITS])


# Cohorts of random hashes, which are far from each other


def cohort_tables(patients: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cases of so many patients, a film each for CC and MLO, every third patient in the test set; their manifest."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "sample_id": f"P_{number:05d}_{view}",
            "patient_id": f"P_{number:05d}",
            "laterality": "LEFT" if number % 2 else "RIGHT",
            "view": view,
            "abnormality_id": "1",
            "abnormality_type": "mass",
            "label": number // 3 % 2,
            "official_split": "test" if number % 3 == 0 else "train",
            "image_path": f"{number}/{view}.png",
        }
        for number in range(patients)
        for view in ("CC", "MLO")
    ]
    cases = pd.DataFrame(rows)
    manifest = pd.DataFrame(
        {
            "path": cases["image_path"],
            "sha256": [rng.bytes(32).hex() for _ in rows],
            "perceptual_hash": [rng.bytes(DIGITS // 2).hex() for _ in rows],
        }
    )
    return cases, manifest


def nearly(digest: str, bits: int, seed: int = 0) -> str:
    """`digest` with so many bits flipped."""
    flipped = np.random.default_rng(seed).choice(leakage.HASH_BITS, bits, replace=False)
    changed = int(digest, 16)
    for bit in flipped:
        changed ^= 1 << int(bit)
    return f"{changed:0{DIGITS}x}"


def split_of(cases: pd.DataFrame, manifest: pd.DataFrame) -> Split:
    return splits.split_cases(cases, leakage.find_shared_films(cases, manifest), 0.25, 3, 1)


def copied(manifest: pd.DataFrame, path: str, original: str, column: str = "perceptual_hash") -> pd.DataFrame:
    """The manifest where the file `path` has the hash of `original`."""
    by_path = manifest.set_index("path")[column]
    return manifest.assign(**{column: by_path.mask(by_path.index == path, by_path[original]).to_numpy()})


def moved(table: pd.DataFrame, sample: str, split: str, fold: int | None) -> pd.DataFrame:
    """Splits where one sample is elsewhere."""
    here = table["sample_id"] == sample
    return table.assign(split=table["split"].mask(here, split), fold=table["fold"].mask(here, fold))


def some(table: pd.DataFrame, split: str) -> pd.Series:
    """The first sample of a split."""
    return table[table["split"] == split].iloc[0]


@pytest.fixture
def sound() -> Sound:
    """Cases, manifest and a split without leaks."""
    cases, manifest = cohort_tables(60, 2)
    return cases, manifest, split_of(cases, manifest).splits


def counts(audit: dict[str, Any]) -> dict[str, int]:
    """What an audit counted: side, kind -> number, without the zeros."""
    return {
        f"{sides} {kind}": result
        for sides, check in audit["checks"].items()
        for kind, result in check.items()
        if kind != "nearest_distance" and result
    }


def test_a_sound_split_has_no_leaks_and_says_how_near_its_films_come(
    sound: Sound,
) -> None:
    cases, manifest, table = sound
    audit = leakage.audit(cases, table, manifest)
    assert audit["leaks"] == 0
    assert list(audit["checks"]) == SIDES
    assert counts(audit) == {}
    assert audit["examples"] == []
    assert all(check["nearest_distance"] > leakage.MAX_DISTANCE for check in audit["checks"].values())
    assert (audit["films"], audit["dropped"]) == (120, {"rows": 0, "patients": 0})
    leakage.refuse_leaks(audit, "audit.json")


def test_nearest_distance_is_that_of_the_most_similar_films_of_two_sides(
    sound: Sound,
) -> None:
    cases, manifest, table = sound
    audit = leakage.audit(cases, table, manifest)
    split = cases["sample_id"].map(table.set_index("sample_id")["split"])
    train, test = (manifest["perceptual_hash"][split == name] for name in ("train", "test"))
    nearest = min((int(a, 16) ^ int(b, 16)).bit_count() for a in train for b in test)
    assert audit["checks"]["train-test"]["nearest_distance"] == nearest


def test_nearest_distance_of_the_folds_is_the_smallest_of_all_pairs_of_folds(sound: Sound) -> None:
    cases, manifest, table = sound
    fold = cases["sample_id"].map(table.set_index("sample_id")["fold"])
    pairs = combinations([manifest["perceptual_hash"][fold == number].tolist() for number in range(3)], 2)
    nearest = min(int(leakage.hash_distances(one, other).min()) for one, other in pairs)
    audit = leakage.audit(cases, table, manifest)
    assert audit["checks"]["folds"]["nearest_distance"] == nearest


@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_patient_on_two_sides_is_found_with_the_breast(one: str, other: str, sound: Sound) -> None:
    cases, manifest, table = sound
    sample = some(table, one)
    audit = leakage.audit(cases, moved(table, sample["sample_id"], other, sample["fold"]), manifest)
    assert counts(audit) == {f"{one}-{other} patients": 1, f"{one}-{other} breasts": 1}
    assert f"{one}-{other}, patients: {sample['patient_id']}" in audit["examples"]
    with pytest.raises(LeakError, match=rf"{sample['patient_id']}.* audit\.json"):
        leakage.refuse_leaks(audit, "audit.json")


@pytest.mark.parametrize(("fold", "other"), [(0, 1), (0, 2), (1, 2)])
def test_a_patient_in_two_folds_is_found(fold: int, other: int, sound: Sound) -> None:
    cases, manifest, table = sound
    sample = some(table[table["fold"] == fold], "train")
    audit = leakage.audit(cases, moved(table, sample["sample_id"], "train", other), manifest)
    assert counts(audit) == {"folds patients": 1, "folds breasts": 1}


def test_the_other_breast_of_a_patient_is_a_leak_of_the_patient_alone(
    sound: Sound,
) -> None:
    cases, manifest, table = sound
    sample = some(table, "train")
    here = cases["sample_id"] == sample["sample_id"]
    other_side = "LEFT" if cases.loc[here, "laterality"].item() == "RIGHT" else "RIGHT"
    cases = cases.assign(laterality=cases["laterality"].mask(here, other_side))
    audit = leakage.audit(cases, moved(table, sample["sample_id"], "test", None), manifest)
    assert counts(audit) == {"train-test patients": 1}


def test_a_view_on_two_sides_is_found_with_its_film(sound: Sound) -> None:
    cases, manifest, table = sound
    sample = some(table, "train")
    second = cases[cases["sample_id"] == sample["sample_id"]].assign(sample_id="second", abnormality_id="2")
    both = pd.concat([table, table[table["sample_id"] == sample["sample_id"]].assign(sample_id="second", split="val")])
    audit = leakage.audit(pd.concat([cases, second]), both, manifest)
    assert counts(audit) == {f"train-val {kind}": 1 for kind in KINDS}


@pytest.mark.parametrize("bits", [0, 1, leakage.MAX_DISTANCE, leakage.MAX_DISTANCE + 1])
def test_films_up_to_the_threshold_are_identical_under_whichever_names(bits: int, sound: Sound) -> None:
    cases, manifest, table = sound
    paths = cases.set_index("sample_id")["image_path"]
    path, original = paths[some(table, "val")["sample_id"]], paths[some(table, "test")["sample_id"]]
    manifest = copied(manifest, path, original)
    hashes = manifest.set_index("path")["perceptual_hash"]
    manifest["perceptual_hash"] = hashes.mask(hashes.index == path, nearly(hashes[path], bits)).to_numpy()
    audit = leakage.audit(cases, table, manifest)
    assert counts(audit) == ({"val-test identical_images": 1} if bits <= leakage.MAX_DISTANCE else {})
    assert audit["checks"]["val-test"]["nearest_distance"] == bits


def test_an_identical_file_is_found_whatever_its_perceptual_hash(
    sound: Sound,
) -> None:
    cases, manifest, table = sound
    paths = cases.set_index("sample_id")["image_path"]
    path, original = paths[some(table, "train")["sample_id"]], paths[some(table, "test")["sample_id"]]
    audit = leakage.audit(cases, table, copied(manifest, path, original, "sha256"))
    assert counts(audit) == {"train-test identical_files": 1}
    assert path in audit["examples"][0]
    assert original in audit["examples"][0]


def test_both_films_of_a_breast_are_audited() -> None:
    cases, manifest = cohort_tables(60, 4)
    breasts = cases[cases["view"] == "CC"].assign(
        view="CC|MLO", image_path=lambda rows: rows["image_path"] + "|" + rows["image_path"].str.replace("CC", "MLO")
    )
    table = split_of(breasts, manifest).splits
    paths = breasts.set_index("sample_id")["image_path"].str.split("|")
    path, original = paths[some(table, "train")["sample_id"]][1], paths[some(table, "test")["sample_id"]][0]
    audit = leakage.audit(breasts, table, copied(manifest, path, original))
    assert counts(audit) == {"train-test identical_images": 1}
    assert audit["films"] == 120
    assert "MLO" in audit["examples"][0]


def test_the_same_film_twice_within_a_split_is_counted_and_no_leak(
    sound: Sound,
) -> None:
    cases, manifest, table = sound
    in_test = cases.loc[cases["official_split"] == "test", "image_path"].to_list()
    manifest = copied(copied(manifest, in_test[1], in_test[0]), in_test[5], in_test[4])
    audit = leakage.audit(cases, table, manifest)
    assert (audit["leaks"], audit["same_image_within_split"]) == (0, 2)


def test_a_film_that_several_samples_or_files_of_a_patient_show_is_not_shared() -> None:
    cases, manifest = cohort_tables(6, 5)
    assert leakage.find_shared_films(cases, manifest).empty
    assert leakage.find_shared_films(cases, copied(manifest, "1/MLO.png", "1/CC.png")).empty


def test_a_shared_film_is_named_wherever_it_lies_in_the_cohort() -> None:
    """Films are compared in blocks."""
    cases, manifest = cohort_tables(leakage.BLOCK // 2 + 9, 6)
    last, before = (f"P_{leakage.BLOCK // 2 + number:05d}" for number in (8, 7))
    paths = [cases.loc[cases["patient_id"] == patient, "image_path"].iloc[0] for patient in (last, before)]
    shared = leakage.find_shared_films(cases, copied(manifest, *paths))
    assert shared[["patient_id", "other_id"]].to_numpy().tolist() == [[before, last]]


def test_a_film_without_a_manifest_row_is_refused(sound: Sound) -> None:
    cases, manifest, table = sound
    with pytest.raises(LeakError, match=r"1 film\(s\) .* not in the manifest, e\.g\. 0/CC\.png"):
        leakage.audit(cases, table, manifest.iloc[1:])


def test_an_audit_stays_small_and_names_every_kind_first() -> None:
    cases, manifest = cohort_tables(60, 3)
    table = split_of(cases, manifest).splits
    everything = pd.concat([table, table[table["split"] == "test"].assign(split="train")])
    audit = leakage.audit(
        pd.concat([cases, cases[cases["official_split"] == "test"].assign(sample_id=lambda r: r["sample_id"] + "b")]),
        everything.assign(sample_id=everything["sample_id"] + np.where(everything.duplicated("sample_id"), "b", "")),
        manifest,
    )
    assert audit["leaks"] == 20 + 20 + 40 + 40 + 40
    assert len(audit["examples"]) == leakage.EXAMPLES
    assert {example.split(":")[0] for example in audit["examples"][:5]} == {
        f"train-test, {kind.replace('_', ' ')}" for kind in KINDS
    }


@examples(25)
@given(
    st.integers(36, 60), st.lists(st.tuples(st.integers(0, 119), st.integers(0, 119)), max_size=8), st.integers(0, 99)
)
def test_whatever_films_patients_share_the_split_has_no_leak(
    patients: int, shared: list[tuple[int, int]], seed: int
) -> None:
    cases, manifest = cohort_tables(patients, seed)
    paths = manifest["path"]
    for one, other in shared:
        manifest = copied(manifest, paths[one % len(paths)], paths[other % len(paths)])
    result = split_of(cases, manifest)
    audit = leakage.audit(cases, result.splits, manifest)
    assert audit["leaks"] == 0
    assert audit["dropped"]["rows"] == len(result.dropped) == len(cases) - len(result.splits)
    assert set(cases.loc[cases["official_split"] == "test", "sample_id"]) <= set(result.splits["sample_id"])
    json.dumps(audit, allow_nan=False)


@examples(15)
@given(st.integers(0, 99))
def test_the_order_of_the_rows_changes_nothing(seed: int) -> None:
    cases, manifest = cohort_tables(40, seed)
    manifest = copied(manifest, "1/CC.png", "2/MLO.png")
    table = split_of(cases, manifest).splits
    shuffled = cases.sample(frac=1, random_state=seed), table[::-1], manifest.sample(frac=1, random_state=seed)
    assert leakage.audit(cases, table, manifest) == leakage.audit(*shuffled)


# The stages, on films


@pytest.fixture
def workspace(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace on a copy of the synthetic cohort, which may be changed."""
    shutil.copytree(cohort, tmp_path / "cohort")
    return workspaces.enter(tmp_path / "workspace", monkeypatch, source="folder", root=str(tmp_path / "cohort"))


def cases_of(workspace: Path) -> pd.DataFrame:
    return read_table(workspace / "data/cases.csv", schemas.CASES)


def film_of(cases: pd.DataFrame, official_split: str, skip: int = 0) -> pd.Series:
    """A row of a patient who is on one side of the official split only."""
    alone = cases.groupby("patient_id")["official_split"].transform("nunique") == 1
    rows = cases[alone & (cases["official_split"] == official_split)].drop_duplicates("patient_id")
    return rows.iloc[skip]


def overwrite(root: Path, cases: pd.DataFrame, replaced: pd.Series, original: pd.Series) -> None:
    """Put a mirrored, re-encoded, brighter copy of a film in the place of another, with its mask for every lesion.

    The masks of the replaced film would lie outside the mirrored breast, and ingest would exclude the samples.
    """
    path = root / replaced["image_path"]
    height, width = io.read_shape(path)
    copy = gamma(mirror(io.read_grey(root / original["image_path"])), 0.85)
    resized = cv2.resize(copy, (width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), resized, [cv2.IMWRITE_JPEG_QUALITY, 80])
    mask = mirror(io.read_grey(root / original["mask_path"]))
    for name in cases.loc[cases["image_path"] == replaced["image_path"], "mask_path"]:
        cv2.imwrite(str(root / name), cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST))


def test_a_test_film_under_a_training_patients_name_costs_that_patient_the_place(workspace: Path) -> None:
    stages.ingest.main()
    cases = cases_of(workspace)
    training, test = film_of(cases, "train"), film_of(cases, "test")
    overwrite(workspace.parent / "cohort", cases, training, test)
    stages.ingest.main()
    stages.split.main()
    dropped = read_table(workspace / "data/dropped.csv", schemas.EXCLUDED)
    rows = dropped[dropped["patient_id"] == training["patient_id"]]
    assert len(rows) == (cases["patient_id"] == training["patient_id"]).sum()
    assert rows["reason"].str.contains(f"double of {test['patient_id']}: .*{test['image_path']}").all()
    table = read_splits(workspace / "data/splits.csv")
    assert test["sample_id"] in set(table["sample_id"])
    assert len(table) + len(dropped) == len(cases)
    assert json.loads((workspace / "metrics/leak_audit.json").read_text())["leaks"] == 0


@pytest.mark.parametrize("change", ["cropped", "upside down, inverted"])
def test_a_crop_and_an_inverted_copy_of_a_test_film_cost_the_place_too(
    change: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.ingest.main()
    cases = cases_of(workspace)
    training, test = film_of(cases, "train"), film_of(cases, "test")
    root = workspace.parent / "cohort"
    film = io.read_grey(root / test["image_path"])
    height, width = io.read_shape(root / training["image_path"])
    copy = film[6:-6, 4:-4] if change == "cropped" else 255 - film[::-1]
    cv2.imwrite(str(root / training["image_path"]), cv2.resize(np.ascontiguousarray(copy), (width, height)))
    stages.ingest.main()
    if change == "upside down, inverted":  # refused as no mammogram; whatever slips through is found as a copy
        excluded = read_table(workspace / "data/excluded.csv", schemas.EXCLUDED)
        assert excluded["reason"].eq(f"{training['image_path']}: not a mammogram: its background is not dark").any()
        assert training["image_path"] not in set(cases_of(workspace)["image_path"])
        none_measured = pd.DataFrame(columns=list(schemas.CHECKS.columns))
        monkeypatch.setattr(plausibility, "find_doubts", lambda *_: plausibility.Doubts({}, none_measured))
        stages.ingest.main()
    manifest = read_table(workspace / "data/manifest.csv", schemas.MANIFEST).set_index("path")["copy_of"]
    assert manifest[training["image_path"]] == manifest[test["image_path"]]
    # The breast that is in the mass and in the calcification set has its films twice.
    others = manifest.drop([training["image_path"], test["image_path"]]).dropna()
    assert len(set(cases.loc[cases["image_path"].isin(others.index), "patient_id"])) <= 1
    stages.split.main()
    dropped = read_table(workspace / "data/dropped.csv", schemas.EXCLUDED)
    rows = dropped[dropped["patient_id"] == training["patient_id"]]
    assert rows["reason"].str.contains(f"double of {test['patient_id']}").all()
    assert len(rows)


def test_two_training_patients_with_one_film_are_not_kept_both(workspace: Path) -> None:
    stages.ingest.main()
    cases = cases_of(workspace)
    first, second = film_of(cases, "train", 0), film_of(cases, "train", 1)
    overwrite(workspace.parent / "cohort", cases, first, second)
    stages.ingest.main()
    stages.split.main()
    table = read_splits(workspace / "data/splits.csv")
    stays, goes = sorted([first["patient_id"], second["patient_id"]])
    assert stays in set(table["patient_id"])
    assert goes not in set(table["patient_id"])


@pytest.mark.parametrize("kind", ["patients", "identical images"])
def test_a_tampered_split_fails_the_stage_and_is_not_written_but_its_audit_is(
    kind: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.ingest.main()
    untouched = splits.split_cases

    def tampered(*arguments: Any) -> Split:
        result = untouched(*arguments)
        sample = some(result.splits, "train")["sample_id"]
        return Split(moved(result.splits, sample, "test", None), result.dropped)

    if kind == "patients":
        monkeypatch.setattr(splits, "split_cases", tampered)
    else:
        cases = cases_of(workspace)
        overwrite(workspace.parent / "cohort", cases, film_of(cases, "train"), film_of(cases, "test"))
        stages.ingest.main()
        monkeypatch.setattr(
            leakage,
            "find_shared_films",
            lambda *_: pd.DataFrame(columns=["patient_id", "film", "other_id", "other_film"]),
        )
    with pytest.raises(LeakError, match=rf"the split leaks.*{kind}: .*metrics/leak_audit\.json"):
        stages.split.main()
    assert json.loads((workspace / "metrics/leak_audit.json").read_text())["leaks"] > 0
    assert not (workspace / "data/splits.csv").exists()
    assert not (workspace / "metrics/records/split.json").exists()


def test_the_split_stage_tells_the_audit_and_repeats_its_bytes(workspace: Path) -> None:
    stages.ingest.main()
    stages.split.main()
    files = ["metrics/leak_audit.json", "data/splits.csv", "metrics/records/split.json"]
    before = [(workspace / name).read_bytes() for name in files]
    record = json.loads(before[2])
    assert record["metrics"]["leaks"] == 0
    assert "metrics/leak_audit.json" in record["artifacts"]
    stages.split.main()
    assert [(workspace / name).read_bytes() for name in files] == before


# The whole official split, where only the films of the mass set are at hand


def test_the_real_mass_set_has_no_film_twice(real_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspaces.enter(
        tmp_path, monkeypatch, source="folder", root=str(real_root), abnormality_types=["mass"], unit="image"
    )
    stages.ingest.main()
    stages.split.main()
    audit = json.loads((tmp_path / "metrics/leak_audit.json").read_text())
    assert (audit["leaks"], audit["same_image_within_split"], audit["films"]) == (0, 0, 1592)
    assert min(check["nearest_distance"] for check in audit["checks"].values()) > leakage.MAX_DISTANCE + 60
