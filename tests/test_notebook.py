"""The notebooks' set-up: one call gives model, questions, store and figures, and says where numbers come from."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pandas as pd
import pytest
from fake_model import FakeModel

from lalm_utils import notebook, runs, show
from lalm_utils.benchmarks import planned_items
from lalm_utils.items import BenchmarkError
from lalm_utils.models import ModelError
from lalm_utils.plots.figure_files import FigureError

ITEMS = planned_items("test")[:6]
TABLE = pd.DataFrame([{"task": "one reply", "ratio": 4.2, "lowest": 4.0, "highest": 4.4, "goal": 4, "n": 6}])


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """No weights, no rendered clip, no store of the user's."""
    model = FakeModel(lambda text, sample: "(A)")
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        notebook, "load_model", lambda name, **options: setattr(model, "options", options) or model
    )
    monkeypatch.setattr(notebook.benchmarks, "load", lambda name, *, n, seed: ITEMS[:n])
    return model


def test_set_up_loads_all_that_a_notebook_needs_and_shows_where_numbers_come_from(
    fake, tmp_path, monkeypatch
):
    frames = []
    monkeypatch.setattr(notebook, "display", frames.append)
    options = {"model_options": {"concurrency": 3}, "figures": tmp_path / "figures"}
    run = notebook.setup("mini", "mini", n=4, seed=7, **options)
    assert fake.options == {"concurrency": 3}
    assert (run.model, run.items, run.seed, run.benchmark) == (fake, ITEMS[:4], 7, "mini")
    assert run.figure_dir.parent == tmp_path / "figures"  # another seed than the committed figures'
    assert run.figure_dir.name.startswith("mini-mini-seed7-")
    (row,) = frames[0].reset_index().to_dict("records")
    assert (row["model"], row["items"], row["seed"], row["source"]) == ("fake", 4, 7, "measured here")
    assert row["release"].startswith("4 of the 999 items of mini test")
    table = runs.ask(run.model, run.items, "plain", store=run.store, audio=False, seed=run.seed)
    assert list(table["reply"]) == ["(A)"] * 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.seed = 8


def test_questions_that_are_drawn_already_are_taken_as_they_are(fake, tmp_path):
    run = notebook.setup("mini", "mini", items=ITEMS[3:], figures=tmp_path)
    assert run.items == ITEMS[3:]


def test_figures_of_another_model_go_to_a_folder_of_their_own(fake, tmp_path):
    run = notebook.setup("owner/a-model", "mini", n=2, figures=tmp_path)
    assert run.figure_dir.name.startswith("a-model-mini-")
    assert notebook.setup("mini", "mini", n=2, default_n=2, figures=tmp_path).figure_dir == tmp_path
    trial = notebook.setup("mini", "mini", n=2, default_n=4, figures=tmp_path)
    assert trial.figure_dir.name.startswith("mini-mini-n2-")


@pytest.mark.parametrize(
    "case, columns, expected",
    [
        ("all three are added", {}, {"model": "mini", "benchmark": "mini", "seed": 7}),
        ("those of the table stay", {"model": "another", "seed": "mean"},
         {"model": "another", "seed": "mean", "benchmark": "mini"}),
    ],
)  # fmt: skip
def test_a_saved_table_says_model_benchmark_and_seed(case, columns, expected, fake, tmp_path):
    run = notebook.setup("mini", "mini", n=3, seed=7, figures=tmp_path)
    table = TABLE.assign(**columns)
    picture = run.save("speed_ratio", table, alt="how many times as fast")
    saved = pd.read_csv(run.figure_dir / "speed_ratio.csv")
    assert list(saved)[len(TABLE.columns) :] == list(expected), case
    assert saved.iloc[0][list(expected)].to_dict() == expected
    assert picture.data == show.picture(run.figure_dir / "speed_ratio.png").data
    assert picture.alt == "how many times as fast"
    assert list(table) == [*TABLE, *columns], "the table itself was changed"


def test_a_figure_that_does_not_exist_is_refused(fake, tmp_path):
    run = notebook.setup("mini", "mini", n=3, figures=tmp_path)
    with pytest.raises(FigureError, match="no figure is named 'speed': the figures are"):
        run.save("speed", TABLE)


@pytest.mark.parametrize(
    "case, options, message",
    [
        ("both ways to say which", {"n": 3, "items": ITEMS}, "n and items were both given"),
        ("no questions", {"items": []}, "no questions of 'mini' are left to ask; raise N_ITEMS"),
    ],
)
def test_set_up_refuses(case, options, message, fake):
    with pytest.raises(ValueError, match=message):
        notebook.setup("mini", "mini", **options)


def test_a_benchmark_or_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BenchmarkError, match="nowhere"):
        notebook.setup("mini", str(tmp_path / "nowhere"), n=3)
    with pytest.raises(ModelError, match="there is no model"):
        notebook.setup("no model", "mini", items=ITEMS)


def test_importing_the_set_up_loads_no_models_library():
    code = "import sys, lalm_utils.notebook; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
