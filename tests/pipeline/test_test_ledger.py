"""The ledger: no look at the test set of real data without an entry, and every opening is counted."""

import datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.core.files import write_table
from mammo.core.paths import FINGERPRINT, SPLITS, TEST_LEDGER
from mammo.pipeline import profiles, test_ledger
from tests import arrays, workspaces

NOW = datetime.datetime(2027, 1, 2, tzinfo=datetime.UTC)
PRIMARY = ["baseline_birads", "ensemble_stacked"]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of real data, as its profile leaves it: closed, with a primary comparison."""
    root = workspaces.enter(tmp_path, monkeypatch, source="folder", root="films")
    workspaces.change(root, evaluate={"test": "closed", "primary": PRIMARY})
    write_table(root / SPLITS, arrays.index()[list(schemas.SPLITS.columns)], schemas.SPLITS)
    (root / FINGERPRINT).parent.mkdir(parents=True)
    (root / FINGERPRINT).write_text("a" * 64 + "\n")
    return root


def test_open_without_an_entry_is_refused_with_the_command(real: Path) -> None:
    test_ledger.check_opening(load_config())  # closed: nothing to ask for
    workspaces.change(real, evaluate={"test": "open"})
    with pytest.raises(InputError, match=r'no entry of this test set .*python -m mammo open-test --reason "..."'):
        test_ledger.check_opening(load_config())


def test_an_opening_is_written_down_and_then_allowed(real: Path) -> None:
    entry = test_ledger.open_test("the  final table", NOW)
    config = load_config()
    test_ledger.check_opening(config)
    assert config.evaluate.test == "open"
    (row,) = test_ledger.read_ledger().to_dict("records")
    assert row == entry
    assert (row["date"], row["reason"], row["primary_a"], row["primary_b"]) == (
        "2027-01-02",
        "the final table",
        *PRIMARY,
    )
    assert row["n_patients"] == str(arrays.index().query("split == 'test'")["patient_id"].nunique())
    test_ledger.open_test("again", NOW)
    assert list(test_ledger.read_ledger()["reason"]) == ["the final table", "again"]
    assert "has been opened 2 times" in test_ledger.describe(config)


@pytest.mark.parametrize(
    "change",
    [
        {"evaluate": {"primary": ["baseline_birads", "light_cnn"]}},
        {"ensemble": {"two_views": []}},
        {"seeds": {"count": 3}},
        {"cross_validate": {"repeats": 3}},
        {"train": {"batch_size": 7}},
        {"train": {"augmentation": {"flip": False}}},
        {"focal": {"gamma": 1.0}},
        {"predict": {"flips": False}},
        {"continue_training": {"epochs": 9}},
        {"models": {"light_cnn": {"dropout": 0.5}}},
        {"model_defaults": {"inverse_l2": 0.5}},
    ],
    ids=str,
)
def test_another_recipe_is_another_opening(real: Path, change: dict[str, dict[str, object]]) -> None:
    test_ledger.open_test("one look", NOW)
    test_ledger.check_opening(load_config())
    profiles.merge_parameters(change, "the test")
    with pytest.raises(InputError, match="no entry of this test set"):
        test_ledger.check_opening(load_config())


def test_another_seed_is_another_opening(real: Path) -> None:
    test_ledger.open_test("one look", NOW)
    profiles.merge_parameters({"seed": 4}, "the test")
    with pytest.raises(InputError, match="no entry of this test set"):
        test_ledger.check_opening(load_config())


def test_how_the_work_is_done_is_no_recipe(real: Path) -> None:
    before = test_ledger.hash_recipe(load_config())
    workspaces.change(real, compute={"workers": 9}, gradcam={"samples": 3}, tracking={"experiment": "another"})
    assert test_ledger.hash_recipe(load_config()) == before


def test_other_data_are_another_opening_and_other_patients_another_test_set(real: Path) -> None:
    test_ledger.open_test("one look", NOW)
    (real / FINGERPRINT).write_text("b" * 64 + "\n")
    with pytest.raises(InputError, match="no entry"):
        test_ledger.check_opening(load_config())
    assert "opened 1 time " in test_ledger.describe(load_config())
    write_table(SPLITS, arrays.index(60)[list(schemas.SPLITS.columns)], schemas.SPLITS)
    assert "opened 0 times" in test_ledger.describe(load_config())


def test_an_entry_from_before_the_ledger_counts_and_opens_nothing(real: Path) -> None:
    past = dict.fromkeys(test_ledger.COLUMNS, "unknown")
    past["test_set"] = test_ledger.identify_test_set(load_config()).identity
    TEST_LEDGER.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([past]).to_csv(TEST_LEDGER, index=False)
    assert "opened 1 time " in test_ledger.describe(load_config())
    workspaces.change(real, evaluate={"test": "open"})
    with pytest.raises(InputError, match="no entry"):
        test_ledger.check_opening(load_config())


def test_a_primary_comparison_and_a_reason_come_first(real: Path) -> None:
    with pytest.raises(InputError, match="an opening needs a reason"):
        test_ledger.open_test("  ", NOW)
    workspaces.change(real, evaluate={"primary": None})
    with pytest.raises(InputError, match=r"evaluate\.primary is null; name the two rows"):
        test_ledger.open_test("why", NOW)
    assert not TEST_LEDGER.exists()


def test_the_synthetic_cohort_needs_no_ledger(real: Path) -> None:
    workspaces.change(real, ingest={"source": "demo"}, evaluate={"test": "open"})
    config = load_config()
    assert config.evaluate.test == "open"
    test_ledger.check_opening(config)
    assert "Synthetic" in test_ledger.describe(config)
    with pytest.raises(InputError, match="synthetic cohort needs no ledger"):
        test_ledger.open_test("why", NOW)


@pytest.mark.parametrize(
    "content, expected",
    [
        ({"seed": 4, "train": {"epochs": 3}, "evaluate": {"test": "open"}}, "a"),
        ({"seed": 5, "train": {"epochs": 3}}, "a+b"),
        ({"seed": 4, "train": {"epochs": 4}}, "none"),
    ],
)
def test_the_profile_in_params_is_named(tmp_path: Path, content: dict[str, object], expected: str) -> None:
    folder, params = tmp_path / "profiles", tmp_path / "params.yaml"
    folder.mkdir()
    for name, part in {"a": {"train": {"epochs": 3}, "evaluate": {"test": "closed"}}, "b": {"seed": 5}}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(part))
    params.write_text(yaml.safe_dump({"evaluate": {"test": "closed"}} | content))
    assert test_ledger.name_profile(folder, params) == expected


def test_the_committed_ledger_knows_the_past_of_the_mass_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspaces.COMMITTED.parent)
    entries = test_ledger.read_ledger()
    past = entries[entries["reason"].str.startswith("before the ledger: ")]
    assert set(past["test_set"]) == {"3feb21fbb06b576d"}
    assert len(past) == 6


@pytest.mark.parametrize("path", sorted(Path(workspaces.COMMITTED.parent, "profiles").glob("cbis-ddsm*.yaml")))
def test_profiles_of_real_data_are_closed_and_name_their_comparison(path: Path) -> None:
    section = yaml.safe_load(path.read_text())["evaluate"]
    assert section["test"] == "closed"
    assert len(section["primary"]) == 2
