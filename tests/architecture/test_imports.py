"""Imports go one way: editors -> seedls -> (public API) -> model_runtime. Each failure quotes its rule."""

from __future__ import annotations

from pathlib import Path

import pytest

import model_runtime
from tests.architecture.source_tree import Import, all_imports, imports_in, is_under, module_name, python_files

TENSOR_PACKAGES = ("torch", "cupy", "numpy", "transformers", "safetensors", "gguf", "tokenizers")
EDITOR_PACKAGES = ("pygls", "lsprotocol", "seedls")
TOOLS_ABOVE_THE_RUNTIME = ("model_runtime.training", "model_runtime.evaluation")
TESTS_AND_BENCHMARKS = ("tests", "benchmarks")


def broken(rule: str, imports: list[Import]) -> str:
    lines = [f"{item.where}: {item.importer} imports {item.module} {item.name}".rstrip() for item in imports]
    return "\n".join([f"rule: {rule}", *lines])


def offenders(imports: list[Import], forbidden: tuple[str, ...]) -> list[Import]:
    # `from a import b` may name the module a.b, so both spellings count.
    return [
        item
        for item in imports
        if any(is_under(item.module, name) or is_under(f"{item.module}.{item.name}", name) for name in forbidden)
    ]


def outside_engine(imports: list[Import]) -> list[Import]:
    return [item for item in offenders(imports, ("model_runtime",)) if item.importer != "seedls.engine"]


def not_public(imports: list[Import]) -> list[Import]:
    public = set(model_runtime.__all__)
    whole_package = ("", "*")
    return [
        item
        for item in offenders(imports, ("model_runtime",))
        if item.module != "model_runtime" or (item.name not in public and item.name not in whole_package[:1])
    ]


def test_the_server_imports_no_tensors() -> None:
    found = offenders(all_imports("seedls"), TENSOR_PACKAGES)
    assert not found, broken("seedls never imports torch, cupy, numpy or transformers", found)


def test_the_runtime_imports_no_editor() -> None:
    found = offenders(all_imports("model_runtime"), EDITOR_PACKAGES)
    assert not found, broken("model_runtime never imports pygls, lsprotocol or seedls", found)


def test_only_the_engine_imports_the_runtime() -> None:
    found = outside_engine(all_imports("seedls"))
    assert not found, broken("only seedls/engine.py imports model_runtime", found)


def test_the_engine_uses_public_names_only() -> None:
    found = not_public(all_imports("seedls"))
    assert not found, broken("seedls uses only names of model_runtime.__all__", found)


def test_nothing_imports_training_or_evaluation() -> None:
    for tool in TOOLS_ABOVE_THE_RUNTIME:
        imports = all_imports("model_runtime") + all_imports("seedls")
        found = [item for item in offenders(imports, (tool,)) if not is_under(item.importer, tool)]
        assert not found, broken(f"nothing imports {tool}; it stands above the runtime", found)


def test_nothing_imports_tests_or_benchmarks() -> None:
    imports = all_imports("model_runtime") + all_imports("seedls")
    found = offenders(imports, TESTS_AND_BENCHMARKS)
    assert not found, broken("nothing in the packages imports tests or benchmarks", found)


def test_cache_and_kernels_do_not_know_each_other() -> None:
    imports = all_imports("model_runtime")
    found = [
        item
        for one, other in (
            ("model_runtime.cache", "model_runtime.kernels"),
            ("model_runtime.kernels", "model_runtime.cache"),
        )
        for item in offenders(imports, (other,))
        if is_under(item.importer, one)
    ]
    assert not found, broken("cache and kernels do not import each other; layers joins them", found)


def test_features_do_not_import_each_other() -> None:
    allowed = {("seedls.features.code_action_resolve", "seedls.features.code_action")}
    found = []
    for item in offenders(all_imports("seedls"), ("seedls.features",)):
        target = item.module if item.module != "seedls.features" else f"seedls.features.{item.name}"
        if (
            is_under(item.importer, "seedls.features")
            and target != item.importer
            and (item.importer, target) not in allowed
        ):
            found.append(item)
    assert not found, broken("files in features/ do not import each other", found)


@pytest.mark.parametrize("package", ["seedls", "model_runtime"])
def test_heavy_packages_are_imported_inside_functions_of_light_modules(package: str) -> None:
    light = {
        "model_runtime",
        "model_runtime.api",
        "model_runtime.config",
        "model_runtime.errors",
        "model_runtime.programs",
    }
    imports = [item for item in all_imports(package) if package == "seedls" or item.importer in light]
    found = [item for item in offenders(imports, TENSOR_PACKAGES) if item.at_top]
    assert not found, broken("heavy imports happen inside the function that needs them", found)


@pytest.mark.parametrize(
    ("source", "check"),
    [
        ("import torch", lambda found: offenders(found, TENSOR_PACKAGES)),
        ("def load():\n    from torch import nn", lambda found: offenders(found, TENSOR_PACKAGES)),
        ("import importlib\nimportlib.import_module('torch.nn')", lambda found: offenders(found, TENSOR_PACKAGES)),
        ("from model_runtime import Runtime", outside_engine),
        ("import model_runtime.api", outside_engine),
        ("from model_runtime.runtime import Runtime", not_public),
        ("from model_runtime import _private", not_public),
        ("from .. import server", lambda found: offenders(found, ("seedls.server",))),
    ],
)
def test_the_rules_notice_a_planted_import(source: str, check: object) -> None:
    found = imports_in(source, "seedls.features.planted", Path("seedls/features/planted.py"))
    assert callable(check) and check(found), f"this import went unnoticed: {source!r}"


def test_every_module_is_seen() -> None:
    modules = {module_name(path) for package in ("seedls", "model_runtime") for path in python_files(package)}
    assert {"seedls", "seedls.engine", "seedls.commands.edit", "model_runtime.api"} <= modules
