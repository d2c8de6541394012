"""Measure the service: one film, one after the other, 32 clients at once, hostile requests, a kill.

`python benchmarks/serving.py [--seconds 300] [--requests 10000] [--out docs/results/serving.md]`, in a checkout;
nothing has to be trained. The model is `light_cnn` as params.yaml has it, with random weights, and films are synthetic:
times depend on neither. The service runs as its own process, as `python -m mammo serve` starts it.

Processor time is compared wherever two sides do the same work: on a machine that does something else as well, time on
the wall says more about the others. Both sides of a ratio run in turns.
"""

import argparse
import http.client
import json
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import keras
import numpy as np
import psutil

from mammo import models
from mammo.core.config import load_config
from mammo.data.images import io
from mammo.data.sources import demo
from mammo.inference.predictor import Predictor, load
from mammo.serving import audit_log
from mammo.serving.requests import Upload
from mammo.serving.service import prepare_upload
from mammo.serving.settings import MAX_PIXELS

MODEL = "light_cnn"
HEIGHTS_PX = (320, 1600, 4000)  # of the synthetic films: the demo's, twice the real set's here, a detector's
TURNS = 5
FILMS = 12
HOSTILE_SHARE = 0.05
LORIS_S = 20  # in which a connection without a request must be closed
FORM = {"Content-Type": "multipart/form-data; boundary=xxx"}
THROUGHPUT = (
    "What the service costs beyond the same work in process is HTTP, the audit log (a hash of each film, a line on "
    "disk\nbefore the answer) and smaller batches: a batch takes what was decoded within half a second, and on a busy "
    "machine that\nis few films.\n"
)
JUDGED = "processor"  # the clock of the bars
CLOCKS = (JUDGED, "wall")
BARS = {"single": 5.0, "end to end": 2.0, "throughput": 0.9}


@dataclass(frozen=True)
class Film:
    """A film's bytes, the box that is asked about, and the probability that the model gives in this process."""

    data: bytes
    box: tuple[int, int, int, int]
    prob: float = 0.0

    @property
    def path(self) -> str:
        """The route and query that ask about it."""
        return "/v1/predict?box=" + ",".join(map(str, self.box))


@dataclass
class Lines:
    """What is reported: rows of (what, measured, bar)."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, measured: str, bar: str = "", met: bool | None = None) -> None:
        """Print a row and keep it; met: whether the bar is, where that is a number's question."""
        if met is not None:
            bar = f"{bar}: {'met' if met else '**missed**'}"
        print(f"{what}: {measured}{f' (bar: {bar})' if bar else ''}", flush=True)
        self.rows.append((what, measured, bar))


# The service as a process


class Service:
    """`python -m mammo serve` on a free port."""

    def __init__(self, folder: Path, model: Path):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.port = unused.getsockname()[1]
        self.log = folder / "audit.jsonl"
        words = ["serve", str(model), "--port", str(self.port), "--audit-log", str(self.log)]
        self.output = (folder / "service.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mammo", *words], cwd=folder, stdout=self.output, stderr=self.output
        )
        self.ps = psutil.Process(self.process.pid)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"the service ended: {Path(self.output.name).read_text()}")
            try:
                if self.get("/health/ready") == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise SystemExit("the service is not ready after 10 minutes")

    def get(self, path: str) -> int:
        """Return the status of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().status

    @property
    def cpu_s(self) -> float:
        """Seconds of the processor that it has used."""
        times = self.ps.cpu_times()
        return times.user + times.system

    @property
    def rss_mib(self) -> float:
        """Memory that it holds."""
        return self.ps.memory_info().rss / 2**20

    def stop(self) -> None:
        """End it as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and content; raises OSError or HTTPException for a connection that is gone.

        One that the service closed while it was idle is opened anew, as clients do.
        """
        if self.connection.sock is not None and select.select([self.connection.sock], [], [], 0)[0]:
            self.connection.close()
        try:
            self.connection.request("POST", path, body, headers or {})
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        if answer.will_close:
            self.connection.close()
        return answer.status, content


@contextmanager
def serving(folder: Path, model: Path) -> Iterator[Service]:
    """Serve until the block ends."""
    service = Service(folder, model)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


# Model and films


def make_model(folder: Path) -> Path:
    """Write the untrained model, and params.yaml beside it, which says how films are prepared for it."""
    shutil.copyfile("params.yaml", folder / "params.yaml")
    config = load_config()
    size = config.preprocess.size_px
    path = folder / "light_cnn.keras"
    models.save(models.build(config.model(MODEL), (size, size, 1), seed=0), path)
    return path


def draw_films(folder: Path) -> list[np.ndarray]:
    """Draw films of the synthetic cohort, HEIGHTS_PX[0] high."""
    demo.write_cohort(folder / "films", patients=20, height_px=HEIGHTS_PX[0], signal=1.8, seed=1)
    paths = [path for path in sorted((folder / "films").rglob("*.jpg")) if io.read_shape(path)[0] == HEIGHTS_PX[0]]
    return [io.read_film(path) for path in paths if not io.is_binary(path)][:FILMS]


def enlarge(film: np.ndarray, height_px: int) -> np.ndarray:
    """Return a film enlarged to a height, with grain, so that its JPEG has the size of a scan's."""
    scale = height_px / film.shape[0]
    if scale == 1:
        return film
    large = cv2.resize(film, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 2, large.shape)
    return (large + grain).clip(0, 255).astype(np.uint8)


def make_film(predictor: Predictor, image: np.ndarray) -> Film:
    """Return a film's JPEG and what the model says of it in this process."""
    height, width = image.shape
    data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes()
    film = Film(data, (width // 3, height // 3, width // 2, height // 2))
    return replace(film, prob=answer(predictor, film))


def prepare(predictor: Predictor, film: Film) -> np.ndarray:
    """Return a film as the model takes it, by the service's own function."""
    square, _ = prepare_upload(Upload(Path("the film"), film.data, film.box), predictor.about, MAX_PIXELS)
    return square.image


def answer(predictor: Predictor, film: Film) -> float:
    """The answer without HTTP: decode, prepare, infer."""
    return float(predictor.probabilities(prepare(predictor, film)[np.newaxis])[0])


def cpu_of(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of this process's processor time, and on the wall."""
    start, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - start, time.perf_counter() - wall


def median_of(taken: list[tuple[float, float]]) -> tuple[float, float]:
    """The median of processor times, and that of times on the wall."""
    cpu_s, wall_s = np.median(taken, axis=0)
    return float(cpu_s), float(wall_s)


# The measures


def measure_single(predictor: Predictor, films: list[Film], lines: Lines) -> None:
    """One prepared image: as the service asks the model, against keras model.predict."""
    image = prepare(predictor, films[0])[np.newaxis]
    batch = image[..., np.newaxis].astype(np.float32)
    sides: dict[str, Callable[[], object]] = {
        "ours": partial(predictor.probabilities, image),
        "predict": partial(predictor.model.predict, batch, verbose=0),
    }
    for work in sides.values():
        work()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(TURNS * 4):
        for name, work in sides.items():
            times[name].append(cpu_of(work))
    for clock, mine, keras_s in zip(CLOCKS, median_of(times["ours"]), median_of(times["predict"]), strict=True):
        judged = clock == JUDGED
        bar = f"at least {BARS['single']:g}x" if judged else ""
        met = keras_s >= BARS["single"] * mine if judged else None
        lines.add(
            f"one image, decoding excluded, {clock} time: keras `model.predict` / the service's model",
            f"{1000 * keras_s:.1f} ms / {1000 * mine:.1f} ms = {keras_s / mine:.1f}x",
            bar,
            met,
        )


def measure_end_to_end(service: Service, predictor: Predictor, films: list[Film], lines: Lines, height_px: int) -> None:
    """One film after the other through HTTP, against the same in this process; processor time of either side."""
    client = Client(service.port)
    outside, inside = [], []
    for _ in range(TURNS):
        cpu, wall = service.cpu_s, time.perf_counter()
        for film in films:
            status, content = client.post(film.path, film.data)
            if status != 200:
                raise SystemExit(f"{status}: {content!r}")
        outside.append((service.cpu_s - cpu, time.perf_counter() - wall))
        inside.append(cpu_of(lambda: [answer(predictor, film) for film in films]))
    for clock, all_http_s, all_own_s in zip(CLOCKS, median_of(outside), median_of(inside), strict=True):
        judged, http_s, own_s = clock == JUDGED, all_http_s / len(films), all_own_s / len(films)
        bar = f"at most {BARS['end to end']:g}x" if judged else ""
        met = http_s <= BARS["end to end"] * own_s if judged else None
        lines.add(
            f"film of {height_px} px through HTTP / decode + prepare + infer in process, {clock} time",
            f"{1000 * http_s:.1f} ms / {1000 * own_s:.1f} ms = {http_s / own_s:.2f}x",
            bar,
            met,
        )


def measure_batched(predictor: Predictor, films: list[Film]) -> tuple[float, float]:
    """Processor and wall seconds a film, in batches of 32 with two threads that decode, as the service has."""
    batch = [films[place % len(films)] for place in range(32)]

    def work() -> None:
        with ThreadPoolExecutor(2) as pool:
            images = list(pool.map(lambda film: prepare(predictor, film), batch))
        predictor.probabilities(np.stack(images))

    work()
    cpu_s, wall_s = median_of([cpu_of(work) for _ in range(TURNS)])
    return cpu_s / len(batch), wall_s / len(batch)


def measure_clients(service: Service, predictor: Predictor, films: list[Film], args: argparse.Namespace) -> Lines:
    """Many clients at once, each with a connection of its own, for some time."""
    lines, seconds, problems = Lines(), [], Counter()
    before = measure_batched(predictor, films)
    memory, stop = [service.rss_mib], time.monotonic() + args.seconds
    cpu, wall = service.cpu_s, time.perf_counter()

    def ask(number: int) -> None:
        client, place = Client(service.port), number
        while time.monotonic() < stop:
            film, start = films[place % len(films)], time.perf_counter()
            status, content = client.post(film.path, film.data)
            seconds.append(time.perf_counter() - start)
            problems[_judge(status, content, film)] += 1
            place += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(args.clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append(service.rss_mib)
        time.sleep(0.5)
    cpu, wall = service.cpu_s - cpu, time.perf_counter() - wall
    after = measure_batched(predictor, films)
    own = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
    count = len(seconds)
    lines.add(
        f"{args.seconds} s: films a second of processor time, service / batched in process",
        f"{count / cpu:.1f} / {1 / own[0]:.1f} = {count / cpu * own[0]:.2f}",
        f"at least {BARS['throughput']:g}",
        count / cpu * own[0] >= BARS["throughput"],
    )
    lines.add("the same on the wall, clients and others on the same cores", f"{count / wall:.1f} / {1 / own[1]:.1f}")
    lines.add(
        "answers, errors, wrong answers",
        f"{count}, {problems['error']}, {problems['wrong']}",
        "0 errors",
        problems["right"] == count,
    )
    p50, p99 = np.percentile(seconds, (50, 99))
    lines.add("time of an answer, p50 / p99", f"{1000 * p50:.0f} ms / {1000 * p99:.0f} ms", "stated")
    third = len(memory) // 3
    lines.add(
        "memory of the service: after a third / at the end / most",
        f"{memory[third]:.0f} / {memory[-1]:.0f} / {max(memory):.0f} MiB",
        "flat",
    )
    return lines


def _judge(status: int, content: bytes, film: Film) -> str:
    if status != 200:
        return "error"
    return "right" if abs(json.loads(content)["films"][0]["prob"] - film.prob) < 1e-5 else "wrong"


# Hostile requests


def png_header(side_px: int) -> bytes:
    """A PNG whose header promises a film of that side, and little else."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 16, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def zip_bomb() -> bytes:
    """A PNG of 81 million pixels in 80 kB, which is whole."""
    return cv2.imencode(".png", np.zeros((9000, 9001), np.uint8))[1].tobytes()


def hostile_bodies(film: Film) -> dict[str, bytes]:
    """Return bodies that are no usable films."""
    return {
        "truncated": film.data[: len(film.data) // 2],
        "zip bomb": zip_bomb(),
        "60,000 px in the header": png_header(60_000),
        "wrong type": b"%PDF-1.7 " + bytes(range(256)),
        "garbage DICOM": bytes(128) + b"DICM" + random.Random(0).randbytes(2000),
        "empty": b"",
    }


class Attack:
    """Asks hostile requests, and judges the answers: a 4xx with a reason, or a connection that is closed."""

    def __init__(self, service: Service, film: Film):
        self.service, self.film, self.bodies = service, film, hostile_bodies(film)
        self.kinds = [*self.bodies, "path in the name", "path as a field", "200 MB, declared", "200 MB, in chunks"]
        self.kinds.append("slow loris")

    def ask(self, kind: str, client: Client) -> str:
        """Return `right`, or what came back."""
        if kind == "slow loris":
            return self._send_slowly()
        if kind.startswith("200 MB"):
            return self._send_large("declared" in kind)
        if kind.startswith("path"):
            status, content = client.post("/v1/predict", self._form(kind), FORM)
        else:
            status, content = client.post(self.film.path, self.bodies[kind])
        if kind == "path in the name":  # the name is ignored
            return "right" if _judge(status, content, self.film) == "right" else f"{status}"
        return _check_refusal(status, content)

    def _form(self, kind: str) -> bytes:
        box = ",".join(map(str, self.film.box))
        name = "path" if kind == "path as a field" else "box"
        value = "/etc/passwd" if name == "path" else box
        head = '--xxx\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\n'
        tail = f'\r\n--xxx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--xxx--\r\n'
        return head.encode() + self.film.data + tail.encode()

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.service.port), timeout=LORIS_S + 10)

    def _send_slowly(self) -> str:
        """Send a byte a second of a request that never ends, until the service closes the connection."""
        start = time.monotonic()
        with self._connect() as connection:
            connection.settimeout(1)
            while time.monotonic() - start < LORIS_S:
                try:
                    connection.sendall(b"G")
                    if connection.recv(1000) == b"":
                        return "right"
                except TimeoutError:
                    continue
                except OSError:
                    return "right"
        return "left open"

    def _send_large(self, declared: bool) -> str:
        kind = f"Content-Length: {200 * 2**20}" if declared else "Transfer-Encoding: chunked"
        with self._connect() as connection:
            connection.sendall(f"POST {self.film.path} HTTP/1.1\r\nHost: x\r\n{kind}\r\n\r\n".encode())
            block = bytes(2**20)
            try:
                for _ in range(0 if declared else 200):
                    connection.sendall(b"%x\r\n" % len(block) + block + b"\r\n")
            except OSError:  # refused before all was sent
                pass
            try:
                head = connection.recv(1000)
            except OSError:
                return "right"
        return "right" if head.startswith(b"HTTP/1.1 413") or head == b"" else repr(head[:40])


def _check_refusal(status: int, content: bytes) -> str:
    reason = json.loads(content).get("detail") if content.startswith(b"{") else ""
    return "right" if 400 <= status < 500 and reason else f"{status} {content[:60]!r}"


def measure_hostile(service: Service, films: list[Film], count: int) -> Lines:
    """Good requests with hostile ones among them; 8 clients."""
    lines, attack, start_mib = Lines(), Attack(service, films[0]), service.rss_mib
    plan = [None] * count
    rng = random.Random(0)
    for number, place in enumerate(rng.sample(range(count), int(HOSTILE_SHARE * count))):
        plan[place] = attack.kinds[number % len(attack.kinds)]  # type: ignore[call-overload]
    outcomes: Counter[tuple[str, str]] = Counter()
    clients = threading.local()

    def ask(place: int) -> None:
        if not hasattr(clients, "client"):
            clients.client = Client(service.port)
        kind, film = plan[place], films[place % len(films)]
        try:
            outcome = _ask_good(clients.client, film) if kind is None else attack.ask(kind, clients.client)
        except (OSError, http.client.HTTPException) as error:
            outcome = repr(error)[:60]
        outcomes[kind or "good", outcome] += 1

    most_mib = start_mib
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(ask, range(count)):
            most_mib = max(most_mib, service.rss_mib)
    for kind in ("good", *attack.kinds):
        asked = sum(number for (name, _), number in outcomes.items() if name == kind)
        wrong = {outcome: number for (name, outcome), number in outcomes.items() if name == kind and outcome != "right"}
        right = f"{asked}, {asked - sum(wrong.values())} {wrong or ''}".strip()
        lines.add(f"{kind}: asked, answered as they should be", right, "all", not wrong)
    alive = service.process.poll() is None and service.get("/health/ready") == 200
    lines.add("the service afterwards", "alive" if alive else "dead", "alive", alive)
    time.sleep(5)
    lines.add(
        "memory of the service: before / most / afterwards",
        f"{start_mib:.0f} / {most_mib:.0f} / {service.rss_mib:.0f} MiB",
        "back to its level",
    )
    return lines


def _ask_good(client: Client, film: Film) -> str:
    """Ask, and again where the service says that it is busy, as it asks for."""
    while True:
        status, content = client.post(film.path, film.data)
        if status != 429:
            return _judge(status, content, film)
        time.sleep(0.2)


# The kill


def measure_kill(folder: Path, model: Path, films: list[Film]) -> Lines:
    """Kill the service while it answers, and start it again: what a client was told is in the log, the chain whole."""
    lines, received, stop = Lines(), [], threading.Event()
    service = Service(folder, model)

    def ask(number: int) -> None:
        client = Client(service.port)
        while not stop.is_set():
            film = films[number % len(films)]
            try:
                status, content = client.post(film.path, film.data)
            except (OSError, http.client.HTTPException):
                return
            if status == 200:
                received.append(json.loads(content)["request_id"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while len(received) < 100:
        time.sleep(0.05)
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    stop.set()
    for thread in threads:
        thread.join()
    with serving(folder, model) as again:
        _ask_good(Client(again.port), films[0])
    verified = audit_log.verify(folder / "audit.jsonl")
    logged = {entry.get("request_id") for entry in audit_log.read_entries(folder / "audit.jsonl")}
    lost = sum(request not in logged for request in received)
    lines.add("killed with SIGKILL and started again: the audit chain", f"whole, {verified.lines} lines", "whole")
    lines.add(
        "answers that a client had before the kill, and that the log lacks",
        f"{lost} of {len(received)}",
        "0",
        lost == 0,
    )
    return lines


# The page


def write_page(
    path: Path, sections: dict[str, Lines], args: argparse.Namespace, load_before: tuple[float, ...]
) -> None:
    """Write what was measured, and under what load."""
    text = [
        "# The service under load\n",
        f"Written by `python benchmarks/serving.py --seconds {args.seconds} --clients {args.clients} "
        f"--requests {args.requests}`. `{MODEL}` at {load_config().preprocess.size_px} px with random weights, "
        f"synthetic films; Keras {keras.__version__} on {keras.backend.backend()}, {os.cpu_count()} processor cores.\n",
        f"**The machine was not idle**: its load average was {load_before[0]:.1f} before and {os.getloadavg()[0]:.1f} "
        "after, with other work on the same cores, some of it at a higher priority (the service and its clients: "
        f"niceness {os.nice(0)}). Bars are judged by processor time; times on the wall, p50 and p99 are those of a "
        "busy machine. Fewer seconds and requests than the full measure (300 and 10,000) are what it allowed.\n",
        THROUGHPUT,
    ]
    for title, lines in sections.items():
        text += [f"## {title}\n", "| what | measured | bar |", "|---|---|---|"]
        text += [f"| {what} | {measured.replace('|', '/')} | {bar} |" for what, measured, bar in lines.rows]
        text.append("")
    path.write_text("\n".join(text), encoding="utf-8")


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="of the concurrent clients")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=10_000, help="of which 5 percent are hostile")
    parser.add_argument("--out", type=Path, help="write the page there")
    args = parser.parse_args()
    before, sections = os.getloadavg(), {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = make_model(folder)
        predictor = load(model)
        drawn = draw_films(folder)
        films = {px: [make_film(predictor, enlarge(film, px)) for film in drawn] for px in HEIGHTS_PX}
        small = films[HEIGHTS_PX[0]]
        sections["One film"] = single = Lines()
        measure_single(predictor, small, single)
        with serving(folder, model) as service:
            for height in HEIGHTS_PX:
                measure_end_to_end(service, predictor, films[height], single, height)
            for height in HEIGHTS_PX[1:]:
                section = f"{args.clients} clients, films of {height} px"
                sections[section] = measure_clients(service, predictor, films[height], args)
            sections["Hostile requests"] = measure_hostile(service, small, args.requests)
        sections["A kill"] = measure_kill(folder, model, small)
    if args.out is not None:
        write_page(args.out, sections, args, before)


if __name__ == "__main__":
    main()
