"""Each family of audio language models, as a tiny model of its real classes: tests/families.py.

Where a package is missing that transformers itself needs for a family, its tests are skipped, and say so.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import families
import numpy as np
import peft
import pytest
import torch
from families import FAMILIES, SECONDS, Tiny
from safetensors.torch import load_file, save_file
from tiny import ask, write_tone

import lalm_utils.engine.families as known
from lalm_utils.audio import MIN_SECONDS
from lalm_utils.engine import weights
from lalm_utils.engine.generic_engine import GenericEngine
from lalm_utils.engine.model_input import ModelInput
from lalm_utils.engine.processors import content_list, content_text, template_of
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError, Prompt, Turn

OPTIONS = ("a dog barks", "bell")
LENGTHS = (0.5, 1.0, 3.3)


@dataclass(frozen=True)
class Loaded:
    """A tiny model on disk and in memory; `generic` runs it through its own processor and forward."""

    tiny: Tiny
    folder: Path
    model: TransformersModel
    generic: GenericEngine


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request, tmp_path_factory) -> Loaded:
    return load(request.param, tmp_path_factory.mktemp(request.param))


def load(name: str, place: Path) -> Loaded:
    tiny = FAMILIES[name]
    if tiny.lacks:
        pytest.skip(f"{name} needs {', '.join(tiny.lacks)}, which this project does not install")
    tiny.save(place / "model")
    model = load_model(place / "model", dtype="float32", check=False)
    plain = GenericEngine(model.model, model.processor, ends=model.parts.ends, family=model.parts.family)
    return Loaded(tiny, place / "model", model, plain)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_tone(folder / f"{s}.wav", 300 + 200 * s, s) for s in LENGTHS]


@pytest.fixture(scope="module")
def prompts(clips) -> list[Prompt]:
    """Of unlike lengths, about clips of unlike lengths, and one without a clip."""
    texts = ("What do you hear ?", "Which sound is it ? dog bell cat rain", "loud or quiet ?")
    return [
        *(ask(text, clip, options=OPTIONS) for text, clip in zip(texts, clips)),
        ask("Are you helpful ?", options=OPTIONS),
    ]


# ---- every family


def test_a_family_is_loaded_as_the_class_that_writes_text(loaded):
    assert type(loaded.model.model).__name__ == loaded.tiny.kind
    assert not [name for name, _ in loaded.model.model.named_parameters() if "talker" in name]
    assert isinstance(loaded.model.engine, GenericEngine) == (loaded.tiny.model_type != "qwen2_audio")


def test_each_clip_has_one_placeholder_in_its_own_turn(loaded, clips):
    several = loaded.model.parts.family.most_clips is None
    turns = (
        Turn(role="user", text="What is it ?", clips=(clips[0],)),
        Turn(role="assistant", text="I hear a dog"),
        Turn(role="user", text="And this ?", clips=(clips[1], clips[2]) if several else ()),
    )
    text = loaded.model.render(Prompt(turns=turns))
    before, after = text.split("I hear a dog")
    assert (before.count(loaded.tiny.mark), after.count(loaded.tiny.mark)) == (1, 2 if several else 0)
    assert before.index(loaded.tiny.mark) < before.index("What is it ?")
    assert "And this ?" in after
    assert loaded.model.render(Prompt(turns=turns[:2])).endswith("I hear a dog")


def test_a_clip_becomes_as_many_tokens_as_the_towers_arithmetic_says(loaded, prompts):
    counts = []
    for prompt in prompts[:3]:
        model_inputs = loaded.model.ready(prompt)
        ids = loaded.generic.tensors([model_inputs], [model_inputs.text])["input_ids"]
        counts.append(int((ids == loaded.generic.audio_token).sum()))
        loaded.generic.first_logits(
            [model_inputs]
        )  # where embeddings and tokens differ in number, a forward raises
    assert tuple(counts) == loaded.tiny.tokens


def test_the_shortest_clip_that_may_be_asked_about_is_heard(loaded, tmp_path):
    prompt = ask("What is it ?", write_tone(tmp_path / "short.wav", 400, MIN_SECONDS))
    model_inputs = loaded.model.ready(prompt)
    ids = loaded.generic.tensors([model_inputs], [model_inputs.text])["input_ids"]
    assert (ids == loaded.generic.audio_token).sum() > 0
    assert loaded.model.audio_effect(prompt) > 0


def test_a_batch_of_unlike_prompts_gives_what_single_prompts_give(loaded, prompts):
    model = loaded.model
    together = model.generate(prompts, max_new_tokens=5)
    assert together == [model.generate([prompt], max_new_tokens=5)[0] for prompt in prompts]
    model_inputs = [model.ready(prompt) for prompt in prompts]
    batched = model.engine.first_logits(model_inputs)
    for one, logits in zip(model_inputs, batched):
        torch.testing.assert_close(logits, model.engine.first_logits([one])[0], atol=5e-5, rtol=1e-5)
    assert (batched[1:] - batched[:-1]).abs().amax(1).min() > 0.01, "prompts too alike to show anything"


def test_an_options_likelihood_is_the_sum_of_its_tokens_after_each_other(loaded, prompts):
    model, tokenizer = loaded.model, loaded.model.processor.tokenizer
    scores = model.option_logprobs(prompts[:1])[0]
    model_inputs = model.ready(prompts[0])
    for tokens, score in zip(model_inputs.options, scores):
        assert tokens[-1] == model.parts.end_of_turn
        steps = []
        for index, token in enumerate(tokens):
            text = model_inputs.text + tokenizer.decode(tokens[:index]) if index else model_inputs.text
            logits = loaded.generic.first_logits([ModelInput(text=text, clips=model_inputs.clips, ids=())])[0]
            steps.append(logits.log_softmax(-1)[token].item())
        assert score == pytest.approx(sum(steps), abs=1e-3)


def test_a_reply_is_the_argmax_of_one_forward_after_another(loaded, prompts):
    model, tokenizer = loaded.model, loaded.model.processor.tokenizer
    ((reply,),) = model.generate(prompts[1:2], max_new_tokens=3)
    model_inputs, ids = model.ready(prompts[1]), []
    for _ in range(3):
        written = ModelInput(text=model_inputs.text + tokenizer.decode(ids), clips=model_inputs.clips, ids=())
        token = loaded.generic.first_logits([written])[0].argmax().item()
        if token in model.parts.ends:
            break
        ids.append(token)
    assert reply.text == tokenizer.decode(ids, skip_special_tokens=True)


def test_what_is_heard_changes_the_output(loaded, prompts):
    assert loaded.model.audio_effect(prompts[1]) > 0.01
    loaded.model.check_audio_changes_output()


def test_sample_k_is_the_same_in_any_batch_and_depends_on_the_seed(loaded, prompts):
    settings = {"temperature": 1.0, "max_new_tokens": 4, "seed": 3}
    several = loaded.model.generate(prompts[1:], n=2, **settings)
    assert several[:1] == loaded.model.generate(prompts[1:2], n=2, **settings)
    last = loaded.model.generate(prompts[1:2], first_sample=1, **settings)
    assert last[0] == several[0][1:]
    assert several != loaded.model.generate(prompts[1:], n=2, **settings | {"seed": 4})


def test_an_adapter_is_loaded_on_its_base_and_changes_what_it_should(loaded, prompts, tmp_path):
    base = save_lora(loaded.folder, tmp_path / "lora")
    again = load_model(tmp_path / "lora", dtype="float32", check=False)
    assert (again.name, again.parts.adapter) == ("model+lora", "lora")
    model_inputs = [loaded.model.ready(prompts[1])]
    torch.testing.assert_close(
        again.engine.first_logits(model_inputs), base.engine.first_logits(model_inputs)
    )
    assert (
        again.engine.first_logits(model_inputs) - loaded.model.engine.first_logits(model_inputs)
    ).abs().max() > 1e-3
    assert again.fingerprint != loaded.model.fingerprint


# ---- one family's own


def test_every_family_that_is_known_is_tested_here_or_named_as_untested():
    untested = re.findall(r"\w+", known.__doc__.split("never tested:")[1].split("Not in transformers")[0])
    for name in known.FAMILIES:
        tested = name.removesuffix("_thinker") in FAMILIES
        assert tested or name in untested, f"{name} is neither tested nor listed as untested"
        assert not (tested and name in untested), f"{name} is tested and listed as untested"


def test_a_family_of_which_nothing_is_known_keeps_the_usual_contract():
    assert known.family_of("a model of tomorrow") == known.Family()


@pytest.fixture(scope="module")
def flamingo(tmp_path_factory) -> Loaded:
    return load("audioflamingo3", tmp_path_factory.mktemp("flamingo"))


def test_audio_flamingo_hears_several_windows_by_itself_up_to_its_longest(flamingo, tmp_path):
    assert flamingo.model.parts.window_seconds == 3 * SECONDS
    long = ask("What is it ?", write_tone(tmp_path / "long.wav", 440, 2.5 * SECONDS))
    longer = ask("What is it ?", write_tone(tmp_path / "longer.wav", 440, 3.5 * SECONDS))
    counts = []
    for prompt in (long, longer):
        model_inputs = flamingo.model.ready(prompt)
        ids = flamingo.generic.tensors([model_inputs], [model_inputs.text])["input_ids"]
        counts.append(int((ids == flamingo.generic.audio_token).sum()))
    assert counts == [250, 300], "25 a second, of 10 s and of 12 s"
    (whole,), (cut,) = flamingo.model.generate([long, longer], max_new_tokens=2)
    assert (whole.truncated, cut.truncated) == (False, True)


def test_audio_flamingo_takes_one_clip_a_prompt_and_says_so(flamingo, clips):
    two = ask("Which one ?", clips[0], clips[1])
    with pytest.raises(ModelError, match="model takes 1 clip a prompt, and this one has 2"):
        flamingo.model.render(two)
    (reply,), (good,) = flamingo.model.generate([two, ask("What is it ?", clips[0])], max_new_tokens=2)
    assert (reply.finish, good.finish != "failed") == ("failed", True)


@pytest.fixture(scope="module")
def voxtral(tmp_path_factory) -> Loaded:
    return load("voxtral", tmp_path_factory.mktemp("voxtral"))


def test_voxtral_writes_mistrals_instruct_format(voxtral, clips):
    turns = (
        Turn(role="user", text="What is it ?", clips=(clips[0], clips[1])),
        Turn(role="assistant", text="a dog"),
        Turn(role="user", text="Loud ?"),
    )
    clip = "[BEGIN_AUDIO][AUDIO]"
    expected = f"<s>[INST]{clip}{clip}What is it ?[/INST]a dog</s>[INST]Loud ?[/INST]"
    assert voxtral.model.render(Prompt(turns=turns)) == expected
    ids = voxtral.model.ready(Prompt(turns=turns)).ids
    assert ids[:6] == (1, 3, 25, 24, 25, 24), "special tokens are single tokens, and the text begins once"


def test_voxtral_refuses_a_system_turn_beside_a_clip_as_its_makers_do(voxtral, clips):
    system, user = Turn(role="system", text="Be brief."), Turn(role="user", text="What is it ?")
    without = voxtral.model.render(Prompt(turns=(system, user)))
    assert without == "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]What is it ?[/INST]"
    with pytest.raises(ModelError, match="Voxtral takes no system turn beside a clip"):
        voxtral.model.render(
            Prompt(turns=(system, Turn(role="user", text="What is it ?", clips=(clips[0],))))
        )


def test_voxtral_hears_a_long_clip_in_whole_windows(voxtral, tmp_path):
    model_inputs = voxtral.model.ready(
        ask("What is it ?", write_tone(tmp_path / "5.wav", 440, 1.2 * SECONDS))
    )
    result = voxtral.generic.tensors([model_inputs], [model_inputs.text])
    assert result["input_features"].shape == (2, 16, 100 * SECONDS)
    assert int((result["input_ids"] == 24).sum()) == 100
    whole = voxtral.model.processor.feature_extractor(
        model_inputs.clips[0].samples,
        sampling_rate=16000,
        padding=False,
        truncation=False,
        return_tensors="pt",
    )["input_features"][0]
    features = result["input_features"].transpose(0, 1).flatten(1)[:, : whole.shape[1] - 2]
    torch.testing.assert_close(features, whole[:, : features.shape[1]], atol=1e-4, rtol=0)


SHIPPED = [
    ("Phi-4-multimodal", "phi4_multimodal", "speech-lora"),
    ("as Granite Speech", "audioflamingo3", "."),
]


@pytest.fixture(scope="module", params=SHIPPED, ids=[row[0] for row in SHIPPED])
def shipped(request, tmp_path_factory) -> tuple[Loaded, Path, Path]:
    """A model, the same in a folder with a LoRA of its own, and where in it that LoRA is."""
    _, name, place = request.param
    without = load(name, tmp_path_factory.mktemp(name))
    folder = without.folder.parent / "whole"
    shutil.copytree(without.folder, folder)
    save_lora(without.folder, folder / place)
    return without, folder, folder / place


def save_lora(base: Path, place: Path) -> TransformersModel:
    """Save a LoRA of large effect, trained on nothing; the model that it was made on, with it."""
    model = load_model(base, dtype="float32", check=False)
    targets = r".*\b(language_model|model)\.layers\.\d+\.self_attn\.(q_proj|qkv_proj)"
    adapted = peft.get_peft_model(model.model, peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.data.normal_(0, 0.5)
    adapted.save_pretrained(place)
    return model  # its modules were wrapped where they are


def test_a_lora_that_came_with_a_model_is_on_exactly_where_a_prompt_has_a_clip(shipped, prompts):
    without, folder, _ = shipped
    model = load_model(folder, dtype="float32", check=False)
    with_clip, text = (without.model.ready(prompt) for prompt in (prompts[0], prompts[3]))
    first, plain = (
        model.engine.first_logits([with_clip, text]),
        without.model.engine.first_logits([with_clip, text]),
    )
    assert (first[0] - plain[0]).abs().max() > 1e-3
    torch.testing.assert_close(first[1], plain[1])
    scores = model.option_logprobs(prompts[:1])
    model.generate(prompts[3:], max_new_tokens=1)  # which switches it off, for this prompt
    np.testing.assert_array_equal(model.option_logprobs(prompts[:1])[0], scores[0])
    assert model.fingerprint != without.model.fingerprint
    assert model.parts.adapter is None


def test_an_adapter_on_top_of_a_models_own_lora_is_refused(shipped):
    _, folder, place = shipped
    with pytest.raises(ModelError, match=r"has a LoRA of its own, in .*, and a second one on top"):
        load_model(folder, adapter=place, dtype="float32")


def test_a_models_own_lora_without_safetensors_is_refused(shipped, tmp_path):
    _, folder, place = shipped
    shutil.copytree(folder, tmp_path / "torn")
    (tmp_path / "torn" / place.relative_to(folder) / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds adapter_config.json and no adapter_model.safetensors"):
        weights.find(tmp_path / "torn")


def test_a_text_that_begins_by_its_template_is_not_begun_twice(tmp_path, clips):
    gemma = load("gemma4_unified", tmp_path)
    model_inputs = gemma.model.ready(ask("What is it ?", clips[0]))
    bos = gemma.model.processor.tokenizer.bos_token_id
    ids = gemma.generic.tensors([model_inputs], [model_inputs.text])["input_ids"][0].tolist()
    assert (ids[0], ids.count(bos)) == (bos, 1)


TEMPLATES = [
    ("a list of parts", families.QWEN.replace("AUDIO", "<|audio|>"), content_list),
    ("text alone, as Granite Speech", families.GRANITE, content_text),
    (
        "text alone, and a list is written out",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        content_text,
    ),
]


@pytest.mark.parametrize("case, source, turn_format", TEMPLATES, ids=[row[0] for row in TEMPLATES])
def test_turns_are_given_to_a_template_as_it_wants_them(case, source, turn_format):
    processor = SimpleNamespace(
        tokenizer=families.words({"audio_token": "<|audio|>"}), audio_token="<|audio|>", chat_template=source
    )
    template = template_of(processor, known.DEFAULT_FAMILY)
    assert template.turn_format is turn_format, case
    turns = (Turn(role="user", text="What is it ?", clips=(Path("a.wav"), Path("b.wav"))),)
    assert template.render(turns).count("<|audio|>") == 2


BAD_TEMPLATES = [
    ("none", None, "there is no chat template: put a chat_template.jinja beside the weights"),
    ("one that cannot write a clip", "{{ messages[0].role }}", "cannot render a clip, as '<|audio|>'"),
    ("one that refuses", "{{ raise_exception('never') }}", "it gives 'never'"),
]


@pytest.mark.parametrize("case, source, message", BAD_TEMPLATES, ids=[row[0] for row in BAD_TEMPLATES])
def test_a_template_that_cannot_be_used_is_refused(case, source, message):
    tokenizer = families.words({"audio_token": "<|audio|>"})
    processor = SimpleNamespace(tokenizer=tokenizer, audio_token="<|audio|>", chat_template=source)
    with pytest.raises(ModelError, match=message.replace("|", r"\|")):
        template_of(processor, known.DEFAULT_FAMILY)


# ---- loading


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Loaded:
    return load("qwen2_audio", tmp_path_factory.mktemp("qwen"))


def test_weights_that_are_not_there_are_an_error_and_not_random_numbers(qwen, tmp_path):
    shutil.copytree(qwen.folder, tmp_path / "torn")
    file = tmp_path / "torn" / "model.safetensors"
    weights_ = load_file(file)
    missing = next(name for name in weights_ if "multi_modal_projector" in name)
    del weights_[missing]
    save_file(weights_, file, {"format": "pt"})
    with pytest.raises(ModelError, match="1 weights of Qwen2AudioForConditionalGeneration are not there"):
        load_model(tmp_path / "torn", dtype="float32")


@pytest.mark.parametrize("config", ["{", "[]"])
def test_a_configuration_that_is_none_is_an_error_of_its_own(qwen, tmp_path, config):
    shutil.copytree(qwen.folder, tmp_path / "torn")
    (tmp_path / "torn" / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        load_model(tmp_path / "torn", dtype="float32")


def test_a_model_in_several_files_is_fetched_whole_from_the_hub(qwen, tmp_path, monkeypatch):
    from huggingface_hub.utils import filter_repo_objects

    hub = tmp_path / "hub"
    shutil.copytree(qwen.folder, hub)
    (hub / "model.safetensors").unlink()
    qwen.model.model.save_pretrained(hub, max_shard_size="20KB")
    (hub / "consolidated.safetensors").write_bytes(b"the same again, in another layout")
    (hub / "spk_dict.pt").write_bytes(b"a pickle")
    assert len(list(hub.glob("model-*.safetensors"))) > 1

    def fetch(name, *, revision, allow_patterns, ignore_patterns):
        names = [path.relative_to(hub).as_posix() for path in hub.rglob("*") if path.is_file()]
        for file in filter_repo_objects(
            names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (tmp_path / "fetched" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hub / file, tmp_path / "fetched" / file)
        return tmp_path / "fetched"

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    model = load_model("owner/model", dtype="float32")
    fetched = {path.name for path in (tmp_path / "fetched").iterdir()}
    assert not fetched & {"consolidated.safetensors", "spk_dict.pt"}
    assert json.loads((tmp_path / "fetched" / "config.json").read_text())["model_type"] == "qwen2_audio"
    for one, other in zip(model.model.parameters(), qwen.model.model.parameters()):
        torch.testing.assert_close(one, other)


def test_weights_that_are_not_finite_give_failed_replies_on_the_plain_engine_too(prompts, tmp_path):
    model = load("audioflamingo3", tmp_path).model
    model.model.lm_head.weight.data.fill_(torch.nan)
    ((reply,),) = model.generate(prompts[:1], max_new_tokens=2)
    assert reply.finish == "failed"
    assert "logits are not numbers" in reply.error
    assert np.isnan(model.option_logprobs(prompts[:1])[0]).all()
