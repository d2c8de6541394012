"""The workspace's paths, each once, and the root of the user's repository."""

import os
from pathlib import Path

# Data as ingested: the source's files, and the tables of the cases
RAW = Path("data/raw")
CASES = Path("data/cases.csv")
EXCLUDED = Path("data/excluded.csv")  # published rows that are no case
CHECKS = Path("data/checks.csv")  # what was measured of films, masks and crops
MANIFEST = Path("data/manifest.csv")  # size and hashes of the cases' files

# Splits
SPLITS = Path("data/splits.csv")
DROPPED = Path("data/dropped.csv")  # cases without a split
LEAK_AUDIT = Path("metrics/leak_audit.json")

# The pixel store: images.npy, masks.npy, index.csv
PIXELS = Path("data/pixels")
FINGERPRINT = PIXELS / "fingerprint.txt"  # its SHA-256

# What the films' borders know of the label
BORDERS = Path("data/borders.csv")
BORDER_SCORES = Path("data/border_scores.csv")
SHORTCUTS = Path("metrics/shortcuts.csv")  # how well each part of a film without its lesion ranks the labels

# Trained models and their probabilities
MODELS = Path("data/models")
PREDICTIONS = Path("data/predictions")
OUT_OF_FOLD = PREDICTIONS / "out_of_fold"
MEMBERS = "members_"  # before a model's name: the mean over the models of its cross-validation, the members
ENSEMBLES = Path("data/ensembles")
HISTORY = Path("metrics/history")  # a table of epochs per training
NOTEBOOK = Path("data/notebook")  # trainings of mammo.api, beside the pipeline's results

# Explanations
GRADCAM = Path("data/gradcam")
RETRAINED_MAPS = GRADCAM / "retrained"

# Evaluation
EVALUATION = Path("metrics/evaluation.json")
EVALUATION_TABLES = Path("metrics/evaluation")
LEVEL_METRICS = EVALUATION_TABLES / "metrics.csv"
TEST_LEDGER = Path("metrics/test_ledger.csv")  # in git: every opening of a test set
PAIRED_TESTS = Path("metrics/paired_tests.csv")
ROC = Path("metrics/roc.csv")
EXTERNAL = Path("data/external")
EXTERNAL_METRICS = Path("metrics/external")

# Figures, reports and the comparison table
AUGMENTED = Path("data/augmented")  # training images under each augmentation, for the report
REPORT = Path("data/report")
REPORT_FIGURES = REPORT / "figures"
ROC_FIGURE = REPORT_FIGURES / "roc.png"
AUC_FIGURE = REPORT_FIGURES / "auc.png"
REPORT_PAGE = REPORT / "report.html"
MODEL_CARDS = REPORT / "model_cards"
DATA_REPORT = Path("data/data_report")
DATA_REPORT_PAGE = DATA_REPORT / "data.html"
DATA_REPORT_TEXT = DATA_REPORT / "data.md"
DATA_REPORT_FIGURES = DATA_REPORT / "figures"
DATA_REPORT_SHEET = DATA_REPORT / "preprocess.png"  # films: for the HTML page alone
COMPARISON = Path("metrics/comparison.csv")

# The repository's own files
RESULTS = Path("docs/results")  # published results
DATA_PAGES = Path("docs/data")
README = Path("README.md")
LICENCE = Path("LICENSE")
PROFILES = Path("profiles")
DVC_YAML = Path("dvc.yaml")
DVC_LOCK = Path("dvc.lock")

# Records of the runs (core.records), and files below project_root() that are in no stage's outputs
RECORDS = Path("metrics/records")
SCRATCH = Path(".dvc/tmp")  # locks
DURATIONS = SCRATCH / "durations"  # of the stages (core.durations)
RESUME = SCRATCH / "mammo"  # unfinished work (core.resume)
IDC_DOWNLOADS = Path("data/downloads/idc")  # where `ingest.root` is null
KAGGLE_DOWNLOADS = Path("data/downloads/kaggle")


def project_root() -> Path:
    """Return the user's repository: DVC_ROOT, because DVC runs a queued experiment in a copy, else the folder."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd())).resolve()


def resolve_path(path: str | Path) -> Path:
    """Return a path of params.yaml as absolute; a relative one starts at the user's repository."""
    return (project_root() / Path(path).expanduser()).resolve()


def data_fingerprint() -> str:
    """Return the SHA-256 of the pixel store, which identifies the data in records and tags."""
    return FINGERPRINT.read_text(encoding="utf-8").strip()
