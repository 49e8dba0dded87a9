"""The commands behind `seedls train`: flags in, one run each. Heavy imports happen inside the functions."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_runtime.config import default_home

if TYPE_CHECKING:
    from model_runtime.tokenizer import Tokenizer
    from model_runtime.training.config import TrainConfig
    from model_runtime.training.network import TrainingNetwork
    from model_runtime.training.objective import Sample
    from model_runtime.training.samples import SampleStream

HELD_OUT_SEED = 20
PLAIN_HELD_OUT_TOKENS = 4000
QUICK_PER_KIND = 8
"""Held-out samples of each kind whose loss is watched during a run."""


def register(subparsers: Any) -> None:
    """Add every command."""
    data = subparsers.add_parser("data", help="build training shards from pinned, permissively licensed packages")
    data.add_argument("--eval-data", type=Path, required=True, help="folder of evaluation sets to keep out of the data")
    data.add_argument(
        "--out", dest="data", type=Path, default=None, help="shard folder (default: SEEDLS_HOME/training/data)"
    )
    data.add_argument("--archives", type=Path, default=None, help="where downloaded packages are kept")
    data.set_defaults(run_command=run_data)

    heal = subparsers.add_parser("heal", help="stage 0: teach the base to end its infills and to follow edit requests")
    _add_training_flags(heal, steps=400, first_layer=8, learning_rate=3e-4)
    heal.add_argument(
        "--plain-tokens", type=int, default=250, help="ordinary text a batch, kept near the base's distribution"
    )
    heal.add_argument("--edit-share", type=float, default=0.25, help="of what is drawn; the rest are holes")
    heal.add_argument("--suffix-first-share", type=float, default=0.7, help="of the holes: the decoder's layout")
    heal.add_argument(
        "--relatives", type=int, default=5, help="holes beside each suffix-first one that share its context"
    )
    heal.add_argument("--start", type=Path, default=None, help="an exported healing adapter to begin from")
    heal.set_defaults(run_command=run_heal)

    evaluate = subparsers.add_parser("evaluate", help="held-out infills and edits, with and without the adapter")
    add_run_flags(evaluate, run_required=False)
    evaluate.add_argument("--adapter", type=Path, default=None, help="an exported adapter instead of a run")
    evaluate.add_argument("--cases", type=int, default=40, help="cases of each kind")
    evaluate.add_argument("--seed", type=int, default=HELD_OUT_SEED + 1)
    evaluate.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    evaluate.add_argument("--base-only", action="store_true", help="measure the base without any adapter")
    evaluate.add_argument("--show", type=int, default=0, help="print this many cases of each kind")
    evaluate.add_argument("--card", type=Path, default=None, help="add the figures to this card")
    evaluate.add_argument("--healing", type=Path, default=None, help="healing adapter under a denoiser to be measured")
    evaluate.set_defaults(run_command=run_evaluate)

    average = subparsers.add_parser("average", help="between two healing adapters, one trained on from the other")
    average.add_argument("earlier", type=Path)
    average.add_argument("later", type=Path)
    average.add_argument("--share", type=float, default=0.5, help="of the later one (default %(default)s)")
    average.add_argument("--out", type=Path, required=True, help="for example models/coder-0.5b/healing.safetensors")
    average.set_defaults(run_command=run_average)

    export = subparsers.add_parser("export", help="write a run's adapter as a small int8 file")
    add_run_flags(export)
    export.add_argument("--out", type=Path, required=True, help="for example models/coder-0.5b/healing.safetensors")
    export.set_defaults(run_command=run_export)


def add_run_flags(parser: argparse.ArgumentParser, *, run_required: bool = True) -> None:
    """Flags of every command that has a base and data."""
    parser.add_argument("--base", default="coder-0.5b", help="an installed model's name, or a checkpoint path")
    parser.add_argument("--data", type=Path, default=None, help="shard folder (default: SEEDLS_HOME/training/data)")
    parser.add_argument("--run", type=Path, required=run_required, default=None, help="folder of the run")
    parser.add_argument("--threads", type=int, default=None)


def _add_training_flags(parser: argparse.ArgumentParser, *, steps: int, first_layer: int, learning_rate: float) -> None:
    add_run_flags(parser)
    parser.add_argument("--steps", type=int, default=steps, help="a stopped run may be resumed with another number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch-tokens", type=int, default=1000)
    parser.add_argument("--epoch-steps", type=int, default=0, help="batches before they repeat (0: never)")
    parser.add_argument("--first-layer", type=int, default=first_layer, help="lowest adapted layer")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    add_time_flags(parser)


def note(message: str) -> None:
    """One line of progress."""
    print(message, file=sys.stderr, flush=True)


def run_data(args: argparse.Namespace) -> int:
    """`data`."""
    from model_runtime.training.data.build import build_data
    from model_runtime.training.data.decontaminate import Decontaminator
    from model_runtime.training.data.packages import default_pins

    decontaminator = Decontaminator.from_folder(args.eval_data)
    archives = args.archives or default_home() / "training" / "archives"
    manifest = build_data(default_pins(), archives, data_folder(args), decontaminator, note)
    note(f"dropped: {json.dumps(manifest['dropped'])}")
    return 0


def run_heal(args: argparse.Namespace) -> int:
    """`heal`."""
    from model_runtime.adapters import read_adapter
    from model_runtime.training.card import add_figures, write_card
    from model_runtime.training.heal import heal, held_out_drift, prepare_network, start_from
    from model_runtime.training.runs import RunLimits

    config = _healing_config(args)
    setting = prepare_setting(args, config)
    network = prepare_network(setting.base, config, chosen_device(args))
    if args.start is not None:
        start_from(network, read_adapter(args.start))
    limits = RunLimits(max_minutes=args.minutes, fits_steps=args.fit_steps)
    trainer = heal(network, setting.stream, setting.held_out, config, args.run, limits, note)
    write_card(args.run, "healing", trainer.config, trainer.progress, setting.sources, args.argv)
    figures = held_out_drift(network, setting.held_out_plain, config)
    add_figures(args.run / "card.json", f"ordinary held-out text at step {trainer.progress.step}", figures)
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """`evaluate`."""
    if _is_denoiser(args):
        from model_runtime.training.stage_commands import evaluate_denoiser

        return evaluate_denoiser(args)
    from model_runtime.training.card import add_figures
    from model_runtime.training.data.shards import read_shards
    from model_runtime.training.evaluate import evaluate, held_out_samples, summary
    from model_runtime.training.heal import held_out_loss
    from model_runtime.training.samples import SampleMaker

    _set_threads(args)
    base = _base_path(args)
    tokenizer = _tokenizer(base)
    sources = list(read_shards(data_folder(args), "held_out"))
    samples = held_out_samples(sources, SampleMaker(tokenizer), args.cases, args.seed)
    network, name, config = _network_to_measure(args, base)
    losses = held_out_loss(network, samples, config)
    outcomes = evaluate(network, tokenizer, samples, note)
    figures: dict[str, Any] = summary(outcomes)
    for kind, loss in losses.items():
        figures.setdefault(kind, {})["loss"] = round(loss, 4)
    for kind in figures:
        for outcome in [o for o in outcomes if o.kind == kind][: args.show]:
            note(f"--- {kind} ended={outcome.has_ended} exact={outcome.is_exact}\n{outcome.text!r}\n{outcome.truth!r}")
    if args.card:
        add_figures(args.card, f"{name}, {args.cases} held-out cases of each kind, seed {args.seed}", figures)
    print(json.dumps({"network": name, **figures}, indent=1))
    return 0


def run_average(args: argparse.Namespace) -> int:
    """`average`."""
    from model_runtime.training.average import average_adapters

    num_bytes = average_adapters(args.earlier, args.later, args.share, args.out)
    note(f"{args.out}: {num_bytes:,} bytes")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """`export`."""
    from model_runtime.training.export import export_run

    base = _base_path(args)
    num_bytes = export_run(args.run, args.out, base_identity(args.base, base))
    note(f"{args.out}: {num_bytes:,} bytes")
    return 0


def _is_denoiser(args: argparse.Namespace) -> bool:
    from model_runtime.adapters import read_adapter
    from model_runtime.training.export import read_checkpoint

    if args.base_only:
        return False
    if args.adapter is not None:
        return read_adapter(args.adapter).mask_embedding is not None
    return args.run is not None and "mask_embedding" in read_checkpoint(args.run)[1]


def base_identity(name: str, base: Path) -> dict[str, str]:
    """Name and digest of the source the base was made from: the same whatever vocabulary was kept."""
    from model_runtime.conversion import hash_file, read_record

    if (base / "seedls.json").is_file():
        record = read_record(base)
        return {"name": record.name, "digest": record.source.sha256}
    file = base if base.is_file() else base / "model.safetensors"
    return {"name": Path(name).stem, "digest": hash_file(file).sha256}


@dataclass(frozen=True, slots=True)
class RunSetting:
    """What every run needs, made from its flags."""

    base: Path
    tokenizer: Tokenizer
    stream: SampleStream
    held_out: Sequence[Sample]
    held_out_plain: Sequence[Sample]
    sources: Mapping[str, Any]

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer."""
        from model_runtime.prompts import Specials

        special = Specials.of(self.tokenizer)
        return [special.end_of_text, special.im_end]


def _healing_config(args: argparse.Namespace) -> TrainConfig:
    from model_runtime.training.config import TrainConfig
    from model_runtime.training.samples import Mixture

    return TrainConfig(
        steps=args.steps,
        batch_tokens=args.batch_tokens,
        epoch_steps=args.epoch_steps,
        first_layer=args.first_layer,
        rank=args.rank,
        alpha=2.0 * args.rank,
        learning_rate=args.learning_rate,
        seed=args.seed,
        precision=args.precision,
        plain_tokens=getattr(args, "plain_tokens", 0),
        start=_digest(getattr(args, "start", None)),
        mixture=Mixture(
            edit_share=args.edit_share, suffix_first_share=args.suffix_first_share, relatives=args.relatives
        ),
    )


def prepare_setting(args: argparse.Namespace, config: TrainConfig) -> RunSetting:
    """Base, tokenizer and data of a run."""
    from model_runtime.training.data.shards import data_digest, read_shards
    from model_runtime.training.evaluate import held_out_samples
    from model_runtime.training.retention import plain_samples
    from model_runtime.training.samples import SampleMaker, SampleStream

    _set_threads(args)
    base = _base_path(args)
    tokenizer = _tokenizer(base)
    maker = SampleMaker(tokenizer)
    data = data_folder(args)
    stream = SampleStream(list(read_shards(data, "train")), maker, config.mixture, config.seed)
    unseen = list(read_shards(data, "held_out"))
    held_out = held_out_samples(unseen, maker, QUICK_PER_KIND, HELD_OUT_SEED)
    plain = plain_samples(unseen, tokenizer, random.Random(HELD_OUT_SEED), PLAIN_HELD_OUT_TOKENS)
    sources = {"base": base_identity(args.base, base), "data_digest": data_digest(data)}
    return RunSetting(base, tokenizer, stream, held_out, plain, sources)


def _digest(path: Path | None) -> str:
    from model_runtime.conversion import hash_file

    return hash_file(path).sha256 if path is not None else ""


def _network_to_measure(args: argparse.Namespace, base: Path) -> tuple[TrainingNetwork, str, TrainConfig]:
    from model_runtime.adapters import read_adapter
    from model_runtime.training.config import TrainConfig
    from model_runtime.training.export import read_run
    from model_runtime.training.heal import load_network

    if args.adapter is not None and not args.base_only:
        network = load_network(base, args.precision)
        network.merge(read_adapter(args.adapter))
        return network, f"adapter {args.adapter.name}", TrainConfig(first_layer=0)
    if args.run is not None and not args.base_only:
        network = load_network(base, args.precision)
        steps = read_run(args.run, network)
        return network, f"run at step {steps}", TrainConfig(first_layer=0)
    return load_network(base, args.precision), "base alone", TrainConfig(first_layer=0)


def _base_path(args: argparse.Namespace) -> Path:
    from model_runtime.install import find_checkpoint

    return find_checkpoint(args.base)


def _tokenizer(base: Path) -> Tokenizer:
    from model_runtime.tokenizer import Tokenizer

    return Tokenizer.load(base)


def data_folder(args: argparse.Namespace) -> Path:
    """The shard folder that the flags name, or the default one."""
    return args.data if args.data is not None else default_home() / "training" / "data"


def chosen_device(args: argparse.Namespace) -> str:
    """`cpu` or `cuda`: what the flag says, else cuda where there is one."""
    import torch

    return args.device or ("cuda" if torch.cuda.is_available() else "cpu")


def add_time_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of every command that trains: where, and how long."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None, help="default: cuda where there is one")
    parser.add_argument("--minutes", type=float, default=None, help="stop with a checkpoint after so many minutes")
    parser.add_argument("--fit-steps", action="store_true", help="take no more steps than fit the minutes")


def _set_threads(args: argparse.Namespace) -> None:
    import torch

    if args.threads is not None:
        torch.set_num_threads(args.threads)
