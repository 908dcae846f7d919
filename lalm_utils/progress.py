"""Whether anybody watches: progress bars are for people, not for logs or executed notebooks.

In: nothing but the process's surroundings. Out: yes or no. No computation depends on it.
"""

from __future__ import annotations

import os
import sys

# Set in the kernels that a person's notebook interface starts; papermill and nbconvert start kernels without.
LIVE_NOTEBOOK = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")
OVERRIDE = "LALM_UTILS_PROGRESS"


def watched() -> bool:
    """True in a terminal and in a live notebook; False in pipes, CI and under papermill.

    LALM_UTILS_PROGRESS=1 or 0 overrides it.
    """
    if chosen := os.environ.get(OVERRIDE):
        return chosen != "0"
    if any(name in os.environ for name in LIVE_NOTEBOOK) and "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty()
