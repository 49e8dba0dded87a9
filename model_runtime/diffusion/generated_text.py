"""The growing text of an answer to a free prompt, and when it is finished: tokens and stop strings, no network."""

from __future__ import annotations

from collections.abc import Sequence

from model_runtime.api import FinishReason
from model_runtime.tokenizer import Tokenizer


class GeneratedText:
    """What was committed so far, up to the first stop string; `judge` is the decoder's question after each token."""

    def __init__(self, tokenizer: Tokenizer, stop_strings: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop_strings = [stop for stop in stop_strings if stop]
        self._raw = bytearray()
        self._cut: int | None = None

    @property
    def text(self) -> str:
        """Without the stop string and what follows it; a character cut off in its middle is U+FFFD."""
        return self._raw.decode("utf-8", "replace")[: self._cut]

    def judge(self, token_id: int) -> FinishReason | None:
        """Add one committed token: "end" for any special token, "stop_rule" once a stop string stands in the text."""
        if self._tokenizer.is_special(token_id):
            return "end"
        self._raw.extend(self._tokenizer.token_bytes(token_id))
        text = self._raw.decode("utf-8", "replace")
        self._cut = min((place for stop in self._stop_strings if (place := text.find(stop)) >= 0), default=None)
        return None if self._cut is None else "stop_rule"
