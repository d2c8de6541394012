"""What is fitted on held-out rows, simulated: `python benchmarks/held_out_rows.py` (minutes, one core).

Draws cohorts of the size of CBIS-DDSM's mass set with three models, fits on them as the pipeline does (stacking,
operating point, conformal sets), and measures the result on a large population. Two ways are compared: on one
validation set that is used for all of them, and on out-of-fold scores of all training patients, combined out of fold.
Writes docs/results/held-out-rows.{csv,md}.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core.files import write_text
from mammo.evaluation import ensembling, operating_point
from mammo.metrics import conformal, discrimination

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
COHORTS, SEED, FOLDS = 200, 0, 5
PATIENTS, TEST_PATIENTS, ROWS_PER_PATIENT, VALIDATION = 660, 20_000, 2, 0.2
SKILL = (1.1, 0.9, 0.7)  # difference of the classes' mean log-odds, in SDs of a row
SHARED, MEMBER_SHIFT = 0.7, 0.15  # correlation of the models' errors; SD between the log-odds of two members
TARGET, CONFIDENCE = 0.9, 0.9
MEASURES = {
    "optimism": "AUC of the stacked ensemble on the rows it was fitted on, less its true AUC",
    "sensitivity": f"true sensitivity at the point that reaches {TARGET:g} on the fitted rows",
    "coverage": f"true coverage of conformal sets of {CONFIDENCE:g}",
}


@dataclass(frozen=True)
class Cohort:
    """Rows of patients: label (n,), patient (n,), and log-odds (n, models) without the shifts of single members."""

    label: npt.NDArray[np.int64]
    patient: npt.NDArray[np.int64]
    odds: npt.NDArray[np.float64]


def draw(patients: int, rng: np.random.Generator) -> Cohort:
    """Draw a cohort; rows of a patient share the label and part of the error, and so do the models."""
    patient = np.repeat(np.arange(patients), ROWS_PER_PATIENT)
    label = (rng.random(patients) < 0.45).astype(np.int64)[patient]
    of_patient = rng.normal(size=(patients, 1))[patient]
    shared = np.sqrt(0.5) * of_patient + np.sqrt(0.5) * rng.normal(size=(len(patient), 1))
    own = rng.normal(size=(len(patient), len(SKILL)))
    error = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
    return Cohort(label, patient, (label[:, np.newaxis] - 0.5) * np.array(SKILL) + error)


def tables(cohort: Cohort, test: Cohort, out_of_fold: bool, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Return the predictions of each model: one training's with a validation set, or the members' out of fold."""
    fold = cohort.patient % FOLDS
    used = np.ones(len(fold), bool) if out_of_fold else cohort.patient < VALIDATION * PATIENTS
    shifts = MEMBER_SHIFT * rng.normal(size=(FOLDS, len(SKILL)))
    held_out = cohort.odds + (shifts[fold] if out_of_fold else shifts[0])
    tested = [expit(test.odds + shift) for shift in (shifts if out_of_fold else shifts[:1])]
    parts = []
    for name, rows, prob in (("val", cohort, expit(held_out)), ("test", test, np.mean(tested, axis=0))):
        chosen = used if name == "val" else np.ones(len(rows.label), bool)
        keys = {"sample_id": sample_ids(rows, name), "patient_id": rows.patient.astype(str)}
        frame = pd.DataFrame({**keys, "split": name, "label": rows.label})
        parts.append(pd.concat([frame, pd.DataFrame(prob)], axis=1)[chosen])
    joined = pd.concat(parts, ignore_index=True)
    columns = [*ensembling.SAMPLE, "prob"]
    return {f"model_{number}": joined.rename(columns={number: "prob"})[columns] for number in range(len(SKILL))}


def sample_ids(rows: Cohort, split: str) -> "pd.Series[str]":
    """Return a name for each row of a split."""
    return pd.Series(np.arange(len(rows.label)).astype(str)) + split


def measure_way(cohort: Cohort, test: Cohort, out_of_fold: bool, seed: int) -> dict[str, float]:
    """Fit on the held-out rows and return MEASURES."""
    models = tables(cohort, test, out_of_fold, np.random.default_rng(seed))
    folds = pd.Series(cohort.patient % FOLDS, index=sample_ids(cohort, "val"))
    combined, combination = ensembling.combine(models, "stacked", folds)
    if not out_of_fold:  # as before: combined by the weights that were fitted on the very rows
        combined["prob"] = combination(np.column_stack([table["prob"] for table in models.values()]))
    held_out, reported = (combined[combined["split"] == split] for split in ("val", "test"))
    auc_held_out, auc_true = (discrimination.auc(rows["label"], rows["prob"]) for rows in (held_out, reported))
    thresholds = operating_point.choose_thresholds(combined, "target_sensitivity", TARGET)
    decided = operating_point.apply_threshold(combined, thresholds)
    to_sets = conformal.fit(held_out["label"].to_numpy(), held_out["prob"].to_numpy(), [CONFIDENCE])
    (sets,), label = to_sets(reported["prob"].to_numpy()), reported["label"].to_numpy()
    return {
        "optimism": auc_held_out - auc_true,
        "sensitivity": decided.loc[decided["label"] == 1, "predicted_positive"].mean(),
        "coverage": sets[np.arange(len(label)), label].mean(),
    }


def main() -> None:
    """Simulate both ways on the same cohorts, print and write the table."""
    rng, test = np.random.default_rng(SEED), draw(TEST_PATIENTS, np.random.default_rng(SEED + 1))
    cohorts = [draw(PATIENTS, rng) for _ in range(COHORTS)]
    ways = {"one validation set (a fifth of the patients)": False, "out of fold, all training patients": True}
    rows = []
    for way, out_of_fold in ways.items():
        drawn = pd.DataFrame([measure_way(cohort, test, out_of_fold, number) for number, cohort in enumerate(cohorts)])
        rows += [(MEASURES[name], way, drawn[name].mean(), drawn[name].std()) for name in MEASURES]
    table = pd.DataFrame(rows, columns=["measure", "rows", "mean", "sd"]).round(3).sort_values("measure", kind="stable")
    lines = ["| measure | fitted on | mean | SD over cohorts |", "|---|---|---|---|"]
    lines += [
        f"| {row.measure} | {row.rows} | {row.mean:.3f} | {row.sd:.3f} |" for row in table.itertuples(index=False)
    ]
    head = "# What is fitted on held-out rows\n\n" + " ".join(__doc__.split("\n\n")[1].split()) + "\n\n"
    write_text(RESULTS / "held-out-rows.md", head + "\n".join(lines) + "\n")
    write_text(RESULTS / "held-out-rows.csv", table.to_csv(index=False, lineterminator="\n"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
