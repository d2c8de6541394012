"""The functions that a notebook user calls, anywhere inside a checkout: thin calls into what the stages use.

Models are kept in data/notebook/ and as runs on the tracking server. They never replace what `dvc repro` writes: the
results of the pipeline stay those of params.yaml. Errors that a user can correct are InputErrors.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo import models
from mammo.core import schemas
from mammo.core.config import Config, load_config
from mammo.core.errors import InputError
from mammo.core.files import sha256, write_table
from mammo.core.paths import DVC_YAML, MODELS, NOTEBOOK, PIXELS
from mammo.core.tensorflow_log import set_log_level
from mammo.data.samples import Samples, open_store
from mammo.display import NotebookResult
from mammo.evaluation import comparison_rows, operating_point
from mammo.evaluation.comparison_rows import EvaluatedRow
from mammo.explain.saliency import Explainer
from mammo.inference import bundle, foreign_model, predictor, workspace_models
from mammo.inference.about import BENIGN, MALIGNANT, About
from mammo.inference.model_files import Ensemble
from mammo.inference.predictor import Predictor
from mammo.metrics import auc_tests, classification, discrimination
from mammo.metrics.resampling import LabelledRows
from mammo.pipeline import dvc, test_ledger, train_run
from mammo.pipeline.train_run import TrainingTask
from mammo.reporting.comparison import HEADLINE_METRICS, format_interval
from mammo.reporting.figures import contact_sheets, evaluation
from mammo.reporting.figures import training as training_figures
from mammo.training import folds, split_predictions, trainer
from mammo.training.phases import total_epochs

set_log_level()

EXAMPLES = 4
WATCHED = ["val_auc", "val_auc_low", "val_auc_high", "val_sensitivity", "val_specificity"]
ENHANCED, LIGHT = "medical_vgg16", "light_cnn"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, repr=False)
class Dataset(NotebookResult):
    """The prepared samples, whole patients in each split; `train`, `val` and `test` have an index and its images."""

    train: Samples = field(kw_only=True, repr=False)
    val: Samples = field(kw_only=True, repr=False)
    test: Samples = field(kw_only=True, repr=False)


@dataclass(frozen=True, repr=False)
class Training(NotebookResult):
    """A model that was trained here: its file, its history by epoch, and what it predicts (tables.PREDICTIONS)."""

    model_path: Path = field(kw_only=True)
    history: pd.DataFrame = field(kw_only=True, repr=False)
    predictions: pd.DataFrame = field(kw_only=True, repr=False)


@dataclass(frozen=True, repr=False)
class Evaluation(NotebookResult):
    """A model on the test rows, at the operating point that its validation rows chose."""

    metrics: pd.DataFrame = field(kw_only=True, repr=False)
    predictions: pd.DataFrame = field(kw_only=True, repr=False)


@dataclass(frozen=True, repr=False)
class Comparison(NotebookResult):
    """Models on the same test rows: their metrics with intervals, and paired tests of their AUCs."""

    metrics: pd.DataFrame = field(kw_only=True, repr=False)
    paired_tests: pd.DataFrame = field(kw_only=True, repr=False)


@dataclass(frozen=True, repr=False)
class Explanation(NotebookResult):
    """Where a model looked: the shown samples, and their maps (n, h, w) in 0..1."""

    samples: pd.DataFrame = field(kw_only=True, repr=False)
    maps: npt.NDArray[np.float32] = field(kw_only=True, repr=False)


def prepare_data_only() -> NotebookResult:
    """Download the data, split them by patient and prepare arrays (`dvc repro preprocess`); return the counts."""
    with _workspace():
        dvc.run_dvc("repro", "preprocess")
        return NotebookResult("Prepared data", {"samples": _counts(open_store(PIXELS))})


def create_robust_dataset() -> Dataset:
    """Return the data as splits of whole patients, prepared first where needed; refuse a patient in two splits."""
    with _workspace():
        if not (PIXELS / "index.csv").is_file():
            dvc.run_dvc("repro", "preprocess")
        samples = open_store(PIXELS)
        return Dataset(
            "Samples, split by patient",
            {"samples": _counts(samples)},
            {"training samples, lesions outlined": _examples(samples)},
            **{split: samples.take(split) for split in SPLITS},
        )


def simple_train(epochs: int = 5, model_type: str = LIGHT) -> Training:
    """Train `models.<model_type>` of params.yaml for some epochs, from its own initial weights."""
    _check_count("epochs", epochs)
    with _workspace() as config:
        return _train(f"simple_{model_type}", model_type, _with_model(config, model_type, {"epochs": epochs}))


def run_enhanced_training(epochs: int | None = None, model_type: str = ENHANCED) -> Training:
    """Train with more of what helps on few data: a moving average of the weights, mixup, smoothed labels, best epoch.

    The class balance, loss and augmentation are those of params.yaml, and so are the epochs where `epochs` is None.
    """
    _check_count("epochs", epochs)
    with _workspace() as config:
        changed = _with_model(config, model_type, {} if epochs is None else {"epochs": epochs})
        train = config.train.model_copy(update={"ema": 0.9, "mixup": 0.2, "label_smoothing": 0.05, "keep": "best"})
        return _train(f"enhanced_{model_type}", model_type, changed.model_copy(update={"train": train}))


def continue_training(model_path: str | Path | None = None, epochs: int | None = None) -> Training:
    """Train a finished model on, under `continue_training.learning_rate`.

    model_path: a .keras file or a model's name; by default what was trained last here, else the pipeline's
    `continue_training.model`. Its other settings are those of `continue_training.model`.
    """
    _check_count("epochs", epochs)
    source = None if model_path is None else _resolve(model_path)
    with _workspace() as config:
        start = config.continue_training
        path = _model_file(source) if source is not None else _latest() or _model_file(start.model)
        rates = dict.fromkeys(("learning_rate", "head_learning_rate"), start.learning_rate)
        changes = {**rates, "head_epochs": 0, "head_start": "random", "epochs": epochs or start.epochs}
        name = f"continued_{path.stem.removeprefix('continued_')}"
        return _train(name, start.model, _with_model(config, start.model, changes), path)


def evaluate_only(model_path: str | Path) -> Evaluation:
    """Return the metrics of a .keras file, a bundle or a model's name on the test rows, with intervals by patient."""
    source = _resolve(model_path)
    with _workspace() as config:
        name, predictions = _predict_source(source, config)
        evaluated = comparison_rows.evaluate_predictions(predictions, config.evaluate, config.seed)
        table = _metrics({name: evaluated})
        return Evaluation(
            f"{name} on the test rows",
            {"metrics": table},
            {
                "ROC": _roc({name: evaluated}),
                "calls": evaluation.draw_confusion(evaluated.rows, f"{name}, operating point"),
            },
            metrics=table,
            predictions=predictions,
        )


def compare_models(*model_paths: str | Path) -> Comparison:
    """Compare models on the same test rows, with paired tests of their AUCs (clustered DeLong, Holm-corrected).

    model_paths: .keras files, bundles, names; by default all that were trained here and all of the finished pipeline.
    """
    named = [_resolve(path) for path in model_paths]
    with _workspace() as config:
        sources = named or [*sorted(NOTEBOOK.glob("*.keras")), *workspace_models.list_models()]
        if not sources:
            raise InputError("there is no model to compare; train one (simple_train()), or `dvc repro`")
        predictions = _predict_sources(sources, config)
        evaluated = {
            name: comparison_rows.evaluate_predictions(rows, config.evaluate, config.seed)
            for name, rows in predictions.items()
        }
        table, tests = _metrics(evaluated), comparison_rows.compare_aucs(evaluated, config.evaluate, config.seed)
        return Comparison(
            "Models on the same test rows",
            {"metrics": table, "paired tests of the AUC": tests},
            {"ROC": _roc(evaluated)},
            metrics=table,
            paired_tests=tests,
        )


def run_working_gradcam(model_path: str | Path, num_samples: int = 8, method: str = "gradcam") -> Explanation:
    """Draw heat maps of a model on test samples with every outcome: true and false positives and negatives."""
    _check_count("num_samples", num_samples)
    source = _resolve(model_path)
    with _workspace() as config:
        name, model = _load_model(source)
        _check_test_is_open(config)
        samples = open_store(PIXELS)
        predictions, test = _predict(model, samples, config.predict.flips), samples.take("test")
        decided = _decide(predictions, config).set_index("sample_id").loc[test.index["sample_id"]]
        rows = decided.assign(outcome=operating_point.name_outcomes(decided)).reset_index()
        rank = rows.groupby("outcome").cumcount()
        places = np.sort(np.argsort(rank, kind="stable")[:num_samples])
        images = test.pixels(places)
        maps = Explainer(model).maps(images.astype(np.float32), method)
        masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[test.index.index.to_numpy()[places]]
        chosen = rows.iloc[places].reset_index(drop=True)
        titles = [f"{row.sample_id}\n{row.outcome}, {row.prob:.2f}" for row in chosen.itertuples()]
        sheet = contact_sheets.draw_contact_sheet(images[..., 0].astype(np.uint8), masks, titles, maps)
        title = f"Where {name} looked ({method}; outlined: the lesion)"
        return Explanation(title, {}, {method: sheet}, samples=chosen, maps=maps)


def run_complete_improvement(
    epochs: int | None = None, model_type: str = LIGHT
) -> tuple[pd.DataFrame, Comparison, Predictor]:
    """Cross-validate, train plain, enhanced and continued models, and compare them.

    Returns (cv_metrics, comparison_results, best_model).

    cv_metrics: a row per fold of the training patients. best_model: of the three trainings, the one with the highest
    AUC on the validation rows; the test rows choose nothing.
    """
    _check_count("epochs", epochs)
    cv_metrics = _cross_validate(model_type, epochs)
    plain = simple_train(epochs or _total_epochs(model_type), model_type)
    trained = [plain, run_enhanced_training(epochs, model_type), continue_training(plain.model_path, epochs)]
    comparison = compare_models(*(training.model_path for training in trained))
    best = max(trained, key=lambda training: _auc(training.predictions, "val"))
    with _workspace() as config:
        return cv_metrics, comparison, _predictor(best, config)


def _check_count(name: str, value: int | None) -> None:
    """Raise InputError for a count that is no whole number of at least 1; None stands for the default."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if value is not None and (not whole or value < 1):
        raise InputError(f"{name}={value!r}: a whole number of at least 1 is needed")


def _train(name: str, model_type: str, config: Config, start: Path | None = None) -> Training:
    """Train as the stages do, from `start` or from the architecture's initial weights; save and track it as `name`."""
    keras.backend.clear_session()
    task = _training_task(name, model_type, config, start)
    path = NOTEBOOK / f"{name}.keras"
    with train_run.start(task, config.tracking.experiment) as training:
        if start is None:
            weights_path = train_run.find_weights(task.config.model)
            model = models.build(task.config.model, training.samples.image_shape, config.seed, weights_path)
        else:
            model = models.load(start)
        result = trainer.fit(model, training.samples, task.config, training.checkpoint_dir, training.log.log_epoch)
        models.save(model, path)
        predictions = _predict(model, training.samples, config.predict.flips)
        write_table(NOTEBOOK / f"{name}.csv", predictions, schemas.PREDICTIONS)
        validation = _validation_metrics(predictions)
        training.log.log_metrics(validation)
        training.log.log_artifact(path)
        training.log.log_artifact(NOTEBOOK / f"{name}.csv")
    return Training(
        f"{name}: {len(result.history)} epochs, epoch {result.best_epoch + 1} kept, in {path}",
        {"on the validation rows": pd.DataFrame([validation], index=[name])[WATCHED]},
        {"history": training_figures.draw_history(pd.DataFrame(result.history), result.best_epoch + 1, name)},
        model_path=path.resolve(),
        history=train_run.history_table(result),
        predictions=predictions,
    )


def _training_task(name: str, model_type: str, config: Config, start: Path | None) -> TrainingTask:
    """Return the training of `name`; one that goes on from `start` sees another order of batches than the first."""
    training_config = config.for_model(model_type)
    parameters = {"architecture": model_type}
    if start is None:
        return TrainingTask("notebook", name, training_config, training_config.model.weights_name, parameters)
    continued = training_config.reseed(config.seed + 1)
    return TrainingTask("notebook", name, continued, start.name, parameters, (sha256(start),))


def _validation_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the metrics on the validation rows at a threshold of 0.5, the AUC with its interval."""
    validation = predictions[predictions["split"] == "val"]
    auc = auc_tests.delong_interval(LabelledRows.from_table(validation), validation["prob"].to_numpy())
    return train_run.validation_metrics(predictions) | {"val_auc_low": auc.low, "val_auc_high": auc.high}


def _cross_validate(model_type: str, epochs: int | None) -> pd.DataFrame:
    """Return a row per fold: how many rows it holds out, and its AUC, sensitivity and specificity on them."""
    with _workspace() as config:
        changed = _with_model(config, model_type, {} if epochs is None else {"epochs": epochs})
        task = train_run.task_for("notebook folds", model_type, changed)
        samples, weights_path = train_run.open_samples(changed.train), train_run.find_weights(task.config.model)
        rows = []
        with train_run.resume_folder(task) as folder:
            for fold in range(changed.split.folds):
                roles = folds.fold_samples(samples, fold, changed.split.val_fraction, changed.seed)
                fold_config = replace(task.config, seed=changed.seed + fold)
                model, _ = folds.fit_fold(
                    roles, fold_config, weights_path, folder / f"{fold}", lambda epoch, values: None
                )
                predictions = folds.predict_held_out(model, roles, changed.predict.flips)
                rows.append({"fold": fold, **_fold_metrics(predictions.assign(fold=fold), changed)})
        return pd.DataFrame(rows).set_index("fold").astype({"n": np.int64})


def _with_model(config: Config, name: str, changes: dict[str, Any]) -> Config:
    """Return `config` with some values of `models.<name>` changed."""
    model_config = config.model(name).model_copy(update=changes)
    return config.model_copy(update={"models": config.models | {name: model_config}})


def _fold_metrics(predictions: pd.DataFrame, config: Config) -> dict[str, float]:
    decided = _decide(predictions, config)
    table = discrimination.counts(decided["label"].to_numpy(), decided["predicted_positive"].to_numpy())
    rates = {name: float(classification.AT_THRESHOLD[name](*table)) for name in ("sensitivity", "specificity")}
    return {"n": float(len(decided)), "auc": discrimination.auc(decided["label"], decided["prob"]), **rates}


def _decide(predictions: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the rows that are reported, decided at the operating point that the validation rows chose."""
    thresholds = operating_point.choose_thresholds(predictions, config.evaluate.rule, config.evaluate.value)
    return operating_point.apply_threshold(predictions, thresholds)


def _predict(model: keras.Model, samples: Samples, flips: bool) -> pd.DataFrame:
    """Return the predictions of the validation and test rows (schemas.PREDICTIONS); raises InputError."""
    if model.input_shape[1:] != samples.image_shape:
        raise InputError(
            f"the model takes images of {model.input_shape[1:]}, and those prepared here are {samples.image_shape}; "
            "prepare them as it was trained (preprocess.size_px, ingest.unit)"
        )
    predictions = split_predictions.predict_splits(model, samples, split_predictions.HELD_OUT, flips)
    return schemas.select_columns(predictions, schemas.PREDICTIONS)


def _check_test_is_open(config: Config) -> None:
    """Raise InputError while the test set is closed, or where its opening is not in the ledger."""
    if config.evaluate.test == "closed":
        raise InputError(
            "the test set is closed (evaluate.test in params.yaml), and this function reads it; `dvc repro` evaluates "
            "on held-out training rows. docs/evaluation.md says how it is opened"
        )
    test_ledger.check_opening(config)


def _total_epochs(model_type: str) -> int:
    with _workspace() as config:
        return total_epochs(config.for_model(model_type))


def _auc(predictions: pd.DataFrame, split: str) -> float:
    rows = predictions[predictions["split"] == split]
    return discrimination.auc(rows["label"], rows["prob"])


def _resolve(source: str | Path) -> str | Path:
    """Return a path as seen from the folder of the notebook; a name stays one."""
    return Path(source).resolve() if Path(source).exists() else source


def _model_file(source: str | Path) -> Path:
    """Return the .keras file of a path, or of a model's name here or in the pipeline; raises InputError."""
    if Path(source).suffix == ".keras":
        return models.check_exists(Path(source))
    for folder in (NOTEBOOK, MODELS):
        if (folder / f"{source}.keras").is_file():
            return folder / f"{source}.keras"
    known = sorted(path.stem for folder in (NOTEBOOK, MODELS) for path in folder.glob("*.keras"))
    raise InputError(f"{source} is no .keras file and no model here; there are {', '.join(known) or 'none yet'}")


def _latest() -> Path | None:
    """Return the model that was trained last here."""
    return max(NOTEBOOK.glob("*.keras"), key=lambda path: path.stat().st_mtime, default=None)


def _predict_source(source: str | Path, config: Config) -> tuple[str, pd.DataFrame]:
    """Return the name of a model and its predictions of the validation and test rows, where test is open."""
    _check_test_is_open(config)
    name, model = _load_model(source)
    return name, _predict(model, open_store(PIXELS), config.predict.flips)


def _predict_sources(sources: list[str | Path], config: Config) -> dict[str, pd.DataFrame]:
    """Return predictions by the models' names, beside which those that share one show where they come from.

    Raises InputError for a source that is given twice.
    """
    if twice := [str(source) for source in sources if sources.count(source) > 1]:
        raise InputError(f"{twice[0]} is given twice; a model is compared with others")
    predicted = [_predict_source(source, config) for source in sources]
    names = [name for name, _ in predicted]
    return {
        name if names.count(name) == 1 else f"{name} ({source})": rows
        for source, (name, rows) in zip(sources, predicted, strict=True)
    }


def _load_model(source: str | Path) -> tuple[str, keras.Model]:
    """Return a model's name and the model; raises InputError, also where its output is no probability."""
    if bundle.is_bundle(Path(source)):
        bundled = predictor.load(source)
        if isinstance(bundled.model, Ensemble):
            raise InputError(
                f"{source} is an ensemble, and single models are evaluated here; ask it about films by "
                "mammo.load(...).predict(...), its row stands in metrics/comparison.md"
            )
        return bundled.about.name, bundled.model
    path = _model_file(source)
    return path.stem, foreign_model.select_probability(models.load(path), None, str(path))


def _predictor(trained: Training, config: Config) -> Predictor:
    """Return the predictor of a training for image files."""
    evaluate_config = config.evaluate
    about = About(
        name=trained.model_path.stem,
        unit=config.ingest.unit,
        preprocess=config.preprocess,
        flips=config.predict.flips,
        model_sha256=sha256(trained.model_path),
        **workspace_models.fit_decisions(
            trained.predictions, evaluate_config.rule, evaluate_config.value, evaluate_config.conformal
        ),
    )
    return Predictor(models.load(trained.model_path), about)


def _counts(samples: Samples) -> pd.DataFrame:
    """Return the samples, patients and malignant samples by split."""
    by_split = samples.index.groupby("split")
    table = by_split.agg(samples=("sample_id", "size"), patients=("patient_id", "nunique"), malignant=("label", "sum"))
    return table.loc[list(SPLITS)].rename_axis(None)


def _examples(samples: Samples) -> Figure:
    """Draw the first training samples of either class."""
    train = samples.take("train")
    place = np.flatnonzero(train.index.groupby("label").cumcount() < EXAMPLES // 2)
    masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[train.index.index.to_numpy()[place]]
    rows = train.index.iloc[place]
    titles = [f"{row.sample_id}\n{MALIGNANT if row.label else BENIGN}" for row in rows.itertuples()]
    return contact_sheets.draw_contact_sheet(train.pixels(place)[..., 0].astype(np.uint8), masks, titles)


def _metrics(evaluated: Mapping[str, EvaluatedRow]) -> pd.DataFrame:
    """Return a row per model: n, patients, and the headline metrics with their intervals, as the comparison table."""
    rows = {}
    for name, row in evaluated.items():
        values = pd.Series(row.to_metrics())
        count = f"{values['n']:.0f} ({values['n_patients']:.0f})"
        metrics = {metric: format_interval(values, metric) for metric in HEADLINE_METRICS}
        rows[name] = {"n (patients)": count, **metrics, "threshold": values["threshold"]}
    return pd.DataFrame.from_dict(rows, orient="index")


def _roc(evaluated: Mapping[str, EvaluatedRow]) -> Figure:
    rows = {name: row.rows for name, row in evaluated.items()}
    metrics = {name: row.to_metrics() for name, row in evaluated.items()}
    return evaluation.draw_evaluated_roc(rows, metrics, "ROC on the test rows")


@contextmanager
def _workspace() -> Iterator[Config]:
    """Work in the repository around the current folder for the block; give its parameters."""
    start = Path.cwd()
    repositories = [folder for folder in (start, *start.parents) if (folder / DVC_YAML).is_file()]
    if not repositories:
        raise InputError(
            f"{start} is in no checkout of the repository (no dvc.yaml here or above); clone it and start there"
        )
    os.chdir(repositories[0])
    try:
        yield load_config()
    finally:
        os.chdir(start)
