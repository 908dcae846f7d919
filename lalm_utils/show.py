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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from IPython.display import HTML, Audio, Image, Markdown

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
