"""In-process runtime of a local diffusion language model for code: the public names, loaded when first used.

Owns the list of what other packages may import (`__all__`) and nothing else; importing it imports no torch.
It does not know editors, language-server positions or JSON.

    import model_runtime

    runtime = model_runtime.Runtime.load(model_runtime.RuntimeConfig(model="coder-0.5b"))
    result = runtime.complete(model_runtime.CompletionRequest(prefix="def add(a, b):\n    return "))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_runtime.api import (
        CompletionRequest,
        CompletionResult,
        EditRequest,
        EditStep,
        FinishReason,
        GenerateRequest,
        GenerateResult,
        ModelInfo,
        Policy,
        RepairRequest,
        SamplingParams,
        ShouldStop,
        Snippet,
        StopRules,
        Timings,
        never_stop,
    )
    from model_runtime.config import RuntimeConfig, default_home, runtime_config_from_environment
    from model_runtime.device_report import describe_devices
    from model_runtime.errors import (
        Cancelled,
        CheckpointCorrupt,
        CheckpointError,
        CheckpointMismatch,
        CheckpointMissing,
        CheckpointUnsafe,
        InstallError,
        OutOfMemory,
        RequestError,
        RuntimeFailure,
    )
    from model_runtime.families.table import family_names
    from model_runtime.hub import pull_model
    from model_runtime.install import (
        import_checkpoint,
        install_model,
        list_models,
        model_details,
        quantize_model,
        verify_model,
    )
    from model_runtime.programs import Program, find_program
    from model_runtime.runtime import Runtime

__all__ = [
    "Cancelled",
    "CheckpointCorrupt",
    "CheckpointError",
    "CheckpointMismatch",
    "CheckpointMissing",
    "CheckpointUnsafe",
    "CompletionRequest",
    "CompletionResult",
    "EditRequest",
    "EditStep",
    "FinishReason",
    "GenerateRequest",
    "GenerateResult",
    "InstallError",
    "ModelInfo",
    "OutOfMemory",
    "Policy",
    "Program",
    "RepairRequest",
    "RequestError",
    "Runtime",
    "RuntimeConfig",
    "RuntimeFailure",
    "SamplingParams",
    "ShouldStop",
    "Snippet",
    "StopRules",
    "Timings",
    "default_home",
    "describe_devices",
    "family_names",
    "find_program",
    "import_checkpoint",
    "install_model",
    "list_models",
    "model_details",
    "never_stop",
    "pull_model",
    "quantize_model",
    "runtime_config_from_environment",
    "verify_model",
]

_NAMES_OF_MODULE = {
    "model_runtime.api": (
        "CompletionRequest CompletionResult EditRequest EditStep FinishReason GenerateRequest GenerateResult ModelInfo "
        "Policy RepairRequest SamplingParams ShouldStop Snippet StopRules Timings never_stop"
    ),
    "model_runtime.config": "RuntimeConfig default_home runtime_config_from_environment",
    "model_runtime.device_report": "describe_devices",
    "model_runtime.errors": (
        "Cancelled CheckpointCorrupt CheckpointError CheckpointMismatch CheckpointMissing CheckpointUnsafe "
        "InstallError OutOfMemory RequestError RuntimeFailure"
    ),
    "model_runtime.families.table": "family_names",
    "model_runtime.hub": "pull_model",
    "model_runtime.install": ("import_checkpoint install_model list_models model_details quantize_model verify_model"),
    "model_runtime.programs": "Program find_program",
    "model_runtime.runtime": "Runtime",
}

_MODULE_OF_NAME = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    from model_runtime.config import prepare_environment

    module = _MODULE_OF_NAME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    prepare_environment()  # before the first module that imports torch
    value = getattr(import_module(module), name)
    globals()[name] = value  # the next access is a plain lookup
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
