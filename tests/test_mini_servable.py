"""The copy of the embedded model for servers: the same model in Qwen2's layers, with a window of 30 s."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration

from lalm_utils import runs
from lalm_utils.benchmarks import load
from lalm_utils.load_model import load_model
from lalm_utils.mini.model import servable
from lalm_utils.store import Store


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="a new or an empty folder; name another"):
        servable.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_copy_is_qwen2s_and_replies_as_the_embedded_model_does(tmp_path):
    folder = servable.write(tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    assert config["text_config"]["model_type"] == "qwen2"
    processor = json.loads((folder / "processor_config.json").read_text())
    assert processor["feature_extractor"]["nb_max_frames"] == 3000
    copy = Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    biases = [value for name, value in copy.state_dict().items() if name.endswith("_proj.bias")]
    added = [value for value in biases if value.shape[0] in (576, 192)]  # the encoder's are 384 and 1536 wide
    assert len(added) == 30 * 3
    assert not any(value.any() for value in added)

    items, store = load("mini", split="dev", n=6, seed=0), Store(tmp_path / "replies.sqlite")
    replies = [
        runs.ask(load_model(name, dtype="float32"), items, method, store=store)["reply"].tolist()
        for name in ("mini", str(folder))
        for method in ("plain", "stepwise")
    ]
    assert replies[:2] == replies[2:]
