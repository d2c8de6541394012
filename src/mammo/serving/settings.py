"""What the service takes and holds at most; beyond it a client is refused, and the others are served on."""

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from mammo.core.errors import InputError
from mammo.serving.drift import DriftLimits

MEGABYTE = 2**20
MIN_KEY_LENGTH = 16  # characters
MAX_PIXELS = 80_000_000  # of a film


@dataclass(frozen=True)
class ServiceSettings:
    """Limits and secrets of the service.

    max_in_flight_bytes: of all bodies that are being read or answered. max_pixels: of a film, by its header, before it
    is decoded. max_queue: prepared films that wait for the model. max_batch: films that it predicts at once.
    max_wait_s: how long one waits at most for films that are being decoded, to be predicted with them.
    read_timeout_s: for a whole body. answer_timeout_s: from the whole body to the answer. workers: threads that decode.
    api_keys: SHA-256 of each key, and the user's name; empty: everybody is answered.
    """

    max_body_bytes: int = 64 * MEGABYTE
    max_in_flight_bytes: int = 512 * MEGABYTE
    max_pixels: int = MAX_PIXELS
    max_films: int = 4
    max_queue: int = 64
    max_batch: int = 32
    max_wait_s: float = 0.5
    read_timeout_s: float = 20.0
    answer_timeout_s: float = 60.0
    workers: int = 2
    api_keys: tuple[tuple[str, str], ...] = ()
    audit_log: Path | None = None
    drift: DriftLimits = field(default_factory=DriftLimits)

    def user_of(self, key: str | None) -> str | None:
        """Return the name of the user of an API key; None for an unknown key. Without keys it is anonymous."""
        if not self.api_keys:
            return "anonymous"
        digest = hash_key(key or "")
        # All are compared, each in constant time: how long it takes must not tell how much of a key is right.
        users = [user for known, user in self.api_keys if secrets.compare_digest(known, digest)]
        return users[0] if users else None


def hash_key(key: str) -> str:
    """Return the hexadecimal SHA-256 of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_api_keys(path: Path) -> tuple[tuple[str, str], ...]:
    """Read a file of lines `user key`; empty lines and those that begin with # are skipped. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    keys = [_parse_key(path, number, line) for number, line in enumerate(lines, 1) if _has_key(line)]
    if not keys:
        raise InputError(f"{path}: holds no key; write a line `user key` for each user")
    return tuple(keys)


def _has_key(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _parse_key(path: Path, number: int, line: str) -> tuple[str, str]:
    words = line.split()
    if len(words) != 2 or len(words[1]) < MIN_KEY_LENGTH:
        raise InputError(
            f"{path}, line {number}: is not `user key` with a key of at least {MIN_KEY_LENGTH} characters; "
            "`openssl rand -hex 32` makes one"
        )
    return hash_key(words[1]), words[0]
