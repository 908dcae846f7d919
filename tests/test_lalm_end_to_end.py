"""A whole run on a model that is Qwen2-Audio in everything but width: from its folder to outcome tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
import transformers as t
from tiny import write_tone
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lalm_utils import benchmarks, outcomes, prompts, runs
from lalm_utils.load_model import load_model
from lalm_utils.store import Store

ROOT = Path(__file__).resolve().parents[1]
MMAU = ROOT.parent / "shared" / "mmau" / "mmau-test-mini.json"
N_ITEMS = 6
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>")
QUESTIONS = ("Which sound is heard?", "Which instrument plays?", "What does the speaker say?")
OPTIONS = (["dog", "bell", "rain", "a siren"], ["piano", "drum"], ["yes", "no", "later", "never", "maybe"])


def byte_level_bpe() -> t.PreTrainedTokenizerFast:
    """A tokenizer of the kind of Qwen's, trained on what is asked here."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [*QUESTIONS, *prompts.QUESTIONS.values(), *(word for some in OPTIONS for word in some)]
    tokenizer.train_from_iterator(texts * 20, trainer)
    return t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(SPECIAL),
    )


def narrow_qwen2_audio(folder: Path) -> Path:
    """The real configuration and processor (128 mel bins, windows of 30 s, 1500 positions), 64 wide and 2 deep."""
    tokenizer = byte_level_bpe()
    config = t.Qwen2AudioConfig(
        audio_config=t.Qwen2AudioEncoderConfig(
            d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128
        ),
        text_config=t.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=8192,
        ),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = t.Qwen2AudioForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.2)
    # a reply that ends at once is empty, which is a failed one: logits of 0 are never the largest here
    model.lm_head.weight.data[: len(SPECIAL)] = 0
    model.save_pretrained(folder)
    ears = t.WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
    t.Qwen2AudioProcessor(ears, tokenizer).save_pretrained(folder)
    return folder


def mmau(folder: Path) -> Path:
    """Six items in the layout of MMAU, two of each modality; the last clip is longer than the window."""
    folder.mkdir()
    records = []
    for number in range(6):
        kind = number % 3
        seconds = 31.0 if number == 5 else 0.5 + number
        clip = write_tone(folder / f"{number}.wav", 300 + 90 * number, seconds)
        records.append(
            {
                "id": f"item-{number}",
                "audio_id": f"./{clip.name}",
                "question": QUESTIONS[kind],
                "choices": OPTIONS[kind],
                "answer": OPTIONS[kind][number % 2],
                "dataset": "made by hand",
                "task": ("sound", "music", "speech")[kind],
                "split": "test-mini",
                "category": "Information Extraction",
                "sub-category": "by hand",
                "difficulty": "easy",
            }
        )
    (folder / "mmau-test-mini.json").write_text(json.dumps(records))
    return folder


@pytest.mark.slow
def test_a_folder_of_a_model_and_one_of_a_benchmark_give_outcome_tables_without_failures(tmp_path):
    model = load_model(narrow_qwen2_audio(tmp_path / "narrow-qwen2-audio"), dtype="float32", batch_size=3)
    assert model.description["class"] == "Qwen2AudioForConditionalGeneration"
    assert model.description["window_seconds"] == 30.0
    items = benchmarks.load(mmau(tmp_path / "mmau"))
    with Store(tmp_path / "replies.sqlite") as store:
        tables = {method: runs.ask(model, items, method, store=store) for method in ("plain", "idk")}
        again = runs.ask(model, items, "plain", store=store)
        assert len(store) == 12
    for method, table in tables.items():
        assert table["item"].tolist() == [f"item-{number}" for number in range(6)]
        assert set(table["method"]) == {method}
        assert "failed" not in set(table["outcome"]), table["error"].tolist()
        assert table["truncated"].tolist() == [False] * 5 + [True]
        assert (table["n_tokens"] > 0).all()
    assert again.equals(tables["plain"])
    assert tuple(again.columns) == outcomes.COLUMNS
    assert len({*tables["plain"]["reply"], *tables["idk"]["reply"]}) > 2, "replies that depend on nothing"
    assert len(model.option_logprobs([prompts.render(items[2], "plain")])[0]) == 5


def official_questions(folder: Path) -> Path:
    """MMAU test-mini's own file, with a tone in the place of each clip that a run of N_ITEMS asks about."""
    folder.mkdir()
    (folder / MMAU.name).write_bytes(MMAU.read_bytes())
    for number, item in enumerate(benchmarks.load(folder, n=N_ITEMS, need_clips=False)):
        item.clip.parent.mkdir(parents=True, exist_ok=True)
        write_tone(item.clip, 300 + 90 * number, 1.0 + number)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "case, benchmark, release",
    [
        ("questions made by hand", mmau, "unknown release"),
        pytest.param(
            "official questions",
            official_questions,
            "6 of the 1,000 items of MMAU test-mini v05.15.25",
            marks=pytest.mark.skipif(not MMAU.is_file(), reason="MMAU's questions are not at ../shared/mmau"),
        ),
    ],
)
def test_the_papermill_line_of_the_readme_runs_on_local_folders(tmp_path, case, benchmark, release):
    parameters = {
        "MODEL": narrow_qwen2_audio(tmp_path / "narrow-qwen2-audio"),
        "BENCHMARK": benchmark(tmp_path / "benchmark"),
        "N_ITEMS": N_ITEMS,
        "FIGURES": tmp_path / "figures",
    }
    line = ["-m", "papermill", "02_idk_prompting.ipynb", str(tmp_path / "out.ipynb"), "--no-progress-bar"]
    line += [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    done = subprocess.run(
        [sys.executable, *line],
        cwd=ROOT / "notebooks",
        env={**os.environ, "LALM_UTILS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    outputs = json.dumps([cell.get("outputs") for cell in cells])
    assert "narrow-qwen2-audio" in outputs
    assert release in outputs
    tables = [pd.read_csv(file) for file in (tmp_path / "figures").rglob("*.csv")]
    ours = [table[table["model"] == str(parameters["MODEL"])] for table in tables]  # beside the paper's rows
    assert all(len(table) for table in ours)
    assert {kind for table in ours for kind in table["benchmark"]} == {"mmau"}
    with Store(tmp_path / "cache" / "replies.sqlite") as store:
        assert len(store) >= 2 * N_ITEMS, "plain and IDK prompts, and controls"
