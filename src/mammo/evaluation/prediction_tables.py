"""The prediction tables behind the rows of the comparison table, as the stages read them."""

import pandas as pd

from mammo.core import row_names, schemas
from mammo.core.config import Config
from mammo.core.errors import InputError
from mammo.core.files import read_splits, read_table
from mammo.core.paths import BORDERS, CASES, ENSEMBLES, MEMBERS, OUT_OF_FOLD, PREDICTIONS, SPLITS
from mammo.evaluation import baselines, border_scores, fold_members, held_out, reader_models


def read_tested(config: Config, borders: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Read the predictions (schemas.PREDICTIONS) of all rows on the test set: models, ensembles, baselines.

    borders: `read_border_scores`, where they are computed already.
    """
    scores = read_border_scores(config) if borders is None else borders
    rows = [*row_names.table_row_names(config.models), *row_names.members_row_names(config.cross_validate)]
    files = {name: PREDICTIONS / f"{name}.csv" for name in rows}
    files |= {name: ENSEMBLES / f"{name}.csv" for name in row_names.ensemble_names(config.ensemble)}
    cases = _read_split_cases().merge(scores, on="sample_id", validate="one_to_one")
    predictions = {name: read_table(path, schemas.PREDICTIONS) for name, path in files.items()}
    predictions |= baselines.predict_baselines(cases)
    return predictions | _combine_with_reader(predictions, cases, config)


def _combine_with_reader(
    predictions: dict[str, pd.DataFrame], cases: pd.DataFrame, config: Config
) -> dict[str, pd.DataFrame]:
    if unknown := [name for name in config.evaluate.reader.models if name not in predictions]:
        raise InputError(
            f"evaluate.reader.models: {', '.join(unknown)} is no row of the table; there are {', '.join(predictions)}"
        )
    return {
        row_names.reader_with_name(name): reader_models.combine_with_reader(predictions[name], cases, cases)
        for name in config.evaluate.reader.models
    }


def read_reported(config: Config, borders: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Read the predictions of all rows but the cross-validations: reported are test rows, or, closed, held-out ones.

    borders: as for `read_tested`.
    """
    return {name: _close(table, config) for name, table in read_tested(config, borders).items()}


def _close(predictions: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return `predictions` as they are, or while the test set is closed as `held_out.hold_out`."""
    return predictions if config.evaluate.test == "open" else held_out.hold_out(predictions, read_splits(SPLITS))


def read_border_scores(config: Config) -> pd.DataFrame:
    """Score the border of every sample's film (schemas.BORDER_SCORES), training rows out of fold."""
    scores = border_scores.score_borders(_read_split_cases(), read_table(BORDERS, schemas.BORDERS), config.seed)
    return schemas.check_table(scores, schemas.BORDER_SCORES, str(BORDERS))


def _read_split_cases() -> pd.DataFrame:
    cases = read_table(CASES, schemas.CASES)
    return read_splits(SPLITS).merge(cases, on=["sample_id", "patient_id"], validate="one_to_one")


def read_repeats(config: Config) -> dict[str, list[pd.DataFrame]]:
    """Read the predictions (schemas.OUT_OF_FOLD) of the cross-validations by row, one table per draw of the folds."""
    tables = {model: _read_folds(model) for model in config.cross_validate.models}
    return {
        row_names.cross_validated_name(model): [
            rows.drop(columns="repeat") for _, rows in folds[folds["split"] != "test"].groupby("repeat")
        ]
        for model, folds in tables.items()
    }


def read_retrainings(name: str, config: Config) -> list[pd.DataFrame]:
    """Read the predictions of a row's model in each of its trainings: its members, or its further seeds; else none.

    While the test set is closed a member's are of the fold that it was trained without.
    """
    if _has_members(name, config):
        folds = _read_folds(name.removeprefix(MEMBERS))
        is_open = config.evaluate.test == "open"
        return fold_members.split_members(folds) if is_open else fold_members.split_held_out(folds)
    return [_close(table, config) for table in read_seeds(name, config)]


def read_members(name: str, config: Config) -> list[pd.DataFrame]:
    """Read the predictions of the trainings that a row is a mean over, on rows that they have in common.

    Open: each member's of the test rows. Closed: the held-out rows of each draw of the folds, where there are two or
    more (`cross_validate.repeats`); the members of one draw have no rows in common. Empty for other rows.
    """
    if not _has_members(name, config):
        return []
    folds = _read_folds(name.removeprefix(MEMBERS))
    if config.evaluate.test == "open":
        return fold_members.split_members(folds)
    draws = fold_members.split_draws(folds)
    return draws if len(draws) > 1 else []


def _has_members(name: str, config: Config) -> bool:
    return row_names.is_average(name) and name.removeprefix(MEMBERS) in config.cross_validate.models


def _read_folds(model: str) -> pd.DataFrame:
    """Read the predictions (schemas.OUT_OF_FOLD) of every fold's model."""
    return read_table(OUT_OF_FOLD / f"{model}.csv", schemas.OUT_OF_FOLD)


def read_seeds(name: str, config: Config) -> list[pd.DataFrame]:
    """Read the predictions of a model under all its seeds; empty where it was trained under one."""
    if name not in config.seeds.models:
        return []
    members = [name, *row_names.seed_member_names(name, config.seed, config.seeds).values()]
    return [read_table(PREDICTIONS / f"{member}.csv", schemas.PREDICTIONS) for member in members]
