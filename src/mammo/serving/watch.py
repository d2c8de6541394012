"""A worker beside an archive: each new film gets its results, once, in its own study.

What was done is kept by SOP instance UID, in a database of the worker. The UIDs of results follow from film and model:
where the database is lost, or the worker was killed between storing and noting, the archive itself says what it has.
"""

import logging
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests

from mammo.core.errors import InputError
from mammo.data.images import dicom
from mammo.inference.about import About
from mammo.inference.dicom_results import device
from mammo.inference.dicom_results.maker import ResultMaker, open_maker
from mammo.inference.dicom_results.results import REPORT, Film, result_uid
from mammo.inference.predictor import Predictor
from mammo.serving.audit_log import AuditLog
from mammo.serving.dicomweb import MODALITY, Archive, StoredFilm, StoreError
from mammo.serving.messages import FilmAnswer, Prediction
from mammo.serving.requests import Upload
from mammo.serving.service import FilmError, describe_version, format_now, make_entry, prepare_upload, read_answers
from mammo.serving.settings import MAX_PIXELS

ANSWERED, REFUSED, ALREADY, FAILED = "answered", "refused", "already answered", "failed"
SCHEMA = """CREATE TABLE IF NOT EXISTS films (
    instance TEXT, model TEXT, outcome TEXT NOT NULL, reason TEXT, time TEXT NOT NULL, PRIMARY KEY (instance, model))"""
log = logging.getLogger(__name__)
USER = "watch"  # of its entries in the audit log


class Memory:
    """What was done with which film, by which model: an SQLite file."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._execute(SCHEMA)

    def knows(self, instance: str, model: str) -> bool:
        """Return whether a film needs no answer any more."""
        return bool(self._execute("SELECT 1 FROM films WHERE instance = ? AND model = ?", instance, model))

    def note(self, instance: str, model: str, outcome: str, reason: str = "") -> None:
        """Keep what was done; it is on disk when this returns."""
        row = (instance, model, outcome, reason, format_now())
        self._execute("INSERT OR REPLACE INTO films VALUES (?, ?, ?, ?, ?)", *row)

    def _execute(self, statement: str, *values: str) -> list[Any]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as database, database:
                return database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise InputError(f"{self.path}: cannot be used as the worker's database ({error})") from error


@dataclass(frozen=True)
class Worker:
    """Answers the films of an archive by one model of whole films; audit_log: has each answer before the archive."""

    archive: Archive
    predictor: Predictor
    maker: ResultMaker
    memory: Memory
    audit_log: AuditLog | None

    def run_once(self, since: str | None = None, stopped: Callable[[], bool] = lambda: False) -> Counter[str]:
        """Answer what is new, and return how many films had which outcome; stopped: asked before each film.

        A film that the archive does not give, or whose results it does not take, is new again in the next round; an
        archive that does not answer at all ends the round.
        """
        outcomes: Counter[str] = Counter()
        try:
            for film in self.archive.find_films(since):
                if stopped():
                    break
                if not self.memory.knows(film.instance, self.about.model_sha256):
                    outcomes[self._try(film)] += 1
        except requests.RequestException as error:
            log.warning(f"the archive does not answer ({error}); the rest is left for the next round")
        return outcomes

    def _try(self, film: StoredFilm) -> str:
        try:
            return self._handle(film)
        except (requests.HTTPError, StoreError) as error:
            log.warning(f"{film.instance}: {FAILED} ({error}); it is tried again")
            return FAILED

    @property
    def about(self) -> About:
        """The model that answers."""
        return self.predictor.about

    def _handle(self, film: StoredFilm) -> str:
        """Answer one film, note what became of it, and return that."""
        outcome, reason = ALREADY, ""
        try:
            if not self.archive.holds(film.study, result_uid(REPORT, film.instance, [""], self.about)):
                self._answer(film, self.archive.fetch(film))
                outcome = ANSWERED
        except (InputError, FilmError) as error:
            outcome, reason = REFUSED, str(error)
        self.memory.note(film.instance, self.about.model_sha256, outcome, reason)
        log.info(f"{film.instance}: {outcome}{f' ({reason})' if reason else ''}")
        return outcome

    def _answer(self, film: StoredFilm, data: bytes) -> None:
        upload = Upload(Path("the film"), data, None)
        _refuse_results(upload)
        square, doubt = prepare_upload(upload, self.about, MAX_PIXELS)
        prob = self.predictor.probabilities(square.image[np.newaxis])
        (answer,) = read_answers(self.predictor, [upload], prob, [doubt])
        results = self.maker.make(Film(upload.path, data), [answer.model_dump()])
        self._keep(answer, upload)
        # The report comes last: where it is, all is.
        self.archive.store(film.study, [result for kind, result in results.items() if kind != REPORT])
        self.archive.store(film.study, [results[REPORT]])

    def _keep(self, answer: FilmAnswer, upload: Upload) -> None:
        """Append an answer to the audit log, where there is one."""
        if self.audit_log is not None:
            version = describe_version(self.about)
            answered = Prediction(request_id=uuid.uuid4().hex, films=[answer], mean_prob=None, model=version, seconds=0)
            self.audit_log.append(make_entry("watch", answered, [upload], USER))


def _refuse_results(upload: Upload) -> None:
    """Raise InputError for what is no film of a machine: another modality, or a result of this software."""
    tags = dicom.read_tags(upload.path, "Modality", "Manufacturer", data=upload.data)
    if tags["Modality"] != MODALITY or tags["Manufacturer"] == device.MANUFACTURER:
        raise InputError("no mammogram of a machine, but a result or another modality")


def open_worker(archive: Archive, predictor: Predictor, memory: Memory, audit_log: Path | None) -> Worker:
    """Return the worker of a model; raises InputError for a model that needs more than a film."""
    about = predictor.about
    if about.unit != "image":
        raise InputError(
            f"{about.name} reads a {about.unit} that somebody marks; a worker needs a model of whole films"
        )
    if about.two_views:
        raise InputError(f"{about.name} reads two views together; a worker needs a model that answers one film")
    log_of_answers = None if audit_log is None else AuditLog(audit_log)
    return Worker(archive, predictor, open_maker(predictor), memory, log_of_answers)
