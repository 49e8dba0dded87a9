"""GGUF files: header, metadata, vocabulary, and tensors dequantised one at a time.

Owns: reading and validating the header, the map from GGUF names to Hugging Face names for Qwen2. The dequantisers
are those of the `gguf` package. The header is parsed here rather than by that package's reader because every count
and offset in it is untrusted: each is checked against the file before it is used.

A GGUF quantises the tied embedding twice, coarsely as `token_embd` and finely as `output`. They are one tensor, so
the finer copy serves as both.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from model_runtime.config import ModelConfig
from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch, CheckpointMissing

if TYPE_CHECKING:
    import torch

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_DIMS = 4
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_TOP_NAMES = {
    "token_embd.weight": _EMBEDDING,
    "output.weight": _HEAD,
    "output_norm.weight": "model.norm.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER_PATTERN = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where one tensor lies in the file."""

    name: str
    shape: tuple[int, ...]
    """Rows first, as in Hugging Face; GGUF stores the reverse."""
    type_id: int
    offset: int
    """Bytes from the start of the file."""
    num_bytes: int


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """The vocabulary as stored: texts in byte symbols, merges as "left right", kinds (1 normal, 3 control, 4 user
    defined, 5 unused)."""

    tokens: list[str]
    merges: list[str]
    token_types: list[int]


def hugging_face_name(name: str) -> str:
    """The Hugging Face name of a GGUF tensor of a Qwen2 model; CheckpointMismatch if there is none."""
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    match = _LAYER_PATTERN.fullmatch(name)
    if match is None or match[2] not in _LAYER_NAMES:
        raise CheckpointMismatch(f"tensor {name!r} is not part of a qwen2 model")
    return f"model.layers.{int(match[1])}.{_LAYER_NAMES[match[2]]}.{match[3]}"


class GgufFile:
    """An open GGUF: metadata, and tensors by Hugging Face name. Use as a context manager."""

    def __init__(self, path: Path, view: mmap.mmap, metadata: Mapping[str, Any], tensors: list[GgufTensor]) -> None:
        """Use `GgufFile.open`."""
        self.path = path
        self.metadata = metadata
        self._view = view
        by_name = {hugging_face_name(tensor.name): tensor for tensor in tensors}
        if len(by_name) != len(tensors):
            raise CheckpointCorrupt(f"{path} holds a tensor twice")
        self.is_tied = _EMBEDDING not in by_name or _HEAD not in by_name or self._is_small()
        if self.is_tied and (finer := by_name.pop(_HEAD, None)) is not None:
            by_name[_EMBEDDING] = finer
        self._tensors = by_name

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Map the file and read its header; CheckpointMissing, CheckpointCorrupt or CheckpointMismatch."""
        path = Path(path)
        if not path.is_file():
            raise CheckpointMissing(f"no GGUF file at {path}")
        if path.stat().st_size < 24:
            raise CheckpointCorrupt(f"{path} is truncated: {path.stat().st_size} bytes are no GGUF header")
        with path.open("rb") as file:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            metadata, tensors = _HeaderReader(path, view).read()
            return cls(path, view, metadata, tensors)
        except BaseException:
            view.close()
            raise

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Hugging Face name -> shape."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of one tensor, dequantised to float32; CheckpointCorrupt where one is not finite."""
        import numpy as np
        import torch
        from gguf import GGMLQuantizationType, dequantize

        tensor = self._tensors[name]
        row_bytes = tensor.num_bytes // tensor.shape[0]
        count = (stop - start) * row_bytes
        raw = np.frombuffer(self._view, np.uint8, count=count, offset=tensor.offset + start * row_bytes).copy()
        kind = GGMLQuantizationType(tensor.type_id)
        with np.errstate(all="ignore"):  # damage may make any bytes a scale: said below, as an error of ours
            if kind.name == "F32":
                values = raw.view("<f4")
            elif kind.name == "F16":
                values = raw.view("<f2").astype(np.float32)
            else:
                values = dequantize(raw.reshape(stop - start, row_bytes), kind)
            values = np.ascontiguousarray(values, dtype=np.float32)
        if not np.isfinite(values).all():
            raise CheckpointCorrupt(f"{self.path}: tensor {name!r} holds values that are not finite")
        return torch.from_numpy(values).reshape(stop - start, *tensor.shape[1:])

    def read(self, name: str) -> torch.Tensor:
        """One tensor in float32; CheckpointMismatch if there is none of that name."""
        if name not in self._tensors:
            raise CheckpointMismatch(f"{self.path} has no tensor {name!r}")
        return self.read_rows(name, 0, self._tensors[name].shape[0])

    def model_config(self) -> ModelConfig:
        """The configuration in the metadata; CheckpointMismatch naming the key or the architecture."""
        architecture = self.metadata.get("general.architecture")
        if architecture != "qwen2":
            raise CheckpointMismatch(f"unknown architecture {architecture!r} in {self.path} (known: 'qwen2')")
        if _EMBEDDING not in self._tensors:
            raise CheckpointMismatch(f"{self.path}: tensor 'token_embd.weight' is missing")
        shape = self._tensors[_EMBEDDING].shape
        epsilon = float(self._number("qwen2.attention.layer_norm_rms_epsilon"))
        return ModelConfig.from_dict(
            {
                "model_type": "qwen2",
                "hidden_size": self._number("qwen2.embedding_length"),
                "intermediate_size": self._number("qwen2.feed_forward_length"),
                "num_hidden_layers": self._number("qwen2.block_count"),
                "num_attention_heads": self._number("qwen2.attention.head_count"),
                "num_key_value_heads": self._number("qwen2.attention.head_count_kv"),
                "max_position_embeddings": self._number("qwen2.context_length"),
                "rope_theta": self._number("qwen2.rope.freq_base"),
                "rms_norm_eps": float(f"{epsilon:.6g}"),  # stored as float32: 9.99999997e-07 means 1e-06
                "vocab_size": shape[0],
                "tie_word_embeddings": self.is_tied,
            }
        )

    def tokenizer(self) -> GgufTokenizer:
        """The stored vocabulary; CheckpointMismatch if it is not Qwen2's byte-level BPE."""
        kind = (self.metadata.get("tokenizer.ggml.model"), self.metadata.get("tokenizer.ggml.pre"))
        if kind != ("gpt2", "qwen2"):
            raise CheckpointMismatch(f"{self.path} has a {kind[0]!r}/{kind[1]!r} tokenizer, not 'gpt2'/'qwen2'")
        tokens, merges = self._list("tokenizer.ggml.tokens", str), self._list("tokenizer.ggml.merges", str)
        types = self._list("tokenizer.ggml.token_type", int)
        if len(types) != len(tokens):
            raise CheckpointCorrupt(f"{self.path} has {len(tokens)} tokens but {len(types)} token types")
        return GgufTokenizer(tokens, merges, types)

    def close(self) -> None:
        """Unmap the file."""
        self._view.close()

    def __enter__(self) -> GgufFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_small(self) -> bool:
        # Qwen2.5 ties head and embedding up to 3B parameters (hidden size 2048), and its GGUFs do not say so.
        return int(self._number("qwen2.embedding_length")) <= 2048

    def _number(self, key: str) -> int | float:
        value = self.metadata.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0 or math.isinf(value):
            raise CheckpointMismatch(f"{self.path}: metadata {key!r} is {value!r}, not a positive number")
        return value

    def _list(self, key: str, kind: type) -> list[Any]:
        value = self.metadata.get(key)
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise CheckpointMismatch(f"{self.path}: metadata {key!r} is not a list of {kind.__name__}")
        return value


class _HeaderReader:
    """Reads a header front to back; every length is checked against what is left of the file."""

    def __init__(self, path: Path, view: mmap.mmap) -> None:
        self._path = path
        self._view = view
        self._size = len(view)
        self._at = 0

    def read(self) -> tuple[dict[str, Any], list[GgufTensor]]:
        magic = self._bytes(4)
        if magic != _MAGIC:
            raise CheckpointCorrupt(f"{self._path} is not GGUF: it starts with {magic!r}")
        version = self._scalar("I")
        if version not in _VERSIONS:
            raise CheckpointCorrupt(f"{self._path} is GGUF version {version} (known: 2 and 3, little-endian)")
        num_tensors, num_keys = self._count(24), self._count(13)
        metadata: dict[str, Any] = {}
        for _ in range(num_keys):
            key = self._string()
            metadata[key] = self._value(self._scalar("I"))
        infos = [self._tensor_info() for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise CheckpointCorrupt(f"{self._path}: alignment {alignment!r} is not a power of two")
        data_start = -(-self._at // alignment) * alignment
        return metadata, list(self._tensors(infos, data_start))

    def _tensors(self, infos: list[tuple[str, tuple[int, ...], int, int]], data_start: int) -> Iterator[GgufTensor]:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        for name, shape, type_id, offset in infos:
            try:
                kind = GGMLQuantizationType(type_id)
                block, block_bytes = GGML_QUANT_SIZES[kind]
            except (ValueError, KeyError):
                raise CheckpointMismatch(f"{self._path}: tensor {name!r} has the unknown type {type_id}") from None
            if not _can_dequantize(kind.name):
                raise CheckpointMismatch(f"{self._path}: tensor {name!r} has the unsupported type {kind.name}")
            if shape[-1] % block:
                raise CheckpointCorrupt(f"{self._path}: rows of {name!r} ({shape[-1]}) do not fill {kind.name} blocks")
            num_bytes = math.prod(shape) // block * block_bytes
            start = data_start + offset
            if start + num_bytes > self._size:
                raise CheckpointCorrupt(
                    f"{self._path} is truncated: tensor {name!r} ends at byte {start + num_bytes} of {self._size}"
                )
            yield GgufTensor(name, shape, type_id, start, num_bytes)

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        num_dims = self._scalar("I")
        if not 1 <= num_dims <= _MAX_DIMS:
            raise CheckpointCorrupt(f"{self._path}: tensor {name!r} has {num_dims} dimensions")
        shape = tuple(self._scalar("Q") for _ in range(num_dims))
        if not all(shape):
            raise CheckpointCorrupt(f"{self._path}: tensor {name!r} is empty: {list(shape)}")
        return name, shape[::-1], self._scalar("I"), self._scalar("Q")

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise CheckpointCorrupt(f"{self._path}: unknown metadata type {kind} at byte {self._at - 4}")
        item_kind = self._scalar("I")
        if item_kind in _SCALARS:
            code = _SCALARS[item_kind]
            count = self._count(struct.calcsize(code))
            return list(struct.unpack(f"<{count}{code}", self._bytes(count * struct.calcsize(code))))
        if item_kind == _STRING:
            return [self._string() for _ in range(self._count(8))]
        raise CheckpointCorrupt(f"{self._path}: unknown metadata list type {item_kind} at byte {self._at - 4}")

    def _string(self) -> str:
        raw = self._bytes(self._count(1))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise CheckpointCorrupt(f"{self._path}: text before byte {self._at} is not UTF-8") from None

    def _count(self, item_bytes: int) -> int:
        """A 64-bit count of items that take at least `item_bytes` each: more than fit in the file is corrupt."""
        count: int = self._scalar("Q")
        if count * item_bytes > self._size - self._at:
            raise CheckpointCorrupt(f"{self._path} is truncated: {count} items announced at byte {self._at - 8}")
        return count

    def _scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self._bytes(struct.calcsize(code)))[0]

    def _bytes(self, count: int) -> bytes:
        if count > self._size - self._at:
            raise CheckpointCorrupt(f"{self._path} is truncated: header goes past its {self._size} bytes")
        raw = self._view[self._at : self._at + count]
        self._at += count
        return raw


def _can_dequantize(type_name: str) -> bool:
    return type_name in (
        "F32",
        "F16",
        "BF16",
        "Q4_0",
        "Q4_1",
        "Q5_0",
        "Q5_1",
        "Q8_0",
        "Q2_K",
        "Q3_K",
        "Q4_K",
        "Q5_K",
        "Q6_K",
    )
