"""Source files of pinned packages, read out of their archives.

Owns the pin lists, the download through pip and npm (their ordinary clients), opening wheels and tarballs as plain
archives, and the licence gate. Nothing from an archive is ever run or imported. It does not judge the code itself
(filters.py).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

from model_runtime.errors import RequestError, RuntimeFailure

Registry = Literal["pip", "npm"]

LANGUAGE_OF_SUFFIX = {".py": "python", ".ts": "typescript", ".tsx": "typescript", ".js": "javascript"}

_PERMISSIVE = re.compile(r"\b(mit|bsd|0bsd|apache|isc|psf|python-2\.0|unlicense|zlib|cc0)\b")
_COPYLEFT = re.compile(r"\b(a?gpl|lgpl|mpl|epl|cddl|eupl|mozilla|gnu)\b")
DOWNLOAD_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Pin:
    """One package at one version."""

    registry: Registry
    name: str
    version: str
    is_held_out: bool


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a package, decoded."""

    package: str
    path: str
    language: str
    text: str
    licence: str


def read_pins(path: Path, registry: Registry) -> list[Pin]:
    """Parse `name==version [held-out]` lines; RequestError naming a line that is not one."""
    pins = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, _, version = words[0].partition("==")
        if not name or not version or words[1:] not in ([], ["held-out"]):
            raise RequestError(f"{path}:{number}: {line!r} is not name==version, optionally followed by held-out")
        pins.append(Pin(registry, name, version, is_held_out=words[1:] == ["held-out"]))
    return pins


def default_pins() -> list[Pin]:
    """The lists shipped beside this file."""
    folder = Path(str(files("model_runtime.training.data")))
    return read_pins(folder / "pins_py.txt", "pip") + read_pins(folder / "pins_npm.txt", "npm")


def fetch_archive(pin: Pin, folder: Path) -> Path:
    """The package's archive in `folder`, downloaded if it is not there yet; RuntimeFailure naming the package."""
    folder.mkdir(parents=True, exist_ok=True)
    if found := _archive_in(folder, pin):
        return found
    spec = f"{pin.name}=={pin.version}" if pin.registry == "pip" else f"{pin.name}@{pin.version}"
    command = ["npm", "pack", "--silent", spec]
    if pin.registry == "pip":
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", spec]
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeFailure(f"cannot download {spec}: {error}") from None
    found = _archive_in(folder, pin)
    if result.returncode or found is None:
        last_line = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeFailure(f"cannot download {spec}: {last_line}")
    return found


def _archive_in(folder: Path, pin: Pin) -> Path | None:
    if pin.registry == "npm":
        stem = pin.name.removeprefix("@").replace("/", "-")
        path = folder / f"{stem}-{pin.version}.tgz"
        return path if path.is_file() else None
    stem = re.sub(r"[-_.]+", "_", pin.name).lower()
    matches = (path for path in folder.glob("*.whl") if path.name.lower().startswith(f"{stem}-{pin.version}-"))
    return next(matches, None)


def is_permissive(licence: str) -> bool:
    """True when the stated licence names a permissive one and no copyleft one, in any of its arms."""
    text = licence.lower().replace("_", "-")
    return bool(_PERMISSIVE.search(text)) and not _COPYLEFT.search(text)


def read_sources(archive: Path, package: str) -> Iterator[SourceFile]:
    """Files of known languages in a wheel or npm tarball; nothing at all when the licence gate refuses the package."""
    contents = _wheel_contents(archive) if archive.suffix == ".whl" else _tarball_contents(archive)
    licence = _stated_licence(contents)
    if not is_permissive(licence):
        return
    for path in sorted(contents):
        language = LANGUAGE_OF_SUFFIX.get(PurePosixPath(path).suffix)
        if language is None or (archive.suffix != ".whl" and "/src/" not in path):
            continue  # npm: what is outside src/ is build output
        try:
            text = contents[path].decode("utf-8")
        except UnicodeDecodeError:
            continue
        yield SourceFile(package, path, language, text, licence)


def _wheel_contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as wheel:
        names = [n for n in wheel.namelist() if _is_wanted(n) or n.endswith(".dist-info/METADATA")]
        return {name: wheel.read(name) for name in names}


def _tarball_contents(archive: Path) -> dict[str, bytes]:
    contents = {}
    with tarfile.open(archive) as tarball:
        for member in tarball:
            if member.isfile() and (_is_wanted(member.name) or member.name == "package/package.json"):
                stream = tarball.extractfile(member)
                contents[member.name] = stream.read() if stream else b""
    return contents


def _is_wanted(path: str) -> bool:
    return PurePosixPath(path).suffix in LANGUAGE_OF_SUFFIX


def _stated_licence(contents: dict[str, bytes]) -> str:
    """What the package's metadata says of its licence; "" when it says nothing."""
    if manifest := contents.get("package/package.json"):
        return str(json.loads(manifest).get("license", ""))
    metadata = next((data for name, data in contents.items() if name.endswith(".dist-info/METADATA")), b"")
    header = HeaderParser().parsestr(metadata.decode("utf-8", "replace"), headersonly=True)
    classifiers = [c for c in header.get_all("Classifier", []) if c.startswith("License ::")]
    # A licence field may hold the whole text; its first line names it.
    stated = header.get("License-Expression") or (header.get("License") or "").strip().partition("\n")[0]
    return " / ".join(filter(None, [stated, *(c.rpartition("::")[2].strip() for c in classifiers)]))
