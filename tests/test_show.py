"""What notebooks show: code as the package holds it, short players, counted flows, provenance."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from lalm_utils import releases, show
from lalm_utils.audio import RATE, write_clip
from lalm_utils.items import from_record
from lalm_utils.mini.benchmark import generator_version, planned_records
from lalm_utils.plots import figure_files, figures

TONE = 0.25 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


def player_sound(player) -> tuple[np.ndarray, int]:
    """The sound that a player's page holds: samples and rate."""
    sound = re.search(r"base64,([^\"']+)", player.data)[1]
    return soundfile.read(io.BytesIO(base64.b64decode(sound)))


def test_source_shows_the_code_of_each_function():
    text = show.source(show.source, show.picture).data
    assert text.startswith("```python\ndef source(")
    assert "\n\ndef picture(" in text
    assert text.endswith("\n```")


def test_a_player_plays_a_clip_as_loud_as_it_is(tmp_path):
    write_clip(tmp_path / "tone.wav", TONE)
    for clip in (tmp_path / "tone.wav", TONE):
        samples, rate = player_sound(show.player(clip))
        assert rate == RATE
        assert samples == pytest.approx(TONE, abs=1e-3)


def test_a_player_says_its_caption_and_lets_no_markup_through():
    assert (
        "<figcaption>gold: a &lt;b&gt;ell&lt;/b&gt;</figcaption>"
        in show.player(TONE, "gold: a <b>ell</b>").data
    )


def test_a_player_holds_a_long_clip_only_in_part_and_says_so():
    player = show.player(np.tile(TONE, 20), "a long one")
    assert len(player_sound(player)[0]) == show.MAX_SECONDS * RATE
    assert "a long one (beginning)" in player.data


def test_a_player_refuses_stereo():
    with pytest.raises(ValueError, match=r"samples of shape \(16000, 2\): a player takes mono"):
        show.player(np.stack([TONE, TONE], axis=1))


def test_a_picture_is_the_png_of_a_figure_or_of_a_file(tmp_path):
    table = pd.DataFrame(
        [{"prompt": "IDK", "group": "inaudible", "rate": 0.5, "low": 0.4, "high": 0.6, "n": 60}]
    )
    path = figure_files.save("unanswerable", table, tmp_path)
    pictures = [show.picture(path).data, show.picture(figures.unanswerable(table)).data]
    assert pictures[0] == pictures[1]
    assert len(show.picture(figures.unanswerable(table), dpi=40).data) < len(pictures[0]) / 1.5

    whole, reduced = (
        np.asarray(Image.open(file).convert("RGB"), int) for file in (path, io.BytesIO(pictures[0]))
    )
    assert whole.shape == reduced.shape  # in a palette of 256 colours: smaller, and alike to the eye
    assert len(pictures[0]) < len(path.read_bytes()) / 2
    assert np.abs(whole - reduced).mean() < 0.5


def test_provenance_says_what_made_the_numbers():
    model = SimpleNamespace(
        name="mini", fingerprint="abcdef0123456789", description={"dtype": "bfloat16", "threads": 2}
    )
    records = [record for record in planned_records("test") if record["task"] != "music"][:3]
    items = [from_record(record, "/clips", benchmark="mini") for record in records]
    counts = Counter(item.modality for item in items)
    (row,) = show.provenance(model, items, 7).reset_index().to_dict("records")
    assert row == {
        "model": "mini",
        "weights": "abcdef012345",
        "dtype": "bfloat16",
        "threads": "2",
        "benchmark": "mini",
        "split": "test",
        "release": f"3 of the 999 items of mini test of generator {generator_version()}",
        "content": releases.identify(items).sha256[:12],
        "items": 3,
        "by modality": ", ".join(f"{name} {n}" for name, n in counts.items()),
        "seed": 7,
        "source": "measured here",
    }
