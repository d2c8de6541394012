"""Signatures of bundles: Ed25519 (RFC 8032) over the bytes of SHA256SUMS, which lists the checksum of every file.

Keys are PEM files, and a signature is 64 bytes, as OpenSSL writes and checks them:
`openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig`.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from mammo.core.errors import InputError

PASSWORD = "MAMMO_KEY_PASSWORD"  # of the environment: what an encrypted private key is decrypted with
SIGNATURE_BYTES = 64
MAX_KEY_BYTES = 2**16
PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
MAKE_KEYS = (
    "`openssl genpkey -algorithm ed25519 -out signing.key` makes a private key, and "
    "`openssl pkey -in signing.key -pubout -out signing.pub` its public one"
)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key of a PEM file; raises InputError."""
    content = _read(path)
    password = os.environ.get(PASSWORD)
    encrypted = b"ENCRYPTED" in content
    if encrypted and password is None:
        raise InputError(f"{path}: the key is encrypted; put its password into the environment variable {PASSWORD}")
    try:
        key = load_pem_private_key(content, password.encode() if encrypted and password is not None else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: is no private key in PEM, or the password is wrong; {MAKE_KEYS}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: is no Ed25519 key; {MAKE_KEYS}")
    return key


def read_public_keys(path: Path) -> list[Ed25519PublicKey]:
    """Return the public keys of a PEM file, which may hold several; raises InputError."""
    blocks = PUBLIC_KEY.findall(_read(path))
    if not blocks:
        raise InputError(f"{path}: holds no public key in PEM; {MAKE_KEYS}")
    try:
        keys = [load_pem_public_key(block) for block in blocks]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: holds a damaged public key; {MAKE_KEYS}") from error
    ed25519 = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if len(ed25519) != len(keys):
        raise InputError(f"{path}: holds a key that is not Ed25519; {MAKE_KEYS}")
    return ed25519


def is_signed_by(content: bytes, signature: bytes, keys: Sequence[Ed25519PublicKey]) -> bool:
    """Return whether one of the keys made the signature of `content`."""
    return any(_verifies(key, content, signature) for key in keys)


def _verifies(key: Ed25519PublicKey, content: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read ({error.strerror})") from error
