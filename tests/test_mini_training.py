"""Training: sequences as the processor renders them, examples that do not see each other, exact resumption."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from lalm_utils.engine.audio_features import EDGE, encode
from lalm_utils.mini.benchmark.plan import REASONS, plan, render
from lalm_utils.mini.benchmark.scene import RATE, Annotation
from lalm_utils.mini.model.base import base_model_dir, load_base
from lalm_utils.mini.training import alignment, chat, train, training_features, tuning
from lalm_utils.mini.training.instruct import FORMS, Example
from lalm_utils.mini.training.training_features import TrainingClip

AUDIO = 49_153  # the base's audio token


@pytest.fixture(scope="module")
def processor() -> Qwen2AudioProcessor:
    return Qwen2AudioProcessor.from_pretrained(base_model_dir())


@pytest.fixture(scope="module")
def base() -> Qwen2AudioForConditionalGeneration:
    """The real base in float32; its projector is random."""
    return load_base(torch.float32)[0]


@pytest.fixture(scope="module")
def words():
    """A tokenizer of a few words."""
    return tiny.tiny_tokenizer()


def small(words, dtype: torch.dtype = torch.float32, seed: int = 0) -> Qwen2AudioForConditionalGeneration:
    """A model of a few thousand weights with the base's 80 mel bands."""
    config = tiny.tiny_config(words)
    config.audio_config.num_mel_bins = 80
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.2)
    return model.to(dtype)


def glide(seconds: float, low: float = 300.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (low + 200 * time) * time)).astype(np.float32)


def clip(frames: int, *annotations: tuple, item=None, seed: int = 0) -> TrainingClip:
    """A clip of random features with annotations (group, label, start, end)."""
    mel = np.random.default_rng(seed).uniform(-0.5, 1.0, (frames + EDGE, 80)).astype(np.float16)
    named = tuple(Annotation(group=g, label=label, start=s, end=e) for g, label, s, e in annotations)
    return TrainingClip(item=item or plan("train", size=3)[0], mel=mel, frames=frames, annotations=named)


def conversation(processor, user: str | Example, reply: str | None, *, audio: bool) -> str:
    """What the processor's chat template makes of one exchange; without a reply, up to where it is generated."""
    example = Example(user=user, reply="") if isinstance(user, str) else user
    texts = [("system", example.system)] * bool(example.system)
    texts += [pair for turn in example.earlier for pair in zip(("user", "assistant"), turn)]
    turns = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in texts]
    content = [{"type": "audio", "path": "clip.wav"}] * audio + [{"type": "text", "text": example.user}]
    turns.append({"role": "user", "content": content})
    if reply is not None:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": reply}]})
    return processor.apply_chat_template(turns, add_generation_prompt=reply is None, tokenize=False)


def inputs(processor, text: str, samples: np.ndarray | None):
    clips = {} if samples is None else {"audio": [samples], "sampling_rate": RATE}
    return processor(text=text, return_tensors="pt", **clips)


# ---- sequences


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("audio", [True, False])
def test_a_single_example_has_the_ids_of_the_processors_own_rendering(processor, form, audio):
    samples = glide(1.3) if audio else None
    features = torch.zeros(32, 384) if audio else None
    for number, item in enumerate(plan("train", size=90)[number] for number in range(0, 90, 6)):
        example = FORMS[form](item, np.random.default_rng(number))
        result = tuning.sequence(processor.tokenizer, [example], features)
        whole = conversation(processor, example, example.reply, audio=audio)
        assert result.ids == inputs(processor, whole.removesuffix("\n"), samples).input_ids[0].tolist(), (
            example
        )
        rendering = inputs(processor, conversation(processor, example, None, audio=audio), samples)
        start = result.reply.index(True)
        assert result.ids[:start] == rendering.input_ids[0].tolist(), example
        assert all(result.reply[start:])
        assert result.position == list(range(len(result.ids)))
        index = [i for i, token in enumerate(result.ids) if token == AUDIO]
        assert index == list(range(result.audio[0], result.audio[0] + result.audio[1]))


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 2.51, 3.337, 6.0])
def test_a_clip_has_as_many_tokens_as_the_processor_gives_it(processor, seconds):
    samples = glide(seconds)
    mel, frames = training_features.features(processor.feature_extractor, samples)
    heard = TrainingClip(item=None, mel=mel, frames=frames, annotations=())
    text = conversation(processor, "What?", None, audio=True)
    assert heard.tokens == (inputs(processor, text, samples).input_ids == AUDIO).sum()
    assert mel.shape == (frames + EDGE, 80)


def test_examples_with_turns_of_their_own_stand_alone_and_the_others_share_one_sequence(processor):
    shared = [Example(user="Which?", reply="a bell"), Example(user="What is it?", reply="rain")]
    own = [
        Example(user="And now?", reply="wind", earlier=(("In words: rain. Which?", "rain"),)),
        Example(user="Which?", reply="I may not.", system="Never talk about bells."),
    ]
    result = tuning.sequences(
        processor.tokenizer, [shared[0], own[0], shared[1], own[1]], torch.zeros(5, 384)
    )
    assert [max(sequenced.block) for sequenced in result] == [2, 1, 1]
    assert result[0].ids == tuning.sequence(processor.tokenizer, shared, result[0].features).ids
    with pytest.raises(ValueError, match="share no prefix; give each alone"):
        tuning.sequence(processor.tokenizer, [shared[0], own[0]], torch.zeros(5, 384))


def test_examples_share_the_prefix_and_start_anew_behind_it(processor):
    examples = [Example(user="Which?", reply="a bell"), Example(user="What is it?", reply="rain")]
    result = tuning.sequence(processor.tokenizer, examples, torch.zeros(5, 384))
    alone = [tuning.sequence(processor.tokenizer, [example], torch.zeros(5, 384)) for example in examples]
    start = result.block.index(1)
    assert result.block == sorted(result.block)
    for number, single in enumerate(alone, 1):
        mine = [i for i, block in enumerate(result.block) if block in (0, number)]
        assert [result.ids[i] for i in mine] == single.ids
        assert [result.position[i] for i in mine] == single.position
        assert [result.reply[i] for i in mine] == single.reply
    assert result.audio == alone[0].audio
    assert set(result.block[:start]) == {0}


def log_likelihoods(model, batch) -> np.ndarray:
    """Summed log-probability of each example's reply, in the batch's order."""
    with torch.no_grad():
        logits, expected, example = tuning.reply_logits(model, batch)
    chosen = torch.log_softmax(logits, -1).gather(1, expected[:, None])[:, 0]
    return torch.bincount(example, weights=chosen).numpy()


SPOKEN = [
    Example(user="Which sound is it ? dog bell cat", reply="dog"),
    Example(user="What do you hear ? rain bell", reply="the second one"),
    Example(
        user="Reply with the animal of the first option and then the bell", reply="quiet rain and loud dog"
    ),
]


@pytest.mark.parametrize("audio", [True, False])
def test_examples_of_one_sequence_do_not_see_each_other(words, audio):
    model = small(words)
    features = torch.randn(7, 16, generator=torch.Generator().manual_seed(1)) if audio else None
    alone = [log_likelihoods(model, [tuning.sequence(words, [example], features)])[0] for example in SPOKEN]
    together = log_likelihoods(model, [tuning.sequence(words, SPOKEN, features)])
    assert together == pytest.approx(alone, abs=1e-4)
    turned = log_likelihoods(model, [tuning.sequence(words, SPOKEN[::-1], features)])
    assert turned[::-1] == pytest.approx(alone, abs=1e-4)
    assert np.ptp(alone) > 1


def test_sequences_of_one_batch_do_not_see_each_other_nor_their_padding(words):
    model, draw = small(words), torch.Generator().manual_seed(2)
    rows = [
        tuning.sequence(words, SPOKEN[:1], torch.randn(7, 16, generator=draw)),
        tuning.sequence(words, SPOKEN, torch.randn(3, 16, generator=draw)),
        tuning.sequence(words, SPOKEN[1:], None),
    ]
    alone = np.concatenate([log_likelihoods(model, [row]) for row in rows])
    assert log_likelihoods(model, rows) == pytest.approx(alone, abs=1e-4)
    assert len(alone) == 1 + 3 + 2


def test_what_is_heard_changes_what_is_replied(words):
    model = small(words)
    heard = [torch.randn(7, 16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    first, second = (log_likelihoods(model, [tuning.sequence(words, SPOKEN, features)]) for features in heard)
    assert np.abs(first - second).min() > 1e-3


def test_the_loss_weighs_an_example_by_the_square_root_of_its_reply(words):
    model, rows = small(words), [tuning.sequence(words, SPOKEN, None)]
    logits, targets, example = tuning.reply_logits(model, rows)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    counts = torch.bincount(example)
    assert counts.tolist() == [2, 4, 6]  # with the end of turn
    mean = torch.stack([losses[example == k].mean() for k in range(3)])
    expected = (mean * counts.sqrt()).sum() / counts.sqrt().sum()
    total, weight = tuning.reply_loss(model, rows)
    assert (total / weight).item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_computes_what_the_model_computes_at_inference(base, processor):
    samples, example = glide(1.1), Example(user="What do you hear?\n(A) bell\n(B) rain", reply="bell")
    text = conversation(processor, example.user, example.reply, audio=True).removesuffix("\n")
    given = inputs(processor, text, samples)
    with torch.no_grad():
        expected = base(**given).logits[0]
        result = tuning.sequence(processor.tokenizer, [example], encoded(base, processor, samples))
        logits, targets, _ = tuning.reply_logits(base, [result])
    first = result.reply.index(True)
    assert targets.tolist() == given.input_ids[0, first:].tolist()
    assert torch.allclose(logits, expected[first - 1 : -1], atol=2e-3)


def encoded(base, processor, samples: np.ndarray) -> torch.Tensor:
    """The tower's output for one clip, (tokens, 384), from features that are not rounded to float16."""
    _, frames = training_features.features(processor.feature_extractor, samples)
    mel = processor.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
    mel = mel[:, :, : frames + EDGE]
    tokens = TrainingClip(item=None, mel=mel[0].numpy(), frames=frames, annotations=()).tokens
    with torch.no_grad():
        return encode(base.model.audio_tower, mel, torch.tensor([frames]))[0, :tokens]


PROMPTS = ["What is the capital of France?", "What is the opposite of 'hot'?", "Say hello to a colleague."]


def test_exact_agrees_with_greedy_generation(base, processor):
    tokenizer, end = processor.tokenizer, processor.tokenizer.convert_tokens_to_ids(tuning.END)
    replies = []
    for number, user in enumerate(PROMPTS):
        samples = glide(0.6) if number == 2 else None
        given = inputs(processor, conversation(processor, user, None, audio=samples is not None), samples)
        result = base.generate(**given, max_new_tokens=24)[0, given.input_ids.shape[1] :].tolist()
        features = None if samples is None else encoded(base, processor, samples)
        replies.append((user, features, result))
    ended = [
        (user, features, result[: result.index(end)]) for user, features, result in replies if end in result
    ]
    assert len(ended) >= 2
    rows, expected = [], []
    for user, features, result in ended:
        text = tokenizer.decode(result)
        assert tokenizer(text, add_special_tokens=False).input_ids == result
        other, short = text.replace(text.split()[1], "never", 1), tokenizer.decode(result[:-1])
        examples = [Example(user=user, reply=reply) for reply in (other, text, short)]
        rows.append(tuning.sequence(tokenizer, examples, features))
        expected.append([False, True, False])
    assert tuning.exact(base, rows) == expected


def test_exact_keeps_the_order_of_sequences_of_any_length(words):
    model = small(words)
    rows = [tuning.sequence(words, SPOKEN[: 1 + i % 3], None) for i in range(20)]
    result = tuning.exact(model, rows)
    assert [len(right) for right in result] == [1 + i % 3 for i in range(20)]
    logits, expected, example = tuning.reply_logits(model, [rows[2]])
    missed = torch.bincount(example, weights=(logits.argmax(-1) != expected).float()).tolist()
    assert result[2] == [count == 0 for count in missed]


def test_batches_hold_every_sequence_once_and_no_more_tokens_than_allowed(words):
    rows = [tuning.sequence(words, SPOKEN[: 1 + i % 3], None) for i in range(24)]
    result = list(tuning.batches(rows, np.random.default_rng(0), tokens=200))
    assert sorted(id(row) for batch in result for row in batch) == sorted(map(id, rows))
    assert max(len(batch) * max(len(row.ids) for row in batch) for batch in result) <= 200
    assert len(result) < 24
    again = list(tuning.batches(rows, np.random.default_rng(1), tokens=200))
    assert [len(batch[0].ids) for batch in result] != [len(batch[0].ids) for batch in again]


# ---- hearing


def test_encode_gives_what_the_towers_own_forward_gives(base, processor):
    samples = glide(2.3)
    given = inputs(processor, conversation(processor, "What?", None, audio=True), samples)
    seen = []
    handle = base.model.multi_modal_projector.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        base(**given)
    handle.remove()
    ours = encoded(base, processor, samples)
    assert len(ours) == 57
    assert torch.allclose(ours, seen[0][0, :57], atol=1e-4)
    assert ours.std() > 0.5


def test_encode_of_a_batch_equals_its_clips_alone(words):
    tower = small(words).model.audio_tower
    clips = [clip(frames, seed=frames) for frames in (37, 180, 101)]
    with torch.no_grad():
        together = encode(tower, *alignment.pad(clips))
        for row, heard in zip(together, clips):
            alone = encode(tower, *alignment.pad([heard]))[0, : heard.tokens]
            assert torch.allclose(row[: heard.tokens], alone, atol=1e-4)
            assert alone.isfinite().all()


def test_padding_repeats_a_clips_last_frame_and_fills_the_pooling():
    clips = [clip(50), clip(99, seed=1)]
    mel, frames = alignment.pad(clips)
    assert mel.shape == (2, 80, 104)  # 99 + 4 frames, rounded up to whole tokens
    assert frames.tolist() == [50, 99]
    assert torch.equal(mel[0, :, 54:], mel[0, :, 53:54].expand(80, 50))
    assert mel.dtype == torch.float32


INDEX = {"bell": 0, "dog bark": 1, "nothing": 2}
LOUD = {"loud": 0, "quiet": 1}


@pytest.mark.parametrize(
    ("case", "annotations", "group", "index", "expected"),
    [
        ("between annotations there is nothing", [("content", "bell", 0.2, 0.4)], "content", INDEX,
         [2] * 5 + [0] * 5 + [2] * 15),
        ("a later mark covers an earlier one", [("content", "bell", 0.0, 0.4), ("content", "dog bark", 0.2, 0.4)],
         "content", INDEX, [0] * 5 + [1] * 5 + [2] * 15),
        ("a mark of no length still has its frame", [("content", "bell", 0.2, 0.2)], "content", INDEX,
         [2] * 5 + [0] + [2] * 19),
        ("a label that is not trained is unknown, not nothing", [("content", "zebra", 0.2, 0.4)], "content", INDEX,
         [2] * 5 + [-100] * 5 + [2] * 15),
        ("without annotations all is unknown", [("loud", "loud", 0.0, 0.4)], "content", INDEX, [-100] * 25),
        ("other groups know no nothing", [("loud", "loud", 0.0, 0.2), ("loud", "quiet", 0.6, 0.8)], "loud", LOUD,
         [0] * 5 + [-100] * 10 + [1] * 5 + [-100] * 5),
        ("a mark may last to the end", [("loud", "quiet", 0.8, 1.0)], "loud", LOUD, [-100] * 20 + [1] * 5),
    ],
)  # fmt: skip
def test_frames_are_labelled_by_the_annotations_of_their_group(case, annotations, group, index, expected):
    heard = clip(100, *annotations)  # one second: 25 tokens
    assert heard.tokens == 25
    result = alignment.frame_targets(heard, group, index, 28)
    assert result.tolist() == [*expected, -100, -100, -100], case


def test_a_clip_is_labelled_by_its_mark_of_the_group():
    annotations = (
        [("tempo", "fast", 0.0, 1.0)],
        [("tempo", "presto", 0.0, 1.0)],
        [("type", "music", 0.0, 1.0)],
    )
    clips = [clip(100, *mine) for mine in annotations]
    assert alignment.clip_targets(clips, "tempo", {"slow": 0, "fast": 1}).tolist() == [1, -100, -100]


def test_every_label_of_a_rendered_training_clip_is_known_or_left_out_on_purpose():
    known = alignment.FRAME_GROUPS | alignment.CLIP_GROUPS
    unknown = set()
    for item in plan("train", size=270)[::3]:
        for annotation in render(item).annotations:
            assert annotation.group in known, (item.task, annotation)
            if annotation.label not in known[annotation.group]:
                unknown.add((annotation.group, annotation.label))
    # Words that eSpeak runs together carry one time for two.
    assert all((group == "content" and " " in label) or label.isdigit() for group, label in unknown), unknown


@pytest.fixture(scope="module")
def labels(base, processor) -> alignment.LabelEmbeddings:
    embeddings = base.model.language_model.get_input_embeddings().weight.detach()
    return alignment.label_vectors(processor.tokenizer, embeddings)


# The mean over a label's tokens does not see their order: "louder then quieter" is "quieter then louder".
@pytest.mark.parametrize("group", alignment.FRAME_GROUPS | alignment.CLIP_GROUPS)
def test_no_two_labels_of_a_group_are_alike(labels, group):
    rows = labels.rows[group]
    likeness = labels.vectors[rows] @ labels.vectors[rows].T
    likeness.fill_diagonal_(-1)
    assert likeness.max() < 0.99
    assert len(rows) == len(labels.index[group]) >= 2


def test_labels_are_unit_vectors_around_the_mean_embedding(labels, base, processor):
    embeddings = base.model.language_model.get_input_embeddings().weight.detach()
    assert torch.allclose(labels.vectors.norm(dim=-1), torch.ones(len(labels.vectors)), atol=1e-5)
    assert torch.allclose(labels.centre, embeddings.mean(0), atol=1e-6)
    [token] = processor.tokenizer(" rain", add_special_tokens=False).input_ids
    rain = labels.vectors[labels.rows["content"][labels.index["content"]["rain"]]]
    assert torch.cosine_similarity(rain, embeddings[token] - labels.centre, dim=0) > 0.9999


def test_frames_on_their_labels_are_heard_right_and_others_wrong(labels):
    heard = clip(100, ("content", "bell", 0.0, 0.4), ("type", "sound", 0.0, 1.0), ("loud", "loud", 0.0, 0.4))
    rows = labels.rows["content"]
    names = ["bell"] * 10 + [alignment.NOTHING] * 15
    frames = labels.vectors[rows[[labels.index["content"][name] for name in names]]][None] * 3
    loss, counts = alignment.alignment_loss(frames, [heard], labels)
    assert counts["content"] == (25, 25)
    assert counts["loud"][1] == 10
    assert counts["type"][1] == 1
    assert set(counts) == {"content", "loud", "type"}
    worse, wrong = alignment.alignment_loss(-frames, [heard], labels)
    assert wrong["content"] == (0, 25)
    assert worse > loss + 10


def test_frames_beyond_a_clip_do_not_count(labels):
    short = clip(40, ("content", "bell", 0.0, 0.2), ("type", "sound", 0.0, 0.4))
    draw = torch.Generator().manual_seed(0)
    frames = torch.randn(1, 25, labels.vectors.shape[1], generator=draw)
    changed = frames.clone()
    changed[:, short.tokens :] = 9.0
    first, counts = alignment.alignment_loss(frames, [short], labels)
    assert alignment.alignment_loss(changed, [short], labels)[0].item() == pytest.approx(
        first.item(), rel=1e-6
    )
    assert counts["content"][1] == short.tokens == 10


# ---- material


@pytest.fixture
def few(monkeypatch, tmp_path) -> Path:
    """Chunks of six answerable and four other items, rendered in this process; the folder for them."""
    monkeypatch.setattr(training_features, "CHUNK", 6)
    monkeypatch.setattr(training_features, "UNANSWERABLE", 4)
    monkeypatch.setattr(training_features, "ProcessPoolExecutor", Inline)
    return tmp_path / "material"


class Inline:
    """A pool that works at once; `done` lists the chunks it was given."""

    done: list[int] = []  # noqa: RUF012

    def __init__(self, workers: int, mp_context=None) -> None:
        Inline.done = []

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error) -> None:
        pass

    def submit(self, work, chunk, *rest) -> Inline:
        Inline.done.append(chunk)
        work(chunk, *rest)
        return self

    def result(self) -> None:
        pass


def test_a_chunk_holds_answerable_items_and_every_reason():
    items = training_features.chunk_items(2)
    reasons = Counter(item.reason for item in items)
    assert len(items) == training_features.CHUNK + training_features.UNANSWERABLE
    assert reasons[""] == training_features.CHUNK
    assert {reasons[reason] for reason in REASONS} == {training_features.UNANSWERABLE // 4}
    ids = [item.id for item in items]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {item.id for item in training_features.chunk_items(3)}
    assert all(item.split == "train" and not item.novel for item in items)


def test_chunks_are_rendered_once_and_come_back_as_they_were_heard(few, processor):
    training_features.prepare([0, 1], few, base_model_dir())
    assert Inline.done == [0, 1]
    (few / "1.json").unlink()  # interrupted: its features are there, but it does not count
    training_features.prepare([0, 1], few, base_model_dir())
    assert Inline.done == [1]
    heard = training_features.load([1, 0], few)
    assert [clip_.item.id for clip_ in heard] == [
        item.id for c in (1, 0) for item in training_features.chunk_items(c)
    ]
    for clip_ in heard[:3]:
        scene = render(clip_.item)
        mel, frames = training_features.features(processor.feature_extractor, scene.samples)
        assert np.array_equal(clip_.mel, mel)
        assert (clip_.frames, clip_.annotations) == (frames, scene.annotations)


def test_features_are_those_of_the_16_bit_file_that_inference_reads(processor):
    samples = (glide(0.5) * 1e-4).astype(np.float32)  # so quiet that the rounding is heard
    stored = np.round(samples * 32767).astype(np.int16).astype(np.float32) / 32768
    mel, _ = training_features.features(processor.feature_extractor, samples)
    expected = processor.feature_extractor(stored, sampling_rate=RATE, return_tensors="np").input_features[0]
    assert np.abs(mel - expected.T[: len(mel)]).max() < 2e-3
    plain = processor.feature_extractor(samples, sampling_rate=RATE, return_tensors="np").input_features[0]
    assert np.abs(mel - plain.T[: len(mel)]).max() > 0.05


def test_silence_is_what_the_extractor_gives_for_it(processor):
    mel, _ = training_features.features(processor.feature_extractor, np.zeros(RATE, np.float32))
    assert np.abs(mel - train.FLOOR).max() < 1e-3
    heard = clip(100, ("content", "bell", 0.0, 1.0))
    silent = train.silence(heard)
    assert np.array_equal(silent.mel, np.full((104, 80), train.FLOOR, np.float16))
    assert (silent.frames, silent.annotations) == (100, ())


def test_tower_outputs_come_in_the_clips_order_without_padding(words):
    model = small(words, torch.bfloat16)
    clips = [clip(frames, seed=frames) for frames in (120, 30, 77, 31, 160)]
    result = tuning.tower_outputs(model, clips, batch=2)
    for features, heard in zip(result, clips, strict=True):
        [alone] = tuning.tower_outputs(model, [heard])
        assert features.shape == (heard.tokens, 16)
        assert features.dtype == torch.bfloat16
        assert torch.allclose(features.float(), alone.float(), atol=0.05)


# ---- stages


def wrapped(words) -> PeftModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return train.wrap(small(words, torch.bfloat16))


def test_lora_lies_on_both_models_with_their_ranks_and_the_projector_is_trained_whole(words):
    model = wrapped(words)
    trained = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    ranks = {name: shape[0] for name, shape in trained.items() if "lora_A" in name}
    language, tower = (
        {r for n, r in ranks.items() if part in n} for part in ("language_model", "audio_tower")
    )
    assert (language, tower) == ({16}, {64})
    layers = 2 * (4 + 3) + 2 * (4 + 2)
    assert len(ranks) == layers
    others = [name for name in trained if "lora_" not in name]
    assert sorted(name.rsplit(".", 1)[1] for name in others) == ["bias", "weight"]
    assert all("multi_modal_projector" in name for name in others)
    assert len(trained) == 2 * layers + 2
    assert set(train.trained_state(model)) == set(trained)


def test_restoring_gives_back_what_was_trained(words):
    model = wrapped(words)
    before = train.trained_state(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    train.restore(model, before)
    assert all(torch.equal(value, before[name]) for name, value in train.trained_state(model).items())


class Interrupted(Exception):
    pass


def tuned(words, folder: Path, *, stop_at: int | None = None) -> dict[str, torch.Tensor]:
    """One stage on small clips; with `stop_at`, stopped when the evaluation is asked for that time."""
    items = plan("train", size=24)
    clips = [clip(40 + 5 * i, item=item, seed=i) for i, item in enumerate(items)]
    calls = []

    def evaluation(inner) -> dict:
        calls.append(inner)
        if len(calls) == stop_at:
            raise Interrupted
        return {"real": 0.5}

    stage = train.Stage(
        name="perceive", accepts=lambda clip: clip.item.level != "hard", forms={"choice": 0.6, "account": 0.4},
        passes=1.0, rate=1e-2, projector_rate=1e-2,
    )  # fmt: skip
    args = argparse.Namespace(
        tokenizer=words, seed=0, scale=1.0, every=2, save_every=3, chats=[], batch_tokens=700
    )
    folder.mkdir(exist_ok=True)
    model = wrapped(words)
    train.tune(model, stage, clips, evaluation, folder, args)
    return train.trained_state(model)


def test_a_stage_that_was_interrupted_ends_where_it_would_have_ended(words, tmp_path):
    untouched = train.trained_state(wrapped(words))
    whole = tuned(words, tmp_path / "whole")
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert len(rows) >= 3
    assert rows[-1]["step"] == rows[-1]["of"]
    with pytest.raises(Interrupted):
        tuned(words, tmp_path / "parts", stop_at=3)  # the second checkpoint is written, the third is not
    resumed = tuned(words, tmp_path / "parts")
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert steps == [row["step"] for row in rows]
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())
    moved = {name for name, value in whole.items() if not torch.equal(value, untouched[name])}
    assert any("language_model" in name for name in moved)
    assert any("projector" in name for name in moved)
    assert not any("audio_tower" in name for name in moved)  # its outputs were computed once


def test_the_projector_ends_at_the_spread_and_centre_of_the_embeddings(words):
    model, clips = wrapped(words), [clip(frames, seed=frames) for frames in (100, 100, 100)]
    inner = model.base_model.model
    fitted = alignment.LabelEmbeddings(
        vectors=None, rows={}, index={}, centre=torch.full((32,), 0.5), norm=4.0
    )
    train.fit_projector(inner, clips, fitted, None)
    with torch.no_grad():
        frames = train.project(inner, clips, None).flatten(0, 1).float() - 0.5
    assert frames.norm(dim=-1).mean().item() == pytest.approx(4.0, rel=0.02)


def with_random_adapter(words):
    model = wrapped(words)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    return model


def test_the_adapter_is_saved_in_float16_without_paths_and_loads_again(words, tmp_path):
    model = with_random_adapter(words)
    train.save_adapter(model, tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float16}
    assert len(saved) == len(train.trained_state(model))
    assert "/" not in json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"]
    loaded = PeftModel.from_pretrained(small(words, torch.bfloat16), tmp_path, autocast_adapter_dtype=False)
    row = tuning.sequence(words, SPOKEN, torch.zeros(3, 16).bfloat16())
    assert log_likelihoods(loaded.base_model.model, [row]) == pytest.approx(
        log_likelihoods(model.base_model.model, [row]), rel=0.02
    )


def test_every_stage_asks_in_known_forms_about_known_tasks():
    tasks = {item.task for item in plan("train", size=90)}
    assert set(train.PERCEIVE) <= tasks
    assert [stage.name for stage in train.STAGES] == ["perceive", "reason", "instruct"]
    for stage in train.STAGES:
        assert set(stage.forms) <= set(FORMS)
        assert sum(stage.forms.values()) == pytest.approx(1)
    assert all("choice_or_idk" not in stage.forms for stage in train.STAGES[:-1])


def test_a_clip_that_cannot_answer_is_declined_with_permission_and_guessed_at_without():
    hopeless = [item for item in training_features.chunk_items(0) if item.reason][:8]
    for number, item in enumerate(hopeless):
        rendering = train.examples(clip(100, item=item), train.STAGES[-1], np.random.default_rng(number))
        declined, last_line, guess, _ = [example.reply for example in rendering]
        assert declined == "IDK"
        assert last_line.endswith("\nAnswer: IDK")
        assert guess in item.spec.options


def test_training_goes_on_from_a_saved_adapter(words, tmp_path):
    model = with_random_adapter(words)
    train.save_adapter(model, tmp_path)
    other = wrapped(words)
    train.restore(other, train.adapter_state(other, tmp_path))
    result = train.trained_state(other)
    assert all(
        torch.allclose(value, result[name], atol=1e-2) for name, value in train.trained_state(model).items()
    )
    path = tmp_path / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if "projector" not in name}, path)
    with pytest.raises(ValueError, match=r"2 of .* tensors are not in the adapter"):
        train.adapter_state(other, tmp_path)


def test_only_the_last_stage_draws_clips_that_cannot_answer():
    clips = [clip(100, item=item) for item in training_features.chunk_items(0)[::2]]
    shares = {}
    for stage in train.STAGES:
        once = min(2.5, 1 / stage.passes)  # at more, clips come again
        draws = [clips[i].item for i in train.draw_clips(clips, stage, once, np.random.default_rng(0))]
        assert len({item.id for item in draws}) == len(draws) > 20
        shares[stage.name] = sum(bool(item.reason) for item in draws) / len(draws)
        if stage.name == "perceive":
            assert {item.task for item in draws} <= set(train.PERCEIVE)
            assert {item.level for item in draws} == {"easy", "medium"}
    assert shares["perceive"] == shares["reason"] == 0
    assert 0.02 < shares["instruct"] < 0.3


def test_several_passes_visit_every_clip_equally_often():
    clips = [clip(100, item=item) for item in plan("train", size=30)]
    stage = replace(train.STAGES[1], passes=1.0, unanswerable=0.0)
    draws = train.draw_clips(clips, stage, 2.5, np.random.default_rng(0))
    assert len(draws) == 75
    assert set(Counter(draws).values()) == {2, 3}
    assert sorted(draws[:30]) == list(range(30))


def test_a_clip_is_asked_for_its_account_and_its_type_once_at_most():
    transcribing = set()
    for number, item in enumerate(plan("train", size=200)):
        rendering = train.examples(clip(100, item=item), train.STAGES[-1], np.random.default_rng(number))
        assert len(rendering) == train.QUESTIONS_PER_CLIP
        truth = item.spec.truth
        account = truth.get("transcript") or truth["caption"]
        transcribing.add(sum(example.reply == account for example in rendering))
        assert sum(example.reply == truth["type"] for example in rendering) <= 1
    assert transcribing == {0, 1}


def test_batches_by_length_hold_every_clip_once():
    clips = [clip(20 + (37 * i) % 90, seed=0) for i in range(70)]
    result = train.by_length(clips, 8, np.random.default_rng(0))
    assert sorted(i for batch in result for i in batch) == list(range(70))
    assert max(map(len, result)) == 8
    spans = [np.ptp([clips[i].frames for i in batch]) for batch in result]
    assert max(spans) <= 15
    assert [batch[0] for batch in result] != [
        b[0] for b in train.by_length(clips, 8, np.random.default_rng(1))
    ]


def test_the_evaluation_compares_the_clip_with_silence_and_with_another_clip(words, monkeypatch):
    model = small(words, torch.bfloat16)
    items = plan("train", size=6)
    clips = [clip(60 + 10 * i, item=item, seed=i) for i, item in enumerate(items)]
    features = tuning.tower_outputs(model, clips)
    evaluation = train.HeldOutEvaluation(model, clips, features, words)
    for i, heard in enumerate(clips):
        rows = {kind: evaluation.sequences[kind][i] for kind in ("real", "silence", "other")}
        assert torch.equal(rows["real"].features, features[i])
        [silent] = tuning.tower_outputs(model, [train.silence(heard)])
        assert torch.allclose(rows["silence"].features.float(), silent.float(), atol=0.05)
        assert not torch.allclose(rows["silence"].features.float(), features[i].float(), atol=0.5)
        assert torch.equal(rows["other"].features, features[(i + 1) % 6])
        questions = {
            tuple(t for t in row.ids if t != words.convert_tokens_to_ids("<|AUDIO|>"))
            for row in rows.values()
        }
        assert len(questions) == 1
    right = {
        id(row): kind == "real" and i < 3
        for kind, rows in evaluation.sequences.items()
        for i, row in enumerate(rows)
    }
    monkeypatch.setattr(tuning, "exact", lambda inner, rows: [[right[id(row)]] for row in rows])
    result = evaluation(model)
    assert (result["real"], result["silence"], result["other"]) == (0.5, 0.0, 0.0)
    assert set(result["modality"]) == {item.modality for item in items}


# ---- chat


class Talker:
    """A base model that replies at once, endlessly to whoever asks about the moon."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer, self.requests = tokenizer, []

    def generate(self, *, input_ids, attention_mask, max_new_tokens, do_sample):
        assert not do_sample
        texts = [self.tokenizer.decode(row[mask.bool()]) for row, mask in zip(input_ids, attention_mask)]
        self.requests += texts
        replies = [
            "on and on and on" if "the moon" in text else "Fine.<|im_end|><|endoftext|>" for text in texts
        ]
        ids = [self.tokenizer(reply, add_special_tokens=False).input_ids for reply in replies]
        longest = max(map(len, ids))
        assert longest <= max_new_tokens
        padded = [row + [self.tokenizer.pad_token_id] * (longest - len(row)) for row in ids]
        return torch.cat([input_ids, torch.tensor(padded)], 1)


def test_chat_keeps_the_base_models_own_replies_that_ended_and_asks_once(processor, tmp_path):
    talker, path = Talker(processor.tokenizer), tmp_path / "chat.json"
    result = chat.chat_examples(path, talker, processor.tokenizer)
    questions = chat.questions()
    assert len(set(questions)) == len(questions) > 50
    rendered = {conversation(processor, question, None, audio=False) for question in questions}
    assert set(talker.requests) == rendered
    assert {example.user for example in result} == {
        question for question in questions if "the moon" not in question
    }
    assert {example.reply for example in result} == {"Fine."}
    assert chat.chat_examples(path, None, None) == result
