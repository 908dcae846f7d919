"""Settings of every test run, notebooks' kernels included: no window, no model hub, quiet tokenizers."""

import os

import pytest

os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ALONE = "test_notebooks.py"  # its tests share no fixture, and together they are a third of the whole


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file go to one process, which makes its fixtures once; those of ALONE to whichever is free."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if ALONE in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log)
