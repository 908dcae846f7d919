"""The set-up that all notebooks share: model, questions, store of replies and folder of figures, in one call.

    run = notebook.setup(MODEL, BENCHMARK, n=N_ITEMS, seed=SEED, figures=FIGURES)
    plain = runs.ask(run.model, run.items, "plain", store=run.store, seed=run.seed)
    run.save("baseline_accuracy", table)

In: the notebook's parameters. Out: a `Run`, and its provenance on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Image, display

from lalm_utils import benchmarks, runs, show
from lalm_utils.items import Item
from lalm_utils.load_model import load_model
from lalm_utils.models import Model
from lalm_utils.plots import figure_files
from lalm_utils.store import Store

__all__ = ["Run", "setup"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a notebook asks whom, and where its replies and figures go."""

    model: Model
    model_name: str  # as the notebook's parameter names it
    items: Sequence[Item]
    store: Store
    figure_dir: Path
    seed: int

    @property
    def benchmark(self) -> str:
        """The benchmark's name, as its items carry it."""
        return self.items[0].benchmark

    def load(self, name: str) -> Model:
        """Another model by its name, such as a judge. Raises ModelError as load_model does."""
        return load_model(name)

    def save(self, name: str, table: pd.DataFrame, *, alt: str = "") -> Image:
        """Write the figure `name` of `table` (CSV, SVG, PNG) into `figure_dir`; the picture, to end a cell with.

        The table gets the columns model, benchmark and seed where it lacks them. Raises FigureError for a table
        that cannot be drawn. alt: what the picture shows, for those who cannot see it.
        """
        made_with = {"model": self.model_name, "benchmark": self.benchmark, "seed": self.seed}
        columns = {column: value for column, value in made_with.items() if column not in table}
        path = figure_files.save(name, table.assign(**columns), self.figure_dir)
        return show.picture(path, alt=alt)


def setup(
    model: str,
    benchmark: str,
    *,
    n: int | None = None,
    items: Sequence[Item] | None = None,
    seed: int = 0,
    figures: str | Path = "figures",
    default_n: int | None = None,
    model_options: Mapping[str, Any] | None = None,
) -> Run:
    """Load the model and the questions of a notebook, and show where its numbers come from.

    model: what `load_model` takes; benchmark: what `load` takes; n: how many questions, drawn evenly over the
    modalities (None: all); items: the questions themselves, where the notebook has split the benchmark already,
    in place of n; figures: the folder for figures, from the repository's root; default_n: the n that the committed
    figures were made with, so that another one, as another seed, model or benchmark, gets a folder of its own
    (`figure_files.destination`); model_options: further options of `load_model`, such as those of a server.

    Raises ValueError for n beside items or for no items, BenchmarkError and ModelError for what cannot be loaded.
    """
    if items is not None and n is not None:
        raise ValueError(
            "n and items were both given: give n to draw questions, or items that are drawn already"
        )
    if items is None:
        items = benchmarks.load(benchmark, n=n, seed=seed)
    count = n if n is not None or default_n is None else len(items)
    if not items:
        raise ValueError(f"no questions of {benchmark!r} are left to ask; raise N_ITEMS or check the split")
    run = Run(
        model=load_model(model, **(model_options or {})),
        model_name=model,
        items=items,
        store=runs.default_store(),
        figure_dir=figure_files.destination(
            figures, model=model, benchmark=benchmark, n=count, seed=seed, default_n=default_n
        ),
        seed=seed,
    )
    display(show.provenance(run.model, run.items, seed))
    return run
