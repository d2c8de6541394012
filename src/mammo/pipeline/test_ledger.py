"""The ledger of the test set: every opening, with its reason, in git (metrics/test_ledger.csv).

A test set is its patients: the ledger knows it by a hash of their ids, whatever the samples and the preprocessing. The
synthetic cohort has none: whoever draws a new one has a new test set.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mammo.core.config import PARAMS_FILE, Config, load_config
from mammo.core.errors import InputError
from mammo.core.files import read_splits, write_text
from mammo.core.paths import PROFILES, SPLITS, TEST_LEDGER, data_fingerprint
from mammo.pipeline import profiles
from mammo.tracking import provenance

COLUMNS = [
    *("date", "commit", "profile", "dataset", "unit", "test_set", "n_patients", "data", "recipe"),
    *("primary_a", "primary_b", "reason"),
]
RECIPE_SECTIONS = ("train", "focal", "predict", "continue_training", "seeds", "cross_validate", "ensemble")
COMMAND = 'python -m mammo open-test --reason "..."'


@dataclass(frozen=True)
class TestSet:
    """A test set: the hash of its patients' ids, and how many there are."""

    __test__ = False  # no test of pytest's

    identity: str
    n_patients: int


def read_ledger(path: Path = TEST_LEDGER) -> pd.DataFrame:
    """Return the entries, oldest first; empty where there is no ledger."""
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS, dtype=str)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [column for column in COLUMNS if column not in table]:
        raise InputError(f"{path}: columns missing: {', '.join(missing)}; restore it: git checkout {path}")
    return table[COLUMNS]


def identify_test_set(config: Config) -> TestSet:
    """Return the test set of data/splits.csv."""
    splits = read_splits(SPLITS)
    patients = sorted(splits.loc[splits["split"] == "test", "patient_id"].unique())
    return TestSet(hash_patients(config.ingest.dataset, patients), len(patients))


def hash_patients(dataset: str, patients: list[str]) -> str:
    """Return the first 16 digits of the SHA-256 of a data set's name and its sorted patients."""
    return hashlib.sha256("\n".join([dataset, *sorted(patients)]).encode()).hexdigest()[:16]


def hash_recipe(config: Config) -> str:
    """Return the first 16 digits of the SHA-256 of what is compared: another recipe is another look at the test set.

    What runs before a training is not in it: another split or other pixels are other data (`data_fingerprint`).
    """
    parts = {
        "seed": config.seed,
        "models": {name: model.model_dump() for name, model in config.models.items()},
        **{section: getattr(config, section).model_dump() for section in RECIPE_SECTIONS},
        "primary": config.evaluate.primary,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def needs_entry(config: Config) -> bool:
    """Whether openings count: of real data."""
    return config.ingest.source != "demo"


def check_opening(config: Config) -> None:
    """Raise InputError where the test set of real data is open without an entry of this data and recipe."""
    test_set, data, recipe = identify_test_set(config).identity, data_fingerprint(), hash_recipe(config)
    entries = read_ledger()
    if config.evaluate.test == "closed" or not needs_entry(config):
        return
    if not ((entries["test_set"] == test_set) & (entries["data"] == data) & (entries["recipe"] == recipe)).any():
        raise InputError(
            f"evaluate.test is open, but {TEST_LEDGER} has no entry of this test set ({test_set}), data "
            f"({data[:16]}...) and recipe ({recipe}). Set `evaluate.test: closed` in params.yaml to evaluate on "
            f"held-out training rows; to open the test set, which is counted: {COMMAND}"
        )


def open_test(reason: str, now: datetime.datetime) -> dict[str, str]:
    """Append an opening to the ledger and set `evaluate.test: open` in params.yaml; return the entry.

    Raises InputError for a synthetic cohort, an empty reason, or a primary comparison that is not named.
    """
    config = load_config()
    if not needs_entry(config):
        raise InputError("the synthetic cohort needs no ledger: set `evaluate.test: open` in params.yaml")
    if not reason.strip():
        raise InputError(f"an opening needs a reason: {COMMAND}")
    if config.evaluate.primary is None:
        raise InputError(
            "evaluate.primary is null; name the two rows of the primary comparison in params.yaml before the test set "
            "is opened, e.g. `primary: [baseline_birads, ensemble_stacked]`"
        )
    test_set = identify_test_set(config)
    entry = {
        "date": now.date().isoformat(),
        "commit": provenance.commit(),
        "profile": name_profile(),
        "dataset": config.ingest.dataset,
        "unit": config.ingest.unit,
        "test_set": test_set.identity,
        "n_patients": str(test_set.n_patients),
        "data": data_fingerprint(),
        "recipe": hash_recipe(config),
        "primary_a": config.evaluate.primary[0],
        "primary_b": config.evaluate.primary[1],
        "reason": " ".join(reason.split()),
    }
    # The ledger first: an opening that then fails is counted, never one that is not.
    write_text(TEST_LEDGER, _append(read_ledger(), entry).to_csv(index=False, lineterminator="\n"))
    profiles.merge_parameters({"evaluate": {"test": "open"}}, COMMAND)
    return entry


def _append(entries: pd.DataFrame, entry: Mapping[str, str]) -> pd.DataFrame:
    return pd.concat([entries, pd.DataFrame([entry], columns=COLUMNS)], ignore_index=True)


def name_profile(folder: Path = PROFILES, params: Path = PARAMS_FILE) -> str:
    """Return the profile that params.yaml holds, of several all joined by +; `none` where it holds none whole."""
    content = yaml.safe_load(params.read_text(encoding="utf-8"))
    merged = []
    for name in profiles.list_profiles(folder):
        profile = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        profile.get("evaluate", {}).pop("test", None)  # what an opening changes
        if _holds(content, profile):
            merged.append(name)
    return "+".join(merged) or "none"


def _holds(content: Any, part: Any) -> bool:
    """Whether `content` has all values of `part`; null also where it has no such key."""
    if not isinstance(part, Mapping):
        return bool(content == part)
    return isinstance(content, Mapping) and all(_holds(content.get(key), value) for key, value in part.items())


def describe(config: Config) -> str:
    """Return the sentence on the test set that stands in every table, report and card."""
    entries = read_ledger()
    if not needs_entry(config):
        return "Synthetic cohort: its test set has no ledger."
    test_set = identify_test_set(config)
    count = int((entries["test_set"] == test_set.identity).sum())
    times = f"has been opened {count} time{'' if count == 1 else 's'} (metrics/test_ledger.csv)"
    name = f"test set {test_set.identity}, {test_set.n_patients} patients,"
    if config.evaluate.test == "closed":
        return f"Test set closed: all numbers are of held-out training rows. The {name} {times}, not for these numbers."
    return f"Test set open: the {name} {times}."
