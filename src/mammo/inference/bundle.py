"""A finished model with all that is needed to use it elsewhere: a folder or a zip file, without the pipeline.

The files of inference/model_files.py, bundle.json (`About`), record.json (of the training, or of the ensemble stage),
model_card.md with its picture, LICENSE, README.md, the further formats of inference/export.py, SHA256SUMS over all of
them, and where it is signed SHA256SUMS.sig (inference/signatures.py).
"""

import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mammo.core.files import atomic_write, fresh_folder, sha256
from mammo.core.paths import LICENCE, MODEL_CARDS
from mammo.inference import model_files
from mammo.inference.about import About, BundleError, read_about
from mammo.inference.ensemble import FinishedRow, read_row
from mammo.inference.model_files import ABOUT, COMBINATION, MEMBERS, MODEL

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
ENCRYPTED = 1  # bit of a zip member's flags
MAX_EXPANSION = 20  # text shrinks to a tenth, weights hardly
DAMAGED = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, UnicodeError, ValueError, zlib.error, lzma.LZMAError)
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
README = """# {name}

A model of mammo for {unit}. For research and teaching only; not a medical device.

    pip install mammo   # from its repository: pip install -r requirements.txt && pip install --no-deps .
    mammo predict {films} --model {place}

or in Python: `mammo.load("{place}").predict({argument})`. `model_card.md` says what it was trained on and
how well it does, `bundle.json` how films are prepared and probabilities read, `sha256sum -c SHA256SUMS` whether all is
whole.
"""


def write(
    name: str,
    out: Path,
    add_files: Callable[[Path, About], object] | None = None,
    key: "Ed25519PrivateKey | None" = None,
) -> About:
    """Write the bundle of a finished row of this workspace to `out`, a folder or FILE.zip.

    name: a model, an ensemble, or one of them over two views. add_files: writes further files into the folder. key:
    signs it. Raises BundleError where the run is not finished, or `out` holds something else.
    """
    row = read_row(name)
    card = MODEL_CARDS / f"{name}.md"
    for required in (card, LICENCE):
        if not required.is_file():
            raise BundleError(f"{required} does not exist; `dvc repro` in a checkout of the repository makes it whole")
    _refuse_to_replace(out)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        _write_files(folder, row, card, out)
        if add_files is not None:
            add_files(folder, row.about)
        write_checksums(folder)
        if key is not None:
            (folder / SIGNATURE).write_bytes(key.sign((folder / SUMS).read_bytes()))
        _move(folder, out)
    return row.about


def _write_files(folder: Path, row: FinishedRow, card: Path, out: Path) -> None:
    row.write_files(folder)
    shutil.copyfile(row.record, folder / "record.json")
    shutil.copyfile(card, folder / "model_card.md")
    if (picture := card.with_suffix(".png")).is_file():  # the card shows it by this name
        shutil.copyfile(picture, folder / picture.name)
    shutil.copyfile(LICENCE, folder / "LICENSE")
    (folder / "README.md").write_text(_readme(row.about, out), encoding="utf-8")


def is_bundle(path: Path) -> bool:
    """Return whether `path` looks like a bundle: a folder with bundle.json, or a zip file."""
    return (path / ABOUT).is_file() or (path.is_file() and path.suffix == ".zip")


@contextmanager
def open_bundle(path: Path, keys: "Sequence[Ed25519PublicKey] | None" = None) -> Iterator[tuple[About, Path]]:
    """Check a bundle against its checksums and give its description and folder; a zip is unpacked for the block.

    keys: one of them must have signed the bundle; None: no signature is asked for.
    """
    if path.is_dir():
        yield _check(path, path, keys), path
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            with zipfile.ZipFile(path) as source:
                _check_members(source, path, keys)
                source.extractall(folder)
        except BundleError:
            raise
        except DAMAGED as error:
            raise BundleError(f"{path}: not a zip file, or damaged ({error}); fetch or export it again") from error
        yield _check(folder, path, keys), folder


def _check_members(source: zipfile.ZipFile, bundle: Path, keys: "Sequence[Ed25519PublicKey] | None") -> None:
    """Raise BundleError before anything is unpacked, where a zip file holds what no bundle holds.

    The list of checksums is read first, and its signature checked; a member that it does not list, or that cannot be
    read, refuses the bundle.
    """
    members = [member for member in source.infolist() if not member.is_dir()]
    if any(member.flag_bits & ENCRYPTED for member in members):
        raise BundleError(f"{bundle}: encrypted; unpack it with its password and give the folder")
    size, times = sum(member.file_size for member in members), MAX_EXPANSION
    if size > times * bundle.stat().st_size:
        raise BundleError(f"{bundle}: unpacks to {size:,} bytes, more than {times} times its own size; refused")
    _check_list([member.filename for member in members], source.read, keys, bundle)


def _check_list(
    names: Collection[str], read: Callable[[str], bytes], keys: "Sequence[Ed25519PublicKey] | None", bundle: Path
) -> Mapping[str, str]:
    """Return the SHA-256 by file name that a bundle lists of its files `names`; read: of one file of them.

    Raises BundleError where there is no list, none of the keys signed it, or the files are not those that it lists.
    """
    sums = read(SUMS) if SUMS in names else None
    if keys is not None:
        _check_signature(sums, read(SIGNATURE) if SIGNATURE in names else None, keys, bundle)
    if sums is None:
        raise BundleError(f"{bundle}: no {SUMS} in it; this is no bundle of `python -m mammo export`")
    listed = _parse_checksums(sums, bundle)
    _check_names(names, listed, bundle)
    return listed


def _check_signature(
    sums: bytes | None, signature: bytes | None, keys: "Sequence[Ed25519PublicKey]", bundle: Path
) -> None:
    """Raise BundleError where none of the keys signed the list of checksums."""
    from mammo.inference.signatures import is_signed_by

    if signature is None:
        raise BundleError(f"{bundle}: not signed, and a signature is asked for (--verify); export it with --sign")
    if sums is None or not is_signed_by(sums, signature, keys):
        raise BundleError(
            f"{bundle}: not signed by a key of --verify, or changed since: the signature in {SIGNATURE} is not of its "
            f"{SUMS}; fetch it again from who signed it"
        )


def _check_names(names: Collection[str], listed: Mapping[str, str], bundle: Path) -> None:
    """Raise BundleError where the files of a bundle are not those of its list."""
    if {MODEL, COMBINATION} <= set(listed):
        raise BundleError(f"{bundle}: holds a model and an ensemble ({MODEL}, {COMBINATION}); export the bundle again")
    if missing := sorted({ABOUT, MODEL} - set(listed) - ({MODEL} if COMBINATION in listed else set())):
        raise BundleError(f"{bundle}: {SUMS} does not list {', '.join(missing)}; fetch or export the bundle again")
    if missing := sorted(set(listed) - set(names)):
        raise BundleError(f"{bundle}: {', '.join(missing)} is missing; fetch or export the bundle again")
    known = {*listed, SUMS, SIGNATURE}
    if len(names) != len(set(names)) or set(names) - known:
        more = sorted(set(names) - known) or [name for name in set(names) if list(names).count(name) > 1]
        raise BundleError(
            f"{bundle}: {', '.join(more)} is in it and not listed once in {SUMS}; take it out, or fetch or export the "
            "bundle again"
        )


def _refuse_to_replace(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / ABOUT).is_file():
        raise BundleError(f"{out} is a folder with something else in it; name a new one, or a .zip file")
    if out.suffix == ".zip" and out.is_dir():
        raise BundleError(f"{out} is a folder; name a file")
    if out.suffix != ".zip" and out.is_file():
        raise BundleError(f"{out} is a file; name a folder, or a file that ends in .zip")


def _readme(about: About, out: Path) -> str:
    boxed = about.unit == "lesion"
    box, argument = (" --box X0,Y0,X1,Y1", ", box=(x0, y0, x1, y1)") if boxed else ("", "")
    one = {"unit": f"one {about.unit} at a time", "films": f"FILM.png{box}", "argument": f'"FILM.png"{argument}'}
    corners = ",x0,y0,x1,y1" if boxed else ""
    shown = "a lesion" if boxed else "a breast"
    two = {
        "unit": f"the CC and MLO view of {shown} (PAIRS.csv: file,pair{corners})",
        "films": "--pairs PAIRS.csv",
        "argument": 'mammo.read_pairs("PAIRS.csv")',
    }
    return README.format(name=about.name, place=out.name, **(two if about.two_views else one))


def write_checksums(folder: Path) -> None:
    """Write the list of the checksums of a folder's files, as `sha256sum` writes and checks it."""
    names = [name for name in _list_names(folder) if name not in (SUMS, SIGNATURE)]
    (folder / SUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names), encoding="utf-8")


def _list_names(folder: Path) -> list[str]:
    """Return the files below a folder, by their paths in it."""
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _move(folder: Path, out: Path) -> None:
    if out.suffix == ".zip":
        with atomic_write(out) as unfinished, zipfile.ZipFile(unfinished, "w") as target:
            for name in _list_names(folder):
                target.writestr(zipfile.ZipInfo(name, EPOCH_OF_ZIP), (folder / name).read_bytes())
    else:
        with fresh_folder(out) as fresh:
            shutil.copytree(folder, fresh, dirs_exist_ok=True)


def _check(folder: Path, bundle: Path, keys: "Sequence[Ed25519PublicKey] | None") -> About:
    """Return the bundle's own description; raises BundleError for what is missing or not as its checksum says."""
    names = _list_names(folder)
    listed = _check_list(names, lambda name: (folder / name).read_bytes(), keys, bundle)
    for name, digest in listed.items():
        if sha256(folder / name) != digest:
            raise BundleError(
                f"{bundle}: {name} has a wrong checksum: it is damaged or was changed since the export; "
                "fetch or export the bundle again"
            )
    about = read_about(folder / ABOUT, bundle)
    _check_model(folder, names, about, bundle)
    return about


def _check_model(folder: Path, names: Collection[str], about: About, bundle: Path) -> None:
    """Raise BundleError where the models are not those of the combination, or not those that are described."""
    expected = model_files.list_files(model_files.read_combination(folder, bundle))
    if more := [name for name in names if name.startswith(f"{MEMBERS}/") and name not in expected]:
        raise BundleError(f"{bundle}: {', '.join(more)} is no member of its {COMBINATION}; export the bundle again")
    if about.model_sha256 != model_files.hash_model(folder, bundle):
        raise BundleError(f"{bundle}: {ABOUT} describes another model than lies beside it; export it again")


def _parse_checksums(content: bytes, bundle: Path) -> Mapping[str, str]:
    """Return the SHA-256 by file name; raises BundleError for a file outside the bundle."""
    try:
        lines = [line.split(maxsplit=1) for line in content.decode("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise BundleError(f"{bundle}: {SUMS} is no text ({error}); fetch or export the bundle again") from error
    digests = {name: digest for digest, name in (line for line in lines if len(line) == 2)}
    for name in digests:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise BundleError(f"{bundle}: {SUMS} lists {name}, which lies outside of it")
    return digests
