"""A model that was trained on one Keras backend predicts the same on the other; `make test-jax` runs more on JAX."""

import os
import subprocess
import sys
from pathlib import Path

import imports
import keras
import numpy as np
import pytest

from mammo import models
from tests import arrays

pytestmark = pytest.mark.usefixtures("shallow_light_cnn")

TRAIN_AND_PREDICT = """
import sys
from pathlib import Path

import keras
import numpy as np

from mammo import models
from mammo.data.samples import Samples
from mammo.training import trainer
from tests import arrays

folder = Path(sys.argv[1])
index = arrays.index(patients=20)
samples = Samples(index, arrays.images(index["label"].to_numpy())[0])
model = models.load(folder / "here.keras")
np.save(folder / "there.npy", model.predict_on_batch(np.load(folder / "images.npy")))
result = trainer.fit(model, samples, arrays.training(seed=0, epochs=2), folder, lambda *row: None)
models.save(model, folder / "trained.keras")
np.save(folder / "trained.npy", model.predict_on_batch(np.load(folder / "images.npy")))
print(keras.backend.backend(), len(result.history))
"""


@pytest.mark.slow
def test_a_model_goes_to_the_other_backend_is_trained_there_and_comes_back(tmp_path: Path) -> None:
    images = arrays.images(np.array([0, 1, 1]))[0][..., np.newaxis].astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    model = models.build(arrays.LIGHT, arrays.SHAPE, seed=0)
    models.save(model, tmp_path / "here.keras")
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    path = imports.python_path(imports.ROOT / "src", imports.ROOT)
    finished = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_PREDICT, str(tmp_path)],
        cwd=imports.ROOT,
        env=os.environ | {"KERAS_BACKEND": other, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout.splitlines()[-1] == f"{other} 2"
    np.testing.assert_allclose(model.predict_on_batch(images), np.load(tmp_path / "there.npy"), atol=1e-5)
    back = models.load(tmp_path / "trained.keras")
    np.testing.assert_allclose(back.predict_on_batch(images), np.load(tmp_path / "trained.npy"), atol=1e-5)
