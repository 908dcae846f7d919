"""A name finds its model's files, or an error says what is missing; files decide the fingerprint."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from tiny import save_tiny

from lalm_utils.engine import weights
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError

NAMES = [
    ("a misspelt name", "minni", "there is no model 'minni': it is not 'mini', not an existing folder"),
    ("a path that does not exist", "/no/such/folder", "there is no model '/no/such/folder'"),
    ("an empty name", "", "there is no model ''"),
    ("a relative path into the parent", "../runs/adapter", "there is no model '../runs/adapter'"),
]


@pytest.mark.parametrize("case, name, message", NAMES, ids=[row[0] for row in NAMES])
def test_an_unknown_name_is_an_error_that_says_what_a_name_is(case, name, message):
    with pytest.raises(ModelError, match=message) as excinfo:
        load_model(name)
    assert "hub id of the form owner/name" in str(excinfo.value), case


def test_what_a_server_decides_itself_is_refused_before_it_is_called():
    options = {"dtype": "float32", "batch_size": 4, "concurrency": 2}
    with pytest.raises(ModelError, match=r"^batch_size, dtype: a server decides that itself; leave it out"):
        load_model("openai:http://127.0.0.1:9/v1#m", **options)


def test_a_hub_id_that_cannot_be_fetched_says_so(monkeypatch):
    with pytest.raises(
        ModelError, match="owner/model: no such folder here, and it cannot be fetched from the hub"
    ):
        load_model("owner/model")


def test_a_hub_id_is_fetched_without_pickles_or_code(monkeypatch, tmp_path):
    folder, asked = save_tiny(tmp_path / "snapshot"), {}

    def fetch(name, **settings):
        asked.update(settings, name=name)
        return folder

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    model = load_model("owner/model", dtype="float32", revision="v1", check=False)
    assert (model.name, asked["name"], asked["revision"]) == ("owner/model", "owner/model", "v1")
    assert "*.safetensors" in asked["allow_patterns"]
    assert not [pattern for pattern in asked["allow_patterns"] if pattern.endswith((".bin", ".py", ".pt"))]


def test_mini_is_the_folder_that_the_embedded_model_builds(monkeypatch, tmp_path):
    module = types.ModuleType("lalm_utils.mini.model")
    module.mini_dir = lambda: save_tiny(tmp_path / "built")
    monkeypatch.setitem(sys.modules, "lalm_utils.mini.model", module)
    assert load_model("mini", dtype="float32", check=False).name == "mini"
    assert load_model("mini", dtype="float32", check=False, name="other").name == "other"


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


FOLDERS = [
    ("an empty folder", {}, r"holds no config.json \(found: nothing\)"),
    ("a folder of something else", {"song__mp3": ""}, r"holds no config.json \(found: song.mp3\)"),
    (
        "pickled weights",
        {"config__json": "{}", "pytorch_model__bin": ""},
        r"holds no \*.safetensors. Other formats",
    ),
    ("an adapter without a base", {"adapter_config__json": "{}"}, "names no base model: give one with base="),
    (
        "an adapter whose base is gone",
        {"adapter_config__json": json.dumps({"base_model_name_or_path": "/gone"})},
        "the adapter's base is not to be had; give it with base=",
    ),
]


@pytest.mark.parametrize("case, files, message", FOLDERS, ids=[row[0] for row in FOLDERS])
def test_a_folder_that_is_no_model_is_an_error_that_says_what_is_missing(tmp_path, case, files, message):
    with pytest.raises(ModelError, match=message):
        load_model(write(tmp_path / "folder", **files))


def test_an_adapters_base_is_found_beside_it_by_a_relative_path(tmp_path, monkeypatch):
    base = save_tiny(tmp_path / "base")
    adapter = write(
        tmp_path / "adapter",
        adapter_config__json=json.dumps({"base_model_name_or_path": "../base"}),
        adapter_model__safetensors="",
    )
    result = weights.find(adapter)
    assert (result.folder.resolve(), result.adapter) == (base, adapter)
    assert result.name(adapter) == "base+adapter"
    monkeypatch.chdir(adapter.parent.parent)
    two_parts = adapter.relative_to(adapter.parent.parent)  # as a hub id looks, too
    assert [result.name(name) for name in (two_parts, f"./{two_parts}")] == ["base+adapter"] * 2


def test_giving_an_adapter_an_adapter_is_refused(tmp_path):
    adapter = write(tmp_path / "adapter", adapter_config__json="{}")
    with pytest.raises(ModelError, match="is itself an adapter"):
        weights.find(adapter, adapter=adapter)


def test_a_fingerprint_is_of_content_and_dtype(tmp_path):
    def of(folder: Path, dtype: str = "float32") -> str:
        return weights.fingerprint(weights.find(folder), dtype)

    one = save_tiny(tmp_path / "one")
    assert of(one) == of(save_tiny(tmp_path / "again"))
    assert of(one) != of(one, "bfloat16")
    assert of(one) != of(save_tiny(tmp_path / "other", seed=1))
    before = of(one)
    edit_json(one / "config.json", transformers_version="9.9.9", _name_or_path="elsewhere")
    assert of(one) == before
    edit_json(one / "generation_config.json", eos_token_id=3)
    assert of(one) != before


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_large_files_are_hashed_again_only_if_they_change(tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "REMEMBERED_BYTES", 1000)
    hashed = []
    monkeypatch.setattr(weights, "sha256_of", lambda path: hashed.append(path.name) or "0" * 64)
    result = weights.find(save_tiny(tmp_path / "model"))
    weights.fingerprint(result, "float32")
    assert hashed.count("model.safetensors") == 1
    weights.fingerprint(result, "float32")
    assert hashed.count("model.safetensors") == 1
    (result.folder / "model.safetensors").touch()
    weights.fingerprint(result, "float32")
    assert hashed.count("model.safetensors") == 2


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "REMEMBERED_BYTES", 1000)
    assert len(weights.fingerprint(weights.find(save_tiny(tmp_path / "model")), "float32")) == 64
