"""What a model's own activations on code look like: the weights of a quantisation error.

Runs the network, in 8 bits, over source text that is always at hand (this package's own), part of it masked as in
denoising, and keeps the mean square of every input of every linear. Knows nothing of how scales are chosen
(`quantization.py`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from model_runtime.checkpoint import open_checkpoint
from model_runtime.config import RuntimeConfig
from model_runtime.conversion import Progress
from model_runtime.families.config import FamilyConfig
from model_runtime.families.mask import mask_token_id
from model_runtime.family_loading import WeightReader, load_family_network
from model_runtime.layers.linear import Linear
from model_runtime.tokenizer import Tokenizer

NUM_SEQUENCES = 8
SEQUENCE_TOKENS = 256
MASKED_SHARE = 0.3


class _Recorded:
    """A linear that adds up the squares of what it is given."""

    def __init__(self, linear: Linear) -> None:
        self._linear = linear
        self.total: Tensor | None = None
        self.num_rows = 0

    def __call__(self, x: Tensor) -> Tensor:
        squares = x.detach().float().square().sum(dim=0).cpu()
        self.total = squares if self.total is None else self.total + squares
        self.num_rows += x.shape[0]
        return self._linear(x)

    @property
    def num_bytes(self) -> int:
        return self._linear.num_bytes


class _RecordingReader(WeightReader):
    """Layers that record, by the names of their weights."""

    recorded: dict[str, _Recorded]

    def read_linear(self, names: tuple[str, ...], has_bias: bool) -> Linear:
        layer = _Recorded(super().read_linear(names, has_bias))
        self.__dict__.setdefault("recorded", {}).update({f"{name}.weight": layer for name in names})
        return layer


def input_powers(folder: Path, family: str, progress: Progress) -> dict[str, Tensor]:
    """Weight name -> mean square of its inputs (in,), for every linear that saw a row; runs on the CPU."""
    tokenizer = Tokenizer.load(folder)
    with open_checkpoint(folder, family) as checkpoint:
        config = checkpoint.family
        assert config is not None
        runtime = RuntimeConfig(device="cpu", precision="int8", cache_tokens=SEQUENCE_TOKENS)
        network, _, reader = load_family_network(checkpoint, runtime, None, _RecordingReader)
    assert isinstance(reader, _RecordingReader)
    mask: int | None = None
    if config.family.is_diffusion:
        mask = mask_token_id(config, tokenizer.special_tokens, tokenizer.vocab_size, lambda token: str(token))
    cache = network.new_canvas_cache(SEQUENCE_TOKENS)
    generator = torch.Generator().manual_seed(0)
    sequences = _sequences(tokenizer)
    for i, token_ids in enumerate(sequences):
        if mask is not None:
            token_ids[torch.rand(len(token_ids), generator=generator) < MASKED_SHARE] = mask
        window = cache.window(0, len(token_ids))
        rows = torch.arange(len(token_ids))
        network.logits(network.forward_canvas(token_ids, rows, window, _who_sees_whom(config, len(token_ids))))
        progress("calibrating", (i + 1) / len(sequences))
    return {name: layer.total / layer.num_rows for name, layer in reader.recorded.items() if layer.total is not None}


def _who_sees_whom(config: FamilyConfig, num_rows: int) -> Tensor | None:
    """The attention the model was trained with, (T, T) to add to scores; None where every row sees every row."""
    if config.family.attention == "full":
        return None
    size = config.block_size if config.family.attention == "block-causal" else 1
    block = torch.arange(num_rows) // size
    return torch.zeros(num_rows, num_rows).masked_fill_(block[:, None] < block[None, :], float("-inf"))


def _sequences(tokenizer: Tokenizer) -> list[Tensor]:
    """Pieces of this package's own source."""
    pieces = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        token_ids = tokenizer.encode(path.read_text(encoding="utf-8"))[:SEQUENCE_TOKENS]
        if len(token_ids) >= 16:
            pieces.append(torch.tensor(token_ids))
        if len(pieces) == NUM_SEQUENCES:
            break
    return pieces
