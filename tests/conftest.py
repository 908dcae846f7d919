"""Settings of every test run, notebooks' kernels included: no window, no model hub, quiet tokenizers; and fixtures
that several files share. These import what they need themselves, so that other tests do not wait for it.
"""

import os
from pathlib import Path

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


@pytest.fixture
def store(tmp_path):
    """An empty store of the test's own."""
    from lalm_utils.store import Store

    with Store(tmp_path / "replies.db") as replies:
        yield replies


@pytest.fixture
def clip_file(tmp_path, monkeypatch) -> Path:
    """clip.wav in a working folder of the test's own, for models that never open it."""
    monkeypatch.chdir(tmp_path)
    Path("clip.wav").write_bytes(b"a clip that the fake model does not hear")
    return tmp_path / "clip.wav"


@pytest.fixture
def one_process(monkeypatch):
    """No variable of a launch of several processes."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    """A chat server on this machine, without a script."""
    from chat_server import ChatServer

    with ChatServer() as running:
        yield running


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory) -> Path:
    """The folder of a model of random weights, in Qwen2-Audio's classes (tiny.py)."""
    from tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def tiny_model(tiny_folder):
    """That model, loaded in float32; one for all tests of a file, which leave it as it is."""
    from lalm_utils.load_model import load_model

    return load_model(tiny_folder, dtype="float32", check=False)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Six examples for the tiny model; the second and the fifth are to be refused."""
    from tiny import idk_examples

    return idk_examples(tmp_path_factory.mktemp("clips"), 6)
