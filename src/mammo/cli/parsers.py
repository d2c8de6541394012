"""The types of arguments that several commands take."""

import argparse
from pathlib import Path
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class ExamplesFormatter(argparse.HelpFormatter):
    """Wrap the text of a help page, but leave its examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


def show_examples(parser: argparse.ArgumentParser, *examples: str) -> None:
    """End the help page of a command with commands to copy."""
    parser.epilog = "\n  ".join(["examples:", *examples])
    parser.formatter_class = ExamplesFormatter


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add --verify, for commands that load a model."""
    parser.add_argument(
        "--verify",
        metavar="KEYS",
        type=Path,
        help="public keys (PEM, one or more in the file): a bundle that none of them signed is refused",
    )


def parse_count(text: str) -> int:
    """Return a whole number of at least 1."""
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return count


def parse_corners(text: str) -> tuple[int, ...]:
    """Return the four corners of a box, X0,Y0,X1,Y1."""
    corners = tuple(int(part) for part in text.split(","))
    if len(corners) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not X0,Y0,X1,Y1")
    return corners


def parse_output(text: str) -> int:
    """Return K of malignant=K, the place of an output of a model, counted from 0."""
    name, _, place = text.partition("=")
    if name != "malignant" or not place.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not malignant=K, K being 0 or above")
    return int(place)
