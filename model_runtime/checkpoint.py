"""Named tensors of a checkpoint on disk, read one at a time without copying the file into memory.

Owns: finding the files (one safetensors, shards with an index, or a GGUF), refusing what is not safe to open, the
strict comparison with the shapes the configuration promises. It does not know the network nor the device: callers
get CPU tensors under Hugging Face names, in the type they are stored in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from model_runtime.config import ModelConfig
from model_runtime.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    CheckpointMissing,
    CheckpointUnsafe,
)
from model_runtime.families.config import FamilyConfig, read_family_config
from model_runtime.families.names import family_shapes, linear_names, weight_names
from model_runtime.families.recognise import FAMILY_KEY, recognise

if TYPE_CHECKING:
    import torch

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
RECORD_FILE = "seedls.json"
"""Written by a conversion; where it lies, the checkpoint was made here."""

_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
# The 8-byte header length comes first in safetensors; 100 MB is the format's own limit.
_MAX_HEADER_BYTES = 100_000_000


class TensorSource(Protocol):
    """Where tensors come from: safetensors files or a GGUF."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Hugging Face name -> shape, known without reading any tensor."""

    def read(self, name: str) -> torch.Tensor:
        """One tensor on the CPU."""

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows of a matrix, without reading the rest."""

    def close(self) -> None:
        """Release the files."""


class Checkpoint:
    """An open checkpoint; use as a context manager. Tensors read from it stay valid after it closes."""

    def __init__(
        self, path: Path, config: ModelConfig, source: TensorSource, family: FamilyConfig | None = None
    ) -> None:
        self.path = path
        self.config = config
        self.family = family
        """What the family table says of it; None for the default model's own network."""
        self._source = source

    def names(self) -> list[str]:
        """Tensor names, sorted."""
        return sorted(self._source.shapes)

    def has(self, name: str) -> bool:
        """True if there is a tensor of that name."""
        return name in self._source.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor, without reading it."""
        self._check_name(name)
        return self._source.shapes[name]

    def read(self, name: str) -> torch.Tensor:
        """One tensor on the CPU, in its stored type; CheckpointMismatch if there is none of that name."""
        self._check_name(name)
        return self._source.read(name)

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of one tensor, without reading the rest."""
        self._check_name(name)
        return self._source.read_rows(name, start, stop)

    def verify_shapes(self) -> None:
        """CheckpointMismatch naming the first tensor that is missing, extra or of another shape."""
        found = dict(self._source.shapes)
        if self.config.num_layers > len(found):  # checked first: a damaged count could be billions
            raise CheckpointMismatch(f"{self.path}: {self.config.num_layers} layers do not fit {len(found)} tensors")
        if self.family is not None:
            expected, head = stored_family_shapes(self.family), f"{weight_names(self.family).head}.weight"
        else:
            expected, head = expected_shapes(self.config), "lm_head.weight"
        if self.config.tie_word_embeddings and found.get(head) == (self.config.vocab_size, self.config.hidden_size):
            del found[head]  # some exporters store the tied tensor twice
        for name in [name for name in found if name.endswith("rotary_emb.inv_freq")]:
            del found[name]  # a table older exporters kept; it follows from the configuration
        for name in sorted(expected.keys() - found.keys()):
            raise CheckpointMismatch(f"{self.path}: tensor {name!r} is missing")
        for name in sorted(found.keys() - expected.keys()):
            raise CheckpointMismatch(f"{self.path}: unexpected tensor {name!r} of shape {list(found[name])}")
        for name, shape in sorted(expected.items()):
            if found[name] != shape:
                raise CheckpointMismatch(
                    f"{self.path}: tensor {name!r} has shape {list(found[name])}, the configuration says {list(shape)}"
                )

    def close(self) -> None:
        """Release the files."""
        self._source.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_name(self, name: str) -> None:
        if name not in self._source.shapes:
            raise CheckpointMismatch(f"{self.path} has no tensor {name!r}")


def open_checkpoint(path: Path, family: str | None = None) -> Checkpoint:
    """Open a checkpoint folder, a `.safetensors` file beside its `config.json`, or a `.gguf` file.

    `family` is what a folder is read as where its configuration alone does not tell.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointMissing(f"no checkpoint at {path}")
    if path.is_file():
        refuse_unsafe(path)
        if is_gguf(path):
            return _open_gguf(path)
        return _open_safetensors(path, path.parent, {path: None}, family)
    return _open_safetensors(path, path, weight_files(path), family)


def _open_safetensors(
    path: Path, folder: Path, files: Mapping[Path, list[str] | None], family_name: str | None
) -> Checkpoint:
    family = read_family(folder, family_name)
    config = family.shape if family is not None else read_config(folder)
    return Checkpoint(path, config, SafetensorsFiles(files), family)


def read_family(folder: Path, name: str | None = None) -> FamilyConfig | None:
    """What the family table says of a folder, or of it as family `name`; None for a plain Qwen2, which has a network
    of its own."""
    raw = _read_json(folder / CONFIG_FILE)
    if name is not None:
        raw |= {FAMILY_KEY: name}
    if raw.get("model_type") == "qwen2" and FAMILY_KEY not in raw and (folder / RECORD_FILE).is_file():
        return None  # converted here: no other family can be meant, and the vocabulary need not be read to know
    family = recognise(raw, special_token_names(folder), folder.resolve().name)
    return None if family.name == "qwen2" else read_family_config(raw, family)


def special_token_names(folder: Path) -> set[str]:
    """Names of the added tokens of a published vocabulary, from the smallest file that lists them."""
    names: set[str] = set()
    if (folder / "added_tokens.json").is_file():
        names |= set(_read_json(folder / "added_tokens.json"))
    if (folder / "tokenizer_config.json").is_file():
        decoder = _read_json(folder / "tokenizer_config.json").get("added_tokens_decoder")
        names |= _contents(decoder.values() if isinstance(decoder, dict) else ())
    if not names and (folder / "tokenizer.json").is_file():
        added = _read_json(folder / "tokenizer.json").get("added_tokens")
        names |= _contents(added if isinstance(added, list) else ())
    return names


def _contents(tokens: Iterable[Any]) -> set[str]:
    return {str(each.get("content")) for each in tokens if isinstance(each, dict)}


def read_config(folder: Path) -> ModelConfig:
    """ModelConfig of a folder's `config.json`."""
    raw = _read_json(folder / CONFIG_FILE)
    try:
        return ModelConfig.from_dict(raw)
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise CheckpointMismatch(f"{folder / CONFIG_FILE} has a value that is no shape: {error}") from None


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Qwen2 network of this configuration, by Hugging Face name; linears are (out, in)."""
    hidden, inner = config.hidden_size, config.intermediate_size
    query, key_value = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    for i in range(config.num_layers):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "input_layernorm.weight": (hidden,),
            layer + "post_attention_layernorm.weight": (hidden,),
            layer + "self_attn.o_proj.weight": (hidden, query),
            layer + "mlp.gate_proj.weight": (inner, hidden),
            layer + "mlp.up_proj.weight": (inner, hidden),
            layer + "mlp.down_proj.weight": (hidden, inner),
        }
        for projection, width in (("q_proj", query), ("k_proj", key_value), ("v_proj", key_value)):
            shapes[f"{layer}self_attn.{projection}.weight"] = (width, hidden)
            if config.attention_bias:
                shapes[f"{layer}self_attn.{projection}.bias"] = (width,)
    return shapes


def stored_family_shapes(config: FamilyConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor a family's checkpoint has on disk: its linears as values and scales where it is quantised."""
    shapes = family_shapes(config)
    if config.quantization is not None:
        from model_runtime.quantization import can_pack, stored_shapes

        bits: Literal[4, 8] = 8 if config.quantization.bits == 8 else 4
        for name in linear_names(config):
            if can_pack(shapes[name], bits):
                shapes |= stored_shapes(name, shapes.pop(name), bits)
    return shapes


def refuse_unsafe(path: Path) -> None:
    """CheckpointUnsafe unless the file looks like safetensors or GGUF, whatever its name says."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"GGUF":
        return
    kind = None
    if head[:2] == b"PK":
        kind = "a zip archive (how torch.save writes pickles)"
    elif head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and head[8:9] != b"{":
        kind = "a pickle"
    elif path.suffix.lower() in _PICKLE_SUFFIXES:
        kind = f"a {path.suffix} file"
    elif path.suffix.lower() not in (".safetensors", ".gguf"):
        kind = f"a file of unknown kind ({path.suffix or 'no suffix'})"
    if kind is not None:
        raise CheckpointUnsafe(f"{path} is {kind}: weights are read from safetensors or GGUF only")


def is_gguf(path: Path) -> bool:
    """True if the file says it is GGUF by name or by content."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".gguf" or file.read(4) == b"GGUF"


class SafetensorsFiles:
    """Tensors of one or several safetensors files, memory-mapped."""

    def __init__(self, files: Mapping[Path, list[str] | None]) -> None:
        """`files`: each file with the tensor names the index promises, None to take all it has."""
        self._handles: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._paths: dict[str, Path] = {}
        for path, promised in files.items():
            self._add_file(path, promised)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> torch.Tensor:
        try:
            tensor: torch.Tensor = self._handles[name].get_tensor(name)
        except Exception as error:  # SafetensorError is a bare Exception
            raise CheckpointCorrupt(f"{self._paths[name]}: cannot read tensor {name!r}: {error}") from None
        return tensor

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        try:
            rows: torch.Tensor = self._handles[name].get_slice(name)[start:stop]
        except Exception as error:
            raise CheckpointCorrupt(f"{self._paths[name]}: cannot read tensor {name!r}: {error}") from None
        return rows

    def close(self) -> None:
        self._handles.clear()

    def _add_file(self, path: Path, promised: list[str] | None) -> None:
        from safetensors import safe_open

        if not path.is_file():
            raise CheckpointMissing(f"no weights at {path}")
        refuse_unsafe(path)
        _check_header_length(path)
        try:
            handle: Any = safe_open(path, framework="pt", device="cpu")
            found = {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
        except Exception as error:
            raise CheckpointCorrupt(f"{path} is not readable safetensors: {error}") from None
        for name in found if promised is None else promised:
            if name not in found:
                raise CheckpointMismatch(f"the index promises tensor {name!r} in {path.name}, which lacks it")
            self._shapes[name] = found[name]
            self._handles[name] = handle
            self._paths[name] = path


def _check_header_length(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8:
        raise CheckpointCorrupt(f"{path} is truncated: {size} bytes")
    if length > min(size - 8, _MAX_HEADER_BYTES):
        raise CheckpointCorrupt(f"{path} is truncated or not safetensors: header of {length} bytes in {size}")


def weight_files(folder: Path) -> dict[Path, list[str] | None]:
    """The safetensors files of a folder, with the tensors its index promises in each (None: whatever is there)."""
    if (folder / INDEX_FILE).is_file():
        index = _read_json(folder / INDEX_FILE)
        weight_map = index.get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointCorrupt(f"{folder / INDEX_FILE} has no weight_map")
        files: dict[Path, list[str] | None] = {}
        for name, file_name in sorted(weight_map.items()):
            if not isinstance(file_name, str) or Path(file_name).name != file_name:
                raise CheckpointUnsafe(f"{folder / INDEX_FILE} points outside its folder: {file_name!r}")
            names = files.setdefault(folder / file_name, [])
            assert names is not None
            names.append(name)
        return files
    if (folder / WEIGHTS_FILE).is_file():
        return {folder / WEIGHTS_FILE: None}
    others = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in _PICKLE_SUFFIXES)
    if others:
        refuse_unsafe(others[0])
    raise CheckpointMissing(f"no {WEIGHTS_FILE} in {folder}")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointMissing(f"no {path.name} in {path.parent}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointCorrupt(f"{path} is not a JSON object")
    return value


def _open_gguf(path: Path) -> Checkpoint:
    from model_runtime.gguf import GgufFile

    gguf = GgufFile.open(path)
    try:
        return Checkpoint(path, gguf.model_config(), gguf)
    except CheckpointError:
        gguf.close()
        raise
