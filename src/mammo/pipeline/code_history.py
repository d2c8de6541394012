"""Find the version of a file or folder in git history that a hash of dvc.lock names."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from mammo.core.errors import InputError

Files: TypeAlias = dict[str, bytes]  # content by path below a dependency; a dependency that is a file has the path ""
REVISIONS = ("HEAD", "--all")  # then also branches, tags, stashes and experiments: the hash vouches for the content


@dataclass(frozen=True)
class Version:
    """A dependency as a commit holds it."""

    commit: str
    files: Files


@dataclass(frozen=True)
class _GitObject:
    name: str
    kind: str
    content: bytes


def hash_like_dvc(md5s: Mapping[str, str]) -> str:
    """Return DVC's hash of a dependency. md5s: those of its files, by path as in `Files`."""
    if set(md5s) == {""}:
        return md5s[""]
    listing = [{"md5": md5s[path], "relpath": path} for path in sorted(md5s)]
    return f"{md5(json.dumps(listing, sort_keys=True).encode())}.dir"


def md5(content: bytes) -> str:
    """Return the md5 of a file's content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class History:
    """The versions that a git repository holds, read through one `git cat-file --batch`; a context manager.

    folder: the root of the DVC project, in a git repository; paths are relative to it.
    is_ignored: whether .dvcignore leaves a file out of the hash of its folder.
    """

    def __init__(self, folder: Path, is_ignored: Callable[[str], bool]) -> None:
        self._folder = folder
        self._is_ignored = is_ignored
        self._objects: dict[str, _GitObject] = {}
        self._md5s: dict[str, str] = {}
        self._matches: dict[tuple[str, str], Version | None] = {}

    def __enter__(self) -> Self:
        self.is_shallow = self._git("rev-parse", "--is-shallow-repository") == ["true"]
        command = ["git", "cat-file", "--batch"]
        self._reader = subprocess.Popen(command, cwd=self._folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.communicate()

    def find(self, path: str, wanted: str) -> Version | None:
        """Return the newest version of `path` that has the hash `wanted`; None where no commit holds it."""
        if (path, wanted) not in self._matches:
            versions = (version for version in self._versions(path) if hash_like_dvc(version[1]) == wanted)
            match = next(versions, None)
            self._matches[path, wanted] = match and Version(match[0], self._contents(match[2]))
        return self._matches[path, wanted]

    def _versions(self, path: str) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
        """Yield commit, md5s and object names of each version of a path once, newest first."""
        seen = set()
        for revision in REVISIONS:
            for commit in self._git("rev-list", "--full-history", revision, "--", path):
                version = self._read(f"{commit}:./{path}")
                if version is not None and version.name not in seen:
                    seen.add(version.name)
                    blobs = {"": version.name} if version.kind == "blob" else self._blobs(version, path)
                    yield commit, {name: self._md5(blob) for name, blob in blobs.items()}, blobs

    def _blobs(self, tree: _GitObject, path: str, below: str = "") -> dict[str, str]:
        """Return the files of a tree: object names by path. Links and submodules are none, so that no hash fits."""
        blobs: dict[str, str] = {}
        for mode, name, object_name in _tree_entries(tree):
            if mode == "40000" and (folder := self._read(object_name)) is not None:
                blobs |= self._blobs(folder, path, f"{below}{name}/")
            elif mode.startswith("100") and not self._is_ignored(f"{path}/{below}{name}"):
                blobs[f"{below}{name}"] = object_name
        return blobs

    def _md5(self, blob: str) -> str:
        if blob not in self._md5s:
            read = self._read(blob)
            self._md5s[blob] = "" if read is None else md5(read.content)
        return self._md5s[blob]

    def _contents(self, blobs: Mapping[str, str]) -> Files:
        read = {path: self._read(blob) for path, blob in blobs.items()}
        return {path: blob.content for path, blob in read.items() if blob is not None}

    def _read(self, name: str) -> _GitObject | None:
        """Return the object of that name; None where there is none."""
        if name in self._objects:
            return self._objects[name]
        assert self._reader.stdin is not None and self._reader.stdout is not None
        self._reader.stdin.write(f"{name}\n".encode())
        self._reader.stdin.flush()
        header = self._reader.stdout.readline().decode().split()
        if not header or not header[-1].isdigit():  # `NAME missing`; nothing where git gave up
            return None
        object_name, kind, size = header
        content = self._reader.stdout.read(int(size) + 1)[:-1]
        return self._objects.setdefault(object_name, _GitObject(object_name, kind, content))

    def _git(self, *words: str) -> list[str]:
        command = ["git", "--literal-pathspecs", *words]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise InputError(f"git {words[0]} failed in {self._folder}: {done.stderr.strip()}")
        return done.stdout.splitlines()


def _tree_entries(tree: _GitObject) -> Iterator[tuple[str, str, str]]:
    """Yield mode, name and object name of the entries of a tree (the format of git's tree objects)."""
    rest, name_bytes = tree.content, len(tree.name) // 2
    while rest:
        head, _, rest = rest.partition(b"\0")
        mode, _, name = head.partition(b" ")
        yield mode.decode(), os.fsdecode(name), rest[:name_bytes].hex()
        rest = rest[name_bytes:]
