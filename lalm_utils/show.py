"""What notebooks show besides tables and figures: code, clips, pictures, and where a number comes from.

In: functions, clips, outcome tables, models. Out: things that IPython displays, and small DataFrames. Nothing
is computed here that a metric needs; a figure is drawn in plots/ and only put on the page here.
"""

from __future__ import annotations

import html
import inspect
import io
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from IPython.display import HTML, Audio, Image, Markdown, display

from lalm_utils import releases
from lalm_utils.audio import RATE, read_clip
from lalm_utils.paper import MEASURED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lalm_utils.items import Item
    from lalm_utils.models import Model

MAX_SECONDS = 8.0  # a second of a player adds 43 kB to the notebook
WIDTH = 830  # pixels, a README's


def source(*functions: Callable | type) -> Markdown:
    """The source code of these functions or classes, as the package holds it."""
    code = "\n\n".join(textwrap.dedent(inspect.getsource(function)).rstrip() for function in functions)
    return Markdown(f"```python\n{code}\n```")


def shareable(item: Item) -> bool:
    """Whether a committed notebook may hold the item's clip: synthetic speech alone, nothing from the sound font."""
    return item.modality == "speech" and item.task != "Sound behind speech"


def player(clip: str | Path | np.ndarray, caption: str = "", *, rate: int = RATE) -> HTML:
    """A player for at most MAX_SECONDS of a clip, with its caption.

    clip: an audio file, or mono samples in [-1, 1] of shape (n,) at `rate` Hz, played as loud as they are.
    The page holds the sound itself, so show only what may be passed on.
    """
    samples = clip if isinstance(clip, np.ndarray) else read_clip(clip).samples
    rate = rate if isinstance(clip, np.ndarray) else RATE
    if samples.ndim != 1:
        raise ValueError(f"samples of shape {samples.shape}: a player takes mono samples, shape (n,)")
    cut = " (beginning)" if len(samples) > MAX_SECONDS * rate else ""
    beginning = np.clip(samples[: int(MAX_SECONDS * rate)], -1, 1)
    sound = Audio(beginning, rate=rate, normalize=False)._repr_html_()
    return HTML(f"<figure>{sound}<figcaption>{html.escape(caption)}{cut}</figcaption></figure>")


def picture(figure: Figure | str | Path, alt: str = "", *, dpi: float | None = None) -> Image:
    """A matplotlib figure, or the PNG that figure_files.save returned, at a page's width and in 256 colours.

    dpi: pixels per inch of a matplotlib figure; fewer than the style's make a smaller notebook.
    """
    if isinstance(figure, str | Path):
        return Image(data=_in_palette(Path(figure).read_bytes()), width=WIDTH, alt=alt or Path(figure).stem)
    from lalm_utils.plots.figure_files import render  # matplotlib is loaded already where there is a figure

    return Image(data=_in_palette(render(figure, dpi=dpi)), width=WIDTH, alt=alt or "figure")


def _in_palette(png: bytes) -> bytes:
    """A third of the bytes: charts have few colours, and a notebook is to stay small."""
    from PIL import Image as Picture

    file = io.BytesIO()
    Picture.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Picture.Dither.NONE).save(
        file, "PNG", optimize=True
    )
    return file.getvalue()


class LiveCurve:
    """The training loss in the cell's output while it falls: what lora.train calls after each step.

    Nothing is shown before the first step, so that an adapter taken from the cache leaves no empty picture.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.display = None

    def __call__(self, step: Mapping[str, float]) -> None:
        self.losses.append(float(step["loss"]))
        if self.display is None:
            self.display = display(self, display_id=True)
        else:
            self.display.update(self)

    def __repr__(self) -> str:
        last, top = self.losses[-1], max(self.losses)
        return f"step {len(self.losses)}: loss {last:.2f} nats per answer token (highest {top:.2f})"

    def _repr_html_(self) -> str:
        top = max(self.losses)
        corners = [
            (300 * step / max(1, len(self.losses) - 1), 60 - 55 * loss / top if top > 0 else 60)
            for step, loss in enumerate(self.losses)
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        return (
            f'<figure><svg viewBox="0 -2 300 64" width="450" role="img" aria-label="training loss">'
            f'<polyline points="{points}" fill="none" stroke="#0173b2" stroke-width="1.5"/>'
            f'<line x1="0" y1="60" x2="300" y2="60" stroke="#949494"/></svg>'
            f"<figcaption>{self!r}</figcaption></figure>"
        )


def provenance(model: Model, items: Sequence[Item], seed: int) -> pd.DataFrame:
    """One row that says how numbers were made: model, arithmetic, items and their release, seed, "measured here"."""
    row: dict[str, Any] = {"model": model.name, "weights": model.fingerprint[:12]}
    row |= {
        key: str(model.description[key]) for key in ("device", "dtype", "threads") if key in model.description
    }
    for column in ("benchmark", "split"):
        row[column] = ", ".join(dict.fromkeys(getattr(item, column) for item in items))
    release, counts = releases.identify(items), Counter(item.modality for item in items)
    row |= {"release": release.name, "content": release.sha256[:12]}
    row |= {"items": len(items), "by modality": ", ".join(f"{name} {n}" for name, n in counts.items())}
    return pd.DataFrame([row | {"seed": seed, "source": MEASURED}]).set_index("model")
