"""Other ways to run the same base model: llama.cpp (through llama-cpp-python) and transformers, greedy.

Both get the base's own fill-in-the-middle and chat layouts and the stop rules applied here. Both are optional:
a missing package is reported as absent, never silently left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model_runtime.evaluation.cases import Answer, Case
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.solvers import Solver, extract_code

PEERS = {"llama-cpp": "llama_cpp", "transformers": "transformers"}
_ENDS = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>")

StreamTokens = Callable[[str, int], Iterator[str]]
"""(prompt with special tokens as text, most tokens) -> the text of each new token; ends at an end token."""


@dataclass(frozen=True, slots=True)
class PeerSolver:
    """Token-by-token decoding with the same prompts and stop rules for every peer."""

    stream: StreamTokens

    def solve(self, case: Case) -> Answer:
        """Stops as soon as the text so far is finished by the case's rules."""
        started = time.perf_counter()
        first = started
        text, tokens, finish = "", 0, "end"
        for piece in self.stream(peer_prompt(case), case.max_tokens):
            if tokens == 0:
                first = time.perf_counter()
            tokens += 1
            text += piece
            if (cut := cut_at_stop(text, case)) is not None:
                text, finish = cut, "stop_rule"
                break
        else:
            finish = "length" if tokens >= case.max_tokens else "end"
        now = time.perf_counter()
        if case.chat or case.kind == "edit":
            text = extract_code(text)
        if finish == "stop_rule":
            text += case.closing
        # The prompt is read before the first token: what comes after is decoding.
        return Answer(text, tokens, tokens, (now - started) * 1000, (now - first) * 1000, finish)


def peer_prompt(case: Case) -> str:
    """The layout of the Qwen2.5-Coder family for this case."""
    if case.kind == "infill":
        return f"<|fim_prefix|>{case.prefix}<|fim_suffix|>{case.suffix}<|fim_middle|>"
    if case.kind == "edit":
        ask = f"{case.instruction}\n\n```{case.language}\n{case.prefix}\n```\n\nAnswer with the whole changed code."
        return _chat(ask)
    return _chat(case.prefix) if case.chat else case.prefix


def _chat(user: str) -> str:
    system = "You are a helpful assistant."
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def cut_at_stop(text: str, case: Case) -> str | None:
    """The finished text by the case's rules (line limit, suffix line met again, stop strings), or None to go on."""
    if case.max_lines is not None:
        lines = text.split("\n")
        if len(lines) > case.max_lines:
            return "\n".join(lines[: case.max_lines]) + "\n"
    for stop in case.stop_strings:
        if (found := text.find(stop)) >= 0:
            return text[:found]
    if case.kind == "infill":
        return _cut_at_suffix(text, case.suffix)
    return None


def _cut_at_suffix(text: str, suffix: str) -> str | None:
    resumes = next((line for line in suffix.split("\n") if len(line.strip()) >= 4), None)
    complete = text.split("\n")[:-1]
    if resumes is None or resumes not in complete:
        return None
    return "".join(f"{line}\n" for line in complete[: complete.index(resumes)])


def is_present(peer: str) -> bool:
    """Whether the peer's package can be imported."""
    return find_spec(PEERS[peer]) is not None


def make_peer(peer: str, gguf: Path | None, model: str | None, threads: int | None) -> tuple[Solver, dict[str, Any]]:
    """The solver and what to record about it. Raises EvaluationError when the peer or its weights are absent."""
    if not is_present(peer):
        raise EvaluationError(f"{peer} is absent: the Python package {PEERS[peer]!r} is not installed (extra `bench`)")
    if peer == "llama-cpp":
        if gguf is None or not gguf.is_file():
            raise EvaluationError(f"llama-cpp needs --gguf FILE, got {gguf}")
        return PeerSolver(_llama_stream(gguf, threads)), {"gguf": gguf.name, "threads": threads}
    if model is None:
        raise EvaluationError("transformers needs --model, a checkpoint folder")
    return PeerSolver(_transformers_stream(model, threads)), {"checkpoint": Path(model).name, "threads": threads}


def _llama_stream(gguf: Path, threads: int | None) -> StreamTokens:
    import llama_cpp

    llama = llama_cpp.Llama(str(gguf), n_ctx=4096, n_threads=threads, n_threads_batch=threads, verbose=False)
    ends = {llama.token_eos(), *(llama.tokenize(end.encode(), add_bos=False, special=True)[0] for end in _ENDS)}

    def stream(prompt: str, max_tokens: int) -> Iterator[str]:
        ids = llama.tokenize(prompt.encode("utf-8"), add_bos=False, special=True)
        room = 4096 - len(ids)
        if room < 1:
            raise EvaluationError(f"the prompt has {len(ids)} tokens, llama.cpp was opened with 4096")
        generator = llama.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0)
        produced: list[int] = []
        shown = ""
        for token in generator:
            if token in ends:
                return
            produced.append(token)
            # A token may end inside a character: give out only what is complete.
            text = llama.detokenize(produced).decode("utf-8", "ignore")
            yield text[len(shown) :]
            shown = text
            if len(produced) >= min(max_tokens, room):
                return

    return stream


def _transformers_stream(checkpoint: str, threads: int | None) -> StreamTokens:
    import torch
    import transformers

    if threads:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    ends = {tokenizer.convert_tokens_to_ids(end) for end in _ENDS} - {None, tokenizer.unk_token_id}

    def stream(prompt: str, max_tokens: int) -> Iterator[str]:
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
        cache, produced, shown = None, [], ""
        with torch.inference_mode():
            for _ in range(max_tokens):
                out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache, token = out.past_key_values, int(out.logits[0, -1].argmax())
                if token in ends:
                    return
                produced.append(token)
                text = tokenizer.decode(produced).rstrip("\ufffd")
                yield text[len(shown) :]
                shown = text
                ids = torch.tensor([[token]])

    return stream
