"""What was heard is found again by a later process, and never by another tower."""

from __future__ import annotations

import os

import pytest
import tiny
import torch

from lalm_utils.engine.heard_files import HeardFiles, made_by
from lalm_utils.engine.transformers_model import TransformersModel


def heard(value: float, tokens: int = 50) -> torch.Tensor:
    return torch.full((tokens, 8), value, dtype=torch.bfloat16)


def test_an_embedding_comes_back_bit_for_bit(tmp_path):
    HeardFiles(tmp_path, 10**6).put("a", heard(0.3))
    again = HeardFiles(tmp_path, 10**6)
    assert again.get("b") is None
    assert again.get("a").dtype == torch.bfloat16
    assert torch.equal(again.get("a"), heard(0.3))


def test_files_stay_within_the_budget_and_the_one_unread_for_longest_goes_first(tmp_path):
    HeardFiles(tmp_path, 10**9).put("probe", heard(0))
    size = (tmp_path / "probe.safetensors").stat().st_size
    (tmp_path / "probe.safetensors").unlink()
    files = HeardFiles(tmp_path, 5 * size)
    for number, name in enumerate("abcde"):
        files.put(name, heard(number))
        os.utime(tmp_path / f"{name}.safetensors", (number, number))
    assert files.get("a") is not None, "and is now the last that was used"
    files.put("f", heard(6))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 5 * size
    assert files.get("b") is None
    assert [name for name in "acdef" if files.get(name) is not None][:1] == ["a"]


@pytest.mark.parametrize(
    "case, raw",
    [
        ("an empty file", b""),
        ("text", b"not a tensor"),
        ("a header longer than the file", (2**40).to_bytes(8, "little")),
    ],
)
def test_a_damaged_file_is_heard_anew(tmp_path, caplog, case, raw):
    files = HeardFiles(tmp_path, 10**6)
    (tmp_path / "a.safetensors").write_bytes(raw)
    assert files.get("a") is None
    assert "damaged" in caplog.text
    files.put("a", heard(1))
    assert torch.equal(files.get("a"), heard(1))


def test_a_full_disk_costs_no_reply(tmp_path, caplog, monkeypatch):
    files = HeardFiles(tmp_path, 10**6)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    files.put("a", heard(1))
    assert "No space left" in caplog.text
    assert not list(tmp_path.iterdir())


def test_weights_dtype_and_settings_all_tell_towers_apart():
    layer = torch.nn.Linear(3, 2)
    same = made_by(layer, settings="x")
    assert same == made_by(layer, settings="x")
    others = [
        made_by(layer, settings="y"),
        made_by(layer.to(torch.bfloat16), settings="x"),
        made_by(torch.nn.Linear(3, 2), settings="x"),
    ]
    assert len({same, *others}) == 4


def test_a_later_model_hears_nothing_that_was_heard_and_replies_the_same(tmp_path):
    folder = tiny.save_tiny(tmp_path / "model")
    clips = [tiny.write_tone(tmp_path / f"{n}.wav", 300 + 200 * n, 0.4 + 0.3 * n) for n in range(3)]
    asked = [tiny.ask("What do you hear ?", clip, options=("dog barks", "cat")) for clip in clips]

    def model(**options) -> TransformersModel:
        where = {"audio_cache_dir": tmp_path / "heard"}
        return TransformersModel(folder, dtype="float32", device="cpu", check=False, **where, **options)

    first, later = model(), model(audio_cache_mb=0)
    replies = [[reply.text for reply in several] for several in first.generate(asked, max_new_tokens=4)]
    assert first.engine.audio.passes == 3
    again = [[reply.text for reply in several] for several in later.generate(asked, max_new_tokens=4)]
    assert later.engine.audio.passes == 0
    assert again == replies
    for ours, theirs in zip(first.option_logprobs(asked), later.option_logprobs(asked)):
        assert (ours == theirs).all()
