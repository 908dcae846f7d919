from __future__ import annotations

import io
import sys

import pytest

from lalm_utils.progress import LIVE_NOTEBOOK, OVERRIDE, is_interactive


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


CASES = [
    ("a terminal", Terminal(), False, {}, True),
    ("a pipe", io.StringIO(), False, {}, False),
    ("no standard error at all", None, False, {}, False),
    ("papermill: a kernel that nobody watches", io.StringIO(), True, {}, False),
    ("a notebook in Jupyter", io.StringIO(), True, {"JPY_SESSION_NAME": "01.ipynb"}, True),
    ("a script started from a notebook", io.StringIO(), False, {"JPY_SESSION_NAME": "01.ipynb"}, False),
    ("switched off in a terminal", Terminal(), False, {OVERRIDE: "0"}, False),
    ("switched on in a pipe", io.StringIO(), False, {OVERRIDE: "1"}, True),
]


@pytest.mark.parametrize("case, stderr, kernel, environment, expected", CASES, ids=[row[0] for row in CASES])
def test_bars_are_for_people_who_watch(monkeypatch, case, stderr, kernel, environment, expected):
    for name in (*LIVE_NOTEBOOK, OVERRIDE):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stderr)
    modules = {name: module for name, module in sys.modules.items() if name != "ipykernel"}
    monkeypatch.setattr(sys, "modules", modules | ({"ipykernel": None} if kernel else {}))
    assert is_interactive() is expected, case
