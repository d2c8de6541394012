"""A table of vectors gives back what was added, whoever added it and wherever a process was killed."""

from pathlib import Path

import numpy as np
import pytest

from mammo.training.vector_table import MISSING, VectorTable

KEYS = [bytes([number]) * 16 for number in range(5)]
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3)


def filled(folder: Path, keys: slice = slice(None)) -> VectorTable:
    table = VectorTable(folder, (3,))
    table.add(KEYS[keys], VECTORS[keys])
    return table


def test_rows_come_back_in_the_order_in_which_they_are_asked_for(tmp_path):
    taken = filled(tmp_path).take([KEYS[3], KEYS[0], KEYS[3]])
    np.testing.assert_array_equal(taken[:], VECTORS[[3, 0, 3]])
    np.testing.assert_array_equal(taken[np.array([1])], VECTORS[[0]])
    assert isinstance(taken.stored, np.memmap)


def test_a_key_counts_once_and_keeps_its_first_vector(tmp_path):
    table = filled(tmp_path)
    table.add([KEYS[1], KEYS[1]], -VECTORS[:2])
    np.testing.assert_array_equal(table.take(KEYS)[:], VECTORS)
    assert table.vectors_path.stat().st_size == VECTORS.nbytes


def test_processes_share_the_rows_that_each_of_them_adds(tmp_path):
    first, second = filled(tmp_path, slice(2)), VectorTable(tmp_path, (3,))
    second.add(KEYS[1:], VECTORS[1:])
    for table in (first, second, VectorTable(tmp_path, (3,))):
        np.testing.assert_array_equal(table.take(KEYS)[:], VECTORS)


@pytest.mark.parametrize("torn", ["vectors.bin", "keys.bin"])
def test_what_a_killed_process_left_half_written_does_not_count(tmp_path, torn):
    table = filled(tmp_path, slice(2))
    with (tmp_path / "vectors.bin").open("ab") as file:
        file.write(b"\1" * (7 if torn == "vectors.bin" else 12))
    if torn == "keys.bin":
        with (tmp_path / "keys.bin").open("ab") as file:
            file.write(KEYS[2][:9])
    again = VectorTable(tmp_path, (3,))
    assert again.find_rows(KEYS).tolist() == [0, 1, *[MISSING] * 3]
    again.add(KEYS[2:], VECTORS[2:])
    for reader in (table, again):
        np.testing.assert_array_equal(reader.take(KEYS)[:], VECTORS)


def test_an_empty_table_gives_no_rows(tmp_path):
    assert VectorTable(tmp_path, (3,)).take([])[:].shape == (0, 3)


def test_feature_maps_come_back_in_their_shape_and_in_16_bits(tmp_path):
    maps = np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2) / 3
    VectorTable(tmp_path, (2, 3, 2), "float16").add(KEYS[:2], maps)
    taken = VectorTable(tmp_path, (2, 3, 2), "float16").take(KEYS[1::-1])
    np.testing.assert_array_equal(taken[:], maps[::-1].astype(np.float16))
    assert (tmp_path / "vectors.bin").stat().st_size == maps.size * 2
