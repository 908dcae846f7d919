from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from peft import LoraConfig, get_peft_model
from tiny import ask, save_tiny, write_tone
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from lalm_utils.audio import RATE, read_clip
from lalm_utils.engine.prefix_sharing_engine import PrefixSharingEngine
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError, Prompt, Turn
from lalm_utils.store import Store

OPTIONS = ("a dog barks", "bell", "the cat meows and then it rings")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    index = tmp_path_factory.mktemp("clips")
    return [write_tone(index / f"{i}.wav", 200 + 170 * i, 0.3 + 0.2 * i) for i in range(6)]


@pytest.fixture
def model(tiny_folder) -> TransformersModel:
    return load_model(tiny_folder, dtype="float32", check=False)


@pytest.fixture(scope="module")
def prompts(clips) -> list[Prompt]:
    """Of different lengths, with none, one and two clips, two of them about the same clip."""
    texts = [
        "What do you hear ?",
        "Which sound is it ? dog bell cat rain",
        "Reply with the option",
        "loud or quiet ?",
    ]
    several = [ask(text, clip, options=OPTIONS) for text, clip in zip(texts, clips)]
    two = ask("Which one is the second sound ?", clips[4], clips[5], options=OPTIONS)
    return [
        *several,
        two,
        ask("Are you helpful ?", options=OPTIONS),
        ask("Is it loud ?", clips[0], options=OPTIONS),
    ]


def generic(model: TransformersModel) -> TransformersModel:
    """The same model run the generic way."""
    return model.with_generic_engine()


SNAPSHOTS = [
    (
        "one clip",
        (Turn(role="user", text="What is it ?", clips=(Path("a.wav"),)),),
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nWhat is it ?<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    (
        "a system turn of one's own, and two clips in two turns",
        (
            Turn(role="system", text="Be brief."),
            Turn(role="user", text="What is it ?", clips=(Path("a.wav"),)),
            Turn(role="assistant", text="a dog"),
            Turn(role="user", text="And this ?", clips=(Path("b.wav"),)),
        ),
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nWhat is it ?<|im_end|>\n"
        "<|im_start|>assistant\na dog<|im_end|>\n"
        "<|im_start|>user\nAudio 2: <|audio_bos|><|AUDIO|><|audio_eos|>\nAnd this ?<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    (
        "an assistant's turn to go on with",
        (Turn(role="user", text="What is it ?"), Turn(role="assistant", text="I hear a")),
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWhat is it ?<|im_end|>\n<|im_start|>assistant\nI hear a",
    ),
]


@pytest.mark.parametrize("case, turns, text", SNAPSHOTS, ids=[row[0] for row in SNAPSHOTS])
def test_a_prompt_is_rendered_exactly_so(model, case, turns, text):
    assert model.render(Prompt(turns=turns)) == text


@pytest.mark.parametrize(
    "case, turns, message",
    [
        ("no turns", (), "a prompt needs a user's turn"),
        ("only a system turn", (Turn(role="system", text="Be brief."),), "a prompt needs a user's turn"),
        (
            "a placeholder in the text",
            (Turn(role="user", text="What is <|AUDIO|> ?"),),
            "which stands for a clip",
        ),
    ],
)
def test_a_prompt_that_cannot_be_rendered_is_refused(model, case, turns, message):
    with pytest.raises(ModelError, match=message):
        model.render(Prompt(turns=turns))


def reference(folder: Path, text: str, clips: tuple[Path, ...]) -> torch.Tensor:
    """(length, vocabulary): float32 logits of transformers' own forward on its own processor's tensors."""
    processor = Qwen2AudioProcessor.from_pretrained(folder)
    whole = Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    audio = {"audio": [read_clip(clip).samples for clip in clips], "sampling_rate": RATE} if clips else {}
    with torch.inference_mode():
        return whole(**processor(text=text, return_tensors="pt", **audio)).logits[0]


def test_kept_audio_and_batching_give_the_logits_of_the_plain_forward(model, tiny_folder, prompts):
    model_inputs = [model.ready(prompt) for prompt in prompts]
    model.engine.first_logits(model_inputs[:2])  # so that some clips are kept already
    batched = model.engine.first_logits(model_inputs)
    for one, prompt, logits in zip(model_inputs, prompts, batched):
        alone = model.engine.first_logits([one])[0]
        torch.testing.assert_close(logits, alone, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(
            logits, reference(tiny_folder, one.text, prompt.clips)[-1], atol=2e-5, rtol=1e-5
        )


def test_greedy_replies_are_the_argmax_without_any_stored_penalty_or_sampling(model, tiny_folder, prompts):
    assert model.description["generation_stored_with_weights"]["repetition_penalty"] == 1.1
    for prompt, (reply,) in zip(prompts[:3], model.generate(prompts[:3], max_new_tokens=6)):
        text, ids = model.render(prompt), []
        processor = model.processor
        ends = [processor.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
        for _ in range(6):
            tokens = " ".join(processor.tokenizer.convert_ids_to_tokens(ids))
            token = reference(tiny_folder, text + tokens, prompt.clips)[-1].argmax().item()
            if token in ends:
                break
            ids.append(token)
        assert reply.text == processor.tokenizer.decode(ids, skip_special_tokens=True)
        assert (reply.n_tokens, reply.finish) == (len(ids), "length" if len(ids) == 6 else "stop")


def test_a_batch_replies_as_single_prompts_do_in_any_order(model, prompts):
    together = model.generate(prompts, max_new_tokens=10)
    assert together == [model.generate([prompt], max_new_tokens=10)[0] for prompt in prompts]
    assert together[::-1] == model.generate(prompts[::-1], max_new_tokens=10)
    assert len({replies[0].text for replies in together}) > 3, "replies too alike to show anything"
    model.batch_size = 2
    assert together == model.generate(prompts, max_new_tokens=10)


def test_sample_k_of_a_prompt_is_the_same_in_any_batch(model, prompts):
    settings = {"temperature": 1.0, "max_new_tokens": 8, "seed": 3}
    several = model.generate(prompts, n=4, **settings)
    assert len({reply.text for replies in several for reply in replies}) > 20
    assert several[::-1] == model.generate(prompts[::-1], n=4, **settings)
    assert [replies[:2] for replies in several] == model.generate(prompts, n=2, **settings)
    assert [replies[2:] for replies in several] == model.generate(prompts, n=2, first_sample=2, **settings)
    assert several[4:5] == model.generate(prompts[4:5], n=4, **settings)
    assert several != model.generate(prompts, n=4, **settings | {"seed": 4})


def test_greedy_samples_are_equal_and_do_not_depend_on_the_seed(model, prompts):
    (replies,) = model.generate(prompts[:1], n=3, seed=5, max_new_tokens=5)
    assert replies == model.generate(prompts[:1], seed=6, max_new_tokens=5)[0] * 3


def test_n_samples_share_one_prefill_and_replies_stop_the_decoding(model, prompts):
    widths = []
    body = model.model.model.language_model
    body.register_forward_pre_hook(
        lambda _, __, given: widths.append(given["inputs_embeds"].shape), with_kwargs=True
    )
    open_ended = [replace(prompt, options=()) for prompt in prompts]  # so that there are no drafts
    replies = model.generate(open_ended, n=5, temperature=1.0, max_new_tokens=20)
    whole, *steps = widths
    assert whole[0] == len(prompts), "read for the prompts, not for their samples"
    assert whole[1] > 20
    assert 1 < max(shape[1] for shape in steps) <= 5, (
        "a step feeds one token per sample, or per samples that are alike"
    )
    longest = max(reply.n_tokens + (reply.finish == "stop") for several in replies for reply in several)
    assert len(steps) == longest - 1
    assert steps[-1][0] < len(prompts), "prompts whose samples have all ended leave the batch"


def test_each_clip_goes_through_the_tower_once_for_all_prompts_samples_and_options(model, clips):
    methods = [ask(text, clip, options=OPTIONS) for text in ("What is it ?", "loud ?") for clip in clips]
    model.generate(methods, max_new_tokens=2)
    model.generate(methods, max_new_tokens=2, n=3, temperature=1.0)
    model.option_logprobs(methods)
    assert model.engine.audio.passes == len(clips)


def test_audio_embeddings_of_a_clip_do_not_depend_on_the_others(model, tiny_folder, clips):
    prompts = [ask("What is it ?", clip) for clip in clips]
    embeddings = [embedding for prompt in prompts for embedding in model.embed(prompt)[2]]
    (alone,) = load_model(tiny_folder, dtype="float32", check=False).embed(prompts[3])[2]
    assert torch.equal(embeddings[3], alone)
    assert not alone.requires_grad
    assert [tuple(e.shape) for e in embeddings[:2]] == [(7, 32), (12, 32)], "25 tokens a second, by width"
    batched = model.engine.audio.of([read_clip(clip) for clip in clips])
    torch.testing.assert_close(batched[read_clip(clips[3]).sha256], alone, atol=1e-5, rtol=1e-5)
    assert model.embed(prompts[0])[2][0] is embeddings[0], "cached"
    with pytest.raises(ModelError, match="has no embeddings of single clips"):
        generic(model).embed(prompts[0])


def test_a_model_with_another_engine_leaves_the_first_as_it_was(model, prompts):
    engine, batch_size = model.engine, model.batch_size
    other = model.with_engine(engine.with_empty_caches(model.model), batch_size=1)
    assert other.generate(prompts, max_new_tokens=4) == model.generate(prompts, max_new_tokens=4)
    assert (model.engine, model.batch_size, other.batch_size) == (engine, batch_size, 1)
    assert other.fingerprint == model.fingerprint


def test_cached_audio_stays_within_its_budget_and_an_evicted_clip_is_heard_again(tiny_folder, clips):
    model = load_model(tiny_folder, dtype="float32", check=False, audio_cache_mb=0)
    prompts = [ask("What is it ?", clip) for clip in clips]
    replies = model.generate(prompts, max_new_tokens=4)
    assert not model.engine.audio.entries
    audio = model.engine.audio
    audio.budget = 3 * max(vectors.nbytes for vectors in audio.of([read_clip(clips[-1])]).values())
    assert model.generate(prompts, max_new_tokens=4) == replies
    assert 0 < sum(vectors.nbytes for vectors in audio.entries.values()) <= audio.budget
    assert len(audio.entries) < len(clips)


def test_option_likelihoods_are_those_of_the_whole_text_with_the_end_of_the_turn(model, tiny_folder, prompts):
    model.engine.first_logits([model.ready(prompts[0])])
    scores = model.option_logprobs(prompts)
    tokenizer = model.processor.tokenizer
    for prompt, score in zip(prompts, scores):
        assert score.shape == (len(OPTIONS),)
        for option, value in zip(OPTIONS, score):
            ids = tokenizer(option + "<|im_end|>").input_ids
            logits = reference(tiny_folder, model.render(prompt) + option + "<|im_end|>", prompt.clips)
            steps = logits[-len(ids) - 1 : -1].log_softmax(-1)
            assert value == pytest.approx(steps[range(len(ids)), ids].sum().item(), abs=1e-4)


def test_options_of_one_token_none_and_many_can_stand_together(model, clips):
    few = ask("What is it ?", clips[0], options=("",))
    many = ask("What is it ?", clips[0], options=("", "bell", *OPTIONS))
    one, all_of_them = model.option_logprobs([few, many])
    assert one[0] == pytest.approx(all_of_them[0], abs=1e-4)
    assert np.isfinite(all_of_them).all()


def test_scoring_a_prompt_without_options_is_refused(model):
    with pytest.raises(ValueError, match="a prompt without options cannot be scored: 'What is it"):
        model.option_logprobs([ask("What is it ?")])


def test_the_state_before_the_output_layer_gives_the_first_tokens_logits(model):
    model_inputs = [ask("What is it ?"), ask("Who ?")]
    states, logits = model.last_hidden_states(model_inputs), model.first_logits(model_inputs)
    head = model.model.get_output_embeddings().weight.detach().float().numpy()
    np.testing.assert_allclose(states @ head.T, logits, atol=1e-3)


def test_the_generic_engine_gives_the_same_replies_and_scores(model, tiny_folder, prompts):
    other = generic(load_model(tiny_folder, dtype="float32", check=False))
    assert isinstance(model.engine, PrefixSharingEngine)
    assert model.generate(prompts, max_new_tokens=8) == other.generate(prompts, max_new_tokens=8)
    sampled = {"n": 3, "temperature": 0.8, "max_new_tokens": 8, "seed": 2}
    assert model.generate(prompts, **sampled) == other.generate(prompts, **sampled)
    for one, two in zip(model.option_logprobs(prompts), other.option_logprobs(prompts)):
        np.testing.assert_allclose(one, two, atol=1e-4)
    other.check_audio_changes_output()


def test_a_stereo_clip_at_44_khz_is_heard_at_its_true_length(model, tmp_path):
    time = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone, tone], 1), 44_100)
    prompt = ask("What is it ?", tmp_path / "stereo.wav")
    (clip,) = model.engine.audio.of(model.ready(prompt).clips).values()
    assert len(clip) == 25, "25 audio tokens a second"
    same = ask("What is it ?", write_tone(tmp_path / "mono.wav", 440, 1.0))
    one, two = (model.engine.first_logits([model.ready(p)]) for p in (prompt, same))
    torch.testing.assert_close(one, two, atol=0.05, rtol=0.05)


def test_a_clip_longer_than_the_window_is_recorded_as_truncated(model, tmp_path):
    long = ask("What is it ?", write_tone(tmp_path / "long.wav", 440, 2.5))
    whole = ask("What is it ?", write_tone(tmp_path / "whole.wav", 440, 2.0))
    (cut,), (clip,) = model.generate([long, whole], max_new_tokens=3)
    assert (cut.truncated, clip.truncated) == (True, False)
    assert cut.text == clip.text


BROKEN = [
    ("too short", lambda path: soundfile.write(path, np.zeros(1000), RATE), "a clip needs at least 0.1 s"),
    ("missing", lambda path: None, "no such file"),
    ("no audio", lambda path: path.write_text("words"), "not readable as audio"),
]


@pytest.mark.parametrize("case, make, message", BROKEN, ids=[row[0] for row in BROKEN])
def test_a_clip_that_cannot_be_heard_fails_its_own_prompt_only(model, prompts, tmp_path, case, make, message):
    make(tmp_path / "bad.wav")
    bad = ask("What is it ?", tmp_path / "bad.wav", options=("dog", "cat"))
    *good, (reply, other) = model.generate([*prompts, bad], n=2, temperature=1.0, max_new_tokens=5)
    assert reply == other
    assert (reply.finish, reply.text) == ("failed", "")
    assert message in reply.error, case
    assert good == model.generate(prompts, n=2, temperature=1.0, max_new_tokens=5)
    assert np.isnan(model.option_logprobs([bad])[0]).tolist() == [True, True]


def sabotage(model: TransformersModel, monkeypatch, fails) -> list[int]:
    """Have the engine raise what `fails(batch)` returns; the sizes of the batches it reads."""
    sizes, real = [], model.engine.prefill

    def prefill(batch):
        sizes.append(len(batch))
        if error := fails(batch):
            raise error
        return real(batch)

    monkeypatch.setattr(model.engine, "prefill", prefill)
    return sizes


def test_a_prompt_that_breaks_its_batch_fails_alone(model, prompts, monkeypatch, caplog):
    whole = model.generate(prompts, max_new_tokens=5)
    poison = model.render(prompts[2])
    sabotage(
        model,
        monkeypatch,
        lambda batch: any(a.text == poison for a in batch) and RuntimeError("NaN somewhere"),
    )
    with caplog.at_level(logging.WARNING):
        replies = model.generate(prompts, max_new_tokens=5)
    assert (replies[2][0].finish, replies[2][0].error) == ("failed", "RuntimeError: NaN somewhere")
    assert replies[:2] + replies[3:] == whole[:2] + whole[3:]
    assert "tried again by 1: RuntimeError: NaN somewhere" in caplog.text


def test_a_batch_too_large_for_the_memory_is_halved_and_stays_so(model, prompts, monkeypatch):
    whole = model.generate(prompts * 2, max_new_tokens=5)
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    model.batch_size = 8
    sizes = sabotage(model, monkeypatch, lambda batch: len(batch) > 2 and full)
    assert model.generate(prompts * 2, max_new_tokens=5) == whole
    assert sizes[:7] == [8, 4, 2, 2, 4, 2, 2], "a batch is halved, and so is each half that fails"
    assert max(sizes[7:]) <= 2, "later batches start at the size that fits"
    assert model.description["batch_size"] == 2


def test_batches_hold_prompts_of_like_length_the_longest_first(model, prompts, monkeypatch):
    model.batch_size, lengths = 2, []
    sabotage(model, monkeypatch, lambda batch: lengths.extend(model_inputs.length for model_inputs in batch))
    model.generate(prompts, max_new_tokens=1)
    assert lengths == sorted((model.ready(prompt).length for prompt in prompts), reverse=True)


def test_an_interrupt_stops_the_run(model, prompts, monkeypatch):
    sabotage(model, monkeypatch, lambda batch: KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        model.generate(prompts, max_new_tokens=5)


@pytest.mark.parametrize(
    "settings", [{"n": 0}, {"temperature": -1.0}, {"max_new_tokens": 0}, {"first_sample": -1}]
)
def test_settings_out_of_range_are_refused(model, prompts, settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}={next(iter(settings.values()))}"):
        model.generate(prompts, **settings)


def test_a_model_that_ignores_audio_is_found_out_when_it_is_loaded(tmp_path, clips):
    deaf = save_tiny(tmp_path / "deaf", deaf=True)
    with pytest.raises(ModelError, match="deaf does not hear: a chirp and silence give equal logits"):
        load_model(deaf, dtype="float32")
    model = load_model(deaf, dtype="float32", check=False)
    assert model.audio_effect(ask("What is it ?", clips[0])) == 0
    with pytest.raises(ModelError, match="does not hear"):
        generic(model).check_audio_changes_output()


def test_a_model_that_hears_passes_the_check(tiny_folder, clips):
    model = load_model(tiny_folder, dtype="float32")
    assert model.audio_effect(ask("What is it ?", clips[0])) > 0.01


def test_weights_that_are_not_finite_give_failed_replies(model, prompts):
    model.model.lm_head.weight.data.fill_(torch.nan)
    ((reply,),) = model.generate(prompts[:1])
    assert reply.finish == "failed"
    assert "logits are not finite" in reply.error


def test_the_tokenizer_pads_to_the_left_whatever_was_saved(model, tiny_folder):
    assert Qwen2AudioProcessor.from_pretrained(tiny_folder).tokenizer.padding_side == "right"
    assert model.processor.tokenizer.padding_side == "left"


def test_a_description_says_what_a_number_depends_on(model, tiny_folder):
    description = model.description
    assert (description["dtype"], description["device"], description["attention"]) == (
        "float32",
        "cpu",
        "sdpa",
    )
    assert (description["window_seconds"], description["engine"], description["adapter"]) == (
        2.0,
        "PrefixSharingEngine",
        None,
    )
    assert description["generation"]["do_sample"] is False
    assert description["generation"]["repetition_penalty"] == 1.0
    assert description["threads"] == torch.get_num_threads()
    assert description["fingerprint"] == model.fingerprint
    template = (tiny_folder / "chat_template.jinja").read_text()
    assert description["chat_template_sha256"] == hashlib.sha256(template.encode()).hexdigest()


OFFLINE = """
import socket, sys
from pathlib import Path
tried = []
def refuse(*what, **how):
    tried.append(what)
    raise OSError("the network is forbidden here")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from lalm_utils.load_model import load_model
from lalm_utils.models import Prompt, Turn
model = load_model(sys.argv[1], dtype="float32")
prompt = Prompt(turns=(Turn(role="user", text="What do you hear ?", clips=(Path(sys.argv[2]),)),))
((reply,),) = model.generate([prompt], max_new_tokens=4)
print(reply.finish, tried)
try:  # the trap itself
    socket.create_connection(("127.0.0.1", 9))
except OSError as error:
    print(error)
"""


def test_a_local_model_is_loaded_and_asked_without_any_call_to_the_network(tiny_folder, clips):
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # which would hide a call that is made without them
    environment = {name: value for name, value in os.environ.items() if name not in offline}
    command = [sys.executable, "-c", OFFLINE, str(tiny_folder), str(clips[0])]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    output, trap = done.stdout.splitlines()
    assert output in ("stop []", "length []"), "the calls that were tried"
    assert trap == "the network is forbidden here"


def test_half_precision_hears_and_replies_and_has_its_own_fingerprint(tiny_folder, model, prompts):
    half = load_model(tiny_folder, dtype="bfloat16")
    assert half.fingerprint != model.fingerprint
    assert all(reply.finish != "failed" for (reply,) in half.generate(prompts, max_new_tokens=4))


def save_adapter(base: Path, place: Path, targets: str) -> Path:
    """A LoRA whose effect is large, trained on nothing."""
    model = Qwen2AudioForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.data.normal_(0, 0.5)
    adapted.save_pretrained(place)
    return place


def test_an_adapter_is_loaded_on_its_base_and_changes_replies_and_fingerprint(
    tiny_folder, model, prompts, tmp_path
):
    adapter = save_adapter(tiny_folder, tmp_path / "lora", r".*language_model.*\.(q_proj|v_proj)")
    adapted = load_model(adapter, dtype="float32")
    assert adapted.name == "model+lora"
    assert adapted.description["adapter"] == "lora"
    assert adapted.fingerprint != model.fingerprint
    assert adapted.generate(prompts, max_new_tokens=8) != model.generate(prompts, max_new_tokens=8)
    given = load_model(tiny_folder, dtype="float32", adapter=adapter)
    assert given.fingerprint == adapted.fingerprint
    assert given.generate(prompts, max_new_tokens=8) == adapted.generate(prompts, max_new_tokens=8)


def test_weights_that_are_cut_short_are_refused_before_anything_is_loaded(tiny_folder, tmp_path):
    adapter = save_adapter(tiny_folder, tmp_path / "lora", r".*language_model.*\.(q_proj|v_proj)")
    whole = (adapter / "adapter_model.safetensors").read_bytes()
    (adapter / "adapter_model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ModelError, match=r"adapter_model\.safetensors: damaged weights .* make the file again"
    ):
        load_model(adapter, dtype="float32")


def test_an_adapter_of_another_model_is_refused(tiny_folder, tmp_path):
    adapter = save_adapter(tiny_folder, tmp_path / "lora", r".*language_model.*\.(q_proj|v_proj)")
    config = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(config.replace("(q_proj|v_proj)", "o_proj"))
    with pytest.raises(ModelError, match="the adapter does not fit"):
        load_model(adapter, dtype="float32")


@pytest.mark.parametrize(
    "case, settings, message",
    [
        (
            "an unknown dtype",
            {"dtype": "float31"},
            "dtype 'float31': choose 'auto' or one of float32, bfloat16",
        ),
        ("an unknown device", {"device": "abacus"}, "device 'abacus'"),
        ("an empty batch", {"batch_size": 0}, "batch_size=0: a batch holds at least one prompt"),
    ],
)
def test_options_that_make_no_sense_are_refused(tiny_folder, case, settings, message):
    with pytest.raises(ModelError, match=message):
        load_model(tiny_folder, **settings)


def test_the_store_asks_a_real_model_only_once(model, prompts, tmp_path):
    with Store(tmp_path / "replies.db") as store:
        first = store.ask(model, prompts, max_new_tokens=12)
        replies = [index for index, (reply,) in enumerate(first) if reply.finish != "failed"]
        assert len(replies) > 3, "random weights reply little: empty replies are asked anew"
        model.engine = None
        again = store.ask(model, [prompts[index] for index in replies], max_new_tokens=12)
        assert again == [first[index] for index in replies]
