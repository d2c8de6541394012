"""The data report counts every row, reads every unit, shows no film outside its HTML page, and draws stable bytes."""

import dataclasses
import re
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from reporting.test_evaluation_report import HOSTILE, Page, rows_of

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.records import Record
from mammo.data.cohort import summary as cohort_summary
from mammo.data.cohort.summary import ALL, SPLITS, DataTables, counts_of
from mammo.metrics.resampling import Resampling
from mammo.reporting import data_report, page
from mammo.reporting.data_report import examples, odd_samples
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.data_report.examples import Films
from mammo.reporting.figures import data, overlays
from mammo.reporting.page import Note, Pictures, Section, Table

DEFAULT = load_config(Path(__file__).resolve().parents[2] / "params.yaml")
RESAMPLING = Resampling(100, seed=1)
FILM = "film/{}.dcm"
SHEET = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def case(patient: str, **changes: Any) -> dict[str, Any]:
    """A row of tables.CASES: a benign mass in the left CC view."""
    row = {
        "patient_id": patient,
        "laterality": "LEFT",
        "view": "CC",
        "abnormality_id": "1",
        "abnormality_type": "mass",
        "pathology": "BENIGN",
        "breast_density": 2,
        "birads": 3,
        "subtlety": 4,
        "official_split": "train",
        "mask_path": "mask.png",
    } | changes
    name = "_".join(str(row[key]) for key in (*schemas.KEY,))
    films = [FILM.format(f"{patient}_{row['laterality']}_{view}") for view in str(row["view"]).split("|")]
    return {
        "sample_id": name,
        "label": int(row["pathology"] == "MALIGNANT"),
        "image_path": "|".join(films),
        **row,
    }


def given(rows: list[dict[str, Any]], splits: dict[str, str], **changes: Any) -> DataTables:
    """The tables of a run over `rows`; splits: by patient, who is dropped where it names none."""
    cases = schemas.check_table(pd.DataFrame(rows), schemas.CASES, "cases")
    split = cases["patient_id"].map(splits)
    placed = cases.assign(split=split, fold=np.where(split == "test", None, 0))[split.notna()]
    films = sorted({film for films in cases["image_path"] for film in films.split("|")})
    manifest = pd.DataFrame({"path": films}).assign(
        bytes=1000, height_px=400, width_px=200, sha256="0" * 64, perceptual_hash=None
    )
    left_out = cases.loc[split.isna(), [*schemas.KEY, "official_split"]]
    built = DataTables(
        cases=cases,
        splits=schemas.check_table(placed[["sample_id", "patient_id", "split", "fold"]], schemas.SPLITS, "splits"),
        excluded=pd.DataFrame(columns=list(schemas.EXCLUDED.columns)),
        dropped=left_out.assign(reason="patient is in the official test set"),
        manifest=schemas.check_table(manifest, schemas.MANIFEST, "manifest"),
    )
    return dataclasses.replace(built, **changes)


LESIONS = [
    case("A", pathology="MALIGNANT", birads=5),
    case("A", abnormality_id="2"),
    case("A", view="MLO", pathology="BENIGN_WITHOUT_CALLBACK", birads=2),
    case("B", laterality="RIGHT", abnormality_type="calcification", breast_density=0),
    case("C", pathology="MALIGNANT", official_split="test", subtlety=None),
    case("D", official_split="test", birads=0),
    case("E", pathology="MALIGNANT"),
]
PLACES = {"A": "train", "B": "val", "C": "test", "D": "test"}


@cache
def cohort(patients: int = 60, seed: int = 0) -> DataTables:
    """A cohort of random lesions with sizes, pixels and an audit, as a run leaves them."""
    rng = np.random.default_rng(seed)
    rows, places = [], {}
    for number in range(patients):
        name = f"P_{number:05d}"
        split = ("train", "train", "train", "val", "test", "test")[number % 6]
        places[name] = split
        malignant = rng.random() < (0.7 if split != "test" else 0.2)
        rows += [
            case(
                name,
                view=view,
                laterality=("LEFT", "RIGHT")[number % 2],
                abnormality_type=("mass", "calcification")[number // 2 % 2],
                pathology="MALIGNANT" if malignant else ("BENIGN", "BENIGN_WITHOUT_CALLBACK")[number % 2],
                breast_density=1 + number % 4,
                birads=int(rng.integers(0, 6)),
                subtlety=1 + number % 5,
                official_split="test" if split == "test" else "train",
            )
            for view in ("CC", "MLO")[: 1 + number % 2]
        ]
    built = given(rows, places)
    samples = built.cases["sample_id"]
    sizes = pd.DataFrame({"sample_id": samples, "lesion_share": rng.uniform(0.001, 0.1, len(samples))})
    manifest = built.manifest.assign(
        height_px=rng.integers(3000, 5000, len(built.manifest)), width_px=rng.integers(1500, 3000, len(built.manifest))
    )
    images = rng.integers(0, 256, (len(samples), 32, 32)).astype(np.uint8)
    split = samples.map(built.splits.set_index("sample_id")["split"])
    return dataclasses.replace(
        built,
        sizes=sizes,
        manifest=manifest,
        histograms=cohort_summary.intensities(images, split),
        leak_audit=audit(),
    )


def audit(**leaks: int) -> dict[str, Any]:
    counts = {"patients": 0, "breasts": 0, "views": 0, "identical_images": 0, "identical_files": 0} | leaks
    checks = {name: counts | {"nearest_distance": 200} for name in ("train-val", "train-test", "val-test", "folds")}
    return {"leaks": 4 * sum(leaks.values()), "checks": checks, "examples": [], "max_distance": 144}


def summary(tables_given: DataTables) -> cohort_summary.DataSummary:
    return cohort_summary.summarise(tables_given, RESAMPLING)


def report(tables_given: DataTables, unit: str = "lesion", source: str = "folder") -> DataReport:
    ingest = DEFAULT.ingest.model_copy(update={"unit": unit, "source": source})
    record = Record("ingest", None, {}, {}, {"samples": 1.0}, [], [], {}, None)
    return DataReport(summary(tables_given), DEFAULT.model_copy(update={"ingest": ingest}), "f" * 64, [record])


@cache
def whole() -> DataReport:
    """The report of `cohort`."""
    return report(cohort())


def section(built: list[Section], name: str) -> Section:
    return next(one for one in built if one.id == name)


# --- counts -------------------------------------------------------------------------------------------------


def test_counts_of_a_small_cohort_by_hand():
    counts = summary(given(LESIONS, PLACES)).counts
    assert counts_of(counts, "train") == {
        "samples": 3,
        "patients": 1,
        "breasts": 1,
        "views": 2,
        "films": 2,
        "abnormalities": 3,
        "benign": 2,
        "malignant": 1,
    }
    assert counts_of(counts, "test")["samples"] == 2
    assert counts_of(counts, ALL)["patients"] == 4  # E is dropped


def test_samples_of_the_splits_add_up_to_all():
    found = whole().summary
    parts = found.counts[found.counts["split"] != ALL].drop(columns="split").sum()
    assert parts.to_dict() == counts_of(found.counts, ALL)  # no patient, breast, view or film is in two splits
    assert found.pathology["n"].sum() == parts["samples"]
    assert found.folds["samples"].sum() == parts["samples"] - counts_of(found.counts, "test")["samples"]
    for variable in ("view", "laterality", "birads"):
        of_variable = found.prevalence[found.prevalence["variable"] == variable]
        assert of_variable["n"].sum() == parts["samples"]
        assert of_variable["n_malignant"].sum() == parts["malignant"]
    for _, states in found.metadata.groupby("variable"):
        assert states["n"].sum() == parts["samples"]
        assert states[list(SPLITS)].sum().sum() == parts["samples"]
    for _, units in found.abnormalities_per.groupby("level"):
        assert (units["abnormalities"] * units["units"]).sum() == parts["abnormalities"]
    assert (
        counts_of(found.views_per_breast, ALL) == found.views_per_breast.iloc[:3].drop(columns="split").sum().to_dict()
    )
    assert sum(counts_of(found.views_per_breast, ALL).values()) == parts["breasts"]


def test_the_flow_accounts_for_every_row():
    flow = summary(given(LESIONS, PLACES)).flow
    assert (flow.published_rows, flow.excluded_rows, flow.samples, flow.dropped_samples) == (7, 0, 7, 1)
    assert flow.split_samples == {"train": 3, "val": 1, "test": 2}
    assert flow.adds_up


def test_a_lost_row_or_sample_is_a_warning():
    whole = given(LESIONS, PLACES)
    lost_row = dataclasses.replace(whole, published_rows=8)
    lost_sample = dataclasses.replace(whole, dropped=whole.dropped.iloc[:0])
    for broken in (lost_row, lost_sample):
        assert not summary(broken).flow.adds_up
        notes = [block for block in data_report.build_overview(report(broken)).blocks if isinstance(block, Note)]
        assert any(note.warning and "do not add up" in note.text for note in notes)


def test_an_image_counts_its_abnormalities_and_a_breast_its_films():
    whole_image = given(
        [case("A", abnormality_id="1;2;2"), case("C", official_split="test")], {"A": "train", "C": "test"}
    )
    assert counts_of(summary(whole_image).counts, "train")["abnormalities"] == 3
    both = case("A", view="CC|MLO", abnormality_id="1;1;2", mask_path="a;b|")
    alone = case("C", view="MLO", official_split="test")
    found = summary(given([both, alone], {"A": "train", "C": "test"}))
    train = counts_of(found.counts, "train")
    assert (train["samples"], train["views"], train["films"], train["abnormalities"]) == (1, 2, 2, 3)
    assert counts_of(found.views_per_breast, "train")["CC and MLO"] == 1
    assert counts_of(found.views_per_breast, "test")["MLO alone"] == 1
    assert len(found.films) == 3
    assert set(found.abnormalities_per["level"]) == {"breast", "patient"}


def test_a_normal_film_shows_no_abnormality():
    normal = case("A", abnormality_type="none", abnormality_id="0", pathology="NORMAL", mask_path=None)
    found = summary(given([normal, case("C", official_split="test")], {"A": "train", "C": "test"}))
    assert counts_of(found.counts, "train")["abnormalities"] == 0
    assert found.flow.used_rows == 2
    marking = found.metadata[found.metadata["variable"] == "marking"].set_index("state")["n"]
    assert marking.to_dict() == {"mask": 1, "none": 1}


def test_mixed_views_breasts_and_patients():
    mixed = summary(given(LESIONS, PLACES)).mixed_labels.set_index("level")["mixed"]
    assert mixed.to_dict() == {"view": 1, "breast": 1, "patient": 1}


# --- shares -------------------------------------------------------------------------------------------------


def test_prevalence_by_hand_with_an_interval_around_it():
    found = whole().summary.prevalence
    known = found[found["low"].notna()]
    assert len(known) > 20
    assert ((known["low"] <= known["prevalence"]) & (known["prevalence"] <= known["high"])).all()
    share = found["n_malignant"] / found["n"].where(found["n"] > 0)
    pd.testing.assert_series_equal(found["prevalence"], share, check_names=False)


def test_a_variable_that_is_the_same_for_all_is_left_out():
    rows = [case("A"), case("C", official_split="test", pathology="MALIGNANT")]
    alike = report(given(rows, {"A": "train", "C": "test"}))
    assert set(alike.summary.prevalence["variable"]) == {ALL}
    blocks = data_report.build_prevalence(alike).blocks
    assert not any(isinstance(block, Pictures) for block in blocks)
    assert "the same for all samples: abnormality type, view, laterality" in blocks[-1].text


def test_patients_not_rows_make_the_interval():
    """Ten copies of every row say no more about the prevalence than one."""
    once = cohort()
    copies = [once.cases.assign(sample_id=once.cases["sample_id"] + f"_{n}") for n in range(10)]
    splits = [once.splits.assign(sample_id=once.splits["sample_id"] + f"_{n}") for n in range(10)]
    often = DataTables(pd.concat(copies), pd.concat(splits), once.excluded, once.dropped, once.manifest)
    one, ten = (summary(tables_given).prevalence for tables_given in (once, often))
    pd.testing.assert_frame_equal(one[["prevalence", "low", "high"]], ten[["prevalence", "low", "high"]])


def test_the_difference_of_shares_against_published_limits():
    """Newcombe, Stat Med 1998 II, table II, method 10 on 56/70 - 48/80: .2, .0524 to .3339 from Wilson limits."""
    first = {"prevalence": 56 / 70, "low": 0.6918, "high": 0.8772}
    second = {"prevalence": 48 / 80, "low": 0.4904, "high": 0.7004}
    found = cohort_summary.difference(training=second, test=first)
    assert (found["difference"], found["low"], found["high"]) == pytest.approx((0.2, 0.0524, 0.3339), abs=2e-4)
    mirrored = cohort_summary.difference(training=first, test=second)
    assert (mirrored["low"], mirrored["high"]) == pytest.approx((-found["high"], -found["low"]))


def test_a_shift_is_told_in_words():
    falling = data_report.build_prevalence(report(cohort(patients=240)))
    assert "falls from training to test" in falling.blocks[0].text
    assert "too high for the test set" in falling.blocks[0].text
    rows = [case(f"{split}{n}", official_split=official, pathology=("BENIGN", "MALIGNANT")[n % 2])
            for split, official in (("train", "train"), ("test", "test")) for n in range(20)]  # fmt: skip
    level = given(rows, {f"{split}{n}": split for split in ("train", "test") for n in range(20)})
    assert "no shift can be shown" in data_report.build_prevalence(report(level)).blocks[0].text


def test_a_shortcut_is_found_and_chance_is_not():
    base = cohort(patients=240)
    label = base.cases["label"].to_numpy()
    noise = np.random.default_rng(3).uniform(0.01, 0.02, len(label))
    planted = base.sizes.assign(lesion_share=noise + 0.005 * label)
    found = summary(dataclasses.replace(base, sizes=planted)).shortcuts.set_index("number")
    assert found.loc["lesion_share", "low"] > 0.6
    assert found.loc["height_px", "low"] < 0.5 < found.loc["height_px", "high"]
    training = base.splits["split"] != "test"
    assert found.loc["lesion_share", "n"] == training.sum()  # test is not looked at


# --- films, lesions, intensities, gaps ----------------------------------------------------------------------


def test_quantiles_are_those_of_the_films():
    built = cohort()
    found = summary(built)
    heights = found.film_sizes[found.film_sizes["measure"] == "height_px"].set_index("split")
    test = found.films[found.films["split"] == "test"]
    assert heights.loc["test", "median"] == np.median(test["height_px"])
    assert heights.loc["test", "n"] == len(test)
    assert list(heights.index) == list(SPLITS)


def test_a_sample_without_a_marked_lesion_has_no_lesion_size():
    built = cohort()
    none = built.sizes.assign(lesion_share=np.where(np.arange(len(built.sizes)) % 2, 0.0, 0.1))
    assert len(summary(dataclasses.replace(built, sizes=none)).lesions) == (none["lesion_share"] > 0).sum()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_intensities_are_the_same_at_any_depth(kind: type):
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 256, (6, 8, 8))
    split = pd.Series(["train", "train", "val", "test", "test", "test"])
    images = (shades * (257 if kind is np.uint16 else 1)).astype(kind)
    found = cohort_summary.intensities(images, split)
    for name in SPLITS:
        own = found[found["split"] == name].set_index("level")["pixels"]
        expected = np.bincount(shades[split == name].ravel(), minlength=256)
        np.testing.assert_array_equal(own, expected)
    moments = cohort_summary.intensity(found).set_index("split").loc["test"]
    lit = shades[3:][shades[3:] > 0] / 255
    assert moments["black"] == pytest.approx((shades[3:] == 0).mean())
    assert (moments["mean"], moments["sd"]) == pytest.approx((lit.mean(), lit.std()))
    assert moments["median"] == pytest.approx(np.median(lit), abs=1 / 255)


def test_gaps_are_counted_by_variable():
    table = summary(given(LESIONS, PLACES)).metadata.set_index(["variable", "state"])["n"]
    assert table["breast_density", "0"] == 1
    assert table["birads", "0"] == 1
    assert table["subtlety", "empty"] == 1
    notes = data_report.build_metadata(report(given(LESIONS, PLACES))).blocks
    assert notes[0].text == ("Not known: breast density 0 (no category) in 1 sample, subtlety empty in 1 sample.")


def test_reasons_that_differ_in_a_file_alone_are_one_kind():
    reasons = [
        "0 files for the film in jpeg/1.3.6.1, expected 1",
        "0 files for the film in jpeg/1.3.6.2, expected 1",
        "2 files for the film in jpeg/1.3.6.3, expected 1",
        "mask 1-063.jpg without foreground",
        "mask 1-112.jpg without foreground",
    ]
    rows = pd.DataFrame({**dict.fromkeys(schemas.KEY, "x"), "official_split": "train", "reason": reasons})
    rows.loc[1, "official_split"] = "test"
    found = cohort_summary.reasons(rows)
    assert found["train"].to_list() == [1, 1, 2] and found["test"].to_list() == [1, 0, 0]
    assert found["train"].sum() + found["test"].sum() == len(rows)
    assert found["example"][0].endswith(reasons[0])


# --- the page -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built() -> list[Section]:
    return data_report.build_sections(whole())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report with one film among its examples, as the stage writes it."""
    folder = tmp_path_factory.mktemp("report")
    films = {"MALIGNANT": [page.Picture("a film", "secret caption", b"the film")]}
    odd = {"Smallest": [page.Picture("an odd film", "odd caption", b"the film")]}
    data_report.write(folder, whole(), Films(films, SHEET, odd))
    return folder


def test_the_same_inputs_give_the_same_bytes(built: list[Section], written: Path):
    for name, png in page.pictures(built).items():
        assert (written / f"figures/{name}.png").read_bytes() == png
    assert (written / "data.md").read_text() == page.markdown(built, "figures", synthetic=False)


def test_the_html_is_one_file_with_every_section(built: list[Section]):
    html = data_report.render_html(whole(), built, Films())
    read = Page(html)
    assert read.open == []
    sources = [str(one["src"]) for one in read.all("img")]
    assert len(sources) >= 8
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(one["alt"] for one in read.all("img"))
    assert not re.search(r"https?:|<script|<link", html)
    assert re.findall(r"<h2[^>]*>([^<]+)</h2>", html) == [one.title for one in built]
    assert "not estimable" not in " ".join(cell for row in rows_of(read, "By split") for cell in row)


def test_no_section_is_empty(built: list[Section]):
    for one in built:
        assert one.blocks and one.guide.endswith(".")


def test_the_markdown_shows_the_tables_and_refers_to_its_figures(built: list[Section], written: Path):
    text = (written / "data.md").read_text()
    named = set(re.findall(r"\]\(figures/(\w+\.png)\)", text))
    assert named == {path.name for path in (written / "figures").iterdir()}
    for one in built:
        assert f"## {one.title}" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    counts = counts_of(whole().summary.counts, "train")
    assert f"| train | {counts['samples']} | {counts['patients']} |" in text


def test_films_of_patients_are_in_the_html_page_alone(written: Path):
    assert "secret caption" in (written / "data.html").read_text()
    assert "secret caption" not in (written / "data.md").read_text()
    assert b"the film" not in b"".join(path.read_bytes() for path in (written / "figures").iterdir())
    assert "odd caption" in (written / "data.html").read_text()
    assert "odd caption" not in (written / "data.md").read_text()
    assert (written / "preprocess.png").read_bytes() == SHEET
    assert "Before and after preprocessing" in (written / "data.html").read_text()
    assert "Before and after preprocessing" not in (written / "data.md").read_text()


def test_figures_are_small_enough_for_git(built: list[Section]):
    sizes = {name: len(png) for name, png in page.pictures(built).items()}
    assert max(sizes.values()) < 60_000


@pytest.mark.parametrize("leaks, says", [({}, "No leak was found"), ({"patients": 2}, "8 leaks between")])
def test_the_leak_audit_has_a_verdict(leaks: dict[str, int], says: str):
    note, table = data_report.build_leak_audit(report(dataclasses.replace(cohort(), leak_audit=audit(**leaks)))).blocks
    assert isinstance(note, Note) and says in note.text and note.warning == bool(leaks)
    assert isinstance(table, Table) and len(table.groups[0][1]) == 4
    warned = [cell.text for row in table.groups[0][1] for cell in row if cell.warning]
    assert warned == ["2"] * 4 if leaks else warned == []


def test_missing_inputs_leave_their_sections_out_with_a_sentence():
    bare = dataclasses.replace(cohort(), sizes=None, histograms=None, leak_audit=None)
    built = data_report.build_sections(report(bare))
    for name in ("lesions", "intensities", "leak-audit"):
        (note,) = section(built, name).blocks
        assert isinstance(note, Note) and "left out, because" in note.text
    assert Page(data_report.render_html(report(bare), built, Films())).open == []


def test_grades_that_are_empty_throughout_do_no_harm():
    built = cohort()
    unknown = built.cases.assign(
        **{name: pd.array([pd.NA] * len(built.cases), "Int64") for name in cohort_summary.GRADES}
    )
    sections = data_report.build_sections(report(dataclasses.replace(built, cases=unknown)))
    shown = data_report.render_html(report(built), sections, Films())
    assert "BI-RADS assessment, subtlety" in shown
    assert ">nan" not in shown


def test_films_of_one_size_are_told_in_a_sentence():
    films = data_report.build_films(report(given(LESIONS, PLACES)))
    assert films.blocks[0].text == "All 5 films have the same size, 400 x 200 px (height x width)."
    assert not any(isinstance(block, Pictures) for block in films.blocks)


def test_text_of_the_data_is_escaped(monkeypatch):
    monkeypatch.setattr(data, "encode_small_png", lambda figure: b"png")  # the text is what matters
    hostile = dataclasses.replace(
        cohort(),
        excluded=pd.DataFrame({**dict.fromkeys(schemas.KEY, HOSTILE), "official_split": ["train"], "reason": HOSTILE}),
    )
    built = data_report.build_sections(report(hostile))
    html = data_report.render_html(
        report(hostile), built, Films({"MALIGNANT": [page.Picture(HOSTILE, HOSTILE, b"png")]})
    )
    assert "<script" not in html and "&lt;script&gt;" in html
    text = page.markdown(built, "figures", synthetic=False)
    assert "<script" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("|") and "code" in line]
    assert len(re.findall(r"(?<!\\)\|", line)) == 5  # four cells, whatever they hold


def test_a_synthetic_cohort_is_said_to_be_one(built: list[Section]):
    for source, told in (("demo", True), ("folder", False)):
        assert ("Synthetic cohort" in data_report.render_html(report(cohort(), source=source), built, Films())) == told
        assert ("Synthetic cohort" in page.markdown(built, "figures", synthetic=told)) == told


# --- samples at the limits ----------------------------------------------------------------------------------


def measured(root: Path, count: int = 8) -> pd.DataFrame:
    """schemas.CHECKS of films with a mask and a crop each, which lie below `root`; the last one is excluded."""
    rng = np.random.default_rng(0)
    film, mask = rng.integers(0, 256, (60, 40), np.uint8), np.zeros((60, 40), np.uint8)
    mask[20:30, 10:20] = 255
    for name, image in (("film.png", film), ("mask.png", mask), ("crop.png", film[15:35, 5:25])):
        cv2.imwrite(str(root / name), image)
    values = np.arange(1, count + 1) / 100
    rows = pd.DataFrame({"sample_id": [f"S{number}" for number in range(1, count + 1)]}).assign(
        image_path="film.png", mask_path="mask.png", crop_path="crop.png", marked_share=values, spread=10 + values,
        inside_breast=1 - values, crop_correlation=1 - values / 2, reason=None,
    )  # fmt: skip
    rows.loc[count - 1, "reason"] = "mask.png: the mask marks nothing of a lesion"
    return schemas.check_table(rows, schemas.CHECKS, "checks")


ONE_EXCLUDED = pd.DataFrame({**dict.fromkeys(schemas.KEY, "P"), "official_split": "train", "reason": ["x"]})
LIMITS = DEFAULT.ingest.checks


def test_the_samples_nearest_to_each_limit_are_listed(tmp_path: Path):
    checks = measured(tmp_path)
    built = odd_samples.build_odd_samples(dataclasses.replace(whole(), checks=checks))
    note, table = built.blocks
    assert note.text == (
        "8 masks were measured, and 8 of their crops could be compared with the film; 1 sample of 8 was excluded for "
        "what the pixels show."
    )
    nearest = {title: [(row[0].text, row[1].text) for row in rows] for title, rows in table.groups}
    assert nearest["Smallest marked share of the film"] == [("S1", "1 %"), ("S2", "2 %"), ("S3", "3 %")]
    assert nearest["Largest marked share of the film"] == [("S7", "7 %"), ("S6", "6 %"), ("S5", "5 %")]
    assert nearest["Smallest correlation of a crop with its place on the film"][0] == ("S7", "0.965")
    assert not any(cell.warning for _, rows in table.groups for row in rows for cell in row)


def test_a_value_beyond_its_limit_stands_out(tmp_path: Path):
    """As where the crops of a copy are of another kind, and none excludes its row."""
    checks = measured(tmp_path).assign(crop_correlation=0.2)
    table = odd_samples.build_odd_samples(dataclasses.replace(whole(), checks=checks)).blocks[1]
    assert [row[1].warning for row in table.groups[-1][1]] == [True] * 3


def test_odd_samples_are_pictured_with_what_is_to_be_judged(tmp_path: Path):
    checks = measured(tmp_path)
    pictures = odd_samples.draw_odd_samples(tmp_path, checks, ONE_EXCLUDED, LIMITS)
    assert next(iter(pictures)) == "Smallest marked share of the film"
    (excluded,) = pictures["Excluded rows (1 of 1 are shown; all: data/excluded.csv)"]
    assert excluded.caption == "S8: excluded: mask.png: the mask marks nothing of a lesion"
    first = pictures["Smallest marked share of the film"][0]
    assert first.caption == "S1: 1 % (at least 0.004 %)"
    assert first.alt == "S1: the film with its mask outlined, the film around the mask, the published crop"
    drawn = cv2.imdecode(np.frombuffer(first.png, np.uint8), cv2.IMREAD_COLOR)
    film, square, gap = round(40 * overlays.MARK_PX / 60), overlays.MARK_PX, overlays.MARK_GAP_PX
    assert drawn.shape == (square, film + 2 * (square + gap), 3)
    assert sum(len(picture.png) for group in pictures.values() for picture in group) < 16 * 40_000
    assert pictures == odd_samples.draw_odd_samples(tmp_path, checks, ONE_EXCLUDED, LIMITS)


def test_the_smallest_mask_that_is_let_through_is_outlined():
    film, mask = np.full((3000, 2000), 9, np.uint8), np.zeros((3000, 2000), np.uint8)
    side = int((LIMITS.marked_share[0] * mask.size) ** 0.5)
    mask[1507 : 1507 + side, 1000 : 1000 + side] = 1  # over four pixels of the picture
    drawn = cv2.imdecode(np.frombuffer(overlays.encode_mark(film, mask, []), np.uint8), cv2.IMREAD_COLOR)
    assert (drawn == overlays.OUTLINE_COLOUR).all(axis=2).any()


def test_excluded_rows_are_pictured_where_their_film_can_be_read(tmp_path: Path):
    checks = measured(tmp_path).drop(columns="reason").assign(reason=None)
    rows = pd.DataFrame({**{key: ["P"] * 3 for key in schemas.KEY}, "official_split": "train"}).assign(
        image_path=["film.png", "gone.png", None], reason=["unknown pathology", "cannot be read", "0 files"]
    )
    rows.loc[0, "image_path"] = "second.png"
    cv2.imwrite(str(tmp_path / "second.png"), np.full((40, 30), 9, np.uint8))
    (name,) = [name for name in odd_samples.draw_odd_samples(tmp_path, checks, rows, LIMITS) if "Excluded" in name]
    assert name == "Excluded rows (1 of 3 are shown; all: data/excluded.csv)"


def test_pictures_stand_before_the_folded_table(tmp_path: Path):
    checks = measured(tmp_path)
    section = odd_samples.build_odd_samples(dataclasses.replace(whole(), checks=checks))
    pictured = odd_samples.add_pictures(section, {"A": [page.Picture("alt", "caption", b"x")]})
    assert [block.kind for block in pictured.blocks] == ["note", "note", "pictures", "table"]
    assert pictured.blocks[-1].folded and not section.blocks[-1].folded
    assert odd_samples.add_pictures(section, {}) == section


def test_without_a_mask_there_is_nothing_to_show():
    (note,) = odd_samples.build_odd_samples(whole()).blocks
    assert "ingest measured no mask" in note.text


# --- examples -----------------------------------------------------------------------------------------------


def pixels(cases: pd.DataFrame, height: int, kind: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    images = np.full((len(cases), height, 32), np.iinfo(kind).max // 2, kind)
    masks = np.zeros(images.shape, np.uint8)
    masks[:, 8:16, 8:16] = 1
    return images, masks


def placed(tables_given: DataTables) -> pd.DataFrame:
    return tables_given.splits[["sample_id", "split"]].merge(tables_given.cases, on="sample_id")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_examples_are_training_samples_of_each_pathology(kind: type):
    cases = placed(cohort())
    drawn = examples.draw_examples(cases, *pixels(cases, 32, kind), 0)
    assert list(drawn) == ["BENIGN_WITHOUT_CALLBACK", "BENIGN", "MALIGNANT"]
    training = set(cases.loc[cases["split"] == "train", "sample_id"])
    for pathology, pictures in drawn.items():
        assert len(pictures) == examples.EXAMPLES_PER_CLASS
        for picture in pictures:
            assert picture.caption.split(":")[0] in training
            assert pathology in picture.alt
            film = cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR)
            assert film.shape[0] == film.shape[1] and film[0, 0, 0] == 127
    again = examples.draw_examples(cases, *pixels(cases, 32, kind), 0)
    assert drawn == again != examples.draw_examples(cases, *pixels(cases, 32, kind), 1)


def test_of_a_breast_each_view_that_exists_is_shown():
    cases = placed(given([case("A", view="CC|MLO"), case("B")], {"A": "train", "B": "train"}))
    images, masks = pixels(cases, 64)
    images[1, 32:] = 0  # B has no MLO
    captions = [picture.caption for picture in examples.draw_examples(cases, images, masks, 0)["BENIGN"]]
    assert [caption.split(", ")[1] for caption in captions] == ["CC", "MLO", "CC"]


def test_a_value_keeps_its_meaning():
    assert data.name_value("birads", "0") == "0 (incomplete)"
    assert data.name_value("breast_density", "0") == "0 (no category)"
    assert data.name_value("birads", "4") == "4"
