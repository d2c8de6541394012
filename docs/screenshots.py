"""Take docs/images/ anew from a finished run: `python docs/screenshots.py [REPOSITORY]` (needs Chromium).

The run's tracking store is copied first; artifacts are read where it says that they lie. Refuses films of patients.
"""

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core.config import load_config
from mammo.core.paths import REPORT_FIGURES, REPORT_PAGE
from mammo.tracking import table_view
from tests import browser, mlflow_server

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
WIDTH_PX = 1200
FIGURES = {  # of docs/images: of the report's folder of figures
    "heat_maps": "gradcam/light_cnn/overlays.png",
    "training": "train/light_cnn/history.png",
    "aucs": "auc.png",
}


def main(repository: Path) -> None:
    """Write the pictures of the runs, of the report and of its figures."""
    config = load_config(repository / "params.yaml")
    if config.ingest.source != "demo":
        sys.exit("needs a finished run on the synthetic cohort (`ingest.source: demo`): the pictures show films")
    IMAGES.mkdir(exist_ok=True)
    take_runs(repository, config.tracking.experiment)
    take_report(repository)
    copy_figures(repository)


def take_runs(repository: Path, experiment: str) -> None:
    """Write runs.png and compare.png: the MLflow UI as `make ui` opens it, and two runs side by side."""
    with TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        shutil.copyfile(repository / "mlflow.db", store)
        with mlflow_server.serving(f"sqlite:///{store}", Path(folder)) as server, browser.page(1400, 760) as page:
            os.environ["MLFLOW_TRACKING_URI"] = server.url
            address, query = table_view.table_page(experiment)
            browser.open_table(page, address + query)
            browser.shot(page, IMAGES / "runs.png")
            best = [name for name in dict.fromkeys(browser.names(page)) if "baseline" not in name][:2]
            browser.compare(page, *best)
            for section in ("Visualizations", "Parameters"):
                page.get_by_role("button", name=section, exact=True).click()
            browser.shot(page, IMAGES / "compare.png")
    for name in ("runs", "compare"):
        shrink(IMAGES / f"{name}.png")


def take_report(repository: Path) -> None:
    """Write report.png, the first screen of the report."""
    with browser.page(1280, 820) as page:
        page.goto((repository / REPORT_PAGE).resolve().as_uri())
        browser.shot(page, IMAGES / "report.png")
    shrink(IMAGES / "report.png")


def copy_figures(repository: Path) -> None:
    """Copy figures of the report that the pages show."""
    for name, figure in FIGURES.items():
        shutil.copyfile(repository / REPORT_FIGURES / figure, IMAGES / f"{name}.png")
        shrink(IMAGES / f"{name}.png", photograph=name == "heat_maps")


def shrink(path: Path, photograph: bool = False) -> None:
    """Give a picture a palette, and at most WIDTH_PX; a photograph is dithered."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
        picture.thumbnail((WIDTH_PX, WIDTH_PX))
        indexed = picture.quantize(256, dither=Image.Dither.NONE)
        if photograph:
            indexed = picture.quantize(palette=indexed, dither=Image.Dither.FLOYDSTEINBERG)
        indexed.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
