"""Which row of the table a checkpoint belongs to.

In this order: the family written into its `config.json` by an import (`seedls_family`), then model type and
architecture, then tokens that only one family's vocabulary has, then the name of its folder. Two rows that stay
possible are an error that names both: a wrong guess writes plausible nonsense.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from model_runtime.errors import CheckpointMismatch
from model_runtime.families.table import FAMILIES, Family, family_by_name, family_names

FAMILY_KEY = "seedls_family"


def recognise(raw: dict[str, Any], special_tokens: Collection[str] = (), folder_name: str = "") -> Family:
    """The family of a `config.json`; CheckpointMismatch if none is known or two are possible."""
    if (chosen := raw.get(FAMILY_KEY)) is not None:
        return named_family(str(chosen), raw)
    model_type, architectures = raw.get("model_type"), _class_names(raw)
    possible = [family for family in FAMILIES if model_type in family.model_types]
    if not possible:
        known = sorted({each for family in FAMILIES for each in family.model_types})
        raise CheckpointMismatch(f"unknown architecture {model_type!r} (known: {', '.join(map(repr, known))})")
    exact = [family for family in possible if set(family.architectures) & set(architectures)]
    plain = [family for family in possible if not family.architectures]
    hinted = [family for family in exact or possible if any(hint in folder_name.lower() for hint in family.name_hints)]
    possible = exact or plain or possible
    marked = [family for family in possible if set(family.marker_tokens) & set(special_tokens)]
    # The default of a model type is the row that needs neither marker nor hint.
    default = [family for family in possible if not family.marker_tokens and not family.name_hints]
    for choice in (exact, marked, hinted, possible, default):
        if len(choice) == 1:
            return _not_somebody_elses(choice[0], raw)
    names = " and ".join(family.name for family in possible)
    raise CheckpointMismatch(
        f"a {model_type!r} checkpoint can be {names}: say which with 'seedls model import PATH --name NAME --family F'"
    )


def _not_somebody_elses(family: Family, raw: dict[str, Any]) -> Family:
    """Refuses as an autoregressive base what brings a network of its own under the base's model type."""
    mapped = raw.get("auto_map")
    own = [str(name) for key, name in mapped.items() if key.startswith("AutoModel")] if isinstance(mapped, dict) else []
    if own and not family.is_diffusion:
        raise CheckpointMismatch(
            f"unknown network {own[0]!r} of type {raw.get('model_type')!r}: published code is never run "
            f"(if it computes what {family.name!r} does, say --family {family.name})"
        )
    return family


def _class_names(raw: dict[str, Any]) -> list[str]:
    """Of `architectures`, and of the published code that `auto_map` names (it is never run).

    Some repositories list the base's class and say their own in `auto_map` alone.
    """
    listed, mapped = raw.get("architectures"), raw.get("auto_map")
    names = listed if isinstance(listed, list) else []
    names = [*names, *(mapped.values() if isinstance(mapped, dict) else ())]
    return [each.rpartition(".")[2] for each in names if isinstance(each, str)]


def named_family(name: str, raw: dict[str, Any]) -> Family:
    """The family somebody asked for; CheckpointMismatch if there is none or its network is another one."""
    family = family_by_name(name)
    if family is None:
        raise CheckpointMismatch(f"unknown family {name!r} (known: {', '.join(family_names())})")
    if raw.get("model_type") not in family.model_types:
        raise CheckpointMismatch(f"family {name!r} has no networks of type {raw.get('model_type')!r}")
    return family
