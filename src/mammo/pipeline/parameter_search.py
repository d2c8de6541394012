"""Search the parameters of one architecture: `python -m mammo search`. No stage of dvc.yaml: it writes no result.

A trial is trained as `train` does and measured by its AUC on the validation rows, or trained as `cross_validate` does
and measured by its AUC over the held-out folds of the training patients. Test rows are removed before the first trial.
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
from mammo.core.config import Config, TrainingConfig, flatten, load_config
from mammo.core.paths import data_fingerprint
from mammo.data.samples import Samples
from mammo.pipeline import profiles, search_space, train_run, trials
from mammo.pipeline.search_space import Space
from mammo.pipeline.train_run import TrainingTask
from mammo.pipeline.trials import Search, Trial, Verdict
from mammo.tracking import live_run
from mammo.tracking.live_run import MlflowRun
from mammo.training import folds, predict, trainer
from mammo.training.backend import use_precision
from mammo.training.checkpoint import Epoch
from mammo.training.health import TrainingError
from mammo.training.phases import total_epochs

KEY_COLUMNS = ["sample_id", "patient_id", "label"]
WARMUP = 1 / 3  # share of the epochs before which no trial is pruned


def main(name: str, spaces: Sequence[Space], count: int, over_folds: bool) -> Verdict | None:
    """Search until there are `count` trials of `models.<name>`, with those of earlier calls; return the result.

    spaces: as search_space.check_spaces accepts them. over_folds: measure trials by cross-validation. The same call
    resumes a killed one; several at once share the trials. None where no trial has finished.
    """
    config = load_config()
    samples = train_run.open_samples(config.train)
    samples = Samples(samples.index[samples.index["split"] != "test"], samples.images)
    objective = _Objective(name, samples, config, over_folds)
    study = _open_study(objective, spaces)
    parent = _start_run(objective, study)
    keras.utils.disable_interactive_logging()
    logging.getLogger("absl").setLevel(logging.WARNING)  # where Keras then writes a line per epoch
    with tqdm(total=count, desc=f"search {name}", unit="trial", initial=study.count_ended()) as bar:
        searcher = _Searcher(objective, study, parent, bar)
        while searcher.run_trial(count):
            bar.n = study.count_ended()
            bar.refresh()
    verdict = study.verdict()
    if verdict is not None and not study.count_running():
        metrics = {"best_auc": verdict.best.auc, "auc_corrected": verdict.corrected}
        parent.finish(metrics, {"best_trial": str(verdict.best.number)})
    return verdict


def apply(verdict: Verdict) -> list[str]:
    """Write the best trial's values into params.yaml; return the changed keys."""
    return profiles.merge_parameters(search_space.nest_keys(verdict.best.parameters), f"trial {verdict.best.number}")


@dataclass(frozen=True)
class _Objective:
    """The training and the rows by which trials of `models.<name>` are compared."""

    name: str
    samples: Samples
    config: Config
    over_folds: bool

    def task(self, values: dict[str, Any], where: str, spaces: Sequence[Space] = ()) -> TrainingTask:
        """Return the training with new values of some parameters, identified by its objective as well."""
        config = search_space.replace_parameters(self.config, values, where)
        settings = (str(self.over_folds), config.split.model_dump_json(), config.predict.model_dump_json())
        return replace(train_run.task_for("search", self.name, config), foundations=(*settings, *map(str, spaces)))

    def resume_key(self, spaces: Sequence[Space]) -> str:
        """Return a hash of all inputs of the trials but the values that are searched."""
        return self.task({space.key: space.probes()[0] for space in spaces}, "the spaces", spaces).resume_key()


def _open_study(objective: _Objective, spaces: Sequence[Space]) -> Search:
    config = objective.config
    folder = resume.cache_folder("search", objective.resume_key(spaces))
    warmup = 0 if objective.over_folds else int(WARMUP * total_epochs(config.for_model(objective.name)))
    return Search(folder, spaces, flatten(config.model_dump()), config.seed, warmup)


def _start_run(objective: _Objective, study: Search) -> MlflowRun:
    """Start the MLflow run of the search, the parent of its trials' runs."""
    parameters = {"objective": "held-out folds" if objective.over_folds else "validation"}
    parameters |= {space.key: str(space) for space in study.spaces}
    experiment, ids = objective.config.tracking.experiment, study.folder / "run.json"
    with study.lock:
        return live_run.search_run(experiment, objective.name, data_fingerprint(), parameters, ids)


@dataclass(frozen=True)
class _TrialRun:
    """A trial in training: its parameters, its tracked run, and the folder that it resumes from."""

    trial: Trial
    config: TrainingConfig
    run: MlflowRun
    checkpoint_dir: Path


@dataclass(frozen=True)
class _Searcher:
    """The training of a study's trials in this process, one after the other."""

    objective: _Objective
    study: Search
    parent: MlflowRun
    bar: "tqdm[Any]"

    def run_trial(self, count: int) -> bool:
        """Train one more trial; return False where there is none."""
        with self.study.next_trial(count) as trial:
            if trial is None:
                return False
            self.bar.write(f"{_title(trial)}: {self._train(trial)}")
            return True

    def _train(self, trial: Trial) -> str:
        """Train the trial and report it to study and server; return its outcome as text."""
        earlier = self.study.find_finished(trial.parameters)
        if earlier is not None:
            self.study.tell(trial, earlier.predictions)
            return f"the same as trial {earlier.number}"
        task = self.objective.task(trial.parameters, f"trial {trial.number}")
        ids = self.study.folder / f"trial-{trial.number}.json"
        run = live_run.trial_run(self.parent, trial.number, task.config.parameters(), ids)
        use_precision(task.config.train.precision)
        predict_rows = self._predict_held_out_folds if self.objective.over_folds else self._predict_validation
        with run.mark_failure(), train_run.resume_folder(task) as folder:
            try:
                predictions = predict_rows(_TrialRun(trial, task.config, run, folder))
            except (trials.Pruned, TrainingError) as reason:
                self.study.tell_pruned(trial)
                run.finish({}, {"search.state": "pruned"})
                return f"stopped early: {reason}"
            auc = self.study.tell(trial, predictions)
        metrics = (
            {"auc": auc} if self.objective.over_folds else train_run.validation_metrics(predictions.assign(split="val"))
        )
        run.finish(metrics, {"search.state": "complete"})
        return f"AUC {auc:.3f}"

    def _predict_validation(self, trial_run: _TrialRun) -> pd.DataFrame:
        """Train as `train` does and return the predictions of the validation rows."""
        keras.backend.clear_session()
        trial, config, samples = trial_run.trial, trial_run.config, self.objective.samples
        model = models.build(config.model, samples.image_shape, config.seed, train_run.find_weights(config.model))

        def report(epoch: int, metrics: Epoch) -> None:
            trial_run.run.log_epoch(epoch, metrics)
            self.bar.set_postfix_str(f"trial {trial.number}, epoch {epoch + 1}: {metrics['val_auc']:.3f}")
            trial.report(epoch, metrics["val_auc"])

        trainer.fit(model, samples, config, trial_run.checkpoint_dir, report)
        validation = samples.take("val")
        prob = predict.predict_probabilities(model, validation, config.predict.flips)
        return validation.index[KEY_COLUMNS].assign(prob=prob)

    def _predict_held_out_folds(self, trial_run: _TrialRun) -> pd.DataFrame:
        """Train as `cross_validate` does and return the predictions of every fold by the model without it."""
        trial, config, split = trial_run.trial, trial_run.config, self.objective.config.split
        weights_path = train_run.find_weights(config.model)
        parts: list[pd.DataFrame] = []
        for fold in range(split.folds):
            self.bar.set_postfix_str(f"trial {trial.number}, fold {fold + 1}")
            samples = folds.fold_samples(self.objective.samples, fold, split.val_fraction, config.seed)
            fold_config, report = replace(config, seed=config.seed + fold), partial(_log_fold, trial_run.run, fold)
            checkpoint_dir = trial_run.checkpoint_dir / f"fold{fold}"
            model, _ = folds.fit_fold(samples, fold_config, weights_path, checkpoint_dir, report)
            predictions = folds.predict_held_out(model, samples, config.predict.flips)
            parts.append(predictions[predictions["split"] == "oof"].assign(fold=fold))
            trial.report(fold, trials.measure_auc(pd.concat(parts)))
        return pd.concat(parts)[[*KEY_COLUMNS, "fold", "prob"]]


def _log_fold(run: MlflowRun, fold: int, epoch: int, metrics: Epoch) -> None:
    run.log_epoch(epoch, {f"fold{fold}_{name}": value for name, value in metrics.items()})


def _title(trial: Trial) -> str:
    values = ", ".join(f"{key.rpartition('.')[2]} = {value}" for key, value in trial.parameters.items())
    return f"trial {trial.number} ({values}{'; params.yaml' if trial.baseline else ''})"
