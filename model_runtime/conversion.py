"""From a GGUF or a Hugging Face folder to the checkpoint this runtime loads.

Owns: the pruning of embedding rows, the rows of added tokens, the files written and their digests. It does not know
where sources come from (install.py) nor which ids are worth keeping (vocabulary.py).

A checkpoint is a folder of `model.safetensors` (matrices float16, vectors float32, Hugging Face names, a tied head
left out), `config.json`, `tokenizer.json` and `seedls.json` (where it came from, old ids, digests). The same source
gives the same bytes: tensors are written in the order of their names, and the rows of added tokens, the mean of the
kept rows, are summed exactly in integers. It is written tensor by tensor into a temporary folder that is renamed when
complete, so memory stays at one tensor and nothing is ever half-written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from model_runtime.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Checkpoint, open_checkpoint
from model_runtime.config import ModelConfig
from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch, CheckpointMissing
from model_runtime.manifest import FileDigest
from model_runtime.tokenizer import ADDED_TOKENS, MASK_TOKEN, TOKENIZER_FILE
from model_runtime.vocabulary import (
    Vocabulary,
    base_vocabulary,
    kept_digest,
    prune,
    tokenizer_json,
    vocabulary_from_json,
)

if TYPE_CHECKING:
    import torch

Progress = Callable[[str, float], None]

RECORD_FILE = "seedls.json"
RECORD_FORMAT = 1
_EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")
_ROWS_AT_ONCE = 8192


def no_progress(message: str, fraction: float) -> None:
    """The `progress` of a caller that shows none."""


def part_of(progress: Progress, start: float, stop: float) -> Progress:
    """A `progress` for a piece of the work, whose 0..1 is `start`..`stop` of the whole."""
    return lambda message, fraction: progress(message, start + (stop - start) * fraction)


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """What `seedls.json` says: which source a checkpoint was made from, and the digests of its files."""

    name: str
    source: FileDigest
    vocabulary_sha256: str
    files: dict[str, FileDigest]
    kept_ids: tuple[int, ...]
    """Row of the source's embedding for each row of ours; the added tokens come after them."""

    @property
    def digest(self) -> str:
        """One sha256 that stands for every file of the checkpoint."""
        lines = "".join(f"{name} {file.sha256}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def read_record(folder: Path) -> CheckpointRecord:
    """Read `seedls.json`; CheckpointMissing if there is none, CheckpointCorrupt if it cannot be read."""
    path = folder / RECORD_FILE
    if not path.is_file():
        raise CheckpointMissing(f"no {RECORD_FILE} in {folder}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != RECORD_FORMAT:
            raise CheckpointCorrupt(f"{path} has format {raw['format']}, this version reads {RECORD_FORMAT}")
        return CheckpointRecord(
            name=str(raw["name"]),
            source=FileDigest(int(raw["source"]["bytes"]), str(raw["source"]["sha256"])),
            vocabulary_sha256=str(raw["vocabulary_sha256"]),
            files={str(k): FileDigest(int(v["bytes"]), str(v["sha256"])) for k, v in raw["files"].items()},
            kept_ids=tuple(int(token_id) for token_id in raw["kept_ids"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointCorrupt(f"{path} cannot be read: {error!r}") from None


def write_record(folder: Path, record: CheckpointRecord) -> None:
    """Write `seedls.json`."""
    (folder / RECORD_FILE).write_text(_record_json(record), encoding="utf-8")


def convert(
    source: Path,
    folder: Path,
    *,
    name: str,
    source_digest: FileDigest,
    kept_ids: Sequence[int] | None = None,
    expected_files: Mapping[str, FileDigest] | None = None,
    progress: Progress = no_progress,
) -> CheckpointRecord:
    """Convert `source` into `folder`, replacing what was there only when all is written and as expected.

    `kept_ids` None keeps every token. Raises CheckpointError if the source or the list is not usable, CheckpointCorrupt
    naming both digests if a file does not come out as `expected_files` says.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".{folder.name}.partial"  # a killed run leaves one: the next run clears it
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        with open_checkpoint(source) as checkpoint:
            checkpoint.verify_shapes()
            vocabulary = source_vocabulary(source)
            kept = tuple(kept_ids) if kept_ids is not None else tuple(range(len(vocabulary)))
            files = _write_files(checkpoint, vocabulary, kept, work, progress)
        for file, expected in sorted((expected_files or {}).items()):
            if files.get(file) != expected:
                raise CheckpointCorrupt(f"converting {source} gave {file} as {files.get(file)} instead of {expected}")
        record = CheckpointRecord(name, source_digest, kept_digest(kept), files, kept)
        write_record(work, record)
        _replace_folder(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return record


def source_vocabulary(source: Path) -> Vocabulary:
    """The full vocabulary of a GGUF file or a Hugging Face folder."""
    from model_runtime.gguf import GgufFile

    if source.is_file() and source.suffix == ".gguf":
        with GgufFile.open(source) as gguf:
            return base_vocabulary(gguf.tokenizer())
    folder = source if source.is_dir() else source.parent
    if not (folder / TOKENIZER_FILE).is_file():
        raise CheckpointMissing(f"no {TOKENIZER_FILE} in {folder}")
    return vocabulary_from_json((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))


def hash_file(path: Path, progress: Progress = no_progress) -> FileDigest:
    """Size and sha256 of a file."""
    total = max(path.stat().st_size, 1)
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
            done += len(chunk)
            progress(f"checking {path.name}", done / total)
    return FileDigest(done, digest.hexdigest())


def _write_files(
    checkpoint: Checkpoint, vocabulary: Vocabulary, kept: Sequence[int], work: Path, progress: Progress
) -> dict[str, FileDigest]:
    added = tuple(token for token in ADDED_TOKENS if token not in vocabulary.specials)
    pruned = prune(vocabulary, kept, added)
    mask_id = len(pruned.tokens) + pruned.specials.index(MASK_TOKEN)
    config = replace(checkpoint.config, vocab_size=len(pruned), mask_token_id=mask_id)
    _write_text(work / CONFIG_FILE, json.dumps(config.to_dict(), indent=2) + "\n")
    _write_text(work / TOKENIZER_FILE, tokenizer_json(pruned))
    files = {file: hash_file(work / file) for file in (CONFIG_FILE, TOKENIZER_FILE)}
    files[WEIGHTS_FILE] = _write_weights(checkpoint, config, kept, len(added), work / WEIGHTS_FILE, progress)
    return files


def _write_weights(
    checkpoint: Checkpoint, config: ModelConfig, kept: Sequence[int], num_added: int, path: Path, progress: Progress
) -> FileDigest:
    """Write a safetensors file front to back: the header is known before any tensor is read."""
    names = [name for name in checkpoint.names() if not (config.tie_word_embeddings and name == "lm_head.weight")]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in names:
        shape = checkpoint.shape(name)
        if name in _EMBEDDINGS:
            shape = (config.vocab_size, *shape[1:])
        size = _num_elements(shape) * (2 if len(shape) > 1 else 4)
        header[name] = {
            "dtype": "F16" if len(shape) > 1 else "F32",
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in (len(text).to_bytes(8, "little"), text):
            _write(file, digest, chunk)
        for i, name in enumerate(names):
            for tensor in _converted(checkpoint, name, kept, num_added):
                _write(file, digest, tensor.numpy().tobytes())
            progress(f"converting {name}", (i + 1) / len(names))
        file.flush()
        os.fsync(file.fileno())
    return FileDigest(8 + len(text) + offset, digest.hexdigest())


def _converted(checkpoint: Checkpoint, name: str, kept: Sequence[int], num_added: int) -> Iterator[torch.Tensor]:
    """The tensor in the type it is stored in, an embedding in slices of rows so that it is never whole in memory."""
    import torch

    if name not in _EMBEDDINGS:
        tensor = checkpoint.read(name)
        yield _checked(tensor.to(torch.float16 if tensor.ndim > 1 else torch.float32), name)
        return
    ids = torch.tensor(kept)
    total = torch.zeros(checkpoint.shape(name)[1], dtype=torch.int64)
    for start in range(0, checkpoint.shape(name)[0], _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, checkpoint.shape(name)[0])
        wanted = ids[(ids >= start) & (ids < stop)] - start
        if len(wanted):
            rows = _checked(checkpoint.read_rows(name, start, stop)[wanted].to(torch.float16), name)
            # Every float16 is a whole number of 2**-24, so this sum is exact in any order.
            total += (rows.double() * 2**24).to(torch.int64).sum(0)
            yield rows
    if num_added:
        mean = (total.double() / (2**24 * len(kept))).to(torch.float16)
        yield mean.expand(num_added, -1).contiguous()


def _checked(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if not tensor.isfinite().all():
        raise CheckpointMismatch(f"tensor {name!r} has values that float16 cannot hold")
    return tensor


def _num_elements(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _write(file: BinaryIO, digest: Any, data: bytes) -> None:
    file.write(data)
    digest.update(data)


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8"))  # bytes: no newline translation, the digest must not depend on the platform


def _record_json(record: CheckpointRecord) -> str:
    value = {
        "format": RECORD_FORMAT,
        "name": record.name,
        "source": {"bytes": record.source.num_bytes, "sha256": record.source.sha256},
        "vocabulary_sha256": record.vocabulary_sha256,
        "files": {k: {"bytes": v.num_bytes, "sha256": v.sha256} for k, v in sorted(record.files.items())},
        "kept_ids": record.kept_ids,
    }
    return json.dumps(value, separators=(",", ":")) + "\n"


def _replace_folder(work: Path, folder: Path) -> None:
    old = folder.parent / f".{folder.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
