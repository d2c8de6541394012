"""A bundle that no trusted key signed, or that was changed since, is refused where a signature is asked for."""

import shutil
from pathlib import Path

import finished
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.inference import bundle, predictor, signatures
from mammo.inference.about import BundleError


def write_keys(folder: Path, name: str, password: bytes | None = None) -> tuple[Path, Path]:
    """Write a key pair as `openssl genpkey -algorithm ed25519` does."""
    key = Ed25519PrivateKey.generate()
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        write_keys(folder, name)
    return folder


@pytest.fixture(scope="module")
def signed(finished_lesions: Path, keys: Path) -> Path:
    """A signed bundle, as a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_lesions)
        main.main(["export", finished.NAME, "--out", str(keys / "signed"), "--sign", str(keys / "ours.key")])
    return keys / "signed"


@pytest.fixture
def mine(signed: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(signed, tmp_path / "mine"))


def open_signed(path: Path, public: Path) -> None:
    with bundle.open_bundle(path, signatures.read_public_keys(public)):
        pass


def zip_folder(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.mark.parametrize("pack", [lambda folder: folder, zip_folder], ids=["folder", "zip"])
def test_a_signed_bundle_is_opened_by_its_key_and_by_no_other(pack, mine: Path, keys: Path) -> None:
    path = pack(mine)
    open_signed(path, keys / "ours.pub")
    both = keys / "both.pub"
    both.write_bytes((keys / "theirs.pub").read_bytes() + b"a comment\n" + (keys / "ours.pub").read_bytes())
    open_signed(path, both)
    with bundle.open_bundle(path):  # nobody asks for a signature
        pass
    with pytest.raises(BundleError, match="not signed by a key of --verify"):
        open_signed(path, keys / "theirs.pub")


def change_model_card(folder: Path) -> None:
    """Change the card and make the checksums true, as somebody who changes a bundle would."""
    (folder / "model_card.md").write_text("# Better\n")
    bundle.write_checksums(folder)


@pytest.mark.parametrize("pack", [lambda folder: folder, zip_folder], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (change_model_card, "changed since"),
        (lambda folder: (folder / bundle.SIGNATURE).unlink(), "not signed, and a signature is asked for"),
        (lambda folder: (folder / bundle.SIGNATURE).write_bytes(b""), "changed since"),
        (lambda folder: (folder / bundle.SIGNATURE).write_bytes(bytes(64)), "changed since"),
        (lambda folder: (folder / bundle.SIGNATURE).write_bytes(bytes(65)), "changed since"),
        (lambda folder: (folder / bundle.SUMS).unlink(), "changed since"),
        (lambda folder: (folder / "model_card.md").write_text("# Better"), "has a wrong checksum"),
        (lambda folder: (folder / "more").write_text("x"), "is in it and not listed"),
    ],
)
def test_a_tampered_or_unsigned_bundle_is_refused(change, why: str, pack, mine: Path, keys: Path) -> None:
    change(mine)
    with pytest.raises(BundleError, match=why):
        open_signed(pack(mine), keys / "ours.pub")


def test_what_is_no_bundle_cannot_be_verified(keys: Path) -> None:
    for source in ("light_cnn", "models:/any@champion", "x.keras"):
        with pytest.raises(InputError, match="is no bundle, and only bundles are signed"):
            predictor.load(source, verify=keys / "ours.pub")


def test_the_command_refuses_before_it_predicts(mine: Path, keys: Path) -> None:
    words = ["predict", "x.png", "--model", str(mine), "--verify"]
    with pytest.raises(SystemExit, match="not signed by a key of --verify"):
        main.main([*words, str(keys / "theirs.pub")])
    with pytest.raises(SystemExit, match="holds no public key in PEM; `openssl genpkey"):
        main.main([*words, str(keys / "ours.key")])


def test_keys_that_are_none_are_refused_with_the_cure(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = generate_private_key(SECP256R1())
    (tmp_path / "ec.key").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ec.pub").write_bytes(public)
    damaged = (keys / "ours.pub").read_bytes().replace(b"MC", b"AA")
    (tmp_path / "damaged.pub").write_bytes(damaged)
    for path, why in {
        tmp_path / "ec.key": "is no Ed25519 key",
        keys / "ours.pub": "is no private key in PEM",
        tmp_path / "nowhere": "cannot be read",
    }.items():
        with pytest.raises(InputError, match=why):
            signatures.read_private_key(path)
    for path, why in {tmp_path / "ec.pub": "not Ed25519", tmp_path / "damaged.pub": "damaged public key"}.items():
        with pytest.raises(InputError, match=why):
            signatures.read_public_keys(path)
    encrypted, _ = write_keys(tmp_path, "encrypted", b"secret")
    monkeypatch.delenv(signatures.PASSWORD, raising=False)
    with pytest.raises(InputError, match=rf"encrypted; put its password into .* {signatures.PASSWORD}"):
        signatures.read_private_key(encrypted)
    monkeypatch.setenv(signatures.PASSWORD, "wrong")
    with pytest.raises(InputError, match="password is wrong"):
        signatures.read_private_key(encrypted)
    monkeypatch.setenv(signatures.PASSWORD, "secret")
    assert signatures.read_private_key(encrypted)
