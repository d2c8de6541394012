"""Take docs/images/ anew from a finished run: `python docs/screenshots.py [REPOSITORY]` (needs Chromium).

The run's tracking store is copied first; artifacts are read where it says that they lie.
"""

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core.config import load_config
from mammo.tracking import table_view
from tests import browser, mlflow_server

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"


def main(repository: Path) -> None:
    """Write runs.png, compare.png and roc.png."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        shutil.copyfile(repository / "mlflow.db", store)
        with mlflow_server.serving(f"sqlite:///{store}", Path(folder)) as server, browser.page(1400, 760) as page:
            os.environ["MLFLOW_TRACKING_URI"] = server.url
            address, query = table_view.table_page(load_config(ROOT / "params.yaml").tracking.experiment)
            browser.open_table(page, address + query)
            browser.shot(page, IMAGES / "runs.png")
            best = [name for name in dict.fromkeys(browser.names(page)) if "baseline" not in name][:2]
            browser.compare(page, *best)
            for section in ("Visualizations", "Parameters"):
                page.get_by_role("button", name=section, exact=True).click()
            browser.shot(page, IMAGES / "compare.png")
            shown = quote("tags.`dvc.stage` = 'report' AND attributes.status = 'FINISHED'")
            page.goto(f"{address}{query.split('?')[0]}?searchFilter={shown}&workflowType=machine_learning")
            browser.open_artifact(page, "report", "report", "figures", "roc.png")
            browser.shot(page, IMAGES / "roc.png")
    for path in IMAGES.glob("*.png"):
        with Image.open(path) as image:
            small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
