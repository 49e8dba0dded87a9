"""Exact and near duplicates between files: a digest of the tokens, and MinHash over word shingles with banding.

Pure bookkeeping over text; knows no packages. Numbers: 64 permutations in 16 bands of 4, so that pairs of Jaccard
similarity 0.7 meet in some band with probability 0.99; candidates are then compared by their full signatures.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

NUM_PERMUTATIONS = 64
NUM_BANDS = 16
SHINGLE_WORDS = 5
NEAR_DUPLICATE = 0.7

_WORD = re.compile(r"\w+")
_PRIME = (1 << 61) - 1


class DuplicateFilter:
    """Remembers the files seen so far."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._multiply = rng.integers(1, 1 << 31, NUM_PERMUTATIONS, dtype=np.uint64)
        self._add = rng.integers(0, 1 << 31, NUM_PERMUTATIONS, dtype=np.uint64)
        self._digests: set[bytes] = set()
        self._signatures: list[NDArray[np.uint64]] = []
        self._bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)

    def admit(self, text: str) -> str | None:
        """None and remember the file, or "exact"/"near" when an earlier one is (nearly) the same."""
        words = _WORD.findall(text)
        digest = hashlib.sha256(" ".join(words).encode()).digest()
        if digest in self._digests:
            return "exact"
        signature = self._signature(words)
        bands = [(i, part.tobytes()) for i, part in enumerate(np.split(signature, NUM_BANDS))]
        for candidate in {index for band in bands for index in self._bands.get(band, ())}:
            if float(np.mean(self._signatures[candidate] == signature)) >= NEAR_DUPLICATE:
                return "near"
        self._digests.add(digest)
        for band in bands:
            self._bands[band].append(len(self._signatures))
        self._signatures.append(signature)
        return None

    def _signature(self, words: list[str]) -> NDArray[np.uint64]:
        shingles = {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}
        digests = (hashlib.blake2b(shingle.encode(), digest_size=4).digest() for shingle in shingles)
        hashes = np.frombuffer(b"".join(digests), dtype="<u4").astype(np.uint64)
        # 31-bit factors times 32-bit hashes stay below 2**63: no overflow before the modulus.
        table = (hashes[None, :] * self._multiply[:, None] + self._add[:, None]) % np.uint64(_PRIME)
        signature: NDArray[np.uint64] = table.min(axis=1)  # (permutations,)
        return signature
