"""What an edit replaces, learned while it is written: `old` became `new` here, so it may do so again further down.

Only a prophecy for drafts: a wrong one costs a rejected guess, never a character. Pure: text in and out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_CHARACTERS = 48
"""A longer replacement is hardly made twice."""

_WORD = re.compile(r"\w+")
_QUOTED_NAME = r"[`'\"]?([A-Za-z_]\w*)[`'\"]?"
_ANNOUNCEMENTS = (
    (
        re.compile(rf"\b(?:rename|replace|change)\b.*?{_QUOTED_NAME}\s+(?:to|by|with|into)\s+{_QUOTED_NAME}", re.I),
        False,
    ),
    (re.compile(rf"{_QUOTED_NAME}\s+(?:instead of|rather than|in place of)\s+{_QUOTED_NAME}", re.I), True),
)
"""(how an instruction names what goes and what comes, whether it names what comes first)."""
_SPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Substitution:
    """`old` -> `new`, both within a line and not blank; `is_member`: only behind a dot, or only not behind one."""

    old: str
    new: str
    is_member: bool = False


@dataclass(slots=True)
class Substitutions:
    """The replacements believed in now, the newest of an `old` text."""

    _by_old: dict[tuple[str, bool], Substitution] = field(default_factory=dict)
    _pattern: re.Pattern[str] | None = None

    def learn(self, substitution: Substitution) -> bool:
        """Believe in it; True when that is news."""
        key = (substitution.old, substitution.is_member)
        if self._by_old.get(key) == substitution:
            return False
        self._by_old[key] = substitution
        self._compile()
        return True

    def doubt(self, replaced: str) -> bool:
        """What stood there was kept although `replaced` was expected to go; True when a belief was given up."""
        wrong = [key for key in self._by_old if key[0] in replaced]
        for key in wrong:
            del self._by_old[key]
        self._compile()
        return bool(wrong)

    def applied(self, text: str, before: str = "") -> Iterator[tuple[str, str]]:
        """(old piece, what it is expected to become), in order and without gaps; `before` is the character in front."""
        start = 0
        for match in self._pattern.finditer(text) if self._pattern is not None else ():
            ahead = text[match.start() - 1] if match.start() else before
            if _WORD.match(match.group()) and ahead and _WORD.match(ahead):
                continue
            found = self._by_old.get((match.group(), ahead == "."))
            if found is None:
                continue
            if match.start() > start:
                yield text[start : match.start()], text[start : match.start()]
            yield match.group(), found.new
            start = match.end()
        if start < len(text):
            yield text[start:], text[start:]

    def _compile(self) -> None:
        longest_first = sorted({old for old, _ in self._by_old}, key=lambda old: (-len(old), old))
        parts = [re.escape(old) + (r"(?!\w)" if _WORD.match(old[-1]) else "") for old in longest_first]
        self._pattern = re.compile("|".join(parts)) if parts else None


def observed(left: str, old: str, new: str, right: str) -> Substitution | None:
    """The replacement of `old` by `new` between two texts that stayed, in whole words; None when it is no such thing.

    What was inserted in front of a word is taken as a replacement of that word.
    """
    while left and _WORD.match(left[-1]) and _begins_in_word(old, new):
        old, new, left = left[-1] + old, left[-1] + new, left[:-1]
    while right and _WORD.match(right[0]) and (_ends_in_word(old, new) or not old.strip(_SPACE)):
        old, new, right = old + right[0], new + right[0], right[1:]
    while old and new and old[0] == new[0] and old[0] in _SPACE:
        old, new, left = old[1:], new[1:], left + old[0]
    while old and new and old[-1] == new[-1] and old[-1] in _SPACE:
        old, new = old[:-1], new[:-1]
    is_usable = (
        old.strip(_SPACE) == old != ""
        and new.strip(_SPACE) == new != ""
        and "\n" not in old + new
        and len(old) + len(new) <= MAX_CHARACTERS
        and _WORD.search(old) is not None
    )
    return Substitution(old, new, left.endswith(".")) if is_usable else None


def observed_between(before: str, after: str) -> Substitution | None:
    """The one replacement that turns `before` into `after`, in whole words; None when it is no such thing."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    end, new_end = len(before) - tail, len(after) - tail
    return observed(before[:head], before[head:end], after[head:new_end], before[end:]) if before != after else None


def _begins_in_word(old: str, new: str) -> bool:
    return any(text and _WORD.match(text[0]) for text in (old, new))


def _ends_in_word(old: str, new: str) -> bool:
    return any(text and _WORD.match(text[-1]) for text in (old, new))


def announced(instruction: str, code: str) -> Substitution | None:
    """The name of the code that an instruction wants to go, and the name it wants there instead, else None.

    "rename A to B", "use B instead of A". Both are the words next to the middle, or quoted; A must be in the code.
    """
    for pattern, is_swapped in _ANNOUNCEMENTS:
        match = pattern.search(instruction)
        if match is None:
            continue
        old, new = (match[2], match[1]) if is_swapped else (match[1], match[2])
        before = re.findall(rf"(.?)\b{old}\b", code)
        if before and old != new:
            return Substitution(old, new, is_member=before.count(".") * 2 > len(before))
    return None
