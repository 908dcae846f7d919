"""Which questions a split of the embedded benchmark holds: levels, tasks, novelty and unanswerable items.

`plan` returns drafts (text settled, clips not rendered), deterministically from the split's name; `render`
makes one item's clip. Splits differ in their seeds, so no clip or question set is shared between them; novel
items of `idk` and `test` draw on labels that occur in no other split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from lalm_utils.mini.benchmark import font, sounds, tasks_music, tasks_sound, tasks_speech, voice, words
from lalm_utils.mini.benchmark.sampling import Dealer, Draw, Pools
from lalm_utils.mini.benchmark.scene import LEVELS, MAX_SECONDS, RATE, Draft, Scene, active_rms, noise_like

SEED = (
    "mini-5"  # of eight tried, the one whose text priors (option, position, question) lie nearest to chance
)
SIZES = {"dev": 300, "idk": 900, "test": 999, "unanswerable": 160}
NOVEL_SHARE = {"idk": 0.2, "test": 0.2}
MODALITIES = {"sound": tasks_sound, "music": tasks_music, "speech": tasks_speech}
REASONS = ("silence", "masked", "option_removed", "wrong_category")
# Tasks with one label in the clip and a wide pool: the right option can be swapped for one that is not heard.
SWAPPABLE = (
    "Sound event",
    "Background sound",
    "Instrument",
    "Spoken word",
    "Language",
    "Sound behind speech",
)
# With options that are right of silence too ("both are the same"): no question that silence leaves open.
HOLDS_OF_SILENCE = ("Dynamics", "Higher note", "Speaking rate")
MASKING_SNR_DB = -40.0
_LABELS = {
    "train": (sounds.TRAIN_SOUNDS, font.TRAIN_INSTRUMENTS, voice.TRAIN_LANGUAGES, words.TRAIN),
    "idk": (sounds.IDK_SOUNDS, font.IDK_INSTRUMENTS, voice.IDK_LANGUAGES, words.IDK),
    "test": (sounds.TEST_SOUNDS, font.TEST_INSTRUMENTS, voice.TEST_LANGUAGES, words.TEST),
}
_VOICES = {"idk": voice.IDK_VOICES, "test": voice.TEST_VOICES}
SILENCE_LEVEL = 1e-4  # peak of the hiss in a "silent" clip, against full scale


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One item before rendering. `seed` fixes its clip whatever was rendered before."""

    id: str
    split: str
    modality: str
    task: str
    category: str
    level: str
    novel: bool
    draft: Draft
    seed: str
    reason: str = ""


def generator(*parts: object) -> np.random.Generator:
    """A generator seeded by the SHA-256 of the joined parts: independent of order and of any global state."""
    digest = hashlib.sha256("/".join(map(str, (SEED, *parts))).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def pools(split: str, *, novel: bool = False) -> Pools:
    """The labels and voices of `train`, or the split's own novel ones."""
    if novel and split not in NOVEL_SHARE:
        raise ValueError(f"split {split!r} has no novel labels; those that have: {sorted(NOVEL_SHARE)}")
    labels, instruments, languages, vocabulary = _LABELS[split if novel else "train"]
    return Pools(
        events=tuple(label for label in labels if sounds.SOUNDS[label].kind == "event"),
        textures=tuple(label for label in labels if sounds.SOUNDS[label].kind == "texture"),
        instruments=instruments,
        languages=languages,
        words=vocabulary,
        voices=_VOICES[split] if novel else voice.TRAIN_VOICES,
    )


def plan(split: str, *, chunk: int = 0, size: int | None = None) -> list[Planned]:
    """The items of a split in their final order.

    `train` is endless: `chunk` numbers its parts of `size` items; the other splits have the sizes in SIZES unless
    `size` says otherwise (the items of another size are other items).
    """
    count = size if size is not None else SIZES[split]
    if split == "unanswerable":
        return _plan_unanswerable(count)
    dealer, items = Dealer(), []
    for modality, task, level, novel in _cells(split, chunk, count):
        name = f"{split}-{chunk}-{len(items):05d}" if split == "train" else f"{split}-{len(items):04d}"
        items.append(_planned(name, split, modality, task, level, novel, dealer))
    return items


def _cells(split: str, chunk: int, count: int) -> list[tuple[str, str, str, bool]]:
    """(modality, task, level, novel) of each item: equal modalities, tasks and levels, in a drawn order."""
    cells = []
    for m, (modality, module) in enumerate(MODALITIES.items()):
        size = (count - m + 2) // 3
        fresh = round(size * NOVEL_SHARE.get(split, 0.0))
        cells += _spread(modality, module.NOVEL, fresh, True) + _spread(
            modality, module.TASKS, size - fresh, False
        )
    order = generator(split, chunk, "order").permutation(len(cells))
    return [cells[int(i)] for i in order]


def _spread(modality: str, tasks, count: int, novel: bool) -> list[tuple[str, str, str, bool]]:
    grid = [(modality, task, level, novel) for level in LEVELS for task in tasks]
    return [grid[i % len(grid)] for i in range(count)]


def _planned(
    name: str, split: str, modality: str, task: str, level: str, novel: bool, dealer: Dealer
) -> Planned:
    make, category = MODALITIES[modality].TASKS[task]
    draw = Draw(rng=generator(name, "text"), level=level, pools=pools(split, novel=novel), dealer=dealer)
    return Planned(
        id=name, split=split, modality=modality, task=task, category=category, level=level, novel=novel,
        draft=make(draw), seed=name,
    )  # fmt: skip


def _plan_unanswerable(count: int) -> list[Planned]:
    dealer = Dealer()
    rows = [(tuple(MODALITIES)[i % 3], REASONS[i % 4]) for i in range(count)]
    return [
        unanswerable(f"unanswerable-{i:04d}", "unanswerable", modality, reason, dealer)
        for i, (modality, reason) in enumerate(rows)
    ]


def unanswerable(name: str, split: str, modality: str, reason: str, dealer: Dealer) -> Planned:
    """An item whose clip cannot answer its question, for one of REASONS.

    silence: only a faint hiss; masked: noise 40 dB above the sound; option_removed: the clip is clean but the
    right option is swapped for one that is not heard; wrong_category: a clean clip of another modality.
    """
    rng = generator(name, "kind")
    tasks = [task for task in MODALITIES[modality].TASKS if task not in HOLDS_OF_SILENCE]
    if reason == "option_removed":
        tasks = [task for task in tasks if task in SWAPPABLE]
    level = ("easy", "medium")[int(rng.integers(2))]
    item = _planned(name, split, modality, tasks[int(rng.integers(len(tasks)))], level, False, dealer)
    change = {"silence": _silenced, "masked": _masked, "option_removed": _option_removed,
              "wrong_category": _wrong_category}[reason]  # fmt: skip
    return replace(item, draft=change(item, rng, dealer), reason=reason)


def _silenced(item: Planned, rng: np.random.Generator, dealer: Dealer) -> Draft:
    return replace(
        item.draft,
        build=_hiss,
        rationale="I hear no sound.",
        truth={"type": item.modality, "caption": "silence", "transcript": ""},
    )


def _hiss(rng: np.random.Generator) -> Scene:
    count = int(rng.uniform(2.0, 4.5) * RATE)
    noise = noise_like(rng, count)
    return Scene(
        samples=(noise * (SILENCE_LEVEL * rng.random() / np.max(np.abs(noise)))).astype(np.float32), marks=()
    )


def _masked(item: Planned, rng: np.random.Generator, dealer: Dealer) -> Draft:
    inner = item.draft.build

    def build(rng: np.random.Generator) -> Scene:
        samples = inner(rng).samples
        noise = noise_like(rng, len(samples)) * active_rms(samples) * 10 ** (-MASKING_SNR_DB / 20)
        loud = samples + noise
        return Scene(
            samples=(loud * (rng.uniform(0.25, 0.9) / np.max(np.abs(loud)))).astype(np.float32), marks=()
        )

    return replace(
        item.draft,
        build=build,
        rationale="I hear nothing but noise.",
        truth={"type": item.modality, "caption": "noise", "transcript": ""},
    )


def _option_removed(item: Planned, rng: np.random.Generator, dealer: Dealer) -> Draft:
    draft = item.draft
    heard = {draft.options[draft.gold], *draft.truth.get("content", ())}
    spare = [label for label in draft.pool if label not in heard and label not in draft.options]
    options = list(draft.options)
    options[draft.gold] = spare[int(rng.integers(len(spare)))]
    return replace(draft, options=tuple(options))


def _wrong_category(item: Planned, rng: np.random.Generator, dealer: Dealer) -> Draft:
    others = [modality for modality in MODALITIES if modality != item.modality]
    modality = others[int(rng.integers(2))]
    # "Sound behind speech" and the like would let another modality's clip answer by accident: take plain clips.
    task = {"sound": "Sound event", "music": "Instrument", "speech": "Spoken word"}[modality]
    clip = _planned(f"{item.id}-clip", item.split, modality, task, "easy", False, dealer).draft
    return replace(item.draft, build=clip.build, rationale=clip.rationale, truth=clip.truth)


def render(item: Planned) -> Scene:
    """The item's clip, at most MAX_SECONDS, rendered from its own seed."""
    scene = item.draft.build(generator(item.seed, "clip"))
    if len(scene.samples) > MAX_SECONDS * RATE + 1:
        raise ValueError(f"item {item.id}: clip of {len(scene.samples) / RATE:.2f} s exceeds {MAX_SECONDS} s")
    return scene
