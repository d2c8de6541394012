"""Where the stages' files lie, and where the user's repository is, also from a queued experiment's copy."""

import os
from pathlib import Path


def project_root() -> Path:
    """The repository the user works in: DVC names it in DVC_ROOT, and a queued experiment's copy is not it."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd())).resolve()


def resolve_path(path: str) -> Path:
    """A path from params.yaml: absolute, or relative to the user's repository."""
    return (project_root() / Path(path).expanduser()).resolve()


RAW = Path("data/raw")
CASES = Path("data/cases.csv")
EXCLUDED = Path("data/excluded.csv")
MANIFEST = Path("data/manifest.csv")
SPLITS = Path("data/splits.csv")
DROPPED = Path("data/dropped.csv")
PIXELS = Path("data/pixels")
FINGERPRINT = PIXELS / "fingerprint.txt"
MODELS = Path("data/models")
PREDICTIONS = Path("data/predictions")
OUT_OF_FOLD = PREDICTIONS / "out_of_fold"
ENSEMBLES = Path("data/ensembles")
GRADCAM = Path("data/gradcam")
RETRAINED_MAPS = GRADCAM / "retrained"
FIGURES = Path("data/figures")
REPORT = Path("data/report")
EXTERNAL = Path("data/external")
DATA_REPORT = Path("data/data_report")

HISTORY = Path("metrics/history")
LEAK_AUDIT = Path("metrics/leak_audit.json")
EVALUATION = Path("metrics/evaluation.json")
EVALUATION_TABLES = Path("metrics/evaluation")
PAIRED_TESTS = Path("metrics/paired_tests.csv")
ROC = Path("metrics/roc.csv")
EXTERNAL_METRICS = Path("metrics/external")
COMPARISON = Path("metrics/comparison.csv")

REPORT_PAGE = REPORT / "report.html"
MODEL_CARDS = REPORT / "model_cards"
DATA_REPORT_PAGE = DATA_REPORT / "data.html"
DATA_REPORT_TEXT = DATA_REPORT / "data.md"
ROC_FIGURE = FIGURES / "evaluate" / "roc.png"
LEVEL_METRICS = EVALUATION_TABLES / "metrics.csv"
NOTEBOOK = Path("data/notebook")  # what a notebook trains, beside the pipeline's results

RESULTS = Path("docs/results")
DATA_PAGES = Path("docs/data")
README = Path("README.md")
LICENCE = Path("LICENSE")
PROFILES = Path("profiles")
DVC_YAML = Path("dvc.yaml")
DVC_LOCK = Path("dvc.lock")
SCRATCH = Path(".dvc/tmp")  # below project_root(); locks and unfinished work


def data_fingerprint() -> str:
    """SHA-256 of the pixel store, which names the data in records and tags."""
    return FINGERPRINT.read_text(encoding="utf-8").strip()
