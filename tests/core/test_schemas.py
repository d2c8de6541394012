"""Tables between stages: what is written is read, what breaks the contract is refused, nothing half-written stays."""

import tempfile
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mammo.core import schemas
from mammo.core.files import atomic_write, fresh_folder, read_splits, read_table, sha256, write_table, write_text
from mammo.core.schemas import TableError
from tests.examples import examples

CASES = pd.DataFrame(
    {
        "sample_id": ["P_00001_LEFT_CC_1_mass", "P_00002_RIGHT_MLO_1_calcification"],
        "patient_id": ["P_00001", "P_00002"],
        "laterality": ["LEFT", "RIGHT"],
        "view": ["CC", "MLO"],
        "abnormality_id": ["1", "1;2"],
        "abnormality_type": ["mass", "mass+calcification"],
        "pathology": ["MALIGNANT", "BENIGN_WITHOUT_CALLBACK"],
        "label": [1, 0],
        "breast_density": pd.array([0, None], dtype="Int64"),
        "birads": pd.array([5, None], dtype="Int64"),
        "subtlety": pd.array([None, 0], dtype="Int64"),
        "official_split": ["train", "test"],
        "image_path": ["jpeg/1/1.jpg", "jpeg/2/1.jpg"],
        "mask_path": ["jpeg/3/2.jpg", "jpeg/4/1.jpg;jpeg/5/2.jpg"],
    }
)
EXCLUDED = CASES[[*schemas.KEY, "official_split"]].assign(reason=["0 masks, of 1 file", 'a "quoted" reason'])
SPLITS = pd.DataFrame(
    {
        "sample_id": ["a", "b", "c", "d"],
        "patient_id": ["007", "007", "1e3", "true"],
        "split": ["train", "train", "val", "test"],
        "fold": pd.array([0, 0, 1, None], dtype="Int64"),
    }
)
INDEX = SPLITS.assign(label=[0, 1, 0, 1], abnormality_type="mass")
PREDICTIONS = pd.DataFrame(
    {
        "sample_id": ["a", "a"],
        "patient_id": ["1", "1"],
        "split": ["val", "test"],
        "label": [0, 0],
        "prob": [0.1, 1 / 3],
    }
)
OUT_OF_FOLD = PREDICTIONS.assign(split=["val", "oof"], fold=[0, 1], repeat=0)
MANIFEST = pd.DataFrame(
    {
        "path": ["jpeg/1/1.jpg"],
        "bytes": [12],
        "height_px": [40],
        "width_px": [30],
        "sha256": ["0" * 64],
        "perceptual_hash": ["0f"],
    }
)
ALL = ["CASES", "EXCLUDED", "SPLITS", "INDEX", "PREDICTIONS", "OUT_OF_FOLD", "MANIFEST"]


def schema(name: str) -> pa.DataFrameSchema:
    result = getattr(schemas, name)
    assert isinstance(result, pa.DataFrameSchema)
    return result


def valid(name: str) -> pd.DataFrame:
    return globals()[name].copy()


def refusal(table: pd.DataFrame, name: str) -> str:
    with pytest.raises(TableError) as error:
        schemas.check_table(table, schema(name), "table.csv")
    assert str(error.value).startswith("table.csv: ")
    return str(error.value)


# Round trip


@pytest.mark.parametrize("name", ALL)
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "table.csv"
    write_table(path, valid(name), schema(name))
    expected = schemas.select_columns(valid(name), schema(name))
    pd.testing.assert_frame_equal(read_table(path, schema(name)), expected, check_dtype=False)


def test_an_optional_column_is_kept_where_it_is_given(tmp_path: Path) -> None:
    table = valid("PREDICTIONS").assign(prob_without_lesion=[None, 0.25])
    write_table(tmp_path / "table.csv", table, schemas.PREDICTIONS)
    read = read_table(tmp_path / "table.csv", schemas.PREDICTIONS)
    assert read["prob_without_lesion"].isna().tolist() == [True, False]
    assert read["prob_without_lesion"].iloc[1] == 0.25


@pytest.mark.parametrize("name", ALL)
def test_an_empty_table_keeps_its_columns(name: str, tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", valid(name).iloc[:0], schema(name))
    read = read_table(tmp_path / "table.csv", schema(name))
    assert read.empty
    assert list(read.columns) == list(schemas.select_columns(valid(name), schema(name)).columns)


@examples(30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_probabilities_survive_to_the_last_bit(probs: list[float]) -> None:
    ids = [f"s{number}" for number in range(len(probs))]
    table = pd.DataFrame({"sample_id": ids, "patient_id": ids, "split": "test", "label": 1, "prob": probs})
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder, "table.csv"), table, schemas.PREDICTIONS)
        assert read_table(Path(folder, "table.csv"), schemas.PREDICTIONS)["prob"].tolist() == probs


@examples(40)
@given(st.lists(st.sampled_from(["007", "1", "1e3", "NA", "null", "nan", "true", "-", "a,b", '"', "é"]), min_size=1))
def test_text_stays_text_however_much_it_looks_like_a_number_or_nothing(patients: list[str]) -> None:
    ids = [f"s{number}" for number in range(len(patients))]
    table = pd.DataFrame({"sample_id": ids, "patient_id": patients, "split": "test", "label": 1, "prob": 0.5})
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder, "table.csv"), table, schemas.PREDICTIONS)
        assert read_table(Path(folder, "table.csv"), schemas.PREDICTIONS)["patient_id"].tolist() == patients


def test_an_empty_cell_in_a_key_leaves_the_other_keys_as_written(tmp_path: Path) -> None:
    excluded = EXCLUDED.assign(abnormality_id=["01", None])
    write_table(tmp_path / "excluded.csv", excluded, schemas.EXCLUDED)
    assert read_table(tmp_path / "excluded.csv", schemas.EXCLUDED)["abnormality_id"].tolist()[0] == "01"


def test_the_same_table_is_the_same_bytes_whatever_the_order_of_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "one.csv", SPLITS, schemas.SPLITS)
    write_table(tmp_path / "other.csv", SPLITS[SPLITS.columns[::-1]], schemas.SPLITS)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()
    assert b"\r" not in (tmp_path / "one.csv").read_bytes()


# Contract


@pytest.mark.parametrize(
    ("name", "column"),
    [(name, key) for name in ALL for key, column in getattr(schemas, name).columns.items() if column.required],
)
def test_a_missing_column_is_named(name: str, column: str) -> None:
    assert f"columns missing: {column} (needed: " in refusal(valid(name).drop(columns=column), name)


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_column_is_named_beside_the_valid_ones(name: str) -> None:
    message = refusal(valid(name).assign(comment="x"), name)
    assert f"unknown columns: comment (valid: {', '.join(schema(name).columns)})" in message


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("CASES", "patient_id", "P 1"),
        ("CASES", "laterality", "left"),
        ("CASES", "view", "LAT"),
        ("CASES", "abnormality_type", "cyst"),
        ("CASES", "pathology", "UNKNOWN"),
        ("CASES", "label", 2),
        ("CASES", "breast_density", 5),
        ("CASES", "birads", 7),
        ("CASES", "subtlety", -1),
        ("CASES", "official_split", "val"),
        ("EXCLUDED", "official_split", "val"),
        ("SPLITS", "split", "dev"),
        ("SPLITS", "fold", -1),
        ("INDEX", "label", -1),
        ("PREDICTIONS", "split", "train"),
        ("PREDICTIONS", "prob", 1.01),
        ("PREDICTIONS", "prob", -0.01),
        ("OUT_OF_FOLD", "split", "train"),
        ("MANIFEST", "bytes", -1),
        ("MANIFEST", "sha256", "abc"),
        ("MANIFEST", "height_px", 0),
        ("MANIFEST", "perceptual_hash", "xyz"),
    ],
)
def test_a_bad_value_is_named_with_its_column(name: str, column: str, value: object) -> None:
    table = valid(name).astype({column: object})
    table.loc[0, column] = value
    message = refusal(table, name)
    assert f"column {column}: " in message
    assert str(value) in message


@pytest.mark.parametrize(
    ("name", "column"), [("PREDICTIONS", "prob"), ("CASES", "image_path"), ("EXCLUDED", "reason"), ("SPLITS", "split")]
)
def test_an_empty_cell_is_refused_where_a_value_is_needed(name: str, column: str) -> None:
    table = valid(name).astype({column: object})
    table.loc[0, column] = None
    assert f"column {column}: not_nullable" in refusal(table, name)


@pytest.mark.parametrize(("name", "column"), [("CASES", "sample_id"), ("SPLITS", "sample_id"), ("MANIFEST", "path")])
def test_a_sample_twice_is_refused(name: str, column: str) -> None:
    twice = pd.concat([valid(name)] * 2, ignore_index=True)
    assert f"column {column}: " in refusal(twice, name)


@pytest.mark.parametrize("name", ["PREDICTIONS", "OUT_OF_FOLD"])
def test_a_second_prediction_for_a_sample_in_a_split_is_refused(name: str) -> None:
    assert "sample_id" in refusal(pd.concat([valid(name)] * 2, ignore_index=True), name)


# Reading


def test_a_missing_table_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"splits\.csv does not exist; `dvc repro` writes it"):
        read_table(tmp_path / "splits.csv", schemas.SPLITS)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'sample_id,"unclosed\n'])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "splits.csv"
    path.write_bytes(content)
    with pytest.raises(TableError) as error:
        read_table(path, schemas.SPLITS)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("column", "values"), [("split", ["train", "val", "val", "test"]), ("fold", [0, 1, 1, None])])
def test_a_patient_in_two_splits_or_folds_is_refused(tmp_path: Path, column: str, values: list[object]) -> None:
    path = tmp_path / "splits.csv"
    write_table(path, SPLITS.assign(**{column: values}), schemas.SPLITS)
    with pytest.raises(
        TableError, match=rf"1 patient\(s\) in more than one {column}, e\.g\. 007; .*dvc repro"
    ) as error:
        read_splits(path)
    assert str(path) in str(error.value)


def test_patients_who_stay_together_are_accepted(tmp_path: Path) -> None:
    write_table(tmp_path / "splits.csv", SPLITS, schemas.SPLITS)
    assert len(read_splits(tmp_path / "splits.csv")) == len(SPLITS)


# Atomic writing


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_block_that_raises_leaves_what_was_there(tmp_path: Path, error: type[BaseException], old: str | None) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)
    with pytest.raises(error), atomic_write(path) as unfinished:
        unfinished.write_text("half")
        raise error
    assert [file.name for file in tmp_path.iterdir()] == ([] if old is None else ["file.txt"])
    assert old is None or path.read_text() == old


def test_a_refused_table_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(path, PREDICTIONS, schemas.PREDICTIONS)
    before = path.read_bytes()
    with pytest.raises(TableError):
        write_table(path, PREDICTIONS.assign(prob=2.0), schemas.PREDICTIONS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_final_name_holds_the_old_content_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with atomic_write(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_fresh_folder_replaces_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    for name in ("old", "new"):
        with fresh_folder(folder) as unfinished:
            (unfinished / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_fresh_folder_that_fails_keeps_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with fresh_folder(folder) as unfinished:
        (unfinished / "old").write_text("old")
    with pytest.raises(RuntimeError), fresh_folder(folder) as unfinished:
        (unfinished / "half").write_text("half")
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_fresh_folder_starts_empty_after_a_killed_run(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with fresh_folder(folder) as unfinished:
        leftovers = unfinished
    leftovers.mkdir()
    (leftovers / "of a killed run").write_text("half")
    with fresh_folder(folder) as unfinished:
        assert not list(unfinished.iterdir())


# Hashes


def digest(files: dict[str, bytes]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return sha256(Path(folder))


folders = st.dictionaries(st.from_regex(r"[a-c]/[a-c]{1,2}\.csv", fullmatch=True), st.binary(max_size=4), max_size=4)


@examples(40)
@given(folders, folders)
@example({"a/a.csv": b"x"}, {"b/a.csv": b"x"})
@example({"a/a.csv": b"x", "a/b.csv": b"y"}, {"a/a.csv": b"y", "a/b.csv": b"x"})
def test_folders_have_the_same_hash_only_with_the_same_names_and_contents(
    first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    assert (digest(first) == digest(second)) == (first == second)
    assert digest(first) == digest(dict(reversed(first.items())))


def test_a_files_hash_is_the_published_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_does_not_exist_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        sha256(tmp_path / "absent")
