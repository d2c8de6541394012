"""The cases of benchmarks/attacks.py that are plain values: file names, DICOM headers, tables of boxes, cells."""

NAMES = (
    *("a|b", "a;b", "box:1,2,3,4", "[red]x", "[bold]", "=1+1", "-x", "@x", "\x1b[31mx", "a\nb", "a\rb", "\u202eb"),
    *("b\udcff", " ", "..x", "é", "漢字", "%s", "{0}", "$HOME", "'", '"', "a\tb", "x" * 200, "\x07", "~", "*", "?"),
    *("[left]x", "[red]y[", "a,b", "<b>x"),
)
FLIPS = 60  # generated cases of flipped bytes
HEADERS = {  # of a DICOM film: values that are not what they say
    "Modality": ("CT", "MR", "OT"),
    "Rows": (0, 1, 65_535, 7),
    "Columns": (0, 1, 65_535, 7),
    "BitsAllocated": (1, 7, 12, 64),
    "BitsStored": (0, 99),
    "SamplesPerPixel": (3, 0),
    "PhotometricInterpretation": ("RGB", "PALETTE COLOR", "NONSENSE", ""),
    "NumberOfFrames": (0, 4, 1_000_000),
    "PixelRepresentation": (7,),
}
CUTS = (0.01, 0.1, 0.5, 0.9)  # of a DICOM file
BOXES = ("1,2,3,four", "1,2,3", ",,,", "nan,1,2,3", "1.5,2,30,40", "-1,0,9,9", "9,9,1,1", "0,0,9999,9", "1e9,0,2e9,9")
CELLS = ("", "NONSENSE", "\x00", "=1", "-1", "1e9", "nan", "99", "2.5")  # of a description table of CBIS-DDSM
OF_ANOTHER_ROW = "of another row"
COLUMNS = (
    *("patient_id", "breast_density", "left or right breast", "image view", "abnormality id", "abnormality type"),
    *("mass shape", "mass margins", "assessment", "pathology", "subtlety"),
    *("image file path", "cropped image file path", "ROI mask file path"),
)
READINGS = ("breast_density", "assessment", "subtlety")
NOT_READ = ("mass shape", "mass margins")  # descriptors may not travel with the cases
MISSING = ("", "nan")  # a reading that was not made


def tells(column: str, value: str) -> bool:
    """Say whether a table alone tells that this value of the column is wrong."""
    if "\0" in value:
        return True
    if column in NOT_READ:
        return False
    if value == OF_ANOTHER_ROW:  # another reading or label is as plausible as the published one
        return column not in (*READINGS, "pathology")
    return not (column in READINGS and value in MISSING)
