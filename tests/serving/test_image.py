"""The container image: it runs without root and without writing, and its command is one that `mammo` understands."""

import json
import re

import imports
import pytest

from mammo.cli.main import build_parser

DOCKERFILE = (imports.ROOT / "Dockerfile").read_text().replace("\\\n", "")


def instruction(name: str) -> str:
    """The last instruction of that name, which is the one that counts."""
    return re.findall(rf"^{name}\s+(.*)$", DOCKERFILE, flags=re.MULTILINE)[-1].strip()


def test_it_runs_as_a_user_who_is_not_root() -> None:
    assert instruction("USER") == "10001"
    assert re.search(r"useradd .*--uid 10001 .*mammo", DOCKERFILE)
    order = [line.split()[0] for line in DOCKERFILE.splitlines() if line and not line.startswith(("#", " "))]
    assert order.index("USER") > max(place for place, word in enumerate(order) if word in ("RUN", "COPY"))


def test_what_libraries_write_goes_to_a_temporary_folder() -> None:
    assert dict(re.findall(r"(\w+)=(\S+)", instruction("ENV")))["HOME"] == "/tmp"


def test_its_command_and_its_health_check_are_those_of_the_service() -> None:
    words = json.loads(instruction("ENTRYPOINT")) + json.loads(instruction("CMD"))
    assert words[:3] == ["python", "-m", "mammo"]
    args = build_parser().parse_args(words[3:])
    assert (args.host, args.model) == ("0.0.0.0", "/model.zip")
    assert f"http://127.0.0.1:{args.port}/health/ready" in instruction("HEALTHCHECK")
    assert instruction("EXPOSE") == str(args.port)


@pytest.mark.parametrize("name", ["src", "requirements.txt", "pyproject.toml", "README.md"])
def test_all_that_is_copied_is_sent_to_the_builder_and_nothing_else(name: str) -> None:
    ignored = (imports.ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignored if not line.startswith("#")) == "*"
    assert f"!{name}" in ignored
    copied = {word for line in re.findall(r"^COPY (.*)$", DOCKERFILE, flags=re.MULTILINE) for word in line.split()[:-1]}
    assert copied == {"src", "requirements.txt", "pyproject.toml", "README.md"}
