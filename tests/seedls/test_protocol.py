"""The protocol page is current, and what comes back from clients is checked. Run as a script to write the hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from seedls import protocol
from seedls.protocol import ActionData, Explanation, StateChanged, Status, to_wire

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "protocol.md"
HASH = re.compile(r"sha256: (\w+)")


def current_hash() -> str:
    source = (ROOT / "seedls" / "protocol.py").read_text(encoding="utf-8")
    return hashlib.sha256(source.encode()).hexdigest()


def test_the_page_describes_this_protocol() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = HASH.search(text)
    assert found is not None
    assert found[1] == current_hash(), "read docs/protocol.md again, then: python -m tests.seedls.test_protocol"
    names = [value for name, value in vars(protocol).items() if name.isupper()]
    assert len(names) >= 7
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "payload",
    [
        StateChanged("ready", "fine"),
        Explanation("inlineCompletion", "shown", "end", 1.5),
        Status("ready", "fine", "m", {"a": 1}, {"b": 2.0}, {"b": 3.0}),
        ActionData("file:///a", 1, 0, 5, "simplify", ["bad"]),
    ],
)
def test_payloads_are_plain_json(payload: Any) -> None:
    assert json.loads(json.dumps(to_wire(payload))) == to_wire(payload)


def test_action_data_survives_the_way_to_the_client_and_back() -> None:
    data = ActionData("file:///a", 1, 0, 5, "fix", ["bad"])
    wire = to_wire(data)
    assert ActionData.from_wire(wire) == data
    assert ActionData.from_wire(namedtuple("Object", wire)(*wire.values())) == data  # as pygls gives objects
    assert ActionData.from_wire({**wire, "diagnostics": None}).diagnostics == []


@pytest.mark.parametrize(
    ("change", "named"),
    [({"version": "1"}, "version is '1'"), ({"uri": None}, "uri is None"), ({"start": 1.5}, "start is 1.5")],
)
def test_foreign_action_data_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    wire = {**to_wire(ActionData("file:///a", 1, 0, 5, "fix")), **change}
    with pytest.raises(ValueError, match=named):
        ActionData.from_wire(wire)


def test_no_action_data_at_all() -> None:
    with pytest.raises(ValueError, match="uri is None"):
        ActionData.from_wire(None)


if __name__ == "__main__":
    PAGE.write_text(HASH.sub(f"sha256: {current_hash()}", PAGE.read_text(encoding="utf-8")), encoding="utf-8")
