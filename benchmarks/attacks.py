"""Attack what goes in and print where each case ended: films, names, headers, boxes, pairs, bundles, data sets.

`python benchmarks/attacks.py [MODEL]` in a finished workspace of lesions and the synthetic cohort (default: light_cnn);
`python benchmarks/attacks.py --page` does the same and writes docs/results/attacks.md and attacks.csv.
A case ends as `refused` (an error that names it), `doubted`, `excluded` (a row of a data set, with its reason), `same`
(the answer of the untouched input) or `left alone` (a data set without any doubt). Wrong: an ending that the case does
not allow, so above all an answer to a damaged input. Prints wrong endings, tracebacks and lost rows at the end; exit
code 1 where there is one. About a minute.
"""

import io as memory
import itertools
import json
import shutil
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pydicom
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import attack_cases
from mammo.cli.output import as_json, render
from mammo.cli.predict import _table
from mammo.core.config import ChecksConfig, load_config
from mammo.core.errors import InputError
from mammo.data import datasets, plausibility
from mammo.data.cohort import manifest
from mammo.data.images import io
from mammo.data.sources import demo
from mammo.inference import bundle, example, films, model_files
from mammo.inference.predictor import Predictor, load

REFUSED, DOUBTED, EXCLUDED, SAME, ALONE = "refused", "doubted", "excluded", "same", "left alone"
PROBLEMS = ("wrong answer", "traceback", "row lost")
ENDINGS = (REFUSED, DOUBTED, EXCLUDED, SAME, ALONE)
PAGE_OPTION = "--page"
RESULTS = Path(__file__).resolve().parents[1] / "docs/results"
PAGE, TABLE = RESULTS / "attacks.md", RESULTS / "attacks.csv"
KINDS = {
    "file": "files for `predict`: cut, overwritten, flipped bytes, other formats, no mammograms",
    "name": "names of files for `predict`",
    "DICOM": "DICOM headers for `predict`",
    "boxes": "tables of boxes for `predict`",
    "pairs": "tables of pairs for `predict`",
    "bundle": "bundles of models",
    "ensemble": "bundles of ensembles",
    "signature": "signed bundles, of which a signature is asked",
    "data set": "films, masks and crops for `ingest`",
    "table": "cells of a description table for `ingest`",
}
PAGE_TEXT = """# What happens to damaged input

Written by `python benchmarks/attacks.py --page` in a finished workspace of the synthetic cohort, which takes about a
minute on two cores. Each of the {count} cases damages one thing and lists where it ended: [attacks.csv](attacks.csv).

{table}

**refused**: an error that names the file and the cure. **doubted**: an answer beside a warning. **excluded**: a row
of the data set in `data/excluded.csv`, with its reason. **same**: the answer of the untouched input, as for an odd
name or a flip that changes nothing. **left alone**: a row without any doubt: the untouched one, and edits that a table
alone cannot tell. Those are descriptors (mass shape and margins), which no stage reads; a reading that is missing,
which is allowed; and a label or reading of another row, which is as plausible as the published one.
`ingest.expect: full` counts the malignant rows, so that a single changed label is refused.

A case is wrong where it ends in a way that it does not allow, above all with an answer to a damaged input.
"""
TYPES = ["mass", "calcification"]
TOLERANCE = 0.005  # of a probability: a film of 16 bits is rounded once less
Grey = npt.NDArray[np.uint8]


@dataclass
class Report:
    """The endings of all cases (kind, case, ending); bad: those that are wrong, a traceback, or lost a row."""

    cases: list[tuple[str, str, str]] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)

    def add(self, group: str, name: str, ending: str, allowed: tuple[str, ...]) -> None:
        """Print a case, and count it."""
        kind = ending.split(":")[0]
        wrong = kind not in allowed
        problem = kind if kind in PROBLEMS else PROBLEMS[0]
        self.cases.append((group, ascii(name)[1:-1], problem if wrong else kind))
        self.bad[problem] += wrong
        print(f"{'WRONG ' if wrong else ''}{group}: {name!a}: {ending}"[:200])


@dataclass(frozen=True)
class Target:
    """A film with a lesion, the model that is asked, and its answer."""

    predictor: Predictor
    film: Grey
    box: films.Corners
    prob: float

    def ask(self, paths: list[Path]) -> pd.DataFrame:
        """Return the answers to files in one call."""
        return self.predictor.predict(paths, boxes={path: [self.box] for path in paths})


def main() -> None:
    """Run all cases in a temporary folder."""
    chosen = example.find_example()
    if chosen is None or chosen.box is None:
        sys.exit("no finished run of lesions here; `dvc repro` makes one")
    names = [argument for argument in sys.argv[1:] if argument != PAGE_OPTION]
    predictor = load(names[0] if names else "light_cnn")
    film = io.read_grey(chosen.film)
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        cv2.imwrite(str(place / "whole.png"), film)
        prob = predictor.predict(place / "whole.png", chosen.box)["prob"].item()
        target = Target(predictor, film, chosen.box, prob)
        for attack in (_files, _names, _headers, _boxes, _pairs):
            attack(target, place / attack.__name__, report)
        _bundles(predictor.about.name, place / "bundles", report)
        _ensembles(place / "bundles" / "whole", place / "ensembles", report)
        _signatures(predictor.about.name, place / "signatures", report)
        _data_sets(place / "cohorts", load_config().ingest.checks, report)
    print(f"{len(report.cases)} cases: {dict(Counter(ending for *_, ending in report.cases))}")
    bad = {problem: report.bad[problem] for problem in PROBLEMS}
    print(bad)
    if PAGE_OPTION in sys.argv:
        write_page(report)
    sys.exit(any(bad.values()))


def write_page(report: Report) -> None:
    """Write the cases as CSV, and their numbers by kind and ending as a page."""
    cases = pd.DataFrame(report.cases, columns=["kind", "case", "ending"])
    cases.to_csv(TABLE, index=False, lineterminator="\n")
    PAGE.write_text(render_page(cases), encoding="utf-8")


def render_page(cases: pd.DataFrame) -> str:
    """Return the page of cases (kind, case, ending): what was tried, and how often each kind ended how."""
    endings = [*ENDINGS, *PROBLEMS]
    counts = pd.crosstab(cases["kind"], cases["ending"]).reindex(index=list(KINDS), columns=endings, fill_value=0)
    lines = [f"| {' | '.join(['what', 'cases', *endings])} |", "|---" * (2 + len(endings)) + "|"]
    for kind, row in counts.iterrows():
        lines.append(f"| {KINDS[str(kind)]} | {row.sum()} | {' | '.join(map(str, row))} |")
    lines.append(f"| **all** | {len(cases)} | {' | '.join(str(counts[name].sum()) for name in endings)} |")
    return PAGE_TEXT.format(count=len(cases), table="\n".join(lines))


# Files, all in one call with a good one


def _files(target: Target, place: Path, report: Report) -> None:
    place.mkdir()
    cases = dict(_damaged_files(target.film))
    for name, (content, _) in cases.items():
        (place / name).write_bytes(content)
    (place / "good.png").write_bytes(_encode(target.film, ".png"))
    paths = [place / name for name in cases] + [place / "missing.png", place / "good.png"]
    answers = _ask_all(target, paths, "files", report)
    if answers is None:
        return
    allowed = {name: endings for name, (_, endings) in cases.items()} | {"missing.png": (REFUSED,), "good.png": (SAME,)}
    for path in paths:
        report.add("file", path.name, _row_ending(target, answers, path), allowed[path.name])
    drawn, listed = render(_table(answers)), json.loads(as_json(answers))
    told = (
        len(listed) == len(paths) and " nan " not in drawn and drawn.count("error: ") >= answers["error"].notna().sum()
    )
    report.add("file", "table and JSON of all", SAME if told else "row lost", (SAME,))


def _damaged_files(film: Grey) -> Iterator[tuple[str, tuple[bytes, tuple[str, ...]]]]:
    rng = np.random.default_rng(0)
    for suffix in (".jpg", ".png", ".tif"):
        content = _encode(film, suffix)
        yield f"cut{suffix}", (_cut(content), (REFUSED,))
        yield f"cut with an end{suffix}", (_cut(content) + content[-12:], (REFUSED,))
        yield f"zeros inside{suffix}", (_zeros_inside(content), (REFUSED,))
        yield f"empty{suffix}", (b"", (REFUSED,))
        yield f"text{suffix}", (b"no image at all", (REFUSED,))
    png = _encode(film, ".png")
    for number in range(attack_cases.FLIPS):  # a PNG has checksums: any flip is seen, or changes nothing
        flipped = bytearray(png)
        flipped[int(rng.integers(len(png)))] ^= 1 << int(rng.integers(8))
        yield f"flip {number}.png", (bytes(flipped), (REFUSED, SAME))
    noise = rng.integers(0, 256, film.shape, np.uint8)
    pictures = {"noise": noise, "negative": 255 - film, "black": 0 * film, "white": 0 * film + 255}
    for name, picture in pictures.items():
        yield f"{name}.png", (_encode(picture, ".png"), (DOUBTED, REFUSED))
    yield "colour.png", (_encode(rng.integers(0, 256, (*film.shape, 3), np.uint8), ".png"), (REFUSED,))
    yield "tiny.png", (_encode(film[:8, :8], ".png"), (REFUSED,))
    yield "gif.png", (b"GIF89a" + bytes(60), (REFUSED,))
    yield "bmp.png", (_encode(film, ".bmp"), (REFUSED,))
    yield "deep.png", (_encode(film.astype(np.uint16) * 257, ".png"), (SAME,))


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _zeros_inside(content: bytes) -> bytes:
    return _cut(content) + bytes(400) + content[len(content) // 2 + 400 :]


def _encode(picture: npt.NDArray[np.unsignedinteger], suffix: str) -> bytes:  # type: ignore[type-arg]
    return bytes(cv2.imencode(suffix, picture)[1])


def _ask_all(target: Target, paths: list[Path], group: str, report: Report) -> pd.DataFrame | None:
    try:
        answers = target.ask(paths)
    except Exception:  # noqa: BLE001
        report.add(group, "the whole call", f"traceback: {traceback.format_exc(limit=-1)}", ())
        return None
    if len(answers) != len(paths):
        report.add(group, "the whole call", f"row lost: {len(answers)} of {len(paths)}", ())
    return answers


def _row_ending(target: Target, answers: pd.DataFrame, path: Path) -> str:
    rows = answers[answers["file"] == str(path)]
    if len(rows) != 1:
        return "row lost"
    row = rows.iloc[0]
    if row["error"]:
        return f"{REFUSED}: {row['error']}" if pd.isna(row["prob"]) else "an error beside an answer"
    if row["doubt"]:
        return f"{DOUBTED}: {row['doubt']}"
    return (
        SAME
        if abs(row["prob"] - target.prob) < TOLERANCE
        else f"another answer: {row['prob']:.4f}, not {target.prob:.4f}"
    )


def _names(target: Target, place: Path, report: Report) -> None:
    place.mkdir()
    paths = [place / f"{word}.png" for word in attack_cases.NAMES]
    for path in paths:
        path.write_bytes(_encode(target.film, ".png"))
    answers = _ask_all(target, paths, "name", report)
    if answers is None:
        return
    drawn = render(_table(answers))
    for path in paths:
        ending = _row_ending(target, answers, path)
        control = any(not char.isprintable() and char != "\n" for char in drawn)
        report.add("name", path.name, "steers the terminal" if control else ending, (SAME,))


def _headers(target: Target, place: Path, report: Report) -> None:
    place.mkdir()
    cases = [("untouched", {}, (SAME,))]
    cases += [
        (f"{key} {value}", {key: value}, (REFUSED, DOUBTED, SAME))
        for key, values in attack_cases.HEADERS.items()
        for value in values
    ]
    paths, allowed = [], {}
    for number, (name, header, endings) in enumerate(cases):
        path = place / f"{number}.dcm"
        try:
            _write_dicom(path, target.film, header)
        except (ValueError, TypeError, OverflowError, AttributeError):
            continue  # pydicom refuses to write it
        paths.append(path)
        allowed[path] = (name, endings)
    content = paths[0].read_bytes()
    for share in attack_cases.CUTS:
        paths.append(place / f"cut {share}.dcm")
        paths[-1].write_bytes(content[: int(share * len(content))])
        allowed[paths[-1]] = (paths[-1].name, (REFUSED,))
    answers = _ask_all(target, paths, "DICOM", report)
    for path, (name, endings) in allowed.items() if answers is not None else ():
        report.add("DICOM", name, _row_ending(target, answers, path), endings)


def _write_dicom(path: Path, film: Grey, header: dict[str, object]) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    elements = {"Modality": "MG", "Rows": film.shape[0], "Columns": film.shape[1], "SamplesPerPixel": 1}
    elements |= {"PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 0, "BitsAllocated": 8}
    elements |= {"BitsStored": 8, "HighBit": 7, "PixelData": film.tobytes()}
    for keyword, value in (elements | header).items():
        setattr(dataset, keyword, value)
    with pydicom.config.disable_value_validation():
        dataset.save_as(path, enforce_file_format=True)


def _boxes(target: Target, place: Path, report: Report) -> None:
    place.mkdir()
    film, table = place / "film.png", place / "boxes.csv"
    film.write_bytes(_encode(target.film, ".png"))
    corners = ",".join(map(str, target.box))
    cases = {
        "untouched": f"file,x0,y0,x1,y1\nfilm.png,{corners}\n",
        "bom": f"\ufefffile,x0,y0,x1,y1\nfilm.png,{corners}\n",
    }
    for bad in attack_cases.BOXES:
        cases[f"box {bad}"] = f"file,x0,y0,x1,y1\nfilm.png,{bad}\n"
    cases |= {
        "empty": "",
        "no column": "file\nfilm.png\n",
        "no file": f"file,x0,y0,x1,y1\n,{corners}\n",
        "binary": "\x00\xff\x00",
    }
    cases |= {
        "other file": f"file,x0,y0,x1,y1\nother.png,{corners}\n",
        "semicolons": f"file;x0;y0;x1;y1\nfilm.png;{corners}\n",
    }
    for name, content in cases.items():
        table.write_text(content, encoding="latin-1" if name == "binary" else "utf-8")

        def ask() -> str:
            answers = target.predictor.predict(film, boxes=films.read_boxes(table))
            return _row_ending(target, answers[answers["file"] == str(film)], film)

        report.add("boxes", name, _guard(ask), (SAME,) if name in ("untouched", "bom") else (REFUSED,))


def _pairs(target: Target, place: Path, report: Report) -> None:
    """Attack the table of a model of two views; both views are one film, so that their mean is its own score."""
    place.mkdir()
    content, table = _encode(target.film, ".png"), place / "pairs.csv"
    for name, data in {
        "cc.png": content,
        "mlo.png": content,
        "cut.png": _cut(content),
        "text.png": b"no image",
    }.items():
        (place / name).write_bytes(data)
    jpeg = _encode(target.film, ".jpg")
    (place / "zeros.jpg").write_bytes(_zeros_inside(jpeg))
    corners, head = ",".join(map(str, target.box)), "file,pair,x0,y0,x1,y1\n"
    both = f"{head}cc.png,one,{corners}\nmlo.png,one,{corners}\n"
    cases = {"untouched": (both, SAME), "bom": ("\ufeff" + both, SAME), "alone": (f"{head}cc.png,,{corners}\n", SAME)}
    for other in ("cut.png", "text.png", "zeros.jpg", "nowhere.png"):  # the whole view keeps its own score
        cases[f"other view {other}"] = (f"{head}cc.png,one,{corners}\n{other},one,{corners}\n", SAME)
    for name in ("0", "-1", "nan", "=1", "[red]", "\x1b[31m", "é"):
        cases[f"pair {name}"] = (both.replace("one", name), SAME)
    for bad in ("1,2,3,four", "1,2,3", ",,,", "1.5,2,30,40", "9,9,1,1", "0,0,9999,9"):
        cases[f"box {bad}"] = (f"{head}cc.png,one,{bad}\nmlo.png,one,{bad}\n", REFUSED)
    cases |= {
        "empty": ("", REFUSED),
        "no rows": (head, REFUSED),
        "binary": ("\x00\xff\x00", REFUSED),
        "no pair": (f"file,x0,y0,x1,y1\ncc.png,{corners}\n", REFUSED),
        "no box": ("file,pair\ncc.png,one\nmlo.png,one\n", REFUSED),
        "twice": (f"{head}cc.png,one,{corners}\ncc.png,one,{corners}\n", REFUSED),
        "no file": (f"{head},one,{corners}\n", REFUSED),
    }
    about = target.predictor.about.model_copy(update={"two_views": True})
    two_views = Target(Predictor(target.predictor.model, about), target.film, target.box, target.prob)
    for name, (text, ending) in cases.items():
        table.write_text(text, encoding="latin-1" if name == "binary" else "utf-8")
        report.add("pairs", name, _guard(lambda: _ask_pairs(two_views, table)), (ending,))
    report.add("pairs", "none given", _guard(lambda: _ask_one(two_views, place / "cc.png")), (REFUSED,))
    table.write_text(both)
    report.add("pairs", "of a model of one view", _guard(lambda: _ask_pairs(target, table)), (REFUSED,))


def _ask_pairs(target: Target, table: Path) -> str:
    answers = target.predictor.predict(films.read_pairs(table))
    rows = len(table.read_text(encoding="utf-8").strip().splitlines()) - 1
    if len(answers) != rows:
        return f"row lost: {len(answers)} of {rows}"
    others = answers[answers["file"] != str(table.parent / "cc.png")]
    if any(bool(row["error"]) == pd.notna(row["prob"]) for _, row in others.iterrows()):
        return "an error beside an answer"
    return _row_ending(target, answers, table.parent / "cc.png")


def _ask_one(target: Target, path: Path) -> str:
    return _row_ending(target, target.predictor.predict(path, target.box), path)


def _guard(work: Callable[[], str]) -> str:
    """Return the ending of work, `refused` where it raises what a user can correct."""
    try:
        return work()
    except InputError as error:
        return f"{REFUSED}: {error}"
    except Exception:  # noqa: BLE001
        return f"traceback: {traceback.format_exc(limit=-1)}"


# Bundles


def _bundles(name: str, place: Path, report: Report) -> None:
    place.mkdir()
    whole = place / "whole"
    bundle.write(name, whole)
    for case, change in BUNDLES.items():
        changed = place / case.replace("/", "_")
        shutil.copytree(whole, changed)
        path = change(changed)
        ending = _guard(lambda path=path: _open(path))
        report.add("bundle", case, ending, (SAME,) if case in INTACT else (REFUSED,))


def _open(path: Path, verify: Path | None = None) -> str:
    load(path, verify=verify)
    return SAME


def _ensembles(single: Path, place: Path, report: Report) -> None:
    """Attack the bundle of an ensemble, which two copies of the bundled model make."""
    place.mkdir()
    whole = Path(shutil.copytree(single, place / "whole"))
    (whole / model_files.MEMBERS).mkdir()
    for name in ("a", "b"):
        shutil.copyfile(whole / bundle.MODEL, whole / model_files.member_file(name))
    (whole / bundle.MODEL).unlink()
    _with_combination(whole)
    for case, change in ENSEMBLES.items():
        changed = Path(shutil.copytree(whole, place / case.replace("/", "_")))
        change(changed)
        for path in (changed, _zip(changed)):
            ending = _guard(lambda path=path: _open(path))
            report.add("ensemble", f"{case}{path.suffix}", ending, (SAME,) if case in INTACT else (REFUSED,))


def _with_combination(folder: Path, text: bytes | None = None, **content: object) -> None:
    """Write the combination of an ensemble, and make the description and the checksums true."""
    whole = {"kind": "probabilities", "intercept": 0.0, "weights": {"a": 0.5, "b": 0.5}} | content
    (folder / model_files.COMBINATION).write_bytes(json.dumps(whole).encode() if text is None else text)
    with suppress(InputError):
        _with_about(folder, model_sha256=model_files.hash_model(folder, folder))
    bundle.write_checksums(folder)


def _change_member(folder: Path, content: bytes | None, name: str = "a") -> None:
    path = folder / model_files.member_file(name)
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    _with_combination(folder)


def _signatures(name: str, place: Path, report: Report) -> None:
    """Attack a signed bundle, of which a signature is asked."""
    place.mkdir()
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    bundle.write(name, place / "whole", key=key)
    for case, change in SIGNATURES.items():
        changed = Path(shutil.copytree(place / "whole", place / case))
        change(changed)
        for path in (changed, _zip(changed)):
            ending = _guard(lambda path=path: _open_signed(path, key))
            report.add("signature", f"{case}{path.suffix}", ending, (SAME,) if case in INTACT else (REFUSED,))
    report.add("signature", "another key", _guard(lambda: _open_signed(place / "whole", other)), (REFUSED,))
    for text in (b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", bytes(99)):
        (place / "bad.pub").write_bytes(text)
        ending = _guard(lambda: _open(place / "whole", place / "bad.pub"))
        report.add("signature", f"key {text[:20]!r}", ending, (REFUSED,))


def _open_signed(path: Path, key: Ed25519PrivateKey) -> str:
    with bundle.open_bundle(path, [key.public_key()]):
        return SAME


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _zip(folder: Path, compression: int = zipfile.ZIP_STORED, more: dict[str, bytes] | None = None) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return path


def _edited_zip(folder: Path, edit: Callable[[bytearray], None]) -> Path:
    path = _zip(folder)
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(bytes(content))
    return path


def _with_text(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder


def _with_about(folder: Path, **changes: object) -> Path:
    """Change bundle.json, and make the checksums true."""
    about = json.loads((folder / bundle.ABOUT).read_text())
    (folder / bundle.ABOUT).write_text(json.dumps(about | changes))
    bundle.write_checksums(folder)
    return folder


def _encrypt(content: bytearray) -> None:
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1


def _scramble(content: bytearray) -> None:
    content[300:400] = bytes(100)


def _point(threshold: float) -> dict[str, object]:
    return {"operating_point": {"rule": "target_sensitivity", "value": 0.9, "threshold": threshold}}


INTACT = ("folder", "zip", "compressed")
BUNDLES: dict[str, Callable[[Path], Path]] = {
    "folder": lambda folder: folder,
    "zip": _zip,
    "compressed": lambda folder: _zip(folder, zipfile.ZIP_DEFLATED),
    "bomb": lambda folder: _zip(folder, zipfile.ZIP_DEFLATED, {"x": bytes(300_000_000)}),
    "unlisted member": lambda folder: _zip(folder, more={"sitecustomize.py": b"1"}),
    "path upwards": lambda folder: _zip(folder, more={"../x": b"1"}),
    "absolute path": lambda folder: _zip(folder, more={"/tmp/x": b"1"}),
    "twice": lambda folder: _zip(folder, more={bundle.ABOUT: b"{}"}),
    "encrypted": lambda folder: _edited_zip(folder, _encrypt),
    "scrambled": lambda folder: _edited_zip(folder, _scramble),
    "cut": lambda folder: _edited_zip(folder, lambda content: content.__delitem__(slice(len(content) // 2, None))),
    "empty zip": lambda folder: _edited_zip(folder, lambda content: content.clear()),
    "unlisted file": lambda folder: _with_text(folder, "more.txt", b"1"),
    "list no UTF-8": lambda folder: _with_text(folder, bundle.SUMS, b"\xff\xfe\x00"),
    "list empty": lambda folder: _with_text(folder, bundle.SUMS, b""),
    "about no UTF-8": lambda folder: _with_text(folder, bundle.ABOUT, b"\xff\xfe\x00"),
    "about changed": lambda folder: _with_text(folder, bundle.ABOUT, b"{}"),
    "model changed": lambda folder: _with_text(folder, bundle.MODEL, b"no model"),
    "threshold nan": lambda folder: _with_about(folder, **_point(float("nan"))),
    "threshold 7": lambda folder: _with_about(folder, **_point(7)),
    "threshold -1": lambda folder: _with_about(folder, **_point(-1)),
    "slope negative": lambda folder: _with_about(folder, calibration={"slope": -1, "shift": 0}),
    "shift infinite": lambda folder: _with_about(folder, calibration={"slope": 1, "shift": float("inf")}),
    "quantile 7": lambda folder: _with_about(folder, conformal={"0.9": 7}),
    "confidence 2": lambda folder: _with_about(folder, conformal={"2": 0.5}),
    "unit unknown": lambda folder: _with_about(folder, unit="toe"),
    "unit breast": lambda folder: _with_about(folder, unit="breast"),
    "field unknown": lambda folder: _with_about(folder, more=1),
    "another model": lambda folder: _with_about(folder, model_sha256="0" * 64),
}


ENSEMBLES: dict[str, Callable[[Path], object]] = {
    "folder": lambda folder: folder,
    "member missing": lambda folder: _change_member(folder, None),
    "member of another kind": lambda folder: _change_member(folder, b"no model"),
    "member changed": lambda folder: _flip(folder / model_files.member_file("b")),
    "member too many": lambda folder: _change_member(folder, b"1", "c"),
    "model beside it": lambda folder: (
        (folder / bundle.MODEL).write_bytes((folder / model_files.member_file("a")).read_bytes()),
        _with_combination(folder),
    ),
    "member unknown": lambda folder: _with_combination(folder, weights={"a": 0.5, "x": 0.5}),
    "path upwards": lambda folder: _with_combination(folder, weights={"../a": 0.5, "b": 0.5}),
    "absolute path": lambda folder: _with_combination(folder, weights={"/a": 0.5, "b": 0.5}),
    "member left out": lambda folder: _with_combination(folder, weights={"a": 1}),
    "weight 7": lambda folder: _with_combination(folder, weights={"a": 7, "b": 0}),
    "weight negative": lambda folder: _with_combination(folder, weights={"a": 2, "b": -1}),
    "weight nan": lambda folder: _with_combination(folder, kind="log_odds", weights={"a": float("nan"), "b": 1}),
    "weight infinite": lambda folder: _with_combination(folder, kind="log_odds", weights={"a": float("inf"), "b": 1}),
    "weight of text": lambda folder: _with_combination(folder, weights={"a": "much", "b": 1}),
    "weights nested": lambda folder: _with_combination(folder, weights={"a": [1, 2], "b": [3, 4]}),
    "weights none": lambda folder: _with_combination(folder, weights={}),
    "intercept nan": lambda folder: _with_combination(folder, kind="log_odds", intercept=float("nan")),
    "kind unknown": lambda folder: _with_combination(folder, kind="median"),
    "combination empty": lambda folder: _with_combination(folder, b""),
    "combination no UTF-8": lambda folder: _with_combination(folder, b"\xff\xfe\x00"),
    "combination deep": lambda folder: _with_combination(folder, b"[" * 100_000),
    "combination missing": lambda folder: ((folder / model_files.COMBINATION).unlink(), bundle.write_checksums(folder)),
    "other hash": lambda folder: _with_about(folder, model_sha256="0" * 64),
}
SIGNATURES: dict[str, Callable[[Path], object]] = {
    "folder": lambda folder: folder,
    "unsigned": lambda folder: (folder / bundle.SIGNATURE).unlink(),
    "signature empty": lambda folder: (folder / bundle.SIGNATURE).write_bytes(b""),
    "signature short": lambda folder: (folder / bundle.SIGNATURE).write_bytes(bytes(63)),
    "signature long": lambda folder: (folder / bundle.SIGNATURE).write_bytes(bytes(10_000)),
    "signature flipped": lambda folder: _flip(folder / bundle.SIGNATURE),
    "list flipped": lambda folder: _flip(folder / bundle.SUMS),
    "list missing": lambda folder: (folder / bundle.SUMS).unlink(),
    "model flipped": lambda folder: _flip(folder / bundle.MODEL),
    "card changed, list true": lambda folder: _with_card(folder, "# Better\n"),
    "threshold changed, list true": lambda folder: _with_about(folder, **_point(0.99)),
    "unlisted file": lambda folder: _with_text(folder, "more.txt", b"1"),
}


def _with_card(folder: Path, text: str) -> None:
    (folder / "model_card.md").write_text(text)
    bundle.write_checksums(folder)


# Data sets: one row is changed, and every row is a case or excluded


def _data_sets(place: Path, limits: ChecksConfig, report: Report) -> None:
    place.mkdir()
    root = place / "whole"
    demo.write_cohort(root, patients=20, height_px=640, signal=1.8, seed=3)
    located = datasets.load_dataset("cbis_ddsm").locate(root, "lesion", TYPES, 1)
    sizes = [min(io.read_shape(root / located.crops[mask])) for mask in located.cases["mask_path"]]
    large = located.cases[np.array(sizes) >= 2 * limits.crop_min_px].drop_duplicates("patient_id")
    one, other = large.iloc[0], large.iloc[1]
    total = len(located.cases) + len(located.excluded)
    for name, column, change in _changes(root, one, other, located.crops):
        paths = {"film": one["image_path"], "mask": one["mask_path"], "crop": located.crops[one["mask_path"]]}
        kept = {key: (root / path).read_bytes() for key, path in paths.items()}
        (root / paths[column]).write_bytes(change(kept[column]))
        ending = _guard(lambda: _ingest(root, limits, one["sample_id"], total))
        (root / paths[column]).write_bytes(kept[column])
        report.add("data set", f"{column} {name}", ending, (ALONE,) if name == "untouched" else (EXCLUDED,))
    _tables(root, report)


def _ingest(root: Path, limits: ChecksConfig, sample: str, total: int) -> str:
    located = datasets.load_dataset("cbis_ddsm").locate(root, "lesion", TYPES, 1)
    doubts = plausibility.find_doubts(root, located, limits, 1).reasons
    located = manifest.exclude_samples(located, doubts)
    if len(located.cases) + len(located.excluded) != total:
        return f"row lost: {len(located.cases)} cases, {len(located.excluded)} excluded, {total} rows"
    if sample in set(located.cases["sample_id"]):
        return ALONE if not doubts else f"another is doubted: {doubts}"
    return f"{EXCLUDED}: {located.excluded['reason'].iloc[-1]}"


def _changes(
    root: Path, one: "pd.Series[str]", other: "pd.Series[str]", crops: dict[str, str]
) -> Iterator[tuple[str, str, Callable[[bytes], bytes]]]:
    rng = np.random.default_rng(0)
    film, mask = io.read_grey(root / one["image_path"]), io.foreground(io.load(root / one["mask_path"]))
    yield "untouched", "film", lambda content: content
    for column in ("film", "mask"):
        yield "cut", column, _cut
        yield "cut with an end", column, lambda content: _cut(content) + b"\xff\xd9"
        yield "zeros inside", column, _zeros_inside
        yield "empty", column, lambda content: b""
        yield "text", column, lambda content: b"no image"
    pictures = {"noise": rng.integers(0, 256, film.shape, np.uint8), "negative": 255 - film, "black": 0 * film}
    for name, picture in pictures.items():
        yield name, "film", lambda content, picture=picture: _encode(picture, ".jpg")
    corner = np.zeros_like(mask)
    far = int(np.argmin(cv2.blur(film, (61, 61))[80:-80, 80:-80].min(axis=0))) + 80
    corner[80:120, far : far + 30] = 1
    masks = {
        "white": 0 * mask + 1,
        "negative": 1 - mask,
        "black": 0 * mask,
        "elsewhere": corner,
        "mirrored": mask[:, ::-1],
    }
    for name, picture in masks.items():
        yield name, "mask", lambda content, picture=picture: _encode(255 * picture, ".jpg")
    yield "of another row", "film", lambda content: (root / other["image_path"]).read_bytes()
    yield "of another row", "mask", lambda content: (root / other["mask_path"]).read_bytes()
    yield "of another row", "crop", lambda content: (root / crops[other["mask_path"]]).read_bytes()
    yield "even", "crop", lambda content: _encode(np.full((80, 80), 90, np.uint8), ".jpg")
    yield "mirrored", "film", lambda content: _encode(np.ascontiguousarray(film[:, ::-1]), ".jpg")


def _tables(root: Path, report: Report) -> None:
    """Change a cell of a description table: the row is excluded, or the table is refused; none is lost."""
    path = root / "csv" / "mass_case_description_train_set.csv"
    kept = path.read_bytes()
    table = pd.read_csv(path, dtype=str)
    total = sum(len(pd.read_csv(file)) for file in (root / "csv").glob("*_case_description_*.csv"))
    values = (*attack_cases.CELLS, attack_cases.OF_ANOTHER_ROW)
    for column, value in itertools.product(attack_cases.COLUMNS, values):
        changed = table.copy()
        changed.loc[0, column] = _of_another_row(table[column]) if value == attack_cases.OF_ANOTHER_ROW else value
        buffer = memory.StringIO()
        changed.to_csv(buffer, index=False)
        path.write_text(buffer.getvalue(), encoding="utf-8")
        allowed = (EXCLUDED, REFUSED) if attack_cases.tells(column, value) else (ALONE,)
        report.add("table", f"{column}={value}", _guard(lambda: _locate(root, total)), allowed)
    path.write_bytes(kept)


def _of_another_row(cells: "pd.Series[str]") -> str:
    """Return the first value that is not the first row's."""
    return next((cell for cell in cells if cell != cells.iloc[0]), "NONSENSE")


def _locate(root: Path, total: int) -> str:
    located = datasets.load_dataset("cbis_ddsm").locate(root, "lesion", TYPES, 1)
    rows = len(located.cases) + len(located.excluded)
    if rows != total:
        return f"row lost: {rows} of {total}"
    return f"{EXCLUDED}: {located.excluded['reason'].iloc[0]}" if len(located.excluded) else ALONE


if __name__ == "__main__":
    main()
