"""The server and its features never learn which family answers: they ask for an infill or an edit."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_runtime.api import CompletionRequest, CompletionResult, EditRequest, GenerateRequest, SamplingParams
from model_runtime.families.table import family_names
from tests.architecture.source_tree import ROOT

# `model` takes and prints what the user says of a model; it decides nothing by it.
MAY_SPEAK_OF_FAMILIES = {ROOT / "seedls" / "commands" / "model.py"}


def words(tree: ast.AST) -> Iterator[str]:
    """Attribute names, argument names and texts of a module, documentation aside."""
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def speaks_of_families(source: str) -> list[str]:
    """What a module says that only somebody who knows the family could say."""
    return sorted({each for each in words(ast.parse(source)) if each in KNOWING})


KNOWING = {*family_names(), "architecture", "is_diffusion", "mask_token_id", "block_causal", "shift_logits"}


def test_no_module_of_the_server_knows_a_family() -> None:
    files = [path for path in (ROOT / "seedls").rglob("*.py") if path not in MAY_SPEAK_OF_FAMILIES]
    assert len(files) > 30
    found = {str(path.relative_to(ROOT)): said for path in files if (said := speaks_of_families(read(path)))}
    assert found == {}


@pytest.mark.parametrize("kind", [CompletionRequest, EditRequest, GenerateRequest, SamplingParams, CompletionResult])
def test_no_request_names_a_family(kind: type) -> None:
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields and not [name for name in fields if "famil" in name or name in KNOWING]


def test_what_would_be_found() -> None:
    assert speaks_of_families("if info.architecture == 'sdar':\n    pass") == ["architecture", "sdar"]
    assert speaks_of_families('"""sdar"""\nx = ask(infill=1)') == []


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
