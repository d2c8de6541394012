"""The pixel store on disk: whole records only, kept through any end, one writer at a time, flat in memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imports
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.core.files import write_table
from mammo.data.images import array_store
from mammo.data.images.array_store import Writer
from mammo.data.samples import open_store
from mammo.training import loader
from tests import arrays
from tests.examples import examples

COUNT, SHAPE = 9, (6, 4)

Images = npt.NDArray[np.unsignedinteger]


def content(bits: int = 8) -> tuple[Images, Images, Images, npt.NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    depth = np.uint8 if bits == 8 else np.uint16
    images = rng.integers(0, 2**bits, (COUNT, *SHAPE)).astype(depth)
    return images, images[::-1], rng.integers(0, 2, (COUNT, *SHAPE)).astype(np.uint8), rng.random((COUNT, 2))


def write(folder: Path, until: int = COUNT, bits: int = 8) -> Writer:
    """Go on from where the store is, up to `until`."""
    arrays_of_samples = content(bits)
    with Writer(folder, COUNT, SHAPE, bits, 2) as writer:
        for number in range(writer.done, until):
            images, without_lesion, masks, measurements = arrays_of_samples
            writer.append(images[number], without_lesion[number], masks[number], list(measurements[number]))
    return writer


def files(writer: Writer) -> list[Path]:
    return [writer.images.path, writer.without_lesion.path, writer.masks.path, writer.measurements.path]


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


# Records


@pytest.mark.parametrize("bits", [8, 16])
def test_what_was_written_is_what_numpy_reads(tmp_path: Path, bits: int) -> None:
    writer = write(tmp_path, bits=bits)
    for path, expected in zip(files(writer), content(bits), strict=True):
        read = np.load(path)
        assert read.dtype == expected.dtype
        assert np.array_equal(read, expected)


@examples(60, reuse_fixtures=True)
@given(until=st.integers(0, COUNT), cuts=st.lists(st.integers(0, 400), min_size=4, max_size=4))
def test_a_store_cut_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, until: int, cuts: list[int]) -> None:
    whole = [path.read_bytes() for path in files(write(tmp_path / "whole"))]
    broken = write(tmp_path / "broken", until)
    for path, cut in zip(files(broken), cuts, strict=True):
        path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - cut)])
    assert [path.read_bytes() for path in files(write(tmp_path / "broken"))] == whole


def test_the_last_record_that_all_files_have_is_where_work_goes_on(tmp_path: Path) -> None:
    writer = write(tmp_path, 5)
    with writer.masks.path.open("r+b") as file:
        file.truncate(writer.masks.path.stat().st_size - 1)
    assert Writer(tmp_path, COUNT, SHAPE, 8, 2).done == 4


def test_resuming_and_stopping_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 5)
    assert not caplog.messages
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path, COUNT, SHAPE, 8, 2):
        raise KeyboardInterrupt
    assert caplog.messages == [
        f"resumed at 5 of {COUNT} images",
        f"stopped at 5 of {COUNT} images; the next run continues there",
    ]


@pytest.mark.parametrize("change", [{"count": 8}, {"image_shape": (4, 6)}, {"bits": 16}, {"measured": 3}])
def test_records_of_another_kind_are_dropped(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path, 5)
    assert Writer(tmp_path, **({"count": COUNT, "image_shape": SHAPE, "bits": 8, "measured": 2} | change)).done == 0


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk, writing fails; from inside the process this is undone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_what_is_done_is_kept(tmp_path: Path) -> None:
    whole = [path.read_bytes() for path in files(write(tmp_path / "whole"))]
    header = 128
    with no_file_larger_than(header + 3 * 24 + 10), pytest.raises(InputError) as error:
        write(tmp_path / "full")
    assert f"no space for image 4 of {COUNT}" in str(error.value)
    assert "the 3 finished ones stay" in str(error.value)
    with Writer(tmp_path / "full", COUNT, SHAPE, 8, 2) as writer:
        assert writer.done == 3
    assert [path.read_bytes() for path in files(write(tmp_path / "full"))] == whole


# Reading


def test_the_mean_is_that_of_all_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (3 * array_store.BLOCK + 5, 7, 3)).astype(np.uint16)
    np.save(tmp_path / "values.npy", values)
    assert array_store.mean(tmp_path / "values.npy") == pytest.approx(values.mean())
    assert np.array_equal(np.concatenate(list(array_store.iterate_blocks(tmp_path / "values.npy"))), values)


def test_a_store_of_16_bits_gives_models_the_same_range(tmp_path: Path) -> None:
    index = arrays.index(patients=10)
    write_table(tmp_path / "index.csv", index, schemas.INDEX)
    stored = np.random.default_rng(0).integers(0, 65536, (20, 4, 4)).astype(np.uint16)
    stored[0, 0] = (0, 65535, 257, 128 * 257)
    np.save(tmp_path / "images.npy", stored)
    samples = open_store(tmp_path)
    assert isinstance(samples.images, np.memmap)
    np.save(tmp_path / "without_lesion.npy", stored[::-1])
    assert np.array_equal(open_store(tmp_path, "without_lesion").images, stored[::-1])
    with pytest.raises(InputError, match=r"nothing\.npy does not exist"):
        open_store(tmp_path, "nothing")
    raw = samples.pixels(np.array([0, 5]))
    assert raw.dtype == np.float32
    assert raw.shape == (2, 4, 4, 1)
    assert raw[0, 0, :, 0] == pytest.approx([0, 255, 1, 128])
    assert np.allclose(raw[1, ..., 0], stored[5] / 257)
    batch = loader.TrainingBatches(samples, arrays.train_config(batch_size=20, balance="none"), seed=0)[0][0]
    assert batch.dtype == np.float32
    assert batch.max() <= 255


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from mammo.data.images.array_store import Writer, mean
count = int(sys.argv[2])
image = np.zeros((256, 256), np.uint8)
with Writer(Path(sys.argv[1]), count, image.shape, 8) as writer:
    for _ in range(count):
        writer.append(image, image, image, [0.5])
mean(writer.images.path)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells the peak of one process")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """2,000 images and masks are 250 MiB, which a memory map would count as the process's own."""
    environment = os.environ | {"PYTHONPATH": str(imports.ROOT / "src")}

    def peak_kib(count: int) -> int:
        words = [sys.executable, "-c", MEMORY, str(tmp_path / str(count)), str(count)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert peak_kib(2000) < 1.1 * peak_kib(200)
