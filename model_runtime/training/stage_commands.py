"""The commands of the denoiser stages: `mask`, `edit`, `order`, `onpolicy`, and what measures them.

Flags in, one run each; a flag that is not given has the recipe's value (recipes.py). Heavy imports happen inside the
functions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_runtime.errors import RequestError
from model_runtime.training.commands import (
    RunSetting,
    add_run_flags,
    add_time_flags,
    chosen_device,
    note,
    prepare_setting,
)

if TYPE_CHECKING:
    from model_runtime.training.denoiser import Denoiser
    from model_runtime.training.denoiser_config import DenoiserConfig
    from model_runtime.training.denoiser_start import Start
    from model_runtime.training.loop import Trainer
    from model_runtime.training.objective import Sample
    from model_runtime.training.sequences import Sequences

_HELP = {
    "mask": "stage 1: a gated adapter that drafts masked blocks over a frozen base",
    "edit": "stage 2: judge every token of a canvas, visible or not; delete and insert",
    "order": "stage 3: denoise many ways, keep the likeliest, learn to go that way",
    "onpolicy": "stage 4: fewer steps for the same text, judged by the base",
}
_RECIPE_FLAGS: dict[str, tuple[type, str]] = {
    "steps": (int, "a stopped run may be resumed with another number"),
    "first_layer": (int, "lowest adapted layer; the frozen ones below can be kept"),
    "rank": (int, "of the adapter"),
    "learning_rate": (float, "at its peak"),
    "warmup_steps": (int, "before the peak"),
    "sequences": (int, "clean sequences a step"),
    "blocks": (int, "canvases a sequence"),
    "block_min": (int, "slots of the smallest canvas"),
    "block_max": (int, "slots of the largest canvas"),
    "all_masked": (float, "share of the masked canvases that show nothing"),
    "depth_decay": (float, "weight of a row, as a factor for every row before it in its canvas"),
    "greedy": (int, "prompts that the base continues greedily before the run, to learn from"),
    "greedy_tokens": (int, "tokens of such a continuation at most"),
    "greedy_share": (float, "of the sequences drawn"),
    "keep": (int, "sequences before they repeat, their frozen rows kept on disk (0: never repeat)"),
    "context": (int, "tokens shown before a hole at most; half as many behind it"),
    "trajectories": (int, "ways sampled through each block (order, onpolicy)"),
}


_SETS = ("completion", "edit", "repair")
MASK_LIKE = "..."
"""A masked slot begins as the base's own word for something left out. Untrained, 8 of 20 first drafts were right with
it and none with the mean of all embeddings, whose loss was twice as high; and layers below the first adapted one never
learn another."""


def register(subparsers: Any) -> None:
    """Add every command."""
    for stage, text in _HELP.items():
        parser = subparsers.add_parser(stage, help=text, description=text)
        add_run_flags(parser)
        parser.add_argument("--healing", type=Path, default=None, help="a healing adapter to merge into the base first")
        parser.add_argument("--start", type=Path, default=None, help="a run or exported adapter of an earlier stage")
        parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
        parser.add_argument("--seed", type=int, default=1)
        add_time_flags(parser)
        parser.add_argument("--held-out", type=int, default=24, help="held-out samples to watch and to measure on")
        for name, (kind, help_text) in _RECIPE_FLAGS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None, help=help_text)
        parser.set_defaults(run_command=run_stage, stage=stage)

    ablation = subparsers.add_parser("ablation", help="table of stages on completion, edit and repair")
    add_run_flags(ablation, run_required=False)
    ablation.add_argument("--healing", type=Path, default=None, help="healing adapter of every row")
    ablation.add_argument(
        "--row",
        action="append",
        required=True,
        metavar="NAME[=ADAPTER]",
        help="a row of the table, in order; without an adapter: the base with healing alone",
    )
    ablation.add_argument("--cases", type=int, default=24, help="cases of each set")
    ablation.add_argument("--sets", nargs="+", choices=_SETS, default=_SETS)
    ablation.add_argument("--policy", choices=("lossless", "fast"), default="lossless")
    ablation.add_argument("--max-tokens", type=int, default=400, help="of an answer; a hole gets 64 at most")
    ablation.add_argument("--seed", type=int, default=31)
    ablation.add_argument("--precision", choices=("auto", "float32", "bfloat16", "int8"), default="auto")
    ablation.add_argument(
        "--out", type=Path, required=True, help="JSON file; rows already in it are not measured again"
    )
    ablation.set_defaults(run_command=run_ablation)


def run_stage(args: argparse.Namespace) -> int:
    """`mask`, `edit`, `order` or `onpolicy`."""
    from model_runtime.training.card import write_card
    from model_runtime.training.distributed import process_group, shard

    device = chosen_device(args)
    with process_group(device) as ranks:
        if ranks.count > 1 and args.stage not in ("mask", "edit"):
            raise RequestError(f"stage {args.stage} runs in one process: its forwards differ from sequence to sequence")
        if ranks.count > 1 and args.greedy != 0:
            raise RequestError("several processes cannot write greedy text: give --greedy 0")
        stage = _prepare_stage(args, device)
        shard(stage.denoiser, ranks, device)
        stage.sequences.share(ranks.rank, ranks.count)
        trainer = _train(stage, args)
        figures = _measure(stage)
    if ranks.rank == 0:
        write_card(args.run, args.stage, trainer.config, trainer.progress, stage.sources, args.argv)
        _write_figures(args.run, figures, trainer.progress.step)
    return 0


@dataclass(frozen=True, slots=True)
class _Stage:
    """A denoiser stage, ready to run."""

    config: DenoiserConfig
    setting: RunSetting
    denoiser: Denoiser
    sequences: Sequences
    held_out: Sequence[Sample]
    sources: dict[str, Any]


def _prepare_stage(args: argparse.Namespace, device: str) -> _Stage:
    from model_runtime.adapters import read_adapter
    from model_runtime.diffusion.noise import Marks
    from model_runtime.training.denoiser import Denoiser
    from model_runtime.training.denoiser_start import begin_from, read_start
    from model_runtime.training.heal import load_network
    from model_runtime.training.recipes import recipe_for
    from model_runtime.training.sequences import Sequences, greedy_path, greedy_samples

    start = read_start(args.start) if args.start is not None else None
    for name, value in recipe_for(args.stage, device).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    config = _config(args, start)
    setting = prepare_setting(args, config)
    network = load_network(setting.base, config.precision)
    if args.healing is not None:
        network.merge(read_adapter(args.healing))
    network.to(device)
    # Before the adapter is attached: what is greedy is the base's.
    kept = greedy_path(args.run, config.healing)
    greedy = greedy_samples(
        network, setting.stream, setting.stop_ids, config.greedy_sequences, config.greedy_tokens, kept, note
    )
    denoiser = Denoiser(network, config, Marks.of(setting.tokenizer), setting.tokenizer.encode(MASK_LIKE)[0])
    if config.stage == "edit":
        denoiser.attach_edit_head()
    if start is not None:
        begin_from(denoiser, start)
    sequences = Sequences(setting.stream, greedy, config.greedy_share, config.seed)
    sources = {**setting.sources, "healing_sha256": config.healing, "stages": [*config.earlier, config.stage]}
    every = max(1, len(setting.held_out) // max(1, args.held_out))  # they stand sorted by kind: some of each
    return _Stage(config, setting, denoiser, sequences, setting.held_out[::every][: args.held_out], sources)


def _config(args: argparse.Namespace, start: Start | None) -> DenoiserConfig:
    from model_runtime.conversion import hash_file
    from model_runtime.training.data.fim import ContextWidths
    from model_runtime.training.denoiser_config import DenoiserConfig
    from model_runtime.training.masked_blocks import BlockShape
    from model_runtime.training.samples import Mixture

    if args.stage != "mask" and start is None:
        raise RequestError(f"stage {args.stage} begins from a trained adapter: give --start RUN_OR_ADAPTER")
    return DenoiserConfig(
        stage=args.stage,
        earlier=start.stages if start else (),
        start=start.digest if start else "",
        healing=hash_file(args.healing).sha256 if args.healing is not None else "",
        steps=args.steps,
        warmup_steps=args.warmup_steps,
        first_layer=start.first_layer if start else args.first_layer,
        rank=start.rank if start else args.rank,
        alpha=start.alpha if start else 2.0 * args.rank,
        learning_rate=args.learning_rate,
        seed=args.seed,
        precision=args.precision,
        mixture=Mixture(
            suffix_first_share=0.7,  # the decoder's layout over a healed base
            widths=ContextWidths(
                min_prefix=min(24, args.context), max_prefix=args.context, max_suffix=max(12, args.context // 2)
            ),
        ),
        sequences_per_step=args.sequences,
        blocks_per_sequence=args.blocks,
        shape=BlockShape(args.block_min, args.block_max, args.all_masked),
        depth_decay=args.depth_decay,
        greedy_sequences=args.greedy,
        greedy_tokens=args.greedy_tokens,
        greedy_share=args.greedy_share,
        kept_sequences=args.keep,
        trajectories=args.trajectories,
    )


def _train(stage: _Stage, args: argparse.Namespace) -> Trainer:
    from model_runtime.training.brackets import BracketCheck
    from model_runtime.training.edit import train_edit
    from model_runtime.training.mask import train_mask
    from model_runtime.training.onpolicy import train_onpolicy
    from model_runtime.training.order import train_order
    from model_runtime.training.runs import RunLimits

    common = (stage.denoiser, stage.sequences, stage.held_out, stage.config)
    epoch = stage.config.kept_sequences // stage.config.sequences_per_step  # its steps are the slow ones
    limits = RunLimits(max_minutes=args.minutes, fits_steps=args.fit_steps, fitting_steps=20 + epoch)
    rest = (args.run, limits, note)
    if args.stage == "mask":
        return train_mask(*common, *rest)
    if args.stage == "edit":
        return train_edit(*common, *rest)
    train = train_order if args.stage == "order" else train_onpolicy
    return train(*common, BracketCheck(stage.setting.tokenizer), *rest)


def _measure(stage: _Stage) -> dict[str, Any]:
    """The figures of the stage: drafting, mending and calibration, quality by number of steps."""
    from model_runtime.training.edit import edit_figures
    from model_runtime.training.mask import draft_figures
    from model_runtime.training.onpolicy import steps_curve

    seed, figures = stage.config.seed, {}
    drafting = draft_figures(stage.denoiser, stage.held_out, per_sample=4, seed=seed)
    note(f"{drafting.extra_tokens:.3f} extra tokens a forward over {drafting.blocks} held-out blocks")
    figures["drafting"] = asdict(drafting)
    if stage.denoiser.edit_head is not None:
        figures["mending"] = asdict(edit_figures(stage.denoiser, stage.held_out, 4, seed))
    if stage.config.stage in ("order", "onpolicy"):
        points = steps_curve(stage.denoiser, stage.held_out, stage.config.shape.max_size)
        figures["steps a block"] = {str(p.steps): asdict(p) for p in points}
    return figures


def _write_figures(folder: Path, figures: dict[str, Any], step: int) -> None:
    from model_runtime.training.card import add_figures, write_json
    from model_runtime.training.export import CALIBRATION

    for name, values in figures.items():
        add_figures(folder / "card.json", f"{name} at step {step}", values)
    if "mending" in figures:
        write_json(folder / CALIBRATION, {"temperature": round(figures["mending"]["temperature"], 4)})


def evaluate_denoiser(args: argparse.Namespace) -> int:
    """`evaluate` of a denoiser: tokens a forward in the real decoder, on held-out holes, without it and with it."""
    import tempfile

    from model_runtime.install import find_checkpoint
    from model_runtime.training.ablation import Setting, Variant, measure_variants, table
    from model_runtime.training.card import add_figures
    from model_runtime.training.commands import base_identity, data_folder
    from model_runtime.training.data.shards import read_shards
    from model_runtime.training.decoder_figures import held_out_cases
    from model_runtime.training.export import export_run

    base = find_checkpoint(args.base)
    sources = list(read_shards(data_folder(args), "held_out"))
    cases = held_out_cases(sources, args.cases, args.seed, ("completion",))
    with tempfile.TemporaryDirectory(prefix="seedls-evaluate-") as name:
        adapter = args.adapter
        if adapter is None:
            adapter = Path(name) / "mask.safetensors"
            export_run(args.run, adapter, base_identity(args.base, base))
        setting = Setting(base, args.healing, "auto", args.threads)
        variants = [Variant("without", None), Variant("with", adapter)]
        rows = measure_variants(setting, variants, cases, Path(name) / "rows.json", note)["rows"]
    note(table(rows))
    figures = {name: row["sets"]["completion"] for name, row in rows.items()}
    same = [a == b for a, b in zip(rows["without"]["texts"], rows["with"]["texts"], strict=True)]
    figures["same_text"] = round(sum(same) / len(same), 3)
    if args.card:
        add_figures(args.card, f"decoder, {args.cases} held-out holes, seed {args.seed}", figures)
    print(json.dumps(figures, indent=1))
    return 0


def run_ablation(args: argparse.Namespace) -> int:
    """`ablation`."""
    from model_runtime.install import find_checkpoint
    from model_runtime.training.ablation import Setting, measure_variants, table
    from model_runtime.training.commands import data_folder
    from model_runtime.training.data.shards import read_shards
    from model_runtime.training.decoder_figures import held_out_cases

    base = find_checkpoint(args.base)
    if not base.is_dir():
        raise RequestError(f"{base} is not a checkpoint folder: install the model first")
    sources = list(read_shards(data_folder(args), "held_out"))
    cases = held_out_cases(sources, args.cases, args.seed, args.sets)
    setting = Setting(base, args.healing, args.precision, args.threads, args.max_tokens)
    document = measure_variants(setting, _variants(args.row, args.policy), cases, args.out, note)
    rows = {name: document["rows"][name] for name in (text.partition("=")[0] for text in args.row)}
    print(table(rows))
    print(json.dumps({name: row["sets"] for name, row in rows.items()}))
    return 0


def _variants(rows: Sequence[str], policy: Any) -> list[Any]:
    from model_runtime.training.ablation import Variant

    variants = []
    for row in rows:
        name, _, adapter = row.partition("=")
        if adapter and not Path(adapter).is_file():
            raise RequestError(f"row {name!r}: there is no adapter {adapter}")
        variants.append(Variant(name, Path(adapter) if adapter else None, policy))
    return variants
