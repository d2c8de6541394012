"""Names in the paths of CBIS-DDSM: case folders, such as Mass-Training_P_00001_LEFT_CC_1, and SeriesInstanceUIDs.

The same rules apply to the paths in the description CSVs and on disk.
"""

import re

SETS = {"mass": "Mass", "calcification": "Calc"}
SPLITS = {"train": "Training", "test": "Test"}
_CASE = re.compile(r"(Mass|Calc)-(Training|Test)_P_[0-9]{5}_(LEFT|RIGHT)_(CC|MLO)(_[0-9]+)?")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def film_case(kind: str, split: str, patient_id: str, laterality: str, view: str) -> str:
    """Return the case folder of a film; that of a lesion has `_<abnormality_id>` appended.

    kind, split: as in schemas.CASES.
    """
    return f"{SETS[kind]}-{SPLITS[split]}_{patient_id}_{laterality}_{view}"


def case_folder(path: str) -> str:
    """Return the innermost case folder in a path, or an empty text."""
    return _innermost(_CASE, path)


def series_uid(path: str) -> str:
    """Return the innermost folder of a path that is a UID, or an empty text: `<case>/<study>/<series>/000000.dcm`."""
    return _innermost(_UID, path)


def _innermost(name: re.Pattern[str], path: str) -> str:
    folders = path.split("/")[:-1]
    return next((folder for folder in reversed(folders) if name.fullmatch(folder)), "")
