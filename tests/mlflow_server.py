"""A real `mlflow server` on a free loopback port, and a PostgreSQL for it, in processes that end with the block."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

PATIENCE_S = 120  # a loaded machine takes most of a minute to import MLflow's server
SCENARIOS = "MAMMO_SCENARIOS"  # set by tests/scenarios.py: tests that take minutes run too
POSTGRESQL = "MAMMO_TEST_POSTGRESQL"  # set by tests/scenarios.py: a PostgreSQL in which `new_store` makes databases
TEMPLATE = "mammo_empty"  # its database that new ones are copies of
SERVANTS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


@dataclass
class Server:
    """Its address, and how it is started; stopped and started again it has the same address and store."""

    store: str
    artifacts: Path
    port: int
    words: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--workers", "1"]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.artifacts)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), *self.words]
        foreign = {name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))}
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self.environment
        log = self.artifacts.with_suffix(".log").open("ab")
        self.process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=self.artifacts.parent, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self.process.poll() is None, self.artifacts.with_suffix(".log").read_text()[-3000:]
            assert time.monotonic() < deadline, f"no answer after {PATIENCE_S} s"
            time.sleep(0.1)

    def stop(self) -> None:
        """At once, as when a machine goes off."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).status_code in (200, 401)
        except requests.RequestException:
            return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(
    store: str, folder: Path, words: list[str] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A started server on that store; its artifacts and log lie in `folder`."""
    server = Server(store, folder / "artifacts", free_port(), words or [], dict(environment or {}))
    server.artifacts.mkdir()
    try:
        server.start()
        yield server
    finally:
        server.stop()


def new_store(path: Path, empty_store: Path) -> str:
    """The address of a new store: SQLite at `path`, or a database of the PostgreSQL of tests/scenarios.py."""
    address = os.environ.get(POSTGRESQL)
    if address is None:
        shutil.copyfile(empty_store, path)
        return f"sqlite:///{path}"
    name = f"store_{uuid.uuid4().hex}"
    query(address, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return f"{address.rsplit('/', 1)[0]}/{name}"


def make_template(address: str) -> None:
    """Make the database that new stores are copies of, with MLflow's tables, in a process: it leaves no connection."""
    query(address, f"CREATE DATABASE {TEMPLATE}")
    store = f"{address.rsplit('/', 1)[0]}/{TEMPLATE}"
    code = f"import mlflow; mlflow.MlflowClient({store!r}).search_experiments()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def query(address: str, statement: str) -> str:
    """Run a statement on PostgreSQL; the first value of its answer, if it has one."""
    import psycopg2

    connection = psycopg2.connect(address.replace("+psycopg2", ""))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return str(cursor.fetchone()[0]) if cursor.description else ""
    finally:
        connection.close()


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database; skips where there is no PostgreSQL or nobody to run it."""
    programs = _programs()
    rank = _rank()
    folder = Path(tempfile.mkdtemp(prefix="mammo-postgres-", dir="/tmp"))
    try:
        if rank:
            shutil.chown(folder, rank[1].removeprefix("--reuid="), int(rank[2].removeprefix("--regid=")))
        data, port = folder / "data", free_port()
        made = [*rank, str(programs / "initdb"), "--pgdata", str(data), "--username", "mammo", "--auth", "trust"]
        subprocess.run([*made, "--no-sync", "--encoding", "UTF8"], check=True, capture_output=True, cwd=folder)
        options = ["-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F", "-N", "500"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*rank, str(programs / "postgres"), *options], stdout=log, stderr=log, cwd=folder
            )
        try:
            _wait_for(port, process, folder / "log")
            yield f"postgresql+psycopg2://mammo@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them off the path."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path and Path(on_path).with_name("postgres").exists():
        found.append(Path(on_path).parent)
    if not found:
        pytest.skip("there is no PostgreSQL here: `apt-get install postgresql` (.ci/run does where it may)")
    return found[0]


def _rank() -> list[str]:
    """What puts a command under a user who is not root."""
    if os.geteuid() != 0:
        return []
    users = {user.pw_name: user for user in pwd.getpwall()}
    servant = next((users[name] for name in SERVANTS if name in users), None)
    if servant is None or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses root, and there is no user postgres or nobody, or no `setpriv`")
    return ["setpriv", f"--reuid={servant.pw_name}", f"--regid={servant.pw_gid}", "--clear-groups"]


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if "ready to accept connections" in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"PostgreSQL does not listen on {port}: {log.read_text()}")
