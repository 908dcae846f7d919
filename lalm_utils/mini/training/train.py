"""Train the miniature model from nothing: `python -m lalm_utils.mini.train --work FOLDER`.

Four stages, each a curriculum step and each followed by the accuracy with the real clip and with silence, on
held-out `train` clips. Everything is written under FOLDER, so that an interrupted run goes on
from its last checkpoint when started again with the same arguments.

  1 hear      audio tower (LoRA) and projector, frame by frame, without the language model
  2 perceive  language model (LoRA) and projector: naming what is heard, easy and medium levels
  3 reason    all tasks and levels: order, counts, two hops
  4 instruct  the mixture: permission to decline, step by step, type, captions, transcripts, text-only chat
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm.auto import tqdm

from lalm_utils.engine.audio_features import encode
from lalm_utils.engine.hardware import pick_dtype
from lalm_utils.finetuning.training_step import TrainingStep, cosine_decay, load_state, save_state
from lalm_utils.mini.model.base import base_model_dir, load_base
from lalm_utils.mini.training import alignment, training_features, tuning
from lalm_utils.mini.training.chat import chat_examples
from lalm_utils.mini.training.instruct import FORMS, Example, text_clip_question
from lalm_utils.mini.training.training_features import TrainingClip

LANGUAGE_RANK, TOWER_RANK = 16, 64
TARGETS = (
    r"model\.language_model\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|o_proj)|mlp\.(gate_proj|up_proj|down_proj))"
    r"|model\.audio_tower\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|fc1|fc2)"
)
HELD_OUT_CHUNK = 9_000  # rendered like the others, never trained on: for evaluation
EVALUATION_ITEMS = 180
QUESTIONS_PER_CLIP = 4
TEXT_CLIP_SHARE = 0.15  # questions on clips in words, for each clip of the last stage
PERCEIVE = (
    "Sound event", "Background sound", "Loudness trajectory", "Event count", "Instrument", "Tempo", "Dynamics",
    "Register", "Melodic contour", "Note count", "Spoken word", "Speakers", "Language", "Speaking rate",
    "Sound behind speech",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of the curriculum: which clips, how often each form is asked, passes over the clips, learning rates.

    `unanswerable` is the number of unanswerable clips added for each answerable one.
    """

    name: str
    accepts: Callable[[TrainingClip], bool]
    forms: dict[str, float]
    passes: float
    rate: float
    projector_rate: float
    unanswerable: float = 0.0


STAGES = (
    Stage(
        name="perceive",
        accepts=lambda clip: clip.item.task in PERCEIVE and clip.item.level != "hard",
        forms={"choice": 0.6, "account": 0.4},
        passes=0.1, rate=8e-4, projector_rate=2e-4,
    ),
    Stage(
        name="reason",
        accepts=lambda clip: True,
        forms={"choice": 0.7, "account": 0.18, "stepwise": 0.12},
        passes=0.35, rate=6e-4, projector_rate=1e-4,
    ),
    Stage(
        name="instruct",
        accepts=lambda clip: True,
        forms={"choice": 0.17, "stepwise": 0.24, "choice_or_idk": 0.12, "stepwise_or_idk": 0.08,
               "examples_in_turn": 0.09, "examples_as_turns": 0.05, "unoffered": 0.09, "choice_with_note": 0.06,
               "open_answer": 0.04, "account": 0.03, "kind": 0.02, "policy": 0.01},
        passes=0.5, rate=4e-4, projector_rate=5e-5, unanswerable=0.12,
    ),
)  # fmt: skip


def wrap(model: nn.Module) -> PeftModel:
    """LoRA on the language model (r = 16) and on the audio tower (r = 64), the projector trained in full."""
    config = LoraConfig(
        r=LANGUAGE_RANK, lora_alpha=2 * LANGUAGE_RANK, target_modules=TARGETS,
        rank_pattern={r"model\.audio_tower\..*": TOWER_RANK}, alpha_pattern={r"model\.audio_tower\..*": TOWER_RANK},
        modules_to_save=["multi_modal_projector"],
    )  # fmt: skip
    return get_peft_model(model, config, autocast_adapter_dtype=False)


def parameters(model: PeftModel, part: str) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if p.requires_grad and part in name]


def trained_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """Every tensor this repository trains, by its name in the peft model."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def restore(model: PeftModel, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in state:
                parameter.copy_(state[name])


def align_audio(
    model: PeftModel, clips: Sequence[TrainingClip], held_out: Sequence[TrainingClip], folder: Path, args
) -> None:
    """Stage 1. Resumes from `hear.pt`; ends by scaling the projector to the embeddings' norm and centre."""
    inner = model.base_model.model
    labels = alignment.label_vectors(args.tokenizer, inner.model.language_model.get_input_embeddings().weight)
    groups = [
        (parameters(model, "audio_tower"), args.hear_rate),
        (parameters(model, "projector"), args.hear_rate),
    ]
    rng = np.random.default_rng(args.seed)
    plan = [b for _ in range(args.hear_passes) for b in by_length(clips, 32, rng)]

    def loss(inner: nn.Module, batch: Sequence[TrainingClip]) -> tuple[torch.Tensor, float]:
        return alignment.alignment_loss(project(inner, batch, args, rng), batch, labels)[0], 1.0

    step = training_step(inner, loss, groups, steps=len(plan), checkpoint=folder / "hear.pt")
    for number in tqdm(range(step.number, len(plan)), desc="hear", mininterval=10):
        mean = step([[clips[i] for i in plan[number]]])
        if number % 150 == 149 or number + 1 == len(plan):
            accuracy = label_accuracy(inner, held_out, labels, args)
            log(folder, stage="hear", step=step.number, loss=round(mean, 3), held_out=accuracy)
            save_state(folder / "hear.pt", step.state())
    fit_projector(inner, held_out, labels, args)


def training_step(inner, loss, groups, *, steps: int, checkpoint: Path) -> TrainingStep:
    """The step of a stage: warm-up, then a cosine; gone on from `checkpoint` if it is there."""
    step = TrainingStep(inner, loss, groups, steps=steps, schedule=cosine_decay, betas=(0.9, 0.98))
    if state := load_state(checkpoint):
        step.restore(state)
    return step


def project(inner, batch: Sequence[TrainingClip], args, rng=None) -> torch.Tensor:
    """Projected frames of a batch; with `rng`, bands of the features are masked as in SpecAugment."""
    mel, frames = alignment.pad(batch)
    if rng is not None:
        for row in mel:
            if rng.random() < 0.5:
                low = int(rng.integers(0, 72))
                row[low : low + int(rng.integers(2, 9))] = row.min()
    return inner.model.multi_modal_projector(encode(inner.model.audio_tower, mel.to(inner.dtype), frames))


@torch.no_grad()
def label_accuracy(inner, held_out: Sequence[TrainingClip], labels, args) -> dict[str, float]:
    """Share of frames (or clips) labelled right per group, on held-out clips."""
    right: dict[str, list[int]] = {}
    for first in range(0, len(held_out), 32):
        batch = held_out[first : first + 32]
        for group, (good, total) in alignment.alignment_loss(project(inner, batch, args), batch, labels)[
            1
        ].items():
            tally = right.setdefault(group, [0, 0])
            tally[0] += good
            tally[1] += total
    return {group: round(good / total, 3) for group, (good, total) in right.items()}


@torch.no_grad()
def fit_projector(inner, clips: Sequence[TrainingClip], labels, args) -> None:
    """Scale the projector's output to the spread of the token embeddings and move it to their mean."""
    frames = [project(inner, clips[i : i + 32], args).flatten(0, 1).float() for i in range(0, len(clips), 32)]
    factor = labels.norm / torch.cat(frames).norm(dim=-1).mean()
    linear = inner.model.multi_modal_projector.modules_to_save["default"].linear
    linear.weight.mul_(factor)
    linear.bias.mul_(factor).add_(labels.centre.to(linear.bias.dtype))


def by_length(clips: Sequence[TrainingClip], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Batches of `size` clips of like length, drawn anew: shuffled, sorted in pools, shuffled as batches."""
    order, batches = rng.permutation(len(clips)), []
    for first in range(0, len(order), size * 20):
        pool = sorted(order[first : first + size * 20], key=lambda i: clips[i].frames)
        batches += [[int(i) for i in pool[b : b + size]] for b in range(0, len(pool), size)]
    return [batches[int(i)] for i in rng.permutation(len(batches))]


def examples(clip: TrainingClip, stage: Stage, rng: np.random.Generator) -> list[Example]:
    """QUESTIONS_PER_CLIP examples on one clip, their forms drawn from the stage's mixture, at most one account."""
    if clip.item.reason:
        # With permission to decline the right reply is IDK; without it a guess, plainly and step by step.
        forms = (
            "choice_or_idk",
            "stepwise_or_idk",
            "choice",
            ("stepwise", "examples_in_turn", "choice_with_note")[int(rng.integers(3))],
        )
        return [FORMS[name](clip.item, rng) for name in forms]
    names, weights = list(stage.forms), np.array(list(stage.forms.values()))
    forms = [names[int(i)] for i in rng.choice(len(names), QUESTIONS_PER_CLIP, p=weights / weights.sum())]
    for once in ("account", "kind", "open_answer"):
        while forms.count(once) > 1:
            forms[forms.index(once)] = "choice"
    return [FORMS[name](clip.item, rng) for name in forms]


def draw_clips(
    clips: Sequence[TrainingClip], stage: Stage, scale: float, rng: np.random.Generator
) -> list[int]:
    """Indices of the clips a stage visits: `passes` times those it accepts, and its share of unanswerable ones."""
    candidates = [i for i, clip in enumerate(clips) if not clip.item.reason and stage.accepts(clip)]
    count = int(len(candidates) * stage.passes * scale)
    if not count:
        return []
    rounds = [rng.permutation(candidates) for _ in range(count // len(candidates) + 1)]
    unanswerable = rng.permutation([i for i, clip in enumerate(clips) if clip.item.reason])
    indices = [*np.concatenate(rounds)[:count], *unanswerable[: int(count * stage.unanswerable)]]
    return [int(i) for i in indices]


def tune(
    model: PeftModel,
    stage: Stage,
    clips: Sequence[TrainingClip],
    evaluation: HeldOutEvaluation,
    folder: Path,
    args,
) -> None:
    """Stages 2 to 4. Resumes from `<stage>.pt`; checkpoints and evaluations every `args.every` steps."""
    inner = model.base_model.model
    rng = np.random.default_rng([args.seed, [s.name for s in STAGES].index(stage.name)])
    indices = draw_clips(clips, stage, args.scale, rng)
    distinct = sorted(set(indices))
    features = dict(zip(distinct, tuning.tower_outputs(inner, [clips[i] for i in distinct])))
    sequences = [
        s
        for i in indices
        for s in tuning.sequences(args.tokenizer, examples(clips[i], stage, rng), features[i])
    ]
    if stage.name == "instruct":
        text_only = [
            *args.chats,
            *(text_clip_question(rng) for _ in range(int(TEXT_CLIP_SHARE * len(indices)))),
        ]
        sequences += [tuning.sequence(args.tokenizer, [example], None) for example in text_only]
    plan = list(tuning.batches(sequences, rng, tokens=args.batch_tokens))
    groups = [
        (parameters(model, "language_model"), stage.rate),
        (parameters(model, "projector"), stage.projector_rate),
    ]
    checkpoint, losses = folder / f"{stage.name}.pt", []
    step = training_step(inner, tuning.reply_loss, groups, steps=len(plan), checkpoint=checkpoint)
    for number in tqdm(range(step.number, len(plan)), desc=stage.name, mininterval=10):
        losses.append(step([plan[number]]))
        if number % args.every == args.every - 1 or number + 1 == len(plan):
            mean = round(float(np.mean(losses)), 3)
            log(folder, stage=stage.name, step=step.number, of=len(plan), loss=mean, **evaluation(inner))
            losses.clear()
            save_state(checkpoint, step.state())
        elif number % args.save_every == args.save_every - 1:
            log(
                folder,
                stage=stage.name,
                step=step.number,
                of=len(plan),
                loss=round(float(np.mean(losses)), 3),
            )
            save_state(checkpoint, step.state())


class HeldOutEvaluation:
    """Accuracy (reply exact to the letter) on held-out clips: real clip, silence of its length, another's clip."""

    def __init__(self, inner, clips: Sequence[TrainingClip], features, tokenizer) -> None:
        rng = np.random.default_rng(0)
        self.clips = [clip for clip in clips if not clip.item.reason]
        questions = [[FORMS["choice"](clip.item, rng)] for clip in self.clips]
        silence_features = tuning.tower_outputs(inner, [silence(clip) for clip in self.clips])
        shifted_features = [*features[1 : len(self.clips)], features[0]]
        kinds = {"real": features, "silence": silence_features, "other": shifted_features}
        self.sequences = {
            kind: [tuning.sequence(tokenizer, e, f) for e, f in zip(questions, feats)]
            for kind, feats in kinds.items()
        }

    def __call__(self, inner) -> dict:
        right = {kind: [r[0] for r in tuning.exact(inner, rows)] for kind, rows in self.sequences.items()}
        result = {kind: round(float(np.mean(rows)), 3) for kind, rows in right.items()}
        for name in ("modality", "level", "task"):
            groups: dict[str, list[bool]] = {}
            for clip, good in zip(self.clips, right["real"]):
                groups.setdefault(getattr(clip.item, name), []).append(good)
            result[name] = {group: round(float(np.mean(rows)), 2) for group, rows in sorted(groups.items())}
        return result


def silence(clip: TrainingClip) -> TrainingClip:
    """The same item with features at their floor throughout."""
    return TrainingClip(
        item=clip.item, mel=np.full(clip.mel.shape, FLOOR, np.float16), frames=clip.frames, annotations=()
    )


# What the feature extractor returns for digital silence: (log10(1e-10) + 4) / 4.
FLOOR = -1.5


def log(folder: Path, **row) -> None:
    """One JSON line in `log.jsonl`, and on the terminal."""
    row["time"] = time.strftime("%H:%M:%S")
    with open(folder / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    tqdm.write(json.dumps(row))


def save_adapter(model: PeftModel, folder: Path) -> None:
    """The trained tensors as a peft adapter in float16, without this machine's paths."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty card
    config = folder / "adapter_config.json"
    text = json.loads(config.read_text(encoding="utf-8")) | {
        "base_model_name_or_path": "lalm_utils.mini.base"
    }
    config.write_text(json.dumps(text, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    path = folder / "adapter_model.safetensors"
    save_file({k: v.to(torch.float16).contiguous() for k, v in load_file(path).items()}, path)


def adapter_state(model: PeftModel, folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a saved adapter by their names in `model`. Raises ValueError if they are not all there."""
    stored = load_file(folder / "adapter_model.safetensors")
    state = {
        name: stored.get(name.replace(".default", "").replace(".modules_to_save", ""))
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    missing = sorted(name for name, tensor in state.items() if tensor is None)
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(state)} tensors are not in the adapter, {missing[0]} for one; "
            "start from an adapter that this program saved"
        )
    return state


def is_done(folder: Path, name: str) -> bool:
    return (folder / f"{name}.done").exists()


def run(args: argparse.Namespace) -> None:
    """All stages in order, each skipped if its `.done` file says it ended before."""
    folder = args.work
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    chunks = list(range(args.chunks))
    training_features.prepare([HELD_OUT_CHUNK, *chunks], folder / "material", base_model_dir())
    clips, held_out = (
        training_features.load(part, folder / "material") for part in (chunks, [HELD_OUT_CHUNK])
    )
    base, processor = load_base(pick_dtype(args.dtype, torch.device("cpu")), attention="sdpa")
    args.tokenizer = processor.tokenizer
    args.chats = chat_examples(folder / "chat.json", base, args.tokenizer)
    model = wrap(base)
    inner = model.base_model.model
    if args.start:
        restore(model, adapter_state(model, args.start))
    elif not is_done(folder, "hear"):
        align_audio(model, [clip for clip in clips if clip.annotations], held_out[:640], folder, args)
        save_file(trained_state(model), folder / "hear.done")
    if not args.start:
        restore(model, load_file(folder / "hear.done"))
    answerable = [clip for clip in held_out if not clip.item.reason][: args.evaluation_items]
    evaluation = HeldOutEvaluation(inner, answerable, tuning.tower_outputs(inner, answerable), args.tokenizer)
    for stage in [stage for stage in STAGES if stage.name in args.stages]:
        if not is_done(folder, stage.name):
            tune(model, stage, clips, evaluation, folder, args)
            save_file(trained_state(model), folder / f"{stage.name}.done")
        restore(model, load_file(folder / f"{stage.name}.done"))
    save_adapter(model, folder / "adapter")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lalm_utils.mini.train", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for material, checkpoints and the adapter"
    )
    parser.add_argument("--chunks", type=int, default=14, help="chunks of 1,060 clips to train on")
    parser.add_argument("--hear-passes", type=int, default=2, help="passes over the clips in stage 1")
    parser.add_argument("--hear-rate", type=float, default=1e-3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the passes of stages 2 to 4")
    parser.add_argument(
        "--start", type=Path, default=None, help="go on from this saved adapter instead of stage 1"
    )
    parser.add_argument(
        "--stages", nargs="+", choices=[s.name for s in STAGES], default=[s.name for s in STAGES],
        help="which of stages 2 to 4 to run",
    )  # fmt: skip
    parser.add_argument("--batch-tokens", type=int, default=tuning.BATCH_TOKENS, help="padded tokens a step")
    parser.add_argument("--every", type=int, default=100, help="steps between evaluations in stages 2 to 4")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints there")
    parser.add_argument("--evaluation-items", type=int, default=EVALUATION_ITEMS)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    run(args)


if __name__ == "__main__":
    main()
