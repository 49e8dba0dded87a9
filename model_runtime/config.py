"""Configuration of the machine (`RuntimeConfig`) and of the checkpoint (`ModelConfig`).

The only place of this package that reads environment variables:

    SEEDLS_HOME      where models and measurements are kept (default: the platform's user cache, `seedls/`)
    SEEDLS_DEVICE    `auto`, `cpu`, `cuda`, `cuda:N`
    SEEDLS_THREADS   CPU threads of the worker (default: physical cores, at most 8)
    SEEDLS_MODELS    a folder of manifests to use instead of the ones that come with the package
    SEEDLS_OFFLINE   `1` forbids every download; HF_HUB_OFFLINE=1 means the same
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model_runtime.errors import CheckpointMismatch

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Where and how a model runs."""

    model: str = "coder-0.5b"
    """An installed model's name, or a path to a checkpoint folder or file."""
    home: Path | None = None
    """None: `default_home()`."""
    device: str = "auto"
    precision: Precision = "auto"
    """`auto`: bfloat16 on CUDA, int8 on CPU."""
    threads: int | None = None
    cache_tokens: int = 8192
    """Capacity of the key/value cache in tokens."""
    prefix_cache_bytes: int = 256 * 2**20
    """Memory for prompts that left the cache (other documents, other places); 0: none. The oldest use goes first."""
    keep_packed: bool = True
    """Keep the merged 8-bit weights of an installed model in the home folder: later loads need not make them again."""
    use_kernels: bool = True
    use_adapters: bool = True


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of a Qwen2-family decoder, from `config.json` (Hugging Face key names)."""

    architecture: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position: int
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool
    attention_bias: bool = True
    mask_token_id: int | None = None

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelConfig:
        """Read Hugging Face `config.json` keys; raises CheckpointMismatch naming the key or architecture."""
        model_type = raw.get("model_type")
        if model_type != "qwen2":
            raise CheckpointMismatch(f"unknown architecture {model_type!r} (known: 'qwen2')")
        try:
            num_heads = int(raw["num_attention_heads"])
            hidden_size = int(raw["hidden_size"])
            rope = raw.get("rope_parameters") or {}
            config = cls(
                architecture=model_type,
                hidden_size=hidden_size,
                intermediate_size=int(raw["intermediate_size"]),
                num_layers=int(raw["num_hidden_layers"]),
                num_heads=num_heads,
                num_kv_heads=int(raw["num_key_value_heads"]),
                head_dim=int(raw.get("head_dim") or hidden_size // num_heads),
                vocab_size=int(raw["vocab_size"]),
                max_position=int(raw.get("max_position_embeddings", 32768)),
                rope_theta=float(raw.get("rope_theta") or rope["rope_theta"]),
                rms_norm_eps=float(raw["rms_norm_eps"]),
                tie_word_embeddings=bool(raw.get("tie_word_embeddings", False)),
                attention_bias=True,
                mask_token_id=raw.get("mask_token_id"),
            )
        except KeyError as missing:
            raise CheckpointMismatch(f"config.json has no {missing.args[0]!r}") from None
        if config.num_heads % config.num_kv_heads:
            raise CheckpointMismatch(
                f"{config.num_heads} heads cannot share {config.num_kv_heads} key/value heads evenly"
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """The same shape as Hugging Face `config.json`, so that other tools read our checkpoints."""
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": self.architecture,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "mask_token_id": self.mask_token_id,
            "torch_dtype": "float16",
            "use_sliding_window": False,
        }


def default_home() -> Path:
    """The folder for models and measurements: SEEDLS_HOME, else the platform's user cache."""
    if configured := os.environ.get("SEEDLS_HOME"):
        return Path(configured).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "seedls"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/seedls"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "seedls"


def models_folder_setting() -> Path | None:
    """SEEDLS_MODELS, the folder of manifests to use instead of the ones that come with the package."""
    configured = os.environ.get("SEEDLS_MODELS")
    return Path(configured).expanduser() if configured else None


def prepare_environment() -> None:
    """Tell OpenMP not to spin while it waits, unless the user says otherwise. Has effect only before torch is imported.

    An editor shares the cores with compilers, tests and other servers. A spinning thread pool then burns the time slice
    that its own other threads need: on two cores a forward was 2.5 times slower beside two busy processes, and up to 48
    times beside three (docs/log.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def is_offline() -> bool:
    """True when the user forbids downloads."""
    return any(os.environ.get(name, "") not in ("", "0") for name in ("SEEDLS_OFFLINE", "HF_HUB_OFFLINE"))


def runtime_config_from_environment() -> RuntimeConfig:
    """RuntimeConfig with the environment's device and thread settings applied."""
    threads = os.environ.get("SEEDLS_THREADS")
    return RuntimeConfig(
        home=default_home(),
        device=os.environ.get("SEEDLS_DEVICE", "auto"),
        threads=int(threads) if threads else None,
    )
