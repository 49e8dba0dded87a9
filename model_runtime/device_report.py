"""What the devices of this machine are, in words for a person: `seedls doctor` prints it. Chooses nothing."""

from __future__ import annotations


def describe_devices() -> dict[str, str]:
    """Fact -> value: the torch build, its CPU abilities, and every CUDA device with memory and compute capability."""
    import torch

    from model_runtime.kernels import load_kernels

    facts = {
        "torch": torch.__version__,
        "cpu": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
        "cpu int8": ", ".join(engine for engine in torch.backends.quantized.supported_engines if engine != "none"),
    }
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    facts["operations"] = "; ".join(line.strip() for line in load_kernels(wanted).describe())
    if not torch.cuda.is_available():
        built_for = torch.version.cuda
        facts["cuda"] = "no device" if built_for else "none (this torch is a CPU build)"
        return facts
    facts["cuda"] = str(torch.version.cuda)
    for idx in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(idx)
        memory = f"{card.total_memory / 2**30:.1f} GiB"
        facts[f"cuda:{idx}"] = f"{card.name}, {memory}, compute capability {card.major}.{card.minor}"
    return facts
