"""The champion of the registered model: asked for when a workspace is published for the first time."""

import pandas as pd

from mammo.core import row_names, schemas
from mammo.core.config import Config
from mammo.core.files import read_table
from mammo.core.paths import PREDICTIONS
from mammo.core.records import Record
from mammo.evaluation import promotion_rule
from mammo.metrics import discrimination
from mammo.tracking import model_registry
from mammo.tracking.model_registry import VersionSpec
from mammo.tracking.publishing import Published

DEMO = "demo"


def promote(loaded: Config, records: list[Record], published: Published) -> str:
    """Register the workspace's best model on validation as champion or challenger; returns what was decided."""
    predictions = {
        name: read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
        for name in row_names.table_row_names(loaded.models)
    }
    rule = loaded.tracking.champion
    name = promotion_rule.choose_contender(predictions, rule, loaded.evaluate)
    if name is None:
        return f"no model holds a validation sensitivity of {rule.sensitivity_floor:g}: none is registered"
    registered = registered_name(loaded)
    run = published.runs[_trained(name, records)]
    holder = model_registry.find_version(registered, promotion_rule.CHAMPION)
    if holder is not None and holder.content == run.data.tags["content"]:
        return f"{registered}: {name} is the champion already (version {holder.number})"
    validation = promotion_rule.select_validation_rows(predictions[name])
    decided = promotion_rule.decide_alias(validation, _validation(holder), rule, loaded.evaluate, loaded.seed)
    tags = {
        "val_auc": f"{discrimination.auc(validation['label'], validation['prob']):.4f}",
        "val_sensitivity": f"{promotion_rule.measure_sensitivity(validation, loaded.evaluate):.4f}",
        **_test_auc(name, records),
    }
    note = f"{name}, {decided.alias}: {decided.reason}. Test numbers are reported and were not looked at."
    spec = VersionSpec(registered, name, decided.alias, tags, note)
    version = model_registry.register_version(run, spec)
    return f"{registered}: {name} is version {version.number}, {decided.alias} ({decided.reason})"


def registered_name(loaded: Config) -> str:
    """`mammo-cbis_ddsm-lesion`: models of other data or units are no rivals; the synthetic cohort is other data."""
    data = DEMO if loaded.ingest.source == DEMO else loaded.ingest.dataset
    return f"{loaded.tracking.experiment}-{data}-{loaded.ingest.unit}"


def _trained(name: str, records: list[Record]) -> int:
    """Where the record is that trained the model."""
    stages = [record.name for record in records]
    return stages.index(name if name == row_names.CONTINUED else f"train@{name}")


def _validation(holder: model_registry.Version | None) -> pd.DataFrame | None:
    """The validation rows of the champion, from its run; none where a person registered it."""
    if holder is None:
        return None
    if not holder.model:
        return pd.DataFrame(columns=list(schemas.PREDICTIONS.columns))
    path = model_registry.download_version_artifact(holder, f"{holder.model}.csv")
    return promotion_rule.select_validation_rows(read_table(path, schemas.PREDICTIONS))


def _test_auc(name: str, records: list[Record]) -> dict[str, str]:
    """What the version shows of the official test, to be read and not chosen by."""
    (row,) = (record for record in records if record.stage == "evaluate" and record.model == name)
    return {"test_auc": f"{row.metrics['auc']:.4f}"} if row.metrics["auc"] is not None else {}
