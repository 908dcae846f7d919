"""Figures: what they say, that nothing overlaps, and that a CSV alone gives the same bytes again."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import ft2font, pyplot

from lalm_utils.plots import figures, marks, redraw

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = sorted((ROOT / "figures").rglob("*.csv"))
MODALITIES = ("sound", "music", "speech")


def accuracies() -> pd.DataFrame:
    rows = [
        (modality, level, control, share, share - 0.1, share + 0.1, 0.25, n)
        for modality in MODALITIES
        for level, control, share, n in [
            ("easy", "", 0.8, 34),
            ("medium", "", 0.6, 33),
            ("hard", "", 0.4, 33),
            ("overall", "", 0.6, 100),
            ("overall", "no audio", 0.26, 100),
            ("overall", "silence", 0.24, 100),
        ]
    ]
    columns = ["modality", "level", "control", "accuracy", "low", "high", "chance", "n"]
    return pd.DataFrame(rows, columns=columns).assign(model="mini", benchmark="mini", seed=0)


def flows() -> pd.DataFrame:
    pairs = {("correct", "correct"): 45, ("correct", "refused"): 8, ("wrong", "refused"): 20}
    pairs |= {("wrong", "wrong"): 25, ("unreadable", "correct"): 2}
    sizes = dict.fromkeys(MODALITIES, 1) | {"overall": 3}
    rows = [(m, *pair, count * size) for m, size in sizes.items() for pair, count in pairs.items()]
    return pd.DataFrame(rows, columns=["modality", "before", "after", "count"])


def gains() -> pd.DataFrame:
    rows = [
        ("sound", "measured here", "mini", 0.3, 0.05, 0.6, -0.2, 100),
        ("sound", "printed in the paper", "Qwen2-Audio-7B-Instruct", 0.27, None, None, -0.19, 333),
        ("music", "measured here", "mini", math.inf, 0.1, math.inf, 0.1, 100),
        ("speech", "measured here", "mini", None, None, None, 0.05, 100),
        ("overall", "measured here", "mini", 0.2, -0.05, 0.5, 0.0, 300),
    ]
    return pd.DataFrame(rows, columns=["group", "source", "model", "rgi", "low", "high", "null", "n"])


def refusals() -> pd.DataFrame:
    groups = {
        "answerable, known content": 240,
        "answerable, novel content": 60,
        "inaudible": 60,
        "ungrounded": 60,
    }
    rows = [
        (prompt, group, rate, max(rate - 0.1, 0), rate + 0.1, n)
        for prompt, rate in (("plain", 0.0), ("IDK", 0.4))
        for group, n in groups.items()
    ]
    return pd.DataFrame(rows, columns=["prompt", "group", "rate", "low", "high", "n"])


TABLES = {
    "baseline_accuracy": accuracies(),
    "idk_flows": flows(),
    "idk_gain": gains(),
    "unanswerable": refusals(),
}
each_figure = pytest.mark.parametrize("name", TABLES)


def texts(drawn) -> list[str]:
    """Everything a figure says: its own texts, its axes' labels, ticks and annotations, its legend."""
    found = [text.get_text() for text in drawn.findobj(matplotlib.text.Text)]
    return [text for text in found if text]


def test_every_registered_figure_has_an_example_here():
    own = {name for name, draw in figures.FIGURES.items() if draw.__module__ == figures.__name__}
    assert own == set(TABLES)


@each_figure
def test_a_figure_asks_a_question_and_labels_its_axis_with_a_unit(name):
    drawn = figures.FIGURES[name](TABLES[name])
    title, subtitle = (text.get_text() for text in drawn.texts[:2])
    labels = [ax.get_ylabel() + ax.get_xlabel() for ax in drawn.axes]
    assert title.endswith("?")
    assert "interval" in subtitle or "questions" in subtitle
    assert any("%" in label or "no unit" in label for label in labels)
    assert any("questions" in text for text in texts(drawn))


@each_figure
def test_nothing_overlaps_and_nothing_leaves_the_sheet(name):
    drawn = figures.FIGURES[name](TABLES[name])
    drawn.draw_without_rendering()
    sheet = drawn.bbox
    boxes = [text.get_window_extent() for text in drawn.texts]
    (legend,) = drawn.legends
    for ax in drawn.axes:
        boxes.append(ax.title.get_window_extent())
        ticks = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
        for left, right in pairwise(ticks):
            assert left.x1 < right.x0, "two tick labels overlap"
        assert not legend.get_window_extent().overlaps(ax.bbox), "the legend lies over data"
        assert not legend.get_window_extent().overlaps(ax.get_tightbbox()), "the legend lies over labels"
    for box in boxes:
        assert sheet.x0 <= box.x0, "a text begins left of the sheet"
        assert box.x1 <= sheet.x1, "a text ends right of the sheet"


@each_figure
def test_saving_and_redrawing_in_another_process_give_the_same_bytes(name, tmp_path):
    png = figures.save(name, TABLES[name], tmp_path)
    first = {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    assert list(first) == [f"{name}.csv", f"{name}.png", f"{name}.svg"]
    png.unlink()
    png.with_suffix(".svg").write_text("damaged")
    done = subprocess.run(
        [sys.executable, "-m", "lalm_utils.plots.redraw", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())} == first


@each_figure
def test_the_files_do_not_depend_on_the_tables_types(name, tmp_path):
    table = TABLES[name]
    words = table.select_dtypes(exclude="number").columns
    typed = table.convert_dtypes().astype(dict.fromkeys(words, "category"))
    typed.index = range(100, 100 + len(typed))
    figures.save(name, table, tmp_path / "plain")
    figures.save(name, typed, tmp_path / "typed")
    for kind in ("csv", "svg", "png"):
        plain, other = (tmp_path / folder / f"{name}.{kind}" for folder in ("plain", "typed"))
        assert plain.read_bytes() == other.read_bytes(), f"the {kind} differs"


@each_figure
def test_a_csv_has_unix_line_ends_and_reads_back_as_it_was(name, tmp_path):
    png = figures.save(name, TABLES[name].assign(note="kept, though not drawn"), tmp_path)
    raw = png.with_suffix(".csv").read_bytes()
    assert b"\r" not in raw
    back = pd.read_csv(
        png.with_suffix(".csv"), keep_default_na=False, na_values={"rgi": "", "low": "", "high": ""}
    )
    pd.testing.assert_frame_equal(
        back.drop(columns="note"), TABLES[name], check_dtype=False, rtol=1e-9, check_column_type=False
    )
    assert set(back["note"]) == {"kept, though not drawn"}


@each_figure
def test_files_hold_no_date(name, tmp_path):
    svg = figures.save(name, TABLES[name], tmp_path).with_suffix(".svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in svg


def test_drawing_leaves_no_pyplot_figure_open():
    for name, table in TABLES.items():
        figures.FIGURES[name](table)
    assert pyplot.get_fignums() == []


def test_a_drawing_function_leaves_its_table_as_it_was():
    table = accuracies()
    figures.baseline_accuracy(table)
    pd.testing.assert_frame_equal(table, accuracies())


@pytest.mark.parametrize(
    "case, name, said",
    [
        ("levels are pooled into overall", "baseline_accuracy", "300 questions"),
        ("modalities are pooled into overall", "idk_flows", "300 questions"),
        ("each source counts its own items", "idk_gain", "measured here: mini, 300 questions"),
        ("asking twice does not double the items", "unanswerable", "420 questions, each asked 2×"),
        ("the run is named", "baseline_accuracy", "model mini · benchmark mini · seed 0"),
        ("a control is in the legend", "baseline_accuracy", "no audio"),
        ("an infinite index says why", "idk_gain", "RGI = +∞: ΔCon = 0"),
        ("an undefined index says why", "idk_gain", "RGI undefined: ΔHum = ΔCon = 0"),
        ("the moving zero is explained", "idk_gain", marks.NULL),
        ("a comma breaks a long label", "unanswerable", "answerable,\nknown content\nn = 240"),
    ],
)
def test_a_figure_says(case, name, said):
    assert any(said in text for text in texts(figures.FIGURES[name](TABLES[name]))), case


def test_an_index_of_minus_infinity_says_why():
    table = gains().assign(rgi=-math.inf, low=-math.inf, high=0.1)
    assert "RGI = −∞: ΔHum = 0" in texts(figures.idk_gain(table))


def test_the_bars_of_an_alluvial_diagram_are_whole():
    drawn = figures.idk_flows(flows())
    for ax in drawn.axes:
        bars = [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Rectangle)]
        for side in (0, 1):
            heights = [bar.get_height() for bar in bars if round(bar.get_x() + bar.get_width() / 2) == side]
            assert sum(heights) == pytest.approx(1)


def test_an_alluvial_diagram_shows_every_count_of_both_bars():
    ax = figures.idk_flows(flows()).axes[0]
    before, after = (
        sorted(int(t.get_text()) for t in ax.texts if (t.get_position()[0] > 0.5) == side) for side in (0, 1)
    )
    assert before == [2, 45, 53]
    assert after == [25, 28, 47]


def test_accuracies_are_drawn_where_they_are():
    (ax, *_) = figures.baseline_accuracy(accuracies()).axes
    heights = sorted(line.get_ydata()[0] for line in ax.get_lines())
    assert heights == pytest.approx([0.24, 0.26, 0.4, 0.6, 0.6, 0.8])


def test_a_benchmark_without_levels_and_with_many_mixes_fits():
    names = [
        "sound",
        "music",
        "speech",
        "mix-sound-music",
        "mix-sound-speech",
        "mix-sound-music-speech",
        "overall",
    ]
    table = pd.DataFrame({"modality": names, "level": "", "accuracy": 0.5, "low": 0.4, "high": 0.6})
    drawn = figures.baseline_accuracy(table.assign(chance=0.25, n=143))
    drawn.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in drawn.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(
    "case, name, table, said",
    [
        (
            "no such figure",
            "baseline",
            refusals(),
            r"no figure is named 'baseline': the figures are baseline_acc",
        ),
        (
            "a column is missing",
            "unanswerable",
            refusals().drop(columns=["n"]),
            r"unanswerable: .* lacks .*\['n'\]",
        ),
        ("no rows", "unanswerable", refusals().iloc[:0], "unanswerable: the table lacks rows"),
        (
            "a word for a number",
            "unanswerable",
            refusals().assign(rate="half"),
            "column 'rate' is to hold numbers",
        ),
        (
            "a strange outcome",
            "idk_flows",
            flows().replace("wrong", "bad"),
            r"outcomes \['bad'\] cannot be drawn",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(case, name, table, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        figures.save(name, table, tmp_path / "figures")
    assert not (tmp_path / "figures").exists(), case


def test_redraw_refuses_a_csv_that_is_no_figures_and_draws_nothing(tmp_path, capsys):
    png = figures.save("unanswerable", refusals(), tmp_path)
    png.unlink()
    (tmp_path / "notes.csv").write_text("a\n1\n")
    assert redraw.main([str(tmp_path)]) == 1
    assert "notes.csv belongs to none of the figures baseline_accuracy" in capsys.readouterr().err
    assert not png.exists()


def test_redraw_says_where_it_found_nothing(tmp_path, capsys):
    assert redraw.main([str(tmp_path)]) == 1
    assert f"{tmp_path}: no CSV to redraw" in capsys.readouterr().err


@pytest.mark.parametrize(
    "case, model, benchmark, expected",
    [
        ("the embedded pair", "mini", "mini", "figures"),
        ("a real model", "Qwen/Qwen2-Audio-7B-Instruct", "mini", "figures/Qwen2-Audio-7B-Instruct-mini"),
        ("a real benchmark", "mini", "../shared/sakura", "figures/mini-sakura"),
        ("a folder with a slash at its end", "mini", "../shared/sakura/", "figures/mini-sakura"),
    ],
)
def test_figures_of_another_run_do_not_replace_the_defaults(
    case, model, benchmark, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert figures.destination("figures", model=model, benchmark=benchmark) == ROOT / expected, case


def test_an_absolute_destination_is_kept(tmp_path):
    assert figures.destination(tmp_path, model="mini", benchmark="mini") == tmp_path


def test_a_spectrogram_shows_a_tone_at_its_frequency():
    tone = np.sin(2 * np.pi * 2000 * np.arange(16_000) / 16_000)
    ax, _colourbar = figures.spectrogram(tone).axes
    decibels = np.asarray(ax.images[0].get_array())
    loudest = decibels[:, decibels.shape[1] // 2].argmax() / (decibels.shape[0] - 1) * 8000
    assert loudest == pytest.approx(2000, abs=20)
    assert decibels.max() == pytest.approx(0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Time (s)", "Frequency (kHz)")


def test_a_spectrogram_of_silence_is_drawn():
    ax, _colourbar = figures.spectrogram(np.zeros(16_000)).axes
    assert np.asarray(ax.images[0].get_array()).max() == pytest.approx(-80)


@pytest.mark.parametrize(
    "case, samples", [("stereo", np.zeros((16_000, 2))), ("shorter than a window", np.zeros(399))]
)
def test_a_spectrogram_refuses(case, samples):
    with pytest.raises(figures.FigureError, match="give mono samples, at least 400 at 16000 Hz"):
        figures.spectrogram(samples)


@pytest.mark.parametrize("csv", COMMITTED, ids=lambda csv: csv.stem)
def test_committed_figures_are_drawn_from_the_csvs_beside_them(csv, tmp_path):
    drawn_by = csv.with_suffix(".svg").read_text(encoding="utf-8").split("Matplotlib v")[1].split(",")[0]
    if drawn_by != matplotlib.__version__ or ft2font.__freetype_build_type__ != "local":
        pytest.skip(f"drawn by matplotlib {drawn_by} with its own FreeType; here is {matplotlib.__version__}")
    shutil.copy(csv, tmp_path)
    figures.redraw(tmp_path / csv.name)
    for kind in (".svg", ".png"):
        redrawn = (tmp_path / csv.name).with_suffix(kind).read_bytes()
        assert redrawn == csv.with_suffix(kind).read_bytes(), f"{csv.stem}{kind} differs: run `make figures`"


def test_every_committed_picture_has_its_csv():
    pictures = [path for kind in ("svg", "png") for path in (ROOT / "figures").rglob(f"*.{kind}")]
    assert [path.name for path in pictures if not path.with_suffix(".csv").is_file()] == []
