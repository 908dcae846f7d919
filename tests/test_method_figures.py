"""Figures of methods, training and transfer: as test_figures.py, with hostile labels and extreme tables.

Covers method_figures.py, training_figures.py, transfer_figures.py, cost_figures.py and panels.py. Each figure is
rendered once for all tests of bytes.
"""

from __future__ import annotations

import functools
import itertools
import math
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from lalm_utils import transfer
from lalm_utils.plots import (
    cost_figures,
    figure_files,
    figures,
    marks,
    method_figures,
    panels,
    training_figures,
    transfer_figures,
)

ROOT = Path(__file__).resolve().parents[1]
MODALITIES = ("sound", "music", "speech")
METHODS = ("Baseline", "IDK prompt", "MCoT prompt", "Task Agent", "LoRA SFT (out of domain)")
RUN = {"model": "mini", "benchmark": "mini", "seed": 0}
HOSTILE = r"a very long name, $\frac{x$ and $y$ & <b>" + "\twith\nbreaks " * 8


def by_metric(
    column: str, names=METHODS, metrics=("accuracy", "truthfulness", "rejection_rate", "reliability")
):
    values = itertools.cycle([0.5, 0.0, 0.35, 1.0, 0.42, 0.63, 0.2])
    rows = [(name, metric, value, max(value - 0.06, 0), min(value + 0.06, 1), 300)
            for name, metric, value in zip(*zip(*itertools.product(names, metrics)), values)]  # fmt: skip
    return pd.DataFrame(rows, columns=[column, "metric", "value", "low", "high", "n"]).assign(**RUN)


def ablations() -> pd.DataFrame:
    table = by_metric("variant", ("Task Agent", "no content", "true type"), ("reliability", "rgi_excess"))
    extreme = [(math.nan, math.nan, math.nan), (math.inf, math.nan, math.nan), (0.3, 0.1, math.inf)]
    table.loc[table["metric"] == "rgi_excess", ["value", "low", "high"]] = extreme
    return table


def chains() -> pd.DataFrame:
    lengths = {"plain": range(1, 8), "MCoT prompt": range(10, 60, 5), "Task Agent": range(5, 25, 3)}
    rows = [(method, outcome, words, 1 + words % 3) for method, found in lengths.items()
            for outcome in ("correct", "wrong", "refused") for words in found]  # fmt: skip
    return pd.DataFrame(
        [*rows, ("plain", "unreadable", 3, 1)], columns="method outcome words n".split()
    ).assign(**RUN)


def routing() -> pd.DataFrame:
    rows = [("sound", "sound", 80), ("sound", "music", 20), ("music", "music", 94), ("music", "unreadable", 6),
            ("speech", "speech", 70), ("speech", "sound", 30)]  # fmt: skip
    return pd.DataFrame(rows, columns=["true", "read", "count"]).assign(**RUN)


def side_by_side() -> pd.DataFrame:
    rows = []
    for method, group, metric in itertools.product(
        (*METHODS[:4], "LoRA SFT"), (*MODALITIES, "overall"), ("accuracy", "reliability", "rgi")
    ):
        null = -0.1 if metric == "rgi" else None
        ours, theirs = (300, 1000) if group == "overall" else (100, 333)
        rows.append((method, group, metric, "measured here", "mini", 0.4, 0.3, 0.5, ours, null))
        rows.append(
            (method, group, metric, "printed in the paper", "Qwen2-Audio", 0.5, None, None, theirs, null)
        )
    columns = "method group metric source model value low high n null".split()
    return pd.DataFrame(rows, columns=columns).assign(benchmark="mini", seed=0)


def quadrants() -> pd.DataFrame:
    counts = dict(zip(("known-known", "known-unknown", "unknown-known", "unknown-unknown"), (40, 15, 5, 40)))
    rows = [(stage, group, quadrant, count * (3 if group == "overall" else 1))
            for stage in METHODS[:3] for group in (*MODALITIES, "overall")
            for quadrant, count in counts.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["stage", "group", "quadrant", "count"]).assign(**RUN)


def shares() -> pd.DataFrame:
    rows = [(group, k, "measured here", 0.4 + 0.07 * k, 0.35 + 0.07 * k, 0.45 + 0.07 * k, n)
            for group, n in (("sound", 300), ("music", 300), ("overall", 900), ("novel content", 180))
            for k in range(1, 6)]  # fmt: skip
    rows += [
        ("overall", k, "printed in the paper", share, None, None, None)
        for k, share in ((1, 0.502), (5, 0.635))
    ]
    return pd.DataFrame(rows, columns="group k source share low high n".split()).assign(**RUN)


def curves() -> pd.DataFrame:
    rows = [(f"{modality}, seed {seed}", step, round(1.3 * math.exp(-step / 5) + 0.2 + 0.05 * seed, 3))
            for modality in MODALITIES for seed in (0, 1) for step in range(1, 16)]  # fmt: skip
    return pd.DataFrame(rows, columns=["adapter", "step", "loss"]).assign(**RUN)


def scales() -> pd.DataFrame:
    rows = [(scale, metric, value, value - 0.05, value + 0.05, 300)
            for scale in (0, 0.5, 1, 2)
            for metric, value in (("accuracy", 0.5 - 0.1 * scale), ("rejection_rate", 0.3 * scale + 0.05))]  # fmt: skip
    rows += [(0, "rgi_excess", None, None, None, 300), (0.5, "rgi_excess", math.inf, None, None, 300)]
    rows += [(1, "rgi_excess", 0.2, -0.1, math.inf, 300), (2, "rgi_excess", -0.1, -0.3, 0.1, 300)]
    return pd.DataFrame(rows, columns="scale metric value low high n".split()).assign(**RUN)


def rules() -> pd.DataFrame:
    table = scales().assign(metric=lambda t: t["metric"].replace("rgi_excess", "youden"))
    return table.assign(k=table["scale"].map({0: 1, 0.5: 3, 1: 4, 2: 5})).drop(columns="scale")


def speeds() -> pd.DataFrame:
    rows = [
        ("one reply", 4.2, 3.9, 4.4, 4, 16),
        ("5 samples", 11.0, 9.8, 12.5, 10, 16),
        ("4 methods", 3.0, 2.9, 3.3, None, 16),
    ]
    return pd.DataFrame(rows, columns="task ratio lowest highest goal n".split()).assign(**RUN)


def matrices() -> pd.DataFrame:
    rows = []
    for trained, tested, metric in itertools.product(
        MODALITIES, MODALITIES, ("rgi", "rgi_excess", "reliability")
    ):
        null = {"rgi": {"sound": 0.2, "music": -0.1, "speech": 0.1}[tested], "rgi_excess": 0}.get(metric)
        rows.append((trained, tested, metric, "mean", 0.3, -0.1, 0.7, null, 50))
    table = pd.DataFrame(rows, columns="trained_on tested_on metric seed value low high null n".split())
    table.loc[[0, 1], ["value", "low", "high"]] = [
        (math.inf, math.nan, math.nan),
        (math.nan, math.nan, math.nan),
    ]
    table.loc[3, "high"] = math.inf
    return table.assign(model="mini", benchmark="mini")


def controls() -> pd.DataFrame:
    rows = [(trained, tested, kind, value, value - 0.3, value + 0.3, 50)
            for trained, tested in itertools.product(MODALITIES, MODALITIES)
            for kind, value in (("IDK labels", 0.4), ("shuffled labels", 0.05), ("random refusal", 0.0))]  # fmt: skip
    table = pd.DataFrame(rows, columns="trained_on tested_on kind value low high n".split())
    table.loc[[0, 1], ["value", "low", "high"]] = [
        (-math.inf, math.nan, math.nan),
        (math.nan, math.nan, math.nan),
    ]
    table.loc[2, "low"] = -math.inf
    return table.assign(metric="rgi_excess", **RUN)


TABLES = {
    "methods_compared": by_metric("method"),
    "agent_ablations": ablations(),
    "chain_length": chains(),
    "agent_routing": routing(),
    "paper_side_by_side": side_by_side(),
    "quadrants": quadrants(),
    "idk_share_by_k": shares(),
    "sft_curve": curves(),
    "lora_scale": scales(),
    "sft_by_k": rules(),
    "speed_ratio": speeds(),
    "transfer_matrix": matrices(),
    "transfer_control": controls(),
}
# Columns whose words are names from data; all other text columns have a fixed vocabulary.
NAMED = {
    "methods_compared": ["method"], "agent_ablations": ["variant"], "chain_length": ["method"],
    "agent_routing": ["true", "read"], "paper_side_by_side": ["method", "group", "model"],
    "quadrants": ["stage", "group"], "idk_share_by_k": ["group"], "sft_curve": ["adapter"],
    "lora_scale": ["metric"], "sft_by_k": ["metric"], "speed_ratio": ["task"],
    "transfer_matrix": ["trained_on", "tested_on"],
    "transfer_control": ["trained_on", "tested_on", "kind"],
}  # fmt: skip
HOLDERS = (method_figures, training_figures, transfer_figures, cost_figures)
each_figure = pytest.mark.parametrize("name", TABLES)


def draw(name: str, table: pd.DataFrame) -> matplotlib.figure.Figure:
    drawn = figure_files.known()[name](table)
    drawn.draw_without_rendering()
    return drawn


@functools.cache
def example(name: str) -> matplotlib.figure.Figure:
    """The example's figure, drawn once for all tests that only look at it."""
    return draw(name, TABLES[name])


def texts(drawn) -> list[str]:
    return [text.get_text() for text in drawn.findobj(matplotlib.text.Text) if text.get_text()]


def check_layout(drawn) -> None:
    """Nothing leaves the sheet, no two panels overlap, no two rows' names and no legend over data."""
    sheet = drawn.bbox.padded(1)
    panels_ = [ax for ax in drawn.axes if ax.axison]
    boxes = [ax.get_tightbbox() for ax in panels_]
    for box in boxes + [text.get_window_extent() for text in drawn.texts]:
        assert sheet.x0 <= box.x0 <= box.x1 <= sheet.x1, "something leaves the sheet sideways"
        assert sheet.y0 <= box.y0 <= box.y1 <= sheet.y1, "something leaves the sheet above or below"
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(-2).overlaps(other.padded(-2)), "two panels overlap"
    for ax in panels_:
        for axis in ("x", "y"):
            names = [t.get_window_extent() for t in getattr(ax, f"get_{axis}ticklabels")() if t.get_text()]
            inside = [box for box in names if box.overlaps(sheet)]
            for one, other in itertools.combinations(inside, 2):
                assert not one.overlaps(other), f"two {axis} tick labels overlap"
        for legend in drawn.legends:
            assert not legend.get_window_extent().overlaps(ax.get_tightbbox().padded(-2)), (
                "the legend lies over a panel"
            )


def test_every_figure_of_these_modules_has_an_example_here():
    own = {module.__name__ for module in HOLDERS}
    assert {name for name, drawn in figure_files.known().items() if drawn.__module__ in own} == set(TABLES)


def test_every_module_that_holds_figures_is_known():
    holding = {
        path.stem for path in (ROOT / "lalm_utils" / "plots").glob("*.py") if "\n@figure(" in path.read_text()
    }
    assert holding == set(figure_files.HOLDERS)


def test_a_figure_is_found_by_whoever_saves_it_first():
    code = (
        "from lalm_utils.plots import figure_files as f\nprint(sorted(f.FIGURES), 'sft_curve' in f.known())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["[]", "True"]


@each_figure
def test_a_figure_asks_a_question_says_how_many_and_names_a_unit(name):
    drawn = example(name)
    title, subtitle = (text.get_text() for text in drawn.texts[:2])
    assert title.endswith("?")
    assert "benchmark mini" in subtitle
    assert any("questions" in text or "adapters" in text for text in texts(drawn))
    units = [ax.get_xlabel() + ax.get_ylabel() + ax.get_title() for ax in drawn.axes]
    assert any(unit in said for said in units for unit in ("%", "no unit", "words", "nats"))


@each_figure
def test_the_layout_holds(name):
    check_layout(example(name))


@each_figure
def test_a_table_of_one_row_is_drawn(name):
    table = TABLES[name]
    finite = table[np.isfinite(table.select_dtypes("number").fillna(0)).all(axis=1)]
    check_layout(draw(name, finite.head(1)))


@each_figure
def test_hostile_names_are_drawn_as_they_are_and_stay_in_their_place(name, recwarn):
    table = TABLES[name].copy()
    for column in NAMED[name]:
        first = table[column].iloc[0]
        table[column] = table[column].astype(object).where(table[column] != first, HOSTILE)
    check_layout(draw(name, table.assign(model=HOSTILE, benchmark=HOSTILE)))
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []


@each_figure
def test_values_that_are_all_undefined_are_drawn(name):
    table = TABLES[name].copy()
    for column in {"value", "low", "high", "loss", "share"} & set(table):
        table[column] = math.nan
    assert figure_files.known()[name](table).axes


MANY = [f"method {letter}" for letter in "ABCDEFGH"]
EIGHT = {
    "methods_compared": by_metric("method", MANY),
    "agent_ablations": by_metric("variant", MANY, ("accuracy", "reliability", "rgi_excess")),
    "chain_length": pd.concat(
        [chains().query("method == 'MCoT prompt'").assign(method=name) for name in MANY]
    ),
    "paper_side_by_side": pd.concat(
        [side_by_side().query("method == 'IDK prompt'").assign(method=m) for m in MANY]
    ),
    "quadrants": pd.concat([quadrants().query("stage == 'Baseline'").assign(stage=name) for name in MANY]),
    "sft_curve": pd.concat(
        [curves().query("adapter == 'music, seed 0'").assign(adapter=name) for name in MANY]
    ),
}


@pytest.mark.parametrize("name", EIGHT)
def test_eight_methods_fit(name):
    check_layout(draw(name, EIGHT[name]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    for name, table in TABLES.items():
        figure_files.save(name, table, folder)
    return folder


def test_redrawing_in_another_process_gives_the_same_bytes(saved, tmp_path):
    for csv in saved.glob("*.csv"):
        shutil.copy(csv, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "lalm_utils.plots.redraw", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert len(files) == 3 * len(TABLES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@each_figure
def test_the_files_do_not_depend_on_the_tables_types(name, saved):
    table = TABLES[name]
    words = table.select_dtypes(exclude="number").columns
    typed = table.convert_dtypes().astype(dict.fromkeys(words, "category"))
    typed.index = range(100, 100 + len(typed))
    drawn = figure_files.known()[name](typed)
    assert figure_files.render(drawn, "svg") == (saved / f"{name}.svg").read_bytes()
    assert b"<dc:date>" not in (saved / f"{name}.svg").read_bytes()


def test_drawing_leaves_the_tables_and_pyplot_as_they_were(saved):
    again = {
        "agent_ablations": ablations(), "lora_scale": scales(), "transfer_matrix": matrices(),
        "paper_side_by_side": side_by_side(), "transfer_control": controls(),
    }  # fmt: skip
    for name, table in again.items():
        pd.testing.assert_frame_equal(table, TABLES[name])
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    "case, name, said",
    [
        ("the baseline is the reference", "methods_compared", "dotted: Baseline · 300 questions each"),
        ("an undefined index is a word", "agent_ablations", "undefined"),
        ("an infinite one is a sign", "agent_ablations", "+∞"),
        ("a median has its number", "chain_length", "4 words, n = 14"),
        ("a cell has count and share of its row", "agent_routing", "20\n20 %"),
        ("groups are pooled into overall", "paper_side_by_side", "measured here: mini, 300 questions"),
        (
            "the paper counts its own",
            "paper_side_by_side",
            "printed in the paper: Qwen2-Audio, 1,000 questions",
        ),
        ("the moving zero is explained", "paper_side_by_side", marks.NULL),
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
        ("what the colour means is said", "transfer_matrix", "RGI (colour: above or below the null)"),
        ("the kinds are in the legend", "transfer_control", "shuffled labels"),
        ("minus infinity is a sign", "transfer_control", "−∞"),
        ("the metric is on the axis", "transfer_control", "RGI excess over null (no unit)"),
    ],
)
def test_a_figure_says(case, name, said):
    assert any(said in text for text in texts(example(name))), case


def test_points_are_drawn_where_they_are():
    drawn = draw("methods_compared", TABLES["methods_compared"].query("metric == 'accuracy'"))
    (ax,) = drawn.axes
    markers = [line for line in ax.get_lines() if line.get_marker() == marks.MARKERS[0]]
    found = sorted((line.get_ydata()[0], line.get_xdata()[0]) for line in markers)
    expected = TABLES["methods_compared"].query("metric == 'accuracy'")["value"]
    assert found == [(place, pytest.approx(value)) for place, value in enumerate(expected)]


def test_the_colour_of_a_matrix_is_the_distance_from_the_null():
    table = matrices().query("metric == 'rgi' and trained_on == 'speech'")
    (ax,) = draw("transfer_matrix", table).axes
    assert np.asarray(ax.images[0].get_array()).ravel() == pytest.approx([0.1, 0.4, 0.2])


def test_only_the_means_over_seeds_are_drawn():
    table = pd.concat([matrices(), matrices().assign(seed="0", value=99.0)])
    assert not any("99" in text for text in texts(draw("transfer_matrix", table)))


def test_a_matrix_comes_straight_from_the_transfer_analysis():
    table = pd.DataFrame({"item": [f"q{k}" for k in range(60)], "modality": list(MODALITIES) * 20})
    before = table.assign(outcome=["correct"] * 20 + ["wrong"] * 40, answerable=True)
    after = before.assign(outcome=["correct"] * 15 + ["refused"] * 25 + ["wrong"] * 20)
    runs = {name: [after, after] for name in MODALITIES}
    check_layout(
        draw("transfer_matrix", transfer.matrix(before, runs, n_boot=50).assign(**{"model": "mini"}))
    )
    check_layout(draw("transfer_control", transfer.beside_controls(before, runs, runs, n_boot=50)))


@pytest.mark.parametrize(
    "heights, expected",
    [
        ([], []),
        ([0.5], [0.5]),
        ([0.1, 0.9], [0.1, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.2, 0.21, 0.9], [0.155, 0.255, 0.9]),
        ([0.0, 0.05, 0.1], [-0.05, 0.05, 0.15]),
    ],
)
def test_names_are_moved_apart_by_as_little_as_it_takes(heights, expected):
    assert panels.spread(heights, 0.1) == pytest.approx(expected)


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
    assert panels.label(name) == expected


@pytest.mark.parametrize(
    "case, name, table, said",
    [
        ("a column is missing", "quadrants", quadrants().drop(columns="count"),
         r"quadrants: the table lacks the columns \['count'\]; see the docstring of training_figures.quadrants"),
        ("no rows", "sft_curve", curves().iloc[:0], "sft_curve: the table lacks rows"),
        ("a word for a number", "lora_scale", scales().assign(value="half"), "column 'value' is to hold numbers"),
        ("a strange outcome", "chain_length", chains().replace("wrong", "bad"), r"outcomes \['bad'\] cannot be drawn"),
        ("no reply has a length", "chain_length", chains().assign(n=0), "no row has a length and replies of it"),
        ("a strange quadrant", "quadrants", quadrants().replace("known-known", "known"),
         r"quadrants: \['known'\] cannot be drawn: the quadrants are known-known"),
        ("two rows for a cell", "transfer_matrix", pd.concat([matrices()] * 2), "more than one row for rgi of 'sound'"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(case, name, table, said, tmp_path):
    with pytest.raises(figures.FigureError, match=said):
        figure_files.save(name, table, tmp_path / "figures")
    assert not (tmp_path / "figures").exists(), case
