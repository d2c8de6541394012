"""Search the parameters of one architecture: `python -m mammo search`. No stage of dvc.yaml: it writes no result.

A trial is what `train` does, judged by the AUC of the finished model on the validation rows; or what
`cross_validate` does, judged by the AUC over the held-out folds of the training patients. Test rows are taken out
before the first trial.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import pandas as pd
from tqdm import tqdm

from mammo import models
from mammo.core import resume
from mammo.core.config import Config, flatten, load_config
from mammo.core.paths import data_fingerprint
from mammo.data.samples import Samples
from mammo.pipeline import profiles, search_space, train_run, trials
from mammo.pipeline.search_space import Space
from mammo.pipeline.train_run import TrainingTask
from mammo.pipeline.trials import Search, Trial, Verdict
from mammo.tracking import live_run
from mammo.tracking.live_run import MlflowRun
from mammo.training import folds, trainer
from mammo.training.backend import use_precision
from mammo.training.checkpoint import Epoch
from mammo.training.health import TrainingError
from mammo.training.phases import total_epochs
from mammo.training.predict import probabilities

JUDGED = ["sample_id", "patient_id", "label"]
WARMUP = 1 / 3  # of the epochs, before which no trial is pruned


def main(name: str, wanted: Sequence[Space], count: int, over_folds: bool) -> Verdict | None:
    """Have `count` trials of `models.<name>` in all, those of earlier calls included; None where none has finished.

    wanted: as spaces.check lets pass. The same call goes on where a killed one stood; several at once share the trials.
    """
    loaded = load_config()
    samples = train_run.open_samples(loaded.train)
    samples = Samples(samples.index[samples.index["split"] != "test"], samples.images)
    key = _key(name, wanted, over_folds, loaded)
    epochs = total_epochs(loaded.for_model(name))
    baseline = flatten(loaded.model_dump())
    warmup = 0 if over_folds else int(WARMUP * epochs)
    study = Search(resume.cache_folder("search", key), wanted, baseline, loaded.seed, warmup)
    asked = {"objective": "held-out folds" if over_folds else "validation"} | {s.key: str(s) for s in wanted}
    with study.lock:
        parent = live_run.search_run(
            loaded.tracking.experiment, name, data_fingerprint(), asked, study.folder / "run.json"
        )
    keras.utils.disable_interactive_logging()
    logging.getLogger("absl").setLevel(logging.WARNING)  # where Keras then writes a line per epoch
    with tqdm(total=count, desc=f"search {name}", unit="trial", initial=study.ended()) as bar:
        searcher = _Searcher(name, samples, loaded, over_folds, study, parent, bar)
        while searcher.next(count):
            bar.n = study.ended()
            bar.refresh()
    verdict = study.verdict()
    if verdict is not None and not study.running():
        numbers = {"best_auc": verdict.best.auc, "auc_corrected": verdict.corrected}
        parent.finish(numbers, {"best_trial": str(verdict.best.number)})
    return verdict


def apply(verdict: Verdict) -> list[str]:
    """Write the best trial's values into params.yaml; returns the keys that were changed."""
    return profiles.merge_parameters(search_space.nest_keys(verdict.best.parameters), f"trial {verdict.best.number}")


def _key(name: str, wanted: Sequence[Space], over_folds: bool, loaded: Config) -> str:
    """Names the study by all that its trials rest on but the values that are searched."""
    neutral = search_space.replace_parameters(loaded, {space.key: space.probes()[0] for space in wanted}, "the spaces")
    return _task(name, over_folds, neutral, wanted).resume_key()


def _task(name: str, over_folds: bool, config: Config, spaces: Sequence[Space] = ()) -> TrainingTask:
    """Return the training of a trial, named by what it is judged on as well."""
    objective = (str(over_folds), config.split.model_dump_json(), config.predict.model_dump_json())
    return replace(train_run.task_for("search", name, config), foundations=(*objective, *map(str, spaces)))


@dataclass
class _Searcher:
    """Trains trials of one study."""

    name: str
    samples: Samples
    loaded: Config
    over_folds: bool
    study: Search
    parent: MlflowRun
    bar: "tqdm[Any]"

    def next(self, count: int) -> bool:
        """Train one more trial; False where there is none."""
        with self.study.trial(count) as trial:
            if trial is None:
                return False
            self.bar.write(f"{_title(trial)}: {self._train(trial)}")
            return True

    def _train(self, trial: Trial) -> str:
        """Train the trial, tell the study and the server; returns what became of it."""
        again = self.study.known(trial.parameters)
        if again is not None:
            self.study.tell(trial, again.predictions)
            return f"the same as trial {again.number}"
        changed = search_space.replace_parameters(self.loaded, trial.parameters, f"trial {trial.number}")
        task = _task(self.name, self.over_folds, changed)
        parameters = task.config.parameters()
        ids = self.study.folder / f"trial-{trial.number}.json"
        run = live_run.trial_run(self.parent, trial.number, parameters, ids)
        use_precision(changed.train.precision)
        predict = self._held_out_folds if self.over_folds else self._validation
        with run.mark_failure(), train_run.resume_folder(task) as folder:
            try:
                predictions = predict(trial, changed, run, folder)
            except (trials.Pruned, TrainingError) as reason:
                self.study.tell_pruned(trial)
                run.finish({}, {"search.state": "pruned"})
                return f"stopped early: {reason}"
            auc = self.study.tell(trial, predictions)
        measured = {"auc": auc} if self.over_folds else train_run.validation_metrics(predictions.assign(split="val"))
        run.finish(measured, {"search.state": "complete"})
        return f"AUC {auc:.3f}"

    def _validation(self, trial: Trial, changed: Config, run: MlflowRun, folder: Path) -> pd.DataFrame:
        """Return what `train` predicts of the validation rows."""
        keras.backend.clear_session()
        config = changed.for_model(self.name)
        model = models.build(config.model, self.samples.image_shape, config.seed, train_run.find_weights(config.model))

        def report(epoch: int, values: Epoch) -> None:
            run.log_epoch(epoch, values)
            self.bar.set_postfix_str(f"trial {trial.number}, epoch {epoch + 1}: {values['val_auc']:.3f}")
            trial.report(epoch, values["val_auc"])

        trainer.fit(model, self.samples, config, folder, report)
        validation = self.samples.take("val")
        prob = probabilities(model, validation, config.predict.flips)
        return validation.index[JUDGED].assign(prob=prob)

    def _held_out_folds(self, trial: Trial, changed: Config, run: MlflowRun, folder: Path) -> pd.DataFrame:
        """Return what `cross_validate` predicts of the training patients, each by the model that did not see them."""
        config, split = changed.for_model(self.name), changed.split
        weights_path = train_run.find_weights(config.model)
        parts: list[pd.DataFrame] = []
        for fold in range(split.folds):
            self.bar.set_postfix_str(f"trial {trial.number}, fold {fold + 1}")
            samples = folds.fold_samples(self.samples, fold, split.val_fraction, config.seed)
            fold_config, report = replace(config, seed=config.seed + fold), partial(_log_fold, run, fold)
            predictions, _ = folds.fit_fold(samples, fold_config, weights_path, folder / f"fold{fold}", report)
            parts.append(predictions[predictions["split"] == "oof"].assign(fold=fold))
            trial.report(fold, trials.area(pd.concat(parts)))
        return pd.concat(parts)[[*JUDGED, "fold", "prob"]]


def _log_fold(run: MlflowRun, fold: int, epoch: int, values: Epoch) -> None:
    run.log_epoch(epoch, {f"fold{fold}_{name}": value for name, value in values.items()})


def _title(trial: Trial) -> str:
    values = ", ".join(f"{key.rpartition('.')[2]} = {value}" for key, value in trial.parameters.items())
    return f"trial {trial.number} ({values}{'; params.yaml' if trial.baseline else ''})"
