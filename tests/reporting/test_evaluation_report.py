"""The report is one file of stable bytes that shows every number of its tables, and what cannot be estimated."""

import dataclasses
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import write_text
from mammo.core.records import Record
from mammo.evaluation.clinical_tables import COLUMNS
from mammo.metrics.calibration import wilson
from mammo.reporting import evaluation_report, model_card
from mammo.reporting.comparison import TABLE_METRICS, format_interval
from mammo.reporting.evaluation_report.content import PACKAGES, Content, MappedCase, package_versions, read_tables
from mammo.reporting.evaluation_report.headline import hanley_mcneil
from mammo.reporting.evaluation_report.saliency import LOCALISATION
from mammo.reporting.figures import overlays, png
from mammo.reporting.page import Block, Cell, Note, Pictures, Section, Table, flatten
from mammo.reporting.page import html as render_page

DEFAULT = load_config(Path(__file__).resolve().parents[2] / "params.yaml")
MODELS = ["light_cnn", "ensemble_mean", "cross_validate_light_cnn", "baseline_birads"]
ON_TEST = [name for name in MODELS if not name.startswith("cross_validate")]
HOSTILE = '<script>alert("x")</script> & | `code`'
VOID = {"meta", "img", "br", "hr", "link"}


# --- a synthetic run ----------------------------------------------------------------------------------------


def comparison(models: list[str] = MODELS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for name in models:
        values = {}
        for metric in [*TABLE_METRICS, "average_precision", "brier", "balanced_accuracy", "mcc"]:
            value = round(rng.uniform(0.4, 0.9), 6)
            values |= {metric: value, f"{metric}_low": round(value - 0.1, 6), f"{metric}_high": round(value + 0.1, 6)}
        samples = "train, out of fold" if name.startswith("cross_validate") else "official test"
        rows.append({"model": name, "unit": "lesion", "samples": samples, "weights": "none"} | values)
    return pd.DataFrame(rows).assign(n=40.0, n_patients=20.0, threshold=0.4)


def metrics(models: list[str] = MODELS) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    points = {"all": ["auc", "partial_auc", "brier"]}
    at = ["sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy", "mcc", "likelihood_ratio_positive"]
    points |= dict.fromkeys(["operating", "sensitivity_90", "specificity_80"], at)
    rows = [
        {"model": name, "samples": "official test", "level": level, "point": point, "metric": metric}
        for name in models
        for level in ("lesion", "breast", "patient")
        for point, names in points.items()
        for metric in names
    ]
    value = rng.uniform(0.3, 0.9, len(rows)).round(6)
    return pd.DataFrame(rows).assign(value=value, low=value - 0.125, high=value + 0.125, n=40.0, n_patients=20.0)


def subgroups(models: list[str] = MODELS) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    values = {
        "abnormality_type": ["mass", "calcification"],
        "view": ["CC", "MLO"],
        "breast_density": ["1", "2", "3", "4"],
        "size": ["small", "medium", "large"],
        "pathology": ["without BENIGN_WITHOUT_CALLBACK"],
    }
    rows = [
        {"model": name, "variable": variable, "value": value}
        for name in models
        for variable, group in values.items()
        for value in group
    ]
    auc = rng.uniform(0.4, 0.8, len(rows)).round(6)
    table = pd.DataFrame(rows).assign(n=20.0, n_patients=10.0, n_malignant=8.0, auc=auc, low=auc - 0.15, high=auc + 0.1)
    table = table.assign(difference=(auc - 0.6).round(6), p_holm=rng.uniform(0.06, 1, len(rows)).round(6))
    table = table.assign(worse=0.0, note="")
    table.loc[3, ["worse", "p_holm", "difference"]] = [1.0, 0.0004, -0.2]
    table.loc[4, ["auc", "low", "high", "difference", "p_holm"]] = np.nan
    table.loc[4, ["note", "n_malignant"]] = ["not estimable (no malignant row)", 0.0]
    return table


def calibration(models: list[str] = MODELS) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = [{"model": name, "method": method} for name in models for method in ("raw", "temperature", "isotonic")]
    columns = COLUMNS["calibration"][2:-1]
    return pd.DataFrame(rows).assign(**{name: rng.uniform(0, 1, len(rows)).round(6) for name in columns}, n=40.0)


def reliability(models: list[str] = MODELS) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    parts = []
    for name in models:
        for method, slope in (("raw", 0.4), ("temperature", 0.8), ("isotonic", 1.0)):
            centre = np.linspace(0.05, 0.95, 10)
            share = np.clip(0.5 + slope * (centre - 0.5) + rng.normal(0, 0.04, 10), 0, 1)
            part = pd.DataFrame({"bin": np.arange(10.0), "mean_prob": centre, "share_malignant": share})
            part = part.assign(low=np.clip(share - 0.1, 0, 1), high=np.clip(share + 0.1, 0, 1))
            part.loc[9, ["mean_prob", "share_malignant", "low", "high"]] = np.nan
            counts = [0.0 if edge == 9 else float(rng.integers(3, 30)) for edge in range(10)]
            parts.append(part.assign(model=name, method=method, n=counts))
    return pd.concat(parts, ignore_index=True)


def decision_curve(models: list[str] = ON_TEST) -> pd.DataFrame:
    threshold = np.linspace(0.01, 0.99, 50).round(6)
    treat_all = 0.4 - 0.6 * threshold / (1 - threshold)
    parts = [
        pd.DataFrame({"threshold_prob": threshold, "net_benefit": np.maximum(treat_all, 0.3 - 0.3 * threshold - shift)})
        for shift in np.linspace(0, 0.1, len(models))
    ]
    curves = [
        part.assign(model=name, treat_all=treat_all, treat_none=0.0) for name, part in zip(models, parts, strict=True)
    ]
    return pd.concat(curves, ignore_index=True).round(6)


def conformal(models: list[str] = ON_TEST) -> pd.DataFrame:
    rows = []
    for shift, name in enumerate(models):
        for confidence in (0.8, 0.85, 0.9, 0.95):
            coverage = round(confidence - 0.01 * shift, 6)
            rows.append(
                {"model": name, "confidence": confidence, "coverage": coverage, "decided": round(1.2 - confidence, 6)}
            )
    table = pd.DataFrame(rows)
    table = table.assign(coverage_low=table["coverage"] - 0.05, coverage_high=table["coverage"] + 0.05, n=40.0)
    table = table.assign(accuracy_decided=0.75, sensitivity_decided=0.7, specificity_decided=0.8)
    table.loc[0, ["accuracy_decided", "sensitivity_decided", "specificity_decided"]] = np.nan
    return table


def operating_points(models: list[str] = ON_TEST) -> pd.DataFrame:
    rules = ("target_sensitivity=0.9", "sensitivity_95", "specificity_80")
    rows = [{"model": name, "rule": rule, "threshold": 0.4} for name in models for rule in rules]
    table = pd.concat([pd.DataFrame(rows).assign(metric=metric) for metric in ("sensitivity", "specificity")])
    rng = np.random.default_rng(6)
    table = table.assign(validation=rng.uniform(0.4, 1, len(table)), test=rng.uniform(0.4, 1, len(table))).round(6)
    return table.assign(drift=(table["test"] - table["validation"]).round(6)).reset_index(drop=True)


def reader_comparison(models: list[str] = ON_TEST) -> pd.DataFrame:
    rates = ("sensitivity", "specificity")
    rows = [{"model": name, "rate": rate, "at": 0.537, "reader": 0.932} for name in models for rate in rates]
    table = pd.DataFrame(rows).assign(matched=0.745, matched_low=0.61, matched_high=0.87, difference=-0.187)
    return table.assign(difference_low=-0.31, difference_high=-0.04, n=40.0, n_patients=20.0)


def reader_errors() -> pd.DataFrame:
    rows = [{"kind": kind, "share": share} for kind in ("random", "adjacent") for share in (0.0, 0.5)]
    table = pd.DataFrame(rows).assign(auc=0.91, gain=0.067, gain_over_erroneous=0.081, model="reader_with_light_cnn")
    limits = {f"{name}_low": 0.041 for name in ("auc", "gain", "gain_over_erroneous")}
    limits |= {name.replace("low", "high"): 0.93 for name in limits}
    return table.assign(**limits, n=40.0, n_patients=20.0)


def errors(models: list[str] = ON_TEST) -> pd.DataFrame:
    rows = [
        {"model": name, "kind": kind, "rank": float(rank), "sample_id": f"P_0000{rank}_LEFT_CC_1_mass"}
        for name in models
        for kind in ("false negative", "false positive")
        for rank in (1, 2)
    ]
    fixed = {"patient_id": "P_00001", "label": 1.0, "threshold": 0.4, "pathology": "MALIGNANT"}
    table = pd.DataFrame(rows).assign(**fixed)
    return table.assign(prob=table["rank"] / 8, abnormality_type="mass", breast_density="3", subtlety="")


def evaluation_tables() -> dict[str, pd.DataFrame]:
    built = {
        "metrics": metrics(),
        "subgroups": subgroups(),
        "calibration": calibration(),
        "reliability": reliability(),
        "decision_curve": decision_curve(),
        "conformal": conformal(),
        "operating_points": operating_points(),
        "errors": errors(),
        "reader_comparison": reader_comparison(),
        "reader_errors": reader_errors(),
    }
    return {name: table[COLUMNS[name]] for name, table in built.items()}


def roc(models: list[str] = ON_TEST) -> pd.DataFrame:
    fpr = np.linspace(0, 1, 21)
    parts = [
        pd.DataFrame({"model": name, "false_positive_rate": fpr, "sensitivity": fpr ** (0.4 + 0.2 * number)})
        for number, name in enumerate(models)
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(low=(table["sensitivity"] - 0.1).clip(0), high=(table["sensitivity"] + 0.1).clip(None, 1))


def paired_tests(models: list[str] = ON_TEST) -> pd.DataFrame:
    pairs = [(a, b) for position, a in enumerate(models) for b in models[position + 1 :]]
    table = pd.DataFrame(pairs, columns=["model_a", "model_b"])
    return table.assign(difference=-0.1, low=-0.2, high=0.001, p=0.01, p_holm=0.03).astype({"model_a": str})


def cases() -> pd.DataFrame:
    names = [f"P_{number:05d}_LEFT_CC_1_mass" for number in range(12)]
    return pd.DataFrame(
        {
            "sample_id": names,
            "patient_id": [name[:7] for name in names],
            "abnormality_type": ["mass", "calcification"] * 6,
            "label": [1, 0, 0] * 4,
            "official_split": ["train"] * 8 + ["test"] * 4,
        }
    )


def record(stage: str, model: str | None, **values: object) -> Record:
    empty = {
        "parameters": {},
        "tags": {},
        "metrics": {},
        "history": [],
        "parts": [],
        "artifacts": {},
        "model_file": None,
    }
    return Record(stage=stage, model=model, **(empty | values))


def records() -> list[Record]:
    trained = {"data/models/light_cnn.keras": "a" * 64, "data/predictions/light_cnn.csv": "b" * 64}
    return [
        record("ingest", None, metrics={"samples": 12.0}),
        record(
            "train",
            "light_cnn",
            parameters={"learning_rate": 0.003, "loss": "binary_crossentropy", "weights": "none", "seed": 20},
            metrics={"best_epoch": 3.0, "parameters": 1234.0, "val_auc": 0.61, "val_auc_low": 0.5, "val_auc_high": 0.7},
            history=[{"epoch": epoch, "loss": 1 / (1 + epoch)} for epoch in range(3)],
            artifacts=trained,
            model_file="data/models/light_cnn.keras",
        ),
        record("ensemble", None, metrics={"weighted.light_cnn": 1.0}),
        *(record("evaluate", name, tags={"samples": "official test"}) for name in MODELS),
    ]


def content(**changes: object) -> Content:
    grey, diagonal = np.full((8, 8), 90, np.uint8), np.eye(8, dtype=np.uint8)
    image = overlays.encode_case(grey, diagonal, diagonal.astype(np.float32))
    given = Content(
        params=DEFAULT,
        fingerprint="f" * 64,
        cases=cases(),
        splits=cases()[["sample_id", "patient_id"]].assign(split=["train"] * 6 + ["val"] * 2 + ["test"] * 4),
        excluded=pd.DataFrame({"official_split": ["train"], "reason": ["mask differs in aspect"]}),
        dropped=pd.DataFrame({"official_split": [], "reason": []}),
        comparison=comparison(),
        paired_tests=paired_tests(),
        roc=roc(),
        tables=evaluation_tables(),
        records=records(),
        versions={"numpy": "2.0"},
        origin="Command: dvc repro. Code: commit 0123456789 of 2026-01-31.",
        validation=pd.DataFrame([{"model": "light_cnn", "auc": 0.61, "n": 9, "n_patients": 4}]),
        prevalence=dict.fromkeys(MODELS, 0.409),
        aucs=image,
        roc_curves=dict.fromkeys(ON_TEST, image),
        gradcam={"light_cnn": [MappedCase("TP: 0.80", image)]},
        error_images={("light_cnn", "P_00001_LEFT_CC_1_mass"): image},
    )
    return dataclasses.replace(given, **changes)


# --- reading the page ---------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What the tests ask of a page: balanced tags, attributes, and cells by table."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self._caption = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption.strip(), []).append([])
        if tag in ("td", "th"):
            self.tables[self._caption.strip()][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "caption" in self.open:
            self._caption += data
        elif self.open and {"td", "th"} & set(self.open):
            self.tables[self._caption.strip()][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@cache
def html() -> str:
    return evaluation_report.render(content())


def parts(section: Section) -> list[Block]:
    """All blocks of a section, also those behind a fold."""
    return [part for block in section.blocks for part in flatten(block)]


def section_html(section: Section) -> str:
    return render_page("one section", [section], synthetic=False)


@cache
def page() -> Page:
    return Page(html())


def rows_of(which: Page, caption: str) -> list[list[str]]:
    (found,) = [rows for name, rows in which.tables.items() if name.startswith(caption)]
    return [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in found]


# --- the file -----------------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    evaluation_report.write(tmp_path / "new" / "report.html", content())
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == html()


def test_nothing_is_loaded_from_outside():
    assert page().open == []
    links = [a["href"] for a in page().all("a")]
    sources = [image["src"] for image in page().all("img")]
    assert links and all(str(link).startswith("#") for link in links)
    assert sources and all(re.match("data:image/(png|webp);base64,", str(source)) for source in sources)
    assert not page().all("script") and not page().all("link")
    assert "http://" not in html() and "https://" not in html() and "url(" not in html()


def test_every_image_has_a_text_and_every_table_its_scopes():
    assert all(image["alt"] for image in page().all("img"))
    assert len(page().all("img")) >= 18
    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in page().all("th"))
    assert len(page().all("caption")) == len(page().all("table"))
    identifiers = [attributes["id"] for _, attributes in page().elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {str(a["href"]).removeprefix("#") for a in page().all("a")} == set(identifiers)


def saliency_tables() -> dict[str, pd.DataFrame]:
    """What the stages gradcam and retrained_maps leave of one model and two methods."""
    limits = {"model": "light_cnn", "low": 0.125, "high": 0.375, "n": 40, "n_patients": 20}
    scores = [
        limits
        | {"method": method, "metric": metric, "variable": variable, "mean": 0.25, "centre": 0.9, "random": 0.111}
        for method in ("gradcam", "hirescam")
        for metric in ("pointing", "energy", "distance_px", "iou")
        for variable in ("all", "size")
    ]
    found = [
        ("gradcam", "cascade", "below", "passed"),
        ("hirescam", "cascade", "below", "failed"),
        ("hirescam", "perturbation", "above", "failed"),
        ("hirescam", "labels", "below", "undecided"),
    ]
    checks = [
        limits | {"method": method, "check": check, "must": must, "verdict": verdict, "value": 0.25, "limit": 0.5}
        for method, check, must, verdict in found
    ]
    retrained = [
        limits | {"method": "gradcam", "comparison": name, "mean": mean}
        for name, mean in (("labels", 0.25), ("seeds", 0.5), ("seeds - labels", 0.25))
    ]
    regions = [
        limits | {"method": "gradcam", "region": region, "mean": mean, "even": 0.2, "above_low": above}
        for region, mean, above in (("outside", 0.25, 0.01), ("marks", np.nan, np.nan), ("sides", 0.25, -0.01))
    ]
    named = {"localisation": scores, "sanity": checks, "retrained": retrained, "shortcuts": regions}
    return {name: pd.DataFrame(rows) for name, rows in named.items()}


def saliency_table(caption: str) -> list[list[Cell]]:
    """Rows of a table of the section Grad-CAM."""
    blocks = parts(evaluation_report.build_gradcam(content(**saliency_tables())))
    (found,) = [block for block in blocks if isinstance(block, Table) and block.caption.startswith(caption)]
    return found.groups[0][1]


@pytest.mark.parametrize("caption", LOCALISATION.values())
def test_saliency_is_scored_beside_maps_that_know_nothing_and_a_failed_check_is_marked(caption):
    passed, failed = saliency_table(caption)
    assert [cell.text for cell in passed] == ["light_cnn", "gradcam", "0.250", "0.900", "0.111", "passed"]
    assert passed[2].interval == "(0.125-0.375)"
    assert (failed[-1].text, failed[-1].warning) == ("failed: cascade, perturbation; undecided: labels", True)


def test_every_sanity_check_stands_with_its_interval_and_what_it_must_be():
    cascade, _, perturbation, labels = saliency_table("Sanity checks")
    assert [cell.text for cell in cascade[3:]] == ["40", "0.250", "below 0.500", "passed"]
    assert [cell.text for cell in perturbation[5:]] == ["above 0.500", "failed"]
    assert labels[-1].text == "undecided"
    assert [row[-1].warning for row in (cascade, perturbation, labels)] == [False, True, False]
    assert cascade[4].interval == labels[4].interval == "(0.125-0.375)"


def test_maps_of_retrained_models_are_compared():
    (row,) = saliency_table("Rank correlation")
    assert [cell.text for cell in row] == ["light_cnn", "gradcam", "0.250", "0.500", "0.250"]
    assert row[3].interval


def test_a_share_off_the_breast_is_marked_where_it_is_above_an_even_map_s():
    (row,) = saliency_table("Share of the maps where no diagnosis")
    assert [cell.text for cell in row[2:]] == ["0.250", "0.200", "no such region", "", "0.250", "0.200"]
    assert [cell.warning for cell in row[2::2]] == [True, False, False]
    assert row[2].interval == "(0.125-0.375) n 40"


def test_ensembles_are_held_to_their_best_member_on_validation():
    caption = "Ensembles against light_cnn, their best member on validation"
    assert caption in html()
    untrained = content(records=[record for record in records() if record.stage != "train"])
    assert caption in section_html(evaluation_report.build_paired_tests(content()))
    assert caption not in section_html(evaluation_report.build_paired_tests(untrained))


def test_every_section_is_there_and_says_how_to_read_it():
    assert [heading["id"] for heading in page().all("h2")] == [
        *(
            "verdict",
            "headline",
            "data",
            "training",
            "roc",
            "controls",
            "operating-points",
            "reader",
            "calibration",
            "decision-curve",
            "conformal",
        ),
        *("subgroups", "paired-tests", "errors", "gradcam", "provenance"),
    ]
    for section in html().split("<section")[1:]:
        (how,) = re.findall(r'<p class="how">How to read it: (.*?)</p>', section)
        assert how.endswith(".")
        assert any(f"<{tag}" in section.split(how)[1] for tag in ("table", "img", "p"))


def test_the_disclaimer_stands_on_top_and_a_synthetic_cohort_says_so(monkeypatch):
    text = "".join(page().text)
    assert text.index("Not a medical device") < text.index("How to read it")
    assert "Synthetic cohort" in text
    ingest = DEFAULT.ingest.model_copy(update={"source": "folder"})
    real = content(params=DEFAULT.model_copy(update={"ingest": ingest}))
    monkeypatch.setattr(evaluation_report, "SECTIONS", (evaluation_report.build_provenance,))  # it draws nothing
    assert "Synthetic cohort" in evaluation_report.render(content())
    assert "Synthetic cohort" not in evaluation_report.render(real)


# --- the test set -------------------------------------------------------------------------------------------


def closed_content(poisoned: bool) -> Content:
    label = np.where(cases()["official_split"] == "test", 1 - cases()["label"], cases()["label"])
    evaluate = DEFAULT.evaluate.model_copy(update={"test": "closed"})
    params = DEFAULT.model_copy(
        update={"evaluate": evaluate, "ingest": DEFAULT.ingest.model_copy(update={"source": "folder"})}
    )
    rows = comparison()
    rows["samples"] = rows["samples"].replace("official test", "train, held out")
    changed = cases().assign(label=label) if poisoned else cases()
    return content(params=params, cases=changed, comparison=rows, test_set="Test set closed: opened 6 times.")


def test_no_label_of_a_closed_test_set_is_in_the_report_or_a_card():
    clean, poisoned = closed_content(poisoned=False), closed_content(poisoned=True)
    for build in (
        evaluation_report.build_verdict,
        evaluation_report.build_headline,
        evaluation_report.build_data,
    ):  # who reads the cases
        assert build(clean) == build(poisoned)
    assert model_card.render("light_cnn", clean) == model_card.render("light_cnn", poisoned)
    assert model_card.names(clean) == ["light_cnn", "ensemble_mean"]


def test_report_and_card_say_how_often_the_test_set_was_opened():
    given = closed_content(poisoned=False)
    assert Note("Test set closed: opened 6 times.") in parts(evaluation_report.build_verdict(given))
    assert "Test set closed: opened 6 times." in model_card.render("light_cnn", given)


def test_the_primary_comparison_stands_first():
    primary = ["baseline_birads", "light_cnn"]
    evaluate = DEFAULT.evaluate.model_copy(update={"primary": primary})
    given = content(params=DEFAULT.model_copy(update={"evaluate": evaluate}))
    (table, *_) = evaluation_report.build_paired_tests(given).blocks
    assert table.caption.startswith("The primary comparison")
    (((_, rows),)) = table.groups
    assert [[row[0].text, row[1].text] for row in rows] == [["light_cnn", "baseline_birads"]]


# --- the numbers --------------------------------------------------------------------------------------------


def test_every_number_of_the_headline_table_is_the_csvs():
    shown = rows_of(page(), "Metrics on the reported samples")
    head, body = shown[0], {row[0]: row for row in shown[1:]}
    assert head[4:] == ["AUC", "sensitivity", "specificity", "accuracy", "PPV", "NPV", "F1"]
    for _, row in comparison().iterrows():
        cells = body[row["model"]]
        assert cells[1:4] == ["none", row["samples"], "40 (20)"]
        at = dict.fromkeys(("ppv", "npv"), " at 40.9 %")
        assert cells[4:] == [format_interval(row, metric) + at.get(metric, "") for metric in TABLE_METRICS]
    exact = {float(str(one["value"])) for one in page().all("data")}
    assert set(comparison()[list(TABLE_METRICS)].to_numpy().ravel()) <= exact


@pytest.mark.parametrize(
    "name, columns",
    [
        ("metrics", ["value"]),
        ("subgroups", ["auc", "difference", "n"]),
        ("calibration", ["ece", "brier", "slope", "intercept"]),
        ("conformal", ["coverage", "decided", "accuracy_decided"]),
        ("operating_points", ["validation", "test", "drift"]),
        ("reader_errors", ["gain", "auc", "share"]),
        ("reader_comparison", ["reader", "difference", "at"]),
        ("errors", ["prob", "threshold", "rank"]),
    ],
)
def test_every_number_of_the_other_tables_is_the_csvs(name: str, columns: list[str]):
    table = evaluation_tables()[name]
    if name == "metrics":
        table = table[(table["point"] == "all") | (table["level"] == "lesion")]
    exact = {float(str(one["value"])) for one in page().all("data")}
    for column in columns:
        assert set(table[column].dropna()) <= exact


def test_published_rows_stand_with_the_intervals_their_n_implies():
    shown = {row[0]: row for row in rows_of(page(), "Metrics on the reported samples")}
    assert "another sample" in shown["Basic VGG16"][2]
    for name, auc in (("Basic VGG16", 0.758), ("Enhanced Medical", 0.791), ("Continued", 0.766)):
        low, high = hanley_mcneil(auc, 276, 428, 0.95)
        assert shown[name][4] == f"{auc:.3f} ({low:.3f}-{high:.3f})"
        assert shown[name][8] == "not published"


def test_published_rows_are_the_same_sample_where_the_counts_agree():
    ingest = DEFAULT.ingest.model_copy(update={"source": "folder"})
    official = pd.DataFrame(
        {
            "sample_id": [f"s{number}" for number in range(704)],
            "patient_id": "P_1",
            "abnormality_type": "mass",
            "label": [1] * 276 + [0] * 428,
            "official_split": "test",
        }
    )
    given = content(params=DEFAULT.model_copy(update={"ingest": ingest}), cases=official)
    (_, table, *_) = evaluation_report.build_headline(given).blocks
    assert "the same 704 official test rows" in table.groups[1][0]
    (_, table, *_) = evaluation_report.build_headline(content(cases=official)).blocks
    assert "another sample" in table.groups[1][0]


def test_hanley_mcneil_on_their_worked_example():
    """Hanley & McNeil, Radiology 1982: area .893, 51 abnormal and 58 normal images give a standard error of .032."""
    low, high = hanley_mcneil(0.893, 51, 58, 0.95)
    assert (high - low) / (2 * 1.959964) == pytest.approx(0.032, abs=0.0006)


def test_wilson_against_published_limits():
    """Newcombe, Stat Med 1998, table I: 81 of 263 gives .2553 to .3662, 0 of 20 gives 0 to .1611."""
    assert wilson(81 / 263, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20, 0.95) == pytest.approx((0, 0.1611), abs=5e-5)


def test_the_data_section_counts_every_row():
    shown = rows_of(page(), "Samples used")
    assert shown[0] == [
        "split",
        "samples",
        "patients",
        "malignant (prevalence)",
        *("calcification (malignant)", "mass (malignant)"),
    ]
    assert shown[-1] == ["all", "12", "12", "4 (33.3 %)", "6 (2)", "6 (2)"]
    assert rows_of(page(), "Excluded before the split")[1] == ["mask differs in aspect", "train", "1"]
    assert "No row was dropped." in "".join(page().text)


def test_a_worse_subgroup_is_a_warning():
    text = "".join(page().text)
    assert "light_cnn is significantly worse where view is MLO" in text
    assert "< 0.001" in text
    calm = content(tables=evaluation_tables() | {"subgroups": subgroups().assign(worse=0.0)})
    (note, *_) = evaluation_report.build_subgroups(calm).blocks
    assert note == Note("No subgroup is significantly worse than the rest.")


# --- what is missing ----------------------------------------------------------------------------------------


def test_a_missing_class_says_why():
    missing = comparison()
    missing.loc[0, ["ppv", "ppv_low", "ppv_high", "auc", "auc_low", "auc_high"]] = np.nan
    missing.loc[1, ["auc_low", "auc_high"]] = np.nan
    (_, table, *_) = evaluation_report.build_headline(content(comparison=missing)).blocks
    first, second = table.groups[0][1][:2]
    assert first[4].text == "not estimable (a class is missing)"
    assert first[8].text == "not estimable (nothing was called malignant)"
    assert (second[4].text, second[4].interval) == (f"{missing.loc[1, 'auc']:.3f}", "")


def test_empty_tables_render_as_not_estimable():
    empty = {name: table.iloc[:0] for name, table in evaluation_tables().items()}
    given = content(tables=empty, roc=roc().iloc[:0], paired_tests=paired_tests().iloc[:0], gradcam={}, error_images={})
    given = dataclasses.replace(given, aucs=b"", roc_curves={}, validation=content().validation.iloc[:0])
    bare = Page(evaluation_report.render(given))
    assert bare.all("img") == []
    assert "".join(bare.text).count("not estimable (") >= 8


def test_tables_without_any_estimate_render():
    unknown = {}
    for name, table in evaluation_tables().items():
        known = {"n", "n_patients", "n_malignant", "bin", "rank", "threshold_prob", "confidence", "worse"}
        numbers = [column for column in table.select_dtypes("number") if column not in known]
        unknown[name] = table.assign(**dict.fromkeys(numbers, np.nan))
    unknown["subgroups"] = unknown["subgroups"].assign(note="no benign sample", worse=0.0)
    unknown["errors"] = unknown["errors"].assign(prob=[0.1, 0.2] * 6)
    bare = evaluation_report.render(content(tables=unknown))
    assert "not estimable (no benign sample)" in bare
    assert ">nan<" not in bare


# --- at first sight -------------------------------------------------------------------------------------------


def verdict_text(**changes: object) -> str:
    return " ".join(Page(section_html(evaluation_report.build_verdict(content(**changes)))).text)


def test_the_verdict_is_about_the_best_on_validation_whatever_the_test_set_says():
    aucs = pd.DataFrame({"model": ["light_cnn", "ensemble_mean"], "auc": [0.61, 0.75], "n": 9, "n_patients": 4})
    swapped = aucs.assign(auc=[0.75, 0.61])
    assert (content(validation=aucs).best, content(validation=swapped).best) == ("ensemble_mean", "light_cnn")
    better_on_test = comparison().assign(auc=[0.99, 0.5, 0.5, 0.5])
    assert content(validation=aucs, comparison=better_on_test).best == "ensemble_mean"
    assert "best of 2 models on validation" in verdict_text(validation=aucs)


def test_the_verdict_claims_no_more_than_the_interval():
    limits = {"better": (0.1, 0.02, 0.2), "worse": (-0.1, -0.2, -0.02), "neither a difference": (0.1, -0.02, 0.2)}
    for words, (difference, low, high) in limits.items():
        pair = {"model_a": "baseline_birads", "model_b": "light_cnn", "p": 0.1, "p_holm": 0.2}
        test = pd.DataFrame([pair | {"difference": difference, "low": low, "high": high}])
        assert words in verdict_text(paired_tests=test)
        turned = test.assign(
            model_a="light_cnn", model_b="baseline_birads", difference=-difference, low=-high, high=-low
        )
        assert words in verdict_text(paired_tests=turned)


def test_the_verdict_says_what_to_worry_about():
    row = {"auc_without_lesion": 0.58, "auc_drop": 0.01, "auc_drop_low": -0.02, "auc_drop_high": 0.03}
    drawn = comparison().assign(**row, auc=0.6, sensitivity=0.7, sensitivity_high=0.8)
    close = pd.DataFrame({"model": ["light_cnn", "basic_vgg16"], "auc": [0.61, 0.60], "n": 9, "n_patients": 4})
    text = verdict_text(comparison=drawn, validation=close, **saliency_tables())
    assert "does not look at the lesion" in text
    assert "aims at a sensitivity of 0.9 and reaches 0.700: all of its interval" in text
    assert "1 other model is within 0.02 of its AUC" in text
    assert "trained once" in text
    assert "significantly worse where view is MLO" in text
    assert "hirescam: cascade, hirescam: perturbation" in text


def test_the_origin_stands_on_top():
    text = "".join(page().text)
    assert text.index("commit 0123456789 of 2026-01-31") < text.index("How to read it")


def test_every_ppv_stands_beside_its_prevalence():
    short = rows_of(page(), "Results at the operating point")
    assert short[1] == ["official test: 40 samples of 20 patients, 40.9 % malignant"]
    assert all(row[4].endswith("at 40.9 %") for row in short if len(row) > 1 and row[0] in MODELS)
    assert "PPV and NPV hold for the prevalence of these samples: official test 40.9 %." in "".join(page().text)


def test_a_constant_score_has_no_worst_errors():
    table = errors().assign(prob=0.5)
    (first, *_) = evaluation_report.build_errors(content(tables=evaluation_tables() | {"errors": table})).blocks
    assert first == Note("light_cnn gives its errors the same score: none is worse than another.")


def test_errors_of_baselines_are_not_listed():
    assert not [caption for caption in page().tables if caption.startswith("Worst errors of baseline")]


def test_a_page_hides_details_until_they_are_asked_for():
    """Sections but the first keep to a few pictures and short tables before a fold opens."""
    for build in evaluation_report.SECTIONS[1:]:
        blocks = build(content()).blocks
        assert sum(len(block.pictures) for block in blocks if isinstance(block, Pictures)) <= 8
        rows = sum(
            len(group) for block in blocks if isinstance(block, Table) and not block.folded for _, group in block.groups
        )
        assert rows <= 30


def test_text_of_the_data_is_escaped(monkeypatch):
    monkeypatch.setattr(png, "encode_png", lambda figure: b"png")  # the text is what matters
    hostile = content(
        comparison=comparison([HOSTILE, *MODELS[1:]]),
        excluded=pd.DataFrame({"official_split": ["train"], "reason": [HOSTILE]}),
        tables=evaluation_tables()
        | {
            "subgroups": subgroups().assign(note=HOSTILE, value=HOSTILE),
            "errors": errors().assign(sample_id=HOSTILE),
        },
        error_images={("light_cnn", HOSTILE): b"image"},
        versions={HOSTILE: HOSTILE},
    )
    written = evaluation_report.render(hostile)
    assert "<script" not in written
    assert "&lt;script&gt;" in written
    assert Page(written).open == []


# --- reading the tables -------------------------------------------------------------------------------------


def write_tables(folder: Path) -> None:
    for name, table in evaluation_tables().items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False))


def test_tables_are_read_as_they_were_written(tmp_path):
    write_tables(tmp_path)
    read = read_tables(tmp_path)
    assert list(read) == list(COLUMNS)
    for name, table in evaluation_tables().items():
        pd.testing.assert_frame_equal(read[name], table.reset_index(drop=True), check_dtype=False)
    assert set(read["subgroups"]["value"]) >= {"1", "4", "mass"}


def test_a_missing_table_or_column_is_named(tmp_path):
    write_tables(tmp_path)
    broken = evaluation_tables()["errors"].drop(columns="rank")
    write_text(tmp_path / "errors.csv", broken.to_csv(index=False))
    with pytest.raises(schemas.TableError, match=r"errors\.csv: columns missing: rank"):
        read_tables(tmp_path)
    (tmp_path / "errors.csv").unlink()
    with pytest.raises(schemas.TableError, match=r"errors\.csv does not exist"):
        read_tables(tmp_path)


def test_empty_tables_are_read(tmp_path):
    for name, columns in COLUMNS.items():
        write_text(tmp_path / f"{name}.csv", ",".join(columns) + "\n")
    read = read_tables(tmp_path)
    assert all(table.empty for table in read.values())


def test_versions_name_every_package_that_is_installed():
    assert set(package_versions()) == set(PACKAGES)
