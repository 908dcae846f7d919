"""Progress bars, for people who watch, not for logs or executed notebooks.

In: a label and a number of steps. Out: a tqdm bar, which may be invisible. No computation depends on it.
"""

from __future__ import annotations

import os
import sys
import warnings

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # without widgets a bar of text does
    from tqdm.auto import tqdm

# Set in the kernels that a person's notebook interface starts; papermill and nbconvert start kernels without.
LIVE_NOTEBOOK = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")
OVERRIDE = "LALM_UTILS_PROGRESS"


def is_interactive() -> bool:
    """True in a terminal and in a live notebook; False in pipes, CI and under papermill.

    LALM_UTILS_PROGRESS=1 or 0 overrides it.
    """
    if override := os.environ.get(OVERRIDE):
        return override != "0"
    if any(name in os.environ for name in LIVE_NOTEBOOK) and "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty()


def bar(label: str, *, total: int, done: int = 0, unit: str = "prompt", show: bool | None = None) -> tqdm:
    """A bar at `done` of `total`, a context manager with `update(steps)`; shown if work is left and somebody watches.

    `show` overrides that.
    """
    visible = (is_interactive() if show is None else show) and done < total
    return tqdm(total=total, initial=done, desc=label, unit=unit, disable=not visible)
