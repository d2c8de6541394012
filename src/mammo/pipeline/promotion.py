"""The champion of the registered model, decided when a workspace is published for the first time."""

import tempfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pandas as pd

from mammo.core import row_names, schemas
from mammo.core.config import Config
from mammo.core.files import read_splits, read_table
from mammo.core.paths import MEMBERS, PREDICTIONS, SPLITS
from mammo.core.records import Record
from mammo.evaluation import promotion_rule
from mammo.metrics import discrimination
from mammo.tracking import model_registry
from mammo.tracking.failures import name_cure
from mammo.tracking.model_registry import Run, ServedFiles, VersionSpec
from mammo.tracking.publishing import Published

DEMO = "demo"
# By name, as MLflow loads it: what is registered is no output of publish, whose code dependencies follow the imports.
SERVED_MODEL = "mammo.inference.served_model"


def promote(config: Config, records: list[Record], published: Published) -> str:
    """Register the workspace's best model on validation as champion or challenger; return the decision as text.

    A model is known by the content of its record: again after a failure or a kill the decision is the same, and no
    version is doubled. Raises InputError with the cure where the server refuses.
    """
    with name_cure(f"the registered model {registered_name(config)!r}"):
        return _promote(config, records, published)


def _promote(config: Config, records: list[Record], published: Published) -> str:
    predictions = {
        name: read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS) for name in row_names.candidate_names(config)
    }
    rule, folds = config.tracking.champion, read_splits(SPLITS)
    rates = {
        name: promotion_rule.measure_rates(promotion_rule.select_validation_rows(table), folds, config.evaluate)
        for name, table in predictions.items()
    }
    name = promotion_rule.choose_contender(predictions, rates, rule)
    if name is None:
        return (
            f"no model holds a sensitivity of {rule.sensitivity_floor:g} and a specificity of "
            f"{rule.specificity_floor:g} on held-out training rows (tracking.champion): none is registered"
        )
    registered = registered_name(config)
    run = published.runs[_training_place(name, records)]
    holder = model_registry.find_version(registered, promotion_rule.CHAMPION)
    is_holder = holder is not None and holder.content == run.data.tags["content"]
    if holder is not None and is_holder and model_registry.is_whole(holder):
        return f"{registered}: {name} is the champion already (version {holder.number})"
    validation = promotion_rule.select_validation_rows(predictions[name])
    rivals = None if is_holder else _validation_rows(holder)
    verdict = promotion_rule.decide_alias(validation, rivals, rule, config.evaluate, config.seed)
    tags = {
        "val_auc": f"{discrimination.auc(validation['label'], validation['prob']):.4f}",
        "val_sensitivity_operating": f"{rates[name].sensitivity:.4f}",
        "val_specificity_operating": f"{rates[name].specificity:.4f}",
        **_test_auc(name, records),
    }
    test = "The test set was closed" if config.evaluate.test == "closed" else "Test numbers chose nothing"
    note = f"{name}, {verdict.alias}: {verdict.reason}. {test}."
    version = register(run, VersionSpec(registered, name, verdict.alias, tags, note))
    return f"{registered}: {name} is version {version.number}, {verdict.alias} ({verdict.reason})"


def register(run: Run, spec: VersionSpec) -> model_registry.Version:
    """Register the finished model of this workspace that `run` trained, as it is to be served: see served_model."""
    served_model = import_module(SERVED_MODEL)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "served"
        about = served_model.write(spec.model, folder)
        dtype, flags = f"uint{about.preprocess.bits}", served_model.list_flags(about)
        served = ServedFiles(folder, SERVED_MODEL, dtype, flags, about.model_dump())
        tags = spec.tags | served_model.version_tags(about)
        return model_registry.register_version(run, replace(spec, tags=tags, served=served))


def registered_name(config: Config) -> str:
    """Return a name such as `mammo-cbis_ddsm-lesion`: models of other data, the synthetic ones too, do not compete."""
    data = DEMO if config.ingest.source == DEMO else config.ingest.dataset
    return f"{config.tracking.experiment}-{data}-{config.ingest.unit}"


def _training_place(name: str, records: list[Record]) -> int:
    """Return the place of the record that trained the model."""
    stages = [record.name for record in records]
    if row_names.is_average(name):
        return stages.index(f"cross_validate@{name.removeprefix(MEMBERS)}")
    return stages.index(name if name == row_names.CONTINUED else f"train@{name}")


def _validation_rows(holder: model_registry.Version | None) -> pd.DataFrame | None:
    """Return the validation rows of the champion, from its run; none where a person registered it."""
    if holder is None:
        return None
    if not holder.model:
        return pd.DataFrame(columns=list(schemas.PREDICTIONS.columns))
    path = model_registry.download_version_artifact(holder, f"{holder.model}.csv")
    return promotion_rule.select_validation_rows(read_table(path, schemas.PREDICTIONS))


def _test_auc(name: str, records: list[Record]) -> dict[str, str]:
    """Return the AUC on the official test, which the version shows and no choice rests on; none while it is closed."""
    (row,) = (record for record in records if record.stage == "evaluate" and record.model == name)
    if row.tags["samples"] != row_names.OFFICIAL_TEST:
        return {}
    return {"test_auc": f"{row.metrics['auc']:.4f}"} if row.metrics["auc"] is not None else {}
