"""Training batches of the array store are complete, reproducible, balanced, and mixed by mixup."""

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core import schemas
from mammo.core.files import write_table
from mammo.data.samples import Samples, open_store
from mammo.training.loader import TrainingBatches
from tests import arrays
from tests.examples import examples


def batches(
    samples: Samples, batch_size: int, balance: str, seed: int, mixup: float = 0.0, **more: Any
) -> TrainingBatches:
    """Return batches of the section `train` with these values."""
    config = arrays.train_config(batch_size=batch_size, balance=balance, mixup=mixup)
    return TrainingBatches(samples, config, seed, **more)


def numbered(count: int) -> Samples:
    """Samples whose every pixel is the sample's own number."""
    index = arrays.index(patients=-(-count // 2)).iloc[:count]
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 4, 4))
    return Samples(index, images)


def order(data: TrainingBatches) -> npt.NDArray[np.int64]:
    return np.concatenate([data[number][0][:, 0, 0, 0] for number in range(len(data))]).astype(np.int64)


@examples(25)
@given(count=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_an_epoch_holds_every_sample_exactly_once(count, batch_size, seed):
    data = batches(numbered(count), batch_size, "class_weights", seed)
    for _ in range(2):
        assert sorted(order(data)) == list(range(count))
        assert all(len(data[number][0]) == batch_size for number in range(len(data) - 1))
        data.on_epoch_end()


def test_the_order_depends_on_the_seed_and_the_epoch_alone():
    first = batches(numbered(40), 8, "class_weights", seed=5)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 the global generator is what must not matter
    again, other = (batches(numbered(40), 8, "class_weights", seed) for seed in (5, 6))
    before = order(first)
    np.testing.assert_array_equal(before, order(again))
    assert (before != order(other)).any()
    first.on_epoch_end()
    again.on_epoch_end()
    np.testing.assert_array_equal(order(first), order(again))
    assert (before != order(first)).any()


def test_batches_leave_the_global_generators_alone():
    numpy_state, python_state = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    order(batches(numbered(20), 8, "class_weights", seed=5))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert random.getstate() == python_state


def test_labels_and_weights_go_with_their_pixels():
    samples = numbered(40)
    data = batches(samples, 8, "class_weights", seed=5)
    for pixels, labels, weights in (data[number] for number in range(len(data))):
        positions = pixels[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(labels[:, 0], samples.labels[positions])
        np.testing.assert_array_equal(weights, data.weights[positions])


@given(malignant=st.integers(1, 59))
def test_class_weights_give_both_classes_the_same_total_and_a_mean_of_one(malignant):
    index = arrays.index(patients=30).assign(label=(np.arange(60) < malignant).astype(int))
    weights = batches(Samples(index, np.zeros((60, 2, 2), np.uint8)), 8, "class_weights", seed=0).weights
    assert weights[:malignant].sum() == pytest.approx(30, rel=1e-5)
    assert weights[malignant:].sum() == pytest.approx(30, rel=1e-5)


def test_without_class_weights_all_weigh_one():
    np.testing.assert_array_equal(batches(numbered(9), 4, "none", seed=0).weights, 1)


def test_a_split_keeps_its_own_images():
    samples = numbered(40)
    test = samples.take("test")
    positions = np.arange(len(test.index))
    assert (test.index["split"] == "test").all()
    np.testing.assert_array_equal(test.pixels(positions)[:, 0, 0, 0], test.index.index)
    np.testing.assert_array_equal(test.labels, samples.labels[test.index.index])


def test_splits_part_the_samples():
    samples = numbered(40)
    taken = [samples.take(split).index for split in ("train", "val", "test")]
    assert sorted(np.concatenate([index.index for index in taken])) == list(range(40))


def test_pixels_are_raw_and_have_one_channel():
    samples = numbered(6)
    assert samples.image_shape == (4, 4, 1)
    assert samples.pixels(np.array([3, 1])).shape == (2, 4, 4, 1)
    assert samples.pixels(np.array([3, 1])).dtype == np.uint8


def store(folder, index, images):
    write_table(folder / "index.csv", index, schemas.INDEX)
    np.save(folder / "images.npy", images)


def test_an_opened_store_reads_its_images_from_disk(tmp_path):
    store(tmp_path, arrays.index(patients=10), np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2))
    samples = open_store(tmp_path)
    assert isinstance(samples.images, np.memmap)
    assert samples.pixels(np.array([19]))[0, 1, 1, 0] == 79


def test_a_store_whose_images_do_not_match_its_rows_is_refused(tmp_path):
    store(tmp_path, arrays.index(patients=10), np.zeros((19, 2, 2), np.uint8))
    with pytest.raises(schemas.TableError, match="19 images but 20 rows; run `dvc repro -f preprocess`"):
        open_store(tmp_path)


def test_a_store_with_a_patient_in_two_splits_is_refused(tmp_path):
    index = arrays.index(patients=10)
    index.loc[0, ["split", "fold"]] = ["val", 0]
    store(tmp_path, index, np.zeros((20, 2, 2), np.uint8))
    with pytest.raises(schemas.TableError, match="P_000"):
        open_store(tmp_path)


def labelled(malignant: int, benign_masses: int, benign_calcifications: int) -> Samples:
    counts = [malignant, benign_masses, benign_calcifications]
    index = pd.DataFrame(
        {
            "sample_id": [f"S{number}" for number in range(sum(counts))],
            "label": np.repeat([1, 0, 0], counts),
            "abnormality_type": np.repeat(["mass", "mass", "calcification"], counts),
        }
    )
    return Samples(index, np.zeros((sum(counts), 2, 2), np.uint8))


def test_sampling_draws_classes_equally_and_types_within_a_class():
    samples = labelled(50, 300, 30)
    data = batches(samples, 8, "sampling", seed=0)
    orders = []
    for _ in range(60):
        orders.append(data.order)
        data.on_epoch_end()
    rows = samples.index.iloc[np.concatenate(orders)]
    assert len(orders[0]) == 380
    assert rows["label"].mean() == pytest.approx(0.5, abs=0.02)
    assert (rows.query("label == 0")["abnormality_type"] == "mass").mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(data.weights, 1)


def test_mixup_mixes_pixels_labels_and_weights_by_the_same_share():
    samples = numbered(40)
    data = batches(samples, 40, "class_weights", seed=5, mixup=0.4)
    pixels, labels, weights = data[0]
    plain = batches(samples, 40, "class_weights", seed=5)[0]
    rng = np.random.default_rng([5, 0, 0])
    partner, share = rng.permutation(40), rng.beta(0.4, 0.4, 40)
    for mixed, alone in zip((pixels[:, 0, 0, 0], labels[:, 0], weights), plain, strict=True):
        unmixed = alone.reshape(40, -1)[:, 0]
        np.testing.assert_allclose(mixed, share * unmixed + (1 - share) * unmixed[partner], rtol=1e-4)
    assert ((labels > 0) & (labels < 1)).any()


def test_batches_go_on_at_any_epoch():
    first = batches(numbered(40), 8, "none", seed=5)
    first.on_epoch_end()
    np.testing.assert_array_equal(order(first), order(batches(numbered(40), 8, "none", seed=5, epoch=1)))


def test_other_inputs_take_the_place_of_the_pixels():
    epochs = []

    def vectors(epoch, positions):
        epochs.append(epoch)
        return np.full((len(positions), 3), epoch)

    data = batches(numbered(8), 4, "none", seed=5, inputs=vectors, epoch=2)
    assert data[0][0].shape == (4, 3)
    data.on_epoch_end()
    assert (data[1][0] == 3).all()
    assert epochs == [2, 3]
