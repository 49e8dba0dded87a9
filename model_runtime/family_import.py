"""A published folder of a diffusion family becomes an installed model: as it is, or in 8 or 4 bits.

Only JSON, text and safetensors are taken over; published Python files are neither copied nor run, and pickles are
refused. Everything is written into a temporary folder that is renamed when complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_runtime.calibration import input_powers
from model_runtime.checkpoint import (
    CONFIG_FILE,
    INDEX_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    open_checkpoint,
    special_token_names,
    weight_files,
)
from model_runtime.conversion import CheckpointRecord, Progress, hash_file, no_progress, part_of, write_record
from model_runtime.errors import CheckpointCorrupt, CheckpointMissing, RequestError
from model_runtime.families.mask import check_vocabulary, mask_token_id
from model_runtime.families.names import linear_names
from model_runtime.families.recognise import FAMILY_KEY, named_family, recognise
from model_runtime.families.table import Family
from model_runtime.kernels.formats import Int4Weight, Int8Weight
from model_runtime.manifest import FileDigest
from model_runtime.published_tokenizer import has_published_vocabulary, published_tokenizer_json
from model_runtime.quantization import (
    ROWS_AT_ONCE,
    SCALE_TYPE,
    SCALES,
    VALUES,
    Bits,
    calibrated_int4,
    can_pack,
    joined,
    quantized,
    stored,
    stored_shapes,
)
from model_runtime.tensor_file import TensorSpec, write_tensors
from model_runtime.tokenizer import TOKENIZER_FILE, Tokenizer

_QUANTIZATION_KEY = "seedls_quantization"


def family_of_folder(folder: Path, asked_for: str | None = None, name_hint: str = "") -> Family:
    """The family a folder is to be imported as; CheckpointMismatch if it is none or not `asked_for`."""
    raw = _config(folder)
    if asked_for is not None:
        return named_family(asked_for, raw)
    return recognise(raw, special_token_names(folder), f"{folder.resolve().name} {name_hint}")


def import_family(
    source: Path,
    folder: Path,
    family: Family,
    digest: FileDigest,
    *,
    bits: Bits | None = None,
    calibrate: bool = False,
    progress: Progress = no_progress,
) -> CheckpointRecord:
    """Install `source` as `folder`, replacing what was there only when all is written and opens."""
    with open_checkpoint(source, family.name) as published:
        published.verify_shapes()  # before gigabytes are copied
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        files = _write_texts(source, work, family, bits)
        if bits is None:
            files |= _copy_weights(source, work, progress)
        else:
            files[WEIGHTS_FILE] = _write_packed(source, work, family, bits, calibrate, progress)
        with open_checkpoint(work) as written:
            written.verify_shapes()
            _check_tokens(written, Tokenizer.load(work))
        record = CheckpointRecord(folder.name, digest, "", files, ())
        write_record(work, record)
        _replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return record


def _check_tokens(checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    """What loading will ask of the vocabulary, said when the model is installed and not at its first completion."""
    config = checkpoint.family
    assert config is not None
    check_vocabulary(config, tokenizer.vocab_size)
    if config.family.is_diffusion:
        mask_token_id(config, tokenizer.special_tokens, tokenizer.vocab_size, lambda token: tokenizer.decode([token]))


def _write_texts(source: Path, work: Path, family: Family, bits: Bits | None) -> dict[str, FileDigest]:
    raw = {key: value for key, value in _config(source).items() if key != "auto_map"} | {FAMILY_KEY: family.name}
    if bits is not None:
        if raw.get(_QUANTIZATION_KEY):
            raise RequestError(f"{source} is quantised already: start from the published weights")
        raw[_QUANTIZATION_KEY] = {"bits": bits}
    (work / CONFIG_FILE).write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    if (source / TOKENIZER_FILE).is_file():
        shutil.copyfile(source / TOKENIZER_FILE, work / TOKENIZER_FILE)
    elif has_published_vocabulary(source):
        (work / TOKENIZER_FILE).write_text(published_tokenizer_json(source), encoding="utf-8")
    else:
        raise CheckpointMissing(f"{source} has neither {TOKENIZER_FILE} nor vocab.json with merges.txt")
    return {file: hash_file(work / file) for file in (CONFIG_FILE, TOKENIZER_FILE)}


def _copy_weights(source: Path, work: Path, progress: Progress) -> dict[str, FileDigest]:
    paths = list(weight_files(source))
    files = {}
    for i, path in enumerate(paths):
        _link_or_copy(path, work / path.name)
        files[path.name] = hash_file(work / path.name, part_of(progress, i / len(paths), (i + 1) / len(paths)))
    if (source / INDEX_FILE).is_file() and set(files) != {WEIGHTS_FILE}:
        shutil.copyfile(source / INDEX_FILE, work / INDEX_FILE)
        files[INDEX_FILE] = hash_file(work / INDEX_FILE)
    return files


def _link_or_copy(path: Path, target: Path) -> None:
    """A second name for the same bytes where the file system allows it: 16 GB need not be stored twice."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)


def _write_packed(
    source: Path, work: Path, family: Family, bits: Bits, calibrate: bool, progress: Progress
) -> FileDigest:
    powers: Mapping[str, Tensor] = {}
    if calibrate and bits == 4:
        powers = input_powers(source, family.name, part_of(progress, 0.0, 0.3))
    with open_checkpoint(source, family.name) as checkpoint:
        checkpoint.verify_shapes()
        specs = list(_specs(checkpoint, bits))
        writer = _PackedWriter(checkpoint, bits, powers, part_of(progress, 0.3 if powers else 0.0, 1.0), len(specs))
        return write_tensors(work / WEIGHTS_FILE, specs, writer.parts_of)


def _specs(checkpoint: Checkpoint, bits: Bits) -> Iterator[TensorSpec]:
    assert checkpoint.family is not None
    linears = set(linear_names(checkpoint.family))
    for name in checkpoint.names():
        shape = checkpoint.shape(name)
        if name in linears and can_pack(shape, bits):
            shapes = stored_shapes(name, shape, bits)
            values = torch.int8 if bits == 8 else torch.int32
            yield TensorSpec(name + VALUES, values, shapes[name + VALUES])
            yield TensorSpec(name + SCALES, torch.float32 if bits == 8 else SCALE_TYPE, shapes[name + SCALES])
        else:
            yield TensorSpec(name, torch.bfloat16 if len(shape) > 1 else torch.float32, shape)


class _PackedWriter:
    """Gives the pieces of each tensor of the new file; holds one packed matrix at a time."""

    def __init__(
        self, checkpoint: Checkpoint, bits: Bits, powers: Mapping[str, Tensor], progress: Progress, num_specs: int
    ) -> None:
        self._checkpoint, self._bits, self._powers = checkpoint, bits, powers
        self._progress, self._num_specs, self._num_done = progress, num_specs, 0
        self._current: Mapping[str, Tensor] = {}

    def parts_of(self, spec: TensorSpec) -> Iterable[Tensor]:
        self._num_done += 1
        self._progress(f"quantising {spec.name}", self._num_done / self._num_specs)
        if not spec.name.endswith((VALUES, SCALES)):
            yield from (part.to(spec.dtype) for part in self._slices(spec.name))
            return
        name = spec.name.removesuffix(VALUES).removesuffix(SCALES)
        if spec.name not in self._current:
            self._current = stored(name, self._packed(name))
        yield self._current[spec.name]

    def _packed(self, name: str) -> Int4Weight | Int8Weight:
        power = self._powers.get(name)
        if power is None or self._bits == 8:
            return quantized(self._slices(name), self._bits, SCALE_TYPE, torch.device("cpu"))
        return joined([calibrated_int4(rows, power, SCALE_TYPE) for rows in self._slices(name)])

    def _slices(self, name: str) -> Iterator[Tensor]:
        shape = self._checkpoint.shape(name)
        if len(shape) < 2:
            yield self._checkpoint.read(name)
            return
        for start in range(0, shape[0], ROWS_AT_ONCE):
            yield self._checkpoint.read_rows(name, start, min(start + ROWS_AT_ONCE, shape[0]))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointMissing(f"no {CONFIG_FILE} in {folder}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"{path} is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise CheckpointCorrupt(f"{path} is not a JSON object")
    return raw


def _replace(work: Path, folder: Path) -> None:
    old = folder.parent / f".{folder.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
