"""The chain of the audit log: any line changed, taken out or put in is named; a killed writer loses only its line."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.serving import audit_log
from mammo.serving.audit_log import AuditLog


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of five entries."""
    path = tmp_path / "logs" / "audit.jsonl"
    written = AuditLog(path)
    for number in range(5):
        written.append({"event": "predict", "number": number, "name": "é"})
    return path


def change(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"number": 1', b'"number": 7'), *lines[2:]]


def rewrite(lines: list[bytes]) -> list[bytes]:
    """A line written anew, with its hash: the next one does not follow it."""
    content = json.loads(lines[1])
    line, _ = audit_log.chain({"event": "predict", "number": 7}, content["previous"])
    return [lines[0], line, *lines[2:]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change, "line 2: was changed"),
        (rewrite, "line 3: does not follow"),
        (lambda lines: lines[:2] + lines[3:], "line 3: does not follow"),
        (lambda lines: lines[1:], "line 1: does not follow"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1: does not follow"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3: does not follow"),
        (lambda lines: [b"[]\n", *lines], "line 1: is no line of an audit log"),
        (lambda lines: [*lines[:4], b"\xff\xfe\n", lines[4]], "line 5: is no line of an audit log"),
    ],
)
def test_what_was_done_to_it_is_named(edit: Callable[[list[bytes]], list[bytes]], message: str, log: Path) -> None:
    assert audit_log.verify(log).lines == 5
    log.write_bytes(b"".join(edit(log.read_bytes().splitlines(keepends=True))))
    with pytest.raises(InputError, match=message):
        audit_log.verify(log)


@pytest.mark.parametrize("kept", [1, 40])
def test_a_writer_killed_in_a_line_loses_that_line_and_the_next_one_says_so(kept: int, log: Path) -> None:
    torn = log.read_bytes() + log.read_bytes().splitlines()[-1][:kept]
    log.write_bytes(torn)
    assert audit_log.verify(log) == audit_log.Verified(5, audit_log.verify(log).last_hash, kept)
    AuditLog(log).append({"event": "predict"})
    assert audit_log.verify(log).lines == 7
    assert json.loads(log.read_bytes().splitlines()[5])["dropped_bytes"] == kept


def test_several_writers_make_one_chain(log: Path) -> None:
    writers = [AuditLog(log) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda writer=writer: [writer.append({"event": "predict"}) for _ in range(10)])
        for writer in writers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert audit_log.verify(log).lines == 45


def test_the_command_prints_the_last_hash_and_ends_with_the_reason(log: Path, capsys) -> None:
    main.main(["audit", "verify", str(log)])
    assert audit_log.verify(log).last_hash in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"absent\.jsonl: cannot be read"):
        main.main(["audit", "verify", str(log.with_name("absent.jsonl"))])
