"""Train one architecture once more, on permuted labels, and hold the maps of the real model against it."""

from pathlib import Path

import numpy as np
import pandas as pd

from mammo import models, params, retraining, tables, tracking
from mammo.batches import Samples
from mammo.params import Params, SaliencyMethod, TrainParams
from mammo.patient_means import Resampling
from mammo.saliency import Explainer, Floats
from mammo.training import Log
from stages import explaining, fitting, members, run
from stages.paths import GRADCAM, MODELS, RETRAINED_MAPS, fingerprint

PERMUTED = "permuted_labels.keras"


def main(name: str) -> None:
    """Write the model of permuted labels, and agreement.csv, summary.csv and sanity.csv of maps of `models.<name>`.

    The models under further seeds are those that `seeds@<name>` left.
    """
    loaded = params.load()
    own, recipe = loaded.model(name), unwatched(loaded.train)
    samples = fitting.open_samples(recipe)
    with (
        fitting.workplace(f"retrained_maps {name}", own, recipe, loaded) as unfinished,
        tracking.run(
            "retrained_maps",
            model=name,
            experiment=loaded.tracking.experiment,
            parameters=loaded.gradcam.model_dump() | {"seed": loaded.seed, "seeds": loaded.seeds.count},
            tags={"data": fingerprint()},
            unfinished=unfinished,
        ) as tracked,
    ):
        with tables.fresh_folder(RETRAINED_MAPS / name) as folder:
            train(name, samples, folder / PERMUTED, loaded, tracked.log_epoch, unfinished)
            agreement = _agreement(name, samples.take("test"), folder / PERMUTED, loaded)
            checks = _write_tables(agreement, folder, loaded)
        tracked.log_metrics(explaining.verdicts(checks))
        tracked.log_artifact(RETRAINED_MAPS / name)


def train(name: str, samples: Samples, path: Path, loaded: Params, log: Log, unfinished: Path) -> None:
    """Train `models.<name>` on permuted labels of the samples' training rows, and save it."""
    own, given = loaded.model(name), retraining.permuted(samples, loaded.seed)
    model = models.build(name, own, given.image_shape, loaded.seed)
    fitting.fit(model, given, unwatched(loaded.train), own, loaded, loaded.seed, log, unfinished)
    models.save(model, path)


def unwatched(recipe: TrainParams) -> TrainParams:
    """The recipe without the monitor of collapse: calling all rows the same is what permuted labels may teach."""
    return recipe.model_copy(update={"monitors": recipe.monitors.model_copy(update={"collapse_share": 1.0})})


def _agreement(name: str, test: Samples, permuted: Path, loaded: Params) -> pd.DataFrame:
    """retraining.agreement of every method, with sample_id and patient_id."""
    labels = explaining.explainer(permuted, test)
    further = members.of_seeds(name, loaded.seed, loaded.seeds).values()
    seeds = [explaining.explainer(MODELS / f"{member}.keras", test) for member in further]
    keys = test.index[["sample_id", "patient_id"]].reset_index(drop=True)
    found = {}
    for method in loaded.gradcam.methods:
        own = np.load(GRADCAM / name / f"maps{explaining.suffix(method, loaded.gradcam)}.npy").astype(np.float32)
        of_labels, *of_seeds = (visible(explainer, test, method, loaded.seed) for explainer in (labels, *seeds))
        rows = retraining.agreement(labels.visible(own), of_labels, of_seeds, keys["patient_id"])
        found[method] = pd.concat([keys, rows], axis=1)
    return explaining.by_method(found)


def visible(explainer: Explainer, test: Samples, method: SaliencyMethod, seed: int) -> Floats:
    """The maps of all samples, as far as the model sees."""
    parts = [part[method] for _, part in explaining.maps(explainer, test, [method], seed)]
    return explainer.visible(np.concatenate(parts))


def _write_tables(agreement: pd.DataFrame, folder: Path, loaded: Params) -> pd.DataFrame:
    """Write agreement.csv, summary.csv and sanity.csv; the last is returned."""
    how = Resampling.of(loaded.evaluate, loaded.seed)
    of_method = {method: agreement[agreement["method"] == method] for method in loaded.gradcam.methods}
    checks = explaining.by_method({method: retraining.verdicts(rows, how) for method, rows in of_method.items()})
    summary = explaining.by_method({method: retraining.summary(rows, how) for method, rows in of_method.items()})
    tables.write_rounded(folder / "agreement.csv", agreement)
    tables.write_rounded(folder / "summary.csv", summary)
    tables.write_rounded(folder / "sanity.csv", checks)
    return checks


if __name__ == "__main__":
    run(main)
