"""The pixel store and its training batches: complete, reproducible, balanced, augmented in training alone."""

import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo import batches, tables
from mammo.batches import Samples, TrainingBatches
from tests import arrays

Floats = npt.NDArray[np.float32]


def numbered(count: int) -> Samples:
    """Samples whose every pixel is the sample's own number."""
    index = arrays.index(patients=-(-count // 2)).iloc[:count]
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 4, 4))
    return Samples(index, images)


def order(data: TrainingBatches) -> npt.NDArray[np.int64]:
    return np.concatenate([data[number][0][:, 0, 0, 0] for number in range(len(data))]).astype(np.int64)


def raw(count: int = 12) -> Floats:
    return arrays.images(np.arange(count) % 2)[0][..., np.newaxis].astype(np.float32)


def augmented(
    strength: float = 1.0, seed: int = 0, training: bool = True, **changes: object
) -> npt.NDArray[np.float32]:
    x = raw()
    for layer in batches.augmentation(arrays.AUGMENTATION.model_copy(update=changes), strength, seed):
        x = layer(x, training=training)
    return np.asarray(x)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_an_epoch_holds_every_sample_exactly_once(count, batch_size, seed):
    data = TrainingBatches(numbered(count), batch_size, True, seed)
    for _ in range(2):
        assert sorted(order(data)) == list(range(count))
        assert all(len(data[number][0]) == batch_size for number in range(len(data) - 1))
        data.on_epoch_end()


def test_the_order_depends_on_the_seed_and_the_epoch_alone():
    first = TrainingBatches(numbered(40), 8, True, seed=5)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 the global generator is what must not matter
    again, other = (TrainingBatches(numbered(40), 8, True, seed) for seed in (5, 6))
    before = order(first)
    np.testing.assert_array_equal(before, order(again))
    assert (before != order(other)).any()
    first.on_epoch_end()
    again.on_epoch_end()
    np.testing.assert_array_equal(order(first), order(again))
    assert (before != order(first)).any()


def test_batches_leave_the_global_generators_alone():
    numpy_state, python_state = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    order(TrainingBatches(numbered(20), 8, True, seed=5))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert random.getstate() == python_state


def test_labels_and_weights_go_with_their_pixels():
    samples = numbered(40)
    data = TrainingBatches(samples, 8, True, seed=5)
    for pixels, labels, weights in (data[number] for number in range(len(data))):
        positions = pixels[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(labels[:, 0], samples.labels[positions])
        np.testing.assert_array_equal(weights, data.weights[positions])


@given(malignant=st.integers(1, 59))
def test_class_weights_give_both_classes_the_same_total_and_a_mean_of_one(malignant):
    index = arrays.index(patients=30).assign(label=(np.arange(60) < malignant).astype(int))
    weights = TrainingBatches(Samples(index, np.zeros((60, 2, 2), np.uint8)), 8, True, seed=0).weights
    assert weights[:malignant].sum() == pytest.approx(30, rel=1e-5)
    assert weights[malignant:].sum() == pytest.approx(30, rel=1e-5)


def test_without_class_weights_all_weigh_one():
    np.testing.assert_array_equal(TrainingBatches(numbered(9), 4, False, seed=0).weights, 1)


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
    tables.write(folder / "index.csv", index, tables.INDEX)
    np.save(folder / "images.npy", images)


def test_an_opened_store_reads_its_images_from_disk(tmp_path):
    store(tmp_path, arrays.index(patients=10), np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2))
    samples = batches.open_store(tmp_path)
    assert isinstance(samples.images, np.memmap)
    assert samples.pixels(np.array([19]))[0, 1, 1, 0] == 79


def test_a_store_whose_images_do_not_match_its_rows_is_refused(tmp_path):
    store(tmp_path, arrays.index(patients=10), np.zeros((19, 2, 2), np.uint8))
    with pytest.raises(tables.TableError, match="19 images but 20 rows; run `dvc repro -f preprocess`"):
        batches.open_store(tmp_path)


def test_a_store_with_a_patient_in_two_splits_is_refused(tmp_path):
    index = arrays.index(patients=10)
    index.loc[0, ["split", "fold"]] = ["val", 0]
    store(tmp_path, index, np.zeros((20, 2, 2), np.uint8))
    with pytest.raises(tables.TableError, match="P_000"):
        batches.open_store(tmp_path)


def test_augmentation_leaves_inference_alone():
    np.testing.assert_allclose(augmented(training=False), raw(), atol=1e-3)


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
def test_augmentation_changes_training_images_within_shape_and_range(strength):
    changed = augmented(strength)
    assert changed.shape == raw().shape
    assert (changed != raw()).any()
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_augmentation_depends_on_its_seed():
    np.testing.assert_array_equal(augmented(seed=1), augmented(seed=1))
    assert (augmented(seed=1) != augmented(seed=2)).any()


def test_augmentation_of_strength_zero_is_no_layer():
    assert batches.augmentation(arrays.AUGMENTATION, 0, seed=0) == []


def test_flips_alone_keep_the_pixels_of_each_image():
    flipped = augmented(rotation_degrees=0.0, zoom=0.0, translation=0.0, contrast=0.0, noise=0.0)
    np.testing.assert_allclose(
        np.sort(flipped.reshape(12, -1), axis=1), np.sort(raw().reshape(12, -1), axis=1), atol=1e-2
    )
    assert (np.abs(flipped - raw()).max(axis=(1, 2, 3)) > 1).any()


def test_without_flip_and_change_nothing_changes():
    same = augmented(flip=False, rotation_degrees=0.0, zoom=0.0, translation=0.0, contrast=0.0, noise=0.0)
    np.testing.assert_allclose(same, raw(), atol=1e-2)
