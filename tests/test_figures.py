"""Figures: what they say, that nothing overlaps, and that a CSV alone gives the same bytes again.

Each example (figure_tables.py) is drawn once for all tests that only look at it, and saved once for those of bytes.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from figure_tables import (
    EIGHT,
    EXAMPLES,
    MODALITIES,
    NAMES,
    TABLES,
    accuracies,
    chains,
    curves,
    flows,
    gains,
    matrices,
    quadrants,
    refusals,
    scales,
)  # fmt: skip
from matplotlib import colors, ft2font, pyplot
from matplotlib.patches import Rectangle

from lalm_utils import transfer
from lalm_utils.plots import drawing, figure_files, figures, redraw
from lalm_utils.plots.figure_files import FIGURES, FigureError

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = sorted((ROOT / "figures").rglob("*.csv"))
HOSTILE = r"a very long name, $\frac{x$ and $y$ & <b>" + "\twith\nbreaks " * 8
each_figure = pytest.mark.parametrize("name", TABLES)


def draw(name: str, table: pd.DataFrame) -> matplotlib.figure.Figure:
    figure = FIGURES[name](table)
    figure.draw_without_rendering()
    return figure


@functools.cache
def example(name: str) -> matplotlib.figure.Figure:
    return draw(name, TABLES[name])


def texts(figure) -> list[str]:
    """Everything a figure says: its own texts, its axes' labels, ticks and annotations, its legend."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def check_layout(figure) -> None:
    """Nothing leaves the sheet, no two panels overlap, no two tick labels and no legend over data."""
    sheet = figure.bbox.padded(1)
    panels = [ax for ax in figure.axes if ax.axison]
    boxes = [ax.get_tightbbox() for ax in panels]
    for box in boxes + [text.get_window_extent() for text in figure.texts]:
        assert sheet.x0 <= box.x0 <= box.x1 <= sheet.x1, "something leaves the sheet sideways"
        assert sheet.y0 <= box.y0 <= box.y1 <= sheet.y1, "something leaves the sheet above or below"
    for box, other in itertools.combinations(boxes, 2):
        assert not box.padded(-2).overlaps(other.padded(-2)), "two panels overlap"
    for ax in panels:
        for axis in ("x", "y"):
            labels = [t.get_window_extent() for t in getattr(ax, f"get_{axis}ticklabels")() if t.get_text()]
            inside = [box for box in labels if box.overlaps(sheet)]
            for box, other in itertools.combinations(inside, 2):
                assert not box.overlaps(other), f"two {axis} tick labels overlap"
        for legend in figure.legends:
            over = legend.get_window_extent().overlaps(ax.get_tightbbox().padded(-2))
            assert not over, "the legend lies over a panel"


def test_every_registered_figure_has_an_example():
    assert set(FIGURES) == set(TABLES) == set(NAMES)


@each_figure
def test_a_figure_asks_a_question_says_how_many_and_names_a_unit(name):
    figure = example(name)
    title, subtitle = (text.get_text() for text in figure.texts[:2])
    assert title.endswith("?")
    assert "benchmark mini" in subtitle
    assert any(what in text for text in texts(figure) for what in ("questions", "chains", "adapters"))
    units = [ax.get_xlabel() + ax.get_ylabel() + ax.get_title() for ax in figure.axes]
    assert any(unit in text for text in units for unit in ("%", "no unit", "words", "nats"))


@each_figure
def test_the_layout_holds(name):
    check_layout(example(name))


@pytest.mark.parametrize("name", EIGHT)
def test_eight_methods_fit(name):
    check_layout(draw(name, EIGHT[name]))


@each_figure
def test_a_table_of_one_row_is_drawn(name):
    table = TABLES[name]
    finite = table[np.isfinite(table.select_dtypes("number").fillna(0)).all(axis=1)]
    check_layout(draw(name, finite.head(1)))


@each_figure
def test_hostile_names_are_drawn_as_they_are_and_stay_in_their_place(name, recwarn):
    table = TABLES[name].copy()
    for column in NAMES[name].split():
        first = table[column].iloc[0]
        table[column] = table[column].astype(object).where(table[column] != first, HOSTILE)
    check_layout(draw(name, table.assign(model=HOSTILE, benchmark=HOSTILE)))
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []


@each_figure
def test_values_that_are_all_undefined_are_drawn(name):
    columns = {"value", "low", "high", "loss", "share", "rgi", "rate", "accuracy"} & set(TABLES[name])
    assert FIGURES[name](TABLES[name].assign(**dict.fromkeys(columns, math.nan))).axes


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    for name, table in TABLES.items():
        figure_files.save(name, table.assign(note="kept, though not drawn"), folder)
    return folder


def test_redrawing_in_another_process_gives_the_same_bytes(saved, tmp_path):
    for csv in saved.glob("*.csv"):
        shutil.copy(csv, tmp_path)
        (tmp_path / csv.name).with_suffix(".svg").write_text("damaged")
    command = [sys.executable, "-m", "lalm_utils.plots.redraw", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert set(files) == {f"{name}.{kind}" for name in TABLES for kind in ("csv", "svg", "png")}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@each_figure
def test_the_files_do_not_depend_on_the_tables_types(name, saved, tmp_path):
    table = TABLES[name].assign(note="kept, though not drawn")
    words = table.select_dtypes(exclude="number").columns
    typed = table.convert_dtypes().astype(dict.fromkeys(words, "category"))
    typed.index = range(100, 100 + len(typed))
    if name in ("baseline_accuracy", "idk_gain"):  # all files of two, the picture's text of all
        png = figure_files.save(name, typed, tmp_path)
        for kind in (".csv", ".png"):
            assert png.with_suffix(kind).read_bytes() == (saved / f"{name}{kind}").read_bytes()
    assert figure_files.render(FIGURES[name](typed), "svg") == (saved / f"{name}.svg").read_bytes()


@each_figure
def test_a_csv_has_unix_line_ends_and_reads_back_as_it_was(name, saved):
    csv, table = saved / f"{name}.csv", TABLES[name]
    assert b"\r" not in csv.read_bytes()
    assert b"<dc:date>" not in csv.with_suffix(".svg").read_bytes()
    back = pd.read_csv(csv, keep_default_na=False, na_values=dict.fromkeys(table.select_dtypes("number"), ""))
    same = {"check_dtype": False, "check_column_type": False, "rtol": 1e-9}
    pd.testing.assert_frame_equal(back.drop(columns="note"), table, **same)
    assert set(back["note"]) == {"kept, though not drawn"}


def test_drawing_leaves_the_tables_and_pyplot_as_they_were(saved):
    for name, table in EXAMPLES.items():
        pd.testing.assert_frame_equal(table(), TABLES[name])
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    "case, name, text",
    [
        ("levels are pooled into overall", "baseline_accuracy", "300 questions"),
        ("the run is named", "baseline_accuracy", "model mini · benchmark mini · seed 0"),
        ("a control is in the legend", "baseline_accuracy", "no audio"),
        ("modalities are pooled into overall", "idk_flows", "300 questions"),
        ("each source counts its own items", "idk_gain", "measured here: mini, 300 questions"),
        ("an infinite index says why", "idk_gain", "RGI = +∞: ΔCon = 0"),
        ("an undefined index says why", "idk_gain", "RGI undefined: ΔHum = ΔCon = 0"),
        ("the moving zero is explained", "idk_gain", drawing.NULL),
        ("asking twice does not double the items", "unanswerable", "420 questions, each asked 2×"),
        ("a comma breaks a long label", "unanswerable", "answerable,\nknown content\nn = 240"),
        ("the baseline is the reference", "methods_compared", "dotted: Baseline · 300 questions each"),
        ("an undefined index is a word", "agent_ablations", "undefined"),
        ("an infinite one is a sign", "agent_ablations", "+∞"),
        ("an interval without an end says so", "agent_ablations", "to +∞"),
        ("a median has its number", "chain_length", "4 words, n = 14"),
        ("a cell has count and share of its row", "agent_routing", "20\n20 %"),
        ("groups are pooled into overall", "paper_side_by_side", "measured here: mini, 300 questions"),
        ("the paper counts its own", "paper_side_by_side", "printed in the paper: Qwen2-Audio, 1,000 questions"),
        ("the moving zero is explained", "paper_side_by_side", drawing.NULL),
        ("stages do not count items twice", "quadrants", "300 questions"),
        ("a bar's count stands in it", "quadrants", "120"),
        ("overlapping groups do not count twice", "idk_share_by_k", "900 questions"),
        ("the paper's points are named", "idk_share_by_k", "paper, overall"),
        ("an adapter is named at its end", "sft_curve", "speech, seed 1"),
        ("the index has a panel of its own", "lora_scale", "RGI excess over null (0: blind refusal)"),
        ("a difference of shares is called one", "sft_by_k", "a difference of shares"),
        ("a ratio is written out", "speed_ratio", "11.0×"),
        ("a cell has value and interval", "transfer_matrix", "30\n[−10, 70]"),
        ("an open bound is shown", "transfer_matrix", "0.30\n[−0.10, ∞]"),
        ("an undefined cell says so", "transfer_matrix", "undefined"),
        ("what the colour means is said", "transfer_matrix", "no unit, 0: blind refusal"),
        ("the kinds are in the legend", "transfer_control", "shuffled labels"),
        ("minus infinity is a sign", "transfer_control", "−∞"),
        ("a group has its own number", "real_models_gain", "bystander\nn = 1000"),
        ("the moving zero is explained", "real_models_gain", drawing.NULL),
        ("groups are pooled into overall", "real_models_risk", "2,000 questions each"),
        ("the option is a point", "real_models_risk", "Qwen2.5-Omni-7B, by option"),
        ("a method is a point with a name", "risk_coverage", "IDK prompt"),
        ("a curve has its questions", "risk_coverage", "95 % intervals · 300 questions"),
        ("the metric is on the axis", "transfer_control", "RGI excess over null (no unit)"),
    ],
)  # fmt: skip
def test_a_figure_says(case, name, text):
    assert any(text in found for found in texts(example(name))), case


def test_an_index_of_minus_infinity_says_why():
    table = gains().assign(rgi=-math.inf, low=-math.inf, high=0.1)
    assert "RGI = −∞: ΔHum = 0" in texts(figures.idk_gain(table))


@pytest.mark.parametrize(
    "case, name, table, vertical, expected",
    [
        ("accuracies", "baseline_accuracy", accuracies().query("modality == 'sound'"), True,
         [(0, 0.8), (1, 0.6), (2, 0.4), (2.8, 0.6), (3, 0.26), (3.2, 0.24)]),
        ("methods", "methods_compared", TABLES["methods_compared"].query("metric == 'accuracy'"), False,
         list(enumerate(TABLES["methods_compared"].query("metric == 'accuracy'")["value"]))),
    ],
)  # fmt: skip
def test_dots_are_drawn_where_they_are(case, name, table, vertical, expected):
    (ax,) = draw(name, table).axes
    dots = [line.get_xydata()[0] for line in ax.get_lines() if line.get_marker() in drawing.MARKERS]
    places = sorted((x, y) if vertical else (y, x) for x, y in dots)
    assert np.array(places) == pytest.approx(np.array(expected)), case


def test_the_bars_of_an_alluvial_diagram_are_whole_and_show_every_count():
    for ax in example("idk_flows").axes:
        bars = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        for side in (0, 1):
            heights = [bar.get_height() for bar in bars if round(bar.get_x() + bar.get_width() / 2) == side]
            assert sum(heights) == pytest.approx(1)
    ax = example("idk_flows").axes[0]
    before, after = (
        sorted(int(t.get_text()) for t in ax.texts if (t.get_position()[0] > 0.5) == side) for side in (0, 1)
    )
    assert (before, after) == ([2, 45, 53], [25, 28, 47])


def test_a_benchmark_without_levels_and_with_many_mixes_fits():
    mixes = ["mix-sound-music", "mix-sound-speech", "mix-sound-music-speech"]
    table = pd.DataFrame({"modality": [*MODALITIES, *mixes, "overall"], "level": ""})
    figure = draw("baseline_accuracy", table.assign(accuracy=0.5, low=0.4, high=0.6, chance=0.25, n=143))
    boxes = [ax.title.get_window_extent() for ax in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_the_colours_of_a_matrix_have_a_scale_with_blind_refusal_in_its_middle():
    ax, bar = draw("transfer_matrix", matrices().query("metric == 'youden' and trained_on == 'speech'")).axes
    cells = ax.collections[0]
    assert np.asarray(cells.get_array()).ravel() == pytest.approx([0.3, 0.3, 0.3])
    assert cells.norm.vmin == -cells.norm.vmax
    assert bar.get_xlim() == pytest.approx((cells.norm.vmin, cells.norm.vmax))


def test_a_matrix_shows_three_metrics_and_only_the_means_over_seeds():
    table = matrices()
    others = [table[table["metric"] == "youden"].assign(metric=name) for name in ("rgi", "reliability")]
    table = pd.concat([table, *others, table.assign(seed="0", value=99.0)])
    found = texts(draw("transfer_matrix", table))
    assert {"Accuracy", "Youden's J", "RGI excess over null"} <= set(found)
    assert not any(text in ("RGI", "Reliability") or "99" in text for text in found)


def test_a_matrix_comes_straight_from_the_transfer_analysis():
    table = pd.DataFrame({"item": [f"q{k}" for k in range(60)], "modality": list(MODALITIES) * 20})
    before = table.assign(outcome=["correct"] * 20 + ["wrong"] * 40, answerable=True)
    after = before.assign(outcome=["correct"] * 15 + ["refused"] * 25 + ["wrong"] * 20)
    runs = {name: [after, after] for name in MODALITIES}
    check_layout(draw("transfer_matrix", transfer.matrix(before, runs, n_boot=50).assign(model="mini")))
    check_layout(draw("transfer_control", transfer.beside_controls(before, runs, runs, n_boot=50)))


@pytest.mark.parametrize(
    "heights, expected",
    [
        ([], []),
        ([0.5], [0.5]),
        ([0.1, 0.9], [0.1, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.0, 0.05, 0.1], [-0.05, 0.05, 0.15]),
    ],
)
def test_names_of_lines_are_moved_apart(heights, expected):
    assert drawing.spread(heights, 0.1) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("plain", "plain"),
        ("a\tb\nc\x00d", "a b c d"),
        ("$x$", r"\$x\$"),
        ("x" * 60, "x" * 47 + "…"),
        ("", ""),
    ],
)
def test_a_label_is_one_plain_line(name, expected):
    assert drawing.label(name) == expected


def test_colours_are_told_apart_by_lightness_too_and_series_by_their_markers():
    lightness = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b in map(colors.to_rgb, drawing.COLOURS[:4])]
    assert min(np.diff(sorted(lightness))) > 0.04
    assert len(set(drawing.COLOURS)) == len(set(drawing.MARKERS)) == 8


@pytest.mark.parametrize(
    "case, name, table, message",
    [
        ("no such figure", "baseline", refusals(), r"no figure is named 'baseline': the figures are agent_ablations"),
        ("a column is missing", "unanswerable", refusals().drop(columns=["n"]), r"unanswerable: .* lacks .*\['n'\]"),
        ("it names the docstring", "quadrants", quadrants().drop(columns="count"),
         r"quadrants: the table lacks the columns \['count'\]; see the docstring of training_figures.quadrants"),
        ("no rows", "sft_curve", curves().iloc[:0], "sft_curve: the table lacks rows"),
        ("a word for a number", "lora_scale", scales().assign(value="half"), "column 'value' is to hold numbers"),
        ("a strange outcome", "idk_flows", flows().replace("wrong", "bad"), r"outcomes \['bad'\] cannot be drawn"),
        ("of a chain", "chain_length", chains().replace("wrong", "bad"), r"outcomes \['bad'\] cannot be drawn"),
        ("no reply has a length", "chain_length", chains().assign(n=0), "no row has a length and replies of it"),
        ("a strange quadrant", "quadrants", quadrants().replace("known-known", "known"),
         r"quadrants \['known'\] cannot be drawn: the quadrants are known-known"),
        ("two rows for a cell", "transfer_matrix", pd.concat([matrices()] * 2), "than one row for accuracy of 'sound'"),
        ("no index to draw", "real_models_gain", gains().assign(metric="n", value=1.0), "no row has the metric rgi"),
        ("a strange source", "real_models_risk", TABLES["real_models_risk"].assign(source="coin"),
         r"sources \['coin'\] cannot be drawn"),
        ("no metric to draw", "transfer_matrix", matrices().assign(metric="rgi"), "metrics that it draws are accuracy"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(case, name, table, message, tmp_path):
    with pytest.raises(FigureError, match=message):
        figure_files.save(name, table, tmp_path / "figures")
    assert not (tmp_path / "figures").exists(), case


def test_redraw_refuses_a_csv_that_is_no_figures_and_draws_nothing(tmp_path, capsys):
    png = figure_files.save("unanswerable", refusals(), tmp_path)
    png.unlink()
    (tmp_path / "notes.csv").write_text("a\n1\n")
    assert redraw.main([str(tmp_path)]) == 1
    assert "notes.csv belongs to none of the figures agent_ablations, agent_r" in capsys.readouterr().err
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
    found = figure_files.destination("figures", model=model, benchmark=benchmark)
    assert re.fullmatch(
        re.escape(str(ROOT / expected)) + ("" if expected == "figures" else "-[0-9a-f]{8}"), str(found)
    ), case


RUNS = [
    {"model": "mini", "benchmark": "mini"},
    {"model": "mini", "benchmark": "mini", "n": 24, "default_n": 300},
    {"model": "mini", "benchmark": "mini", "n": 24, "default_n": 300, "seed": 1},
    {"model": "mini", "benchmark": "mini", "seed": 1},
    {"model": "runs/a/checkpoint-100", "benchmark": "mini"},
    {"model": "runs/b/checkpoint-100", "benchmark": "mini"},
    {"model": "runs/mini", "benchmark": "data/mini"},
    {"model": "mini", "benchmark": "mmau/test.json"},
    {"model": "mini", "benchmark": "mmar/test.json"},
    {"model": "Qwen/Qwen2-Audio-7B-Instruct", "benchmark": "mini"},
    {"model": "openai:http://a:8000/v1#Qwen/Qwen2-Audio-7B-Instruct", "benchmark": "mini"},
    {"model": "openai:http://b:8000/v1#Qwen/Qwen2-Audio-7B-Instruct", "benchmark": "mini"},
]


def test_no_two_runs_share_a_folder_and_the_default_alone_has_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a/checkpoint-100", "runs/b/checkpoint-100", "runs/mini", "data/mini"):
        (tmp_path / name).mkdir(parents=True)
    folders = [figure_files.destination(tmp_path / "figures", **run) for run in RUNS]
    assert len(set(folders)) == len(RUNS)
    assert [folder.parent for folder in folders[1:]] == [folders[0]] * (len(RUNS) - 1)
    assert all(re.fullmatch(r"[\w.-]+", folder.name) for folder in folders)
    trial = {"model": "mini", "benchmark": "mini", "n": 300, "default_n": 300}
    assert figure_files.destination(tmp_path / "figures", **trial) == folders[0]
    absolute = figure_files.destination(
        tmp_path / "figures", model=str(tmp_path / "runs/mini"), benchmark="data/mini"
    )
    assert absolute == folders[6]


def test_figures_go_to_the_checkout_in_which_a_notebook_is_executed(tmp_path, monkeypatch):
    (tmp_path / "clone" / "lalm_utils").mkdir(parents=True)
    (tmp_path / "clone" / "notebooks").mkdir()
    for name in ("pyproject.toml", "lalm_utils/__init__.py"):
        (tmp_path / "clone" / name).touch()
    monkeypatch.chdir(tmp_path / "clone" / "notebooks")
    assert (
        figure_files.destination("figures", model="mini", benchmark="mini") == tmp_path / "clone" / "figures"
    )


def test_an_absolute_destination_is_kept(tmp_path):
    assert figure_files.destination(tmp_path, model="mini", benchmark="mini") == tmp_path


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
    with pytest.raises(FigureError, match="give mono samples, at least 400 at 16000 Hz"):
        figures.spectrogram(samples)


@pytest.mark.parametrize("csv", COMMITTED, ids=lambda csv: csv.stem)
def test_committed_figures_are_drawn_from_the_csvs_beside_them(csv, tmp_path):
    version = csv.with_suffix(".svg").read_text(encoding="utf-8").split("Matplotlib v")[1].split(",")[0]
    if version != matplotlib.__version__ or ft2font.__freetype_build_type__ != "local":
        pytest.skip(f"drawn by matplotlib {version} with its own FreeType; here is {matplotlib.__version__}")
    shutil.copy(csv, tmp_path)
    figure_files.redraw(tmp_path / csv.name)
    for kind in (".svg", ".png"):
        redrawn = (tmp_path / csv.name).with_suffix(kind).read_bytes()
        assert redrawn == csv.with_suffix(kind).read_bytes(), f"{csv.stem}{kind} differs: run `make figures`"


def test_every_committed_picture_has_its_csv():
    pictures = [path for kind in ("svg", "png") for path in (ROOT / "figures").rglob(f"*.{kind}")]
    assert [path.name for path in pictures if not path.with_suffix(".csv").is_file()] == []
