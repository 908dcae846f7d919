from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fake_model import FakeModel
from tiny import write_tone

from lalm_utils import paper, prompts
from lalm_utils.finetuning import idk_data, k_of_n
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.items import Item
from lalm_utils.models import Reply, failed

OPTIONS = ("dog", "bell", "rain", "cat")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_tone(tmp_path_factory.mktemp("clips") / "tone.wav", 440)


def make(clip: Path, name: str, modality: str = "sound", **fields) -> Item:
    defaults = {
        "benchmark": "mmau",
        "split": "",
        "question": f"Question {name}?",
        "options": OPTIONS,
        "gold": 1,
    }
    return Item(**{**defaults, **fields}, id=name, modality=modality, clip=clip)


def several(clip: Path, count: int, modality: str = "sound", **fields) -> list[Item]:
    return [make(clip, f"{modality}-{number}", modality, **fields) for number in range(count)]


def table(right: dict[str, int], n: int = 5, modality: str = "sound", novel: tuple[str, ...] = ()):
    rows = [(name, modality, "easy", "t", name in novel, n, count) for name, count in right.items()]
    return pd.DataFrame(rows, columns=["item", "modality", "level", "task", "novel", "n", "right"])


def scripted_model(replies: dict[str, list[Reply | str]]) -> FakeModel:
    """A model whose sample k to the item `name` is replies[name][k]."""
    return FakeModel(lambda text, sample: replies[text.split("?")[0].removeprefix("Question ")][sample])


def test_samples_are_asked_for_plainly_and_each_is_graded(clip, store):
    replies = {"a": ["bell", "The answer is bell.", "dog", "IDK", "hm"], "b": ["dog"] * 5}
    model = scripted_model(replies)
    items = [make(clip, "a"), make(clip, "b", level="hard", task="Event", novel=True)]
    samples = k_of_n.sample(model, items, store=store, seed=3)
    assert list(samples.columns) == [
        "item", "modality", "level", "task", "novel", "sample", "reply", "choice", "outcome",
    ]  # fmt: skip
    assert list(samples["outcome"]) == [
        "correct",
        "correct",
        "wrong",
        "refused",
        "unreadable",
        *["wrong"] * 5,
    ]
    assert list(samples["sample"]) == [0, 1, 2, 3, 4] * 2
    assert list(samples["reply"][:2]) == replies["a"][:2]
    assert samples.iloc[5][["level", "task", "novel"]].to_list() == ["hard", "Event", True]
    (call,) = model.calls
    assert (call["n"], call["temperature"], call["seed"]) == (5, 1.0, 3)
    assert call["texts"] == [prompts.render(item, "plain").turns[0].text for item in items]


def test_samples_in_the_store_are_not_drawn_again(clip, store):
    model = scripted_model({"a": ["bell"] * 5})
    first = k_of_n.sample(model, [make(clip, "a")], store=store)
    assert k_of_n.sample(model, [make(clip, "a")], store=store).equals(first)
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    "case, settings, message",
    [
        ("no samples", {"n": 0}, "n=0, temperature=1.0: n is at least 1"),
        ("greedy", {"temperature": 0.0}, "n=5, temperature=0.0: n is at least 1, and temperature above 0"),
    ],
)
def test_samples_that_could_not_differ_are_refused(clip, store, case, settings, message):
    with pytest.raises(ValueError, match=message):
        k_of_n.sample(FakeModel(), [make(clip, "a")], store=store, **settings)


def test_an_item_without_a_right_option_is_refused(clip, store):
    hopeless = make(clip, "a", gold=None, answerable=False, reason="silence")
    with pytest.raises(ValueError, match="item 'a' has no right option: leave unanswerable and withheld"):
        k_of_n.sample(FakeModel(), [hopeless], store=store)
    with pytest.raises(ValueError, match="item 'a' has no right option"):
        idk_data.build([hopeless], table({"a": 5}), k=5)


def test_right_samples_are_counted_and_refusals_are_not_right(clip, store):
    replies = {"a": ["bell"] * 5, "b": ["bell", "IDK", "IDK", "bell", "dog"], "c": ["IDK"] * 5}
    counts = k_of_n.count_correct(
        k_of_n.sample(scripted_model(replies), [make(clip, name) for name in "abc"], store=store)
    )
    assert list(counts["item"]) == ["a", "b", "c"]
    assert list(counts["right"]) == [5, 2, 0]
    assert set(counts["n"]) == {5}
    assert counts.attrs["failed"] == []


def test_votes_are_the_samples_that_name_the_most_frequent_option_as_counted_by_hand(clip, store):
    replies = {"a": ["bell", "bell", "dog", "dog", "bell"], "b": ["IDK", "?"] * 2 + ["dog"],
               "c": ["IDK"] * 5, "d": ["dog"] * 4 + [failed("x")]}  # fmt: skip
    samples = k_of_n.sample(scripted_model(replies), [make(clip, name) for name in "dacb"], store=store)
    votes = k_of_n.votes(samples)
    assert votes.to_dict() == {"d": 4, "a": 3, "c": 0, "b": 1}
    plain = pd.DataFrame({"item": ["b", "a", "d", "c"]})
    # the two ways in which notebooks wrote it out: reindexed by the samples' items, and by the answers'
    by_hand = samples.groupby(["item", "choice"]).size().groupby("item").max()
    for items in (samples["item"].unique(), plain["item"]):
        expected = plain["item"].map(by_hand.reindex(items, fill_value=0))
        assert list(plain["item"].map(votes)) == list(expected) == [1, 3, 4, 0]


def test_an_item_with_a_failed_sample_is_left_out_and_named(clip, store, caplog):
    replies = {"a": ["bell"] * 4 + [failed("the call broke")], "b": ["bell"] * 5}
    samples = k_of_n.sample(scripted_model(replies), [make(clip, "a"), make(clip, "b")], store=store)
    assert list(samples["outcome"]) == ["correct"] * 4 + ["failed"] + ["correct"] * 5
    with caplog.at_level(logging.WARNING):
        counts = k_of_n.count_correct(samples)
    assert list(counts["item"]) == ["b"]
    assert counts.attrs["failed"] == ["a"]
    assert "1 of 2 items left out, as a sample of theirs failed: a" in caplog.text
    with pytest.raises(ValueError, match="1 of 2 items are not in the table of knowledge"):
        idk_data.build([make(clip, "a"), make(clip, "b")], counts, k=5)


def test_knowledge_of_nothing_and_of_unequal_samples_is_refused(clip, store):
    samples = k_of_n.sample(scripted_model({"a": [failed("x")] * 5}), [make(clip, "a")], store=store)
    with pytest.raises(ValueError, match=r"no samples to count \(1 items failed\)"):
        k_of_n.count_correct(samples)
    samples = k_of_n.sample(
        scripted_model({"a": ["bell"] * 5, "b": ["dog"] * 5}), [make(clip, "a"), make(clip, "b")], store=store
    )
    with pytest.raises(ValueError, match="items have 3, 5 samples each: K of N needs one N for all"):
        k_of_n.count_correct(samples.iloc[:-2])


LABELS = [
    ("one of five suffices", 1, [False, True, True, True, True, True]),
    ("three of five", 3, [False, False, False, True, True, True]),
    ("all five, as in the paper", 5, [False, False, False, False, False, True]),
]


@pytest.mark.parametrize("case, k, known", LABELS, ids=[row[0] for row in LABELS])
def test_an_item_is_known_if_k_samples_were_right(clip, case, k, known):
    items = several(clip, 6)
    examples = idk_data.build(items, table({item.id: right for right, item in enumerate(items)}), k=k)
    assert [example.known for example in examples] == known
    assert [example.target for example in examples] == ["bell" if label else "IDK" for label in known]
    assert [example.item for example in examples] == items
    assert idk_data.idk_share(examples) == pytest.approx(known.count(False) / 6)


REFUSED = [
    ("no items", {"items": []}, "no items to label: give the items that were sampled"),
    ("k under 1", {"k": 0}, "k=0: it counts right samples, so it is from 1 to 5 here"),
    ("k over n", {"k": 6}, "k=6: it counts right samples, so it is from 1 to 5 here"),
    ("a balance of all", {"balance": 1.0}, r"balance=1.0: a share of IDK inside \(0, 1\)"),
    (
        "an item that was not sampled",
        {"counts": table({"other": 3})},
        "6 of 6 items are not in the table of knowledge, e.g. 'sound-0': sample them, or leave them out",
    ),
    (
        "a balance without a class to balance",
        {"k": 5, "counts": table({f"sound-{number}": 4 for number in range(6)}), "balance": 0.5},
        "balance=0.5: 6 items are labelled IDK and 0 known, which allows 0 and 0; take another k",
    ),
]


@pytest.mark.parametrize("case, given, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_a_dataset_that_makes_no_sense_is_refused(clip, case, given, message):
    items = several(clip, 6)
    call = {"items": items, "counts": table({item.id: 3 for item in items}), "k": 3} | given
    with pytest.raises(ValueError, match=message):
        idk_data.build(**call)


def mixed_samples(clip: Path) -> tuple[list[Item], pd.DataFrame]:
    """Three modalities of 20 items, of which 2, 8 and 12 are known at K = 5."""
    items, parts = [], []
    for modality, sure in {"sound": 2, "music": 8, "speech": 12}.items():
        group = several(clip, 20, modality)
        items += group
        right = {item.id: 5 if index < sure else index % 5 for index, item in enumerate(group)}
        parts.append(table(right, modality=modality))
    return items, pd.concat(parts, ignore_index=True)


def label_counts(examples: list[Example]) -> dict[tuple[str, bool], int]:
    return pd.Series([(e.item.modality, e.known) for e in examples]).value_counts().to_dict()


@pytest.mark.parametrize("balance, total", [(0.5, 44), (0.25, 29), (0.8, 47)])
def test_balance_gives_the_share_wanted_with_as_many_items_as_there_are(clip, balance, total):
    items, counts = mixed_samples(clip)
    examples = idk_data.build(items, counts, k=5, balance=balance)
    assert len(examples) == total
    assert idk_data.idk_share(examples) == pytest.approx(balance, abs=0.5 / total)
    assert [e.item for e in examples] == [item for item in items if item in [e.item for e in examples]]
    labels = dict(zip(counts["item"], counts["right"] >= 5))
    assert all(labels[example.item.id] == example.known for example in examples)


def test_balance_loses_no_item_to_rounding(clip):
    items = several(clip, 13)
    counts = table({item.id: 5 if index < 3 else 0 for index, item in enumerate(items)})
    assert len(idk_data.build(items, counts, k=5, balance=0.7)) == 10


@pytest.mark.parametrize("settings", [{}, {"balance": 0.5}])
def test_shuffled_labels_keep_the_items_and_the_share_of_each_modality(clip, settings):
    items, counts = mixed_samples(clip)
    true = idk_data.build(items, counts, k=5, **settings)
    shuffled = idk_data.build(items, counts, k=5, shuffle=True, **settings)
    assert [e.item for e in shuffled] == [e.item for e in true]
    assert label_counts(shuffled) == label_counts(true)
    assert [e.known for e in shuffled] != [e.known for e in true]
    assert all(e.target == ("bell" if e.known else "IDK") for e in shuffled)


def test_a_dataset_depends_on_its_seed_alone(clip):
    items, counts = mixed_samples(clip)
    call = {"k": 5, "balance": 0.5, "shuffle": True}
    assert idk_data.build(items, counts, **call) == idk_data.build(items, counts, **call)
    reordered = idk_data.build(items, counts.iloc[::-1], **call)
    assert reordered == idk_data.build(items, counts, **call)
    assert idk_data.build(items, counts, seed=1, **call) != idk_data.build(items, counts, **call)


def test_the_share_labelled_idk_rises_with_k_in_every_group():
    counts = pd.concat(
        [
            table({f"s{i}": i for i in range(6)}, novel=("s0", "s1")),
            table({"m0": 5, "m1": 0}, modality="music"),
        ],
        ignore_index=True,
    )
    shares = k_of_n.share_by_k(counts)
    assert list(dict.fromkeys(shares["group"])) == [
        "sound", "music", "overall", "known content", "novel content",
    ]  # fmt: skip
    sound = shares[shares["group"] == "sound"]
    assert list(sound["k"]) == [1, 2, 3, 4, 5]
    assert list(sound["share"]) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert list(shares.loc[shares["group"] == "overall", "share"])[-1] == pytest.approx(6 / 8)
    assert list(shares.loc[shares["group"] == "novel content", "share"]) == [0.5, 1, 1, 1, 1]
    assert (shares["low"] <= shares["share"]).all()
    assert (shares["share"] <= shares["high"]).all()
    assert set(shares["source"]) == {"measured here"}


def test_a_benchmark_without_novel_content_has_no_groups_for_it():
    assert set(k_of_n.share_by_k(table({"a": 1, "b": 5}))["group"]) == {"sound", "overall"}


def test_the_papers_shares_stand_beside_ours():
    printed = k_of_n.printed_shares()
    assert dict(zip(printed["k"], printed["share"])) == {1: 0.502, 5: 0.635}
    assert paper.IDK_SHARES == {1: 50.2, 5: 63.5}
    ours = k_of_n.share_by_k(table({"a": 1}))
    assert list(printed.columns) == list(ours.columns)
    assert set(printed["source"]) == {"printed in the paper"}


def test_a_dataset_is_the_same_after_saving_and_loading(clip, tmp_path):
    odd = make(clip, "odd", question="Which\u2028of \u00fc these?", options=("dog\x85", "bell", "rain"))
    items = [*several(clip, 4), odd]
    examples = idk_data.build(items, table({item.id: 5 * (i % 2) for i, item in enumerate(items)}), k=3)
    path = idk_data.save(
        tmp_path / "new" / "set.jsonl", examples, model=FakeModel(), k=3, seed=7, balance=None
    )
    loaded, header = idk_data.load(path, items)
    assert loaded == examples
    assert (header["model"], header["fingerprint"], header["k"], header["n"]) == ("fake", "f" * 64, 3, 5)
    assert (header["temperature"], header["seed"], header["balance"]) == (1.0, 7, None)
    assert (header["examples"], header["idk_share"]) == (5, 0.6)
    assert str(clip.parent) not in path.read_text(encoding="utf-8")


def broken(lines: list[str]) -> list[tuple[str, list[str], str]]:
    first, second = json.loads(lines[0]), json.loads(lines[1])
    return [
        ("cut short", lines[:-1], "1 of 2 examples; it was cut, make it again"),
        ("no header", lines[1:], "line 1: no header of 'lalm_utils IDK dataset 1'"),
        ("empty", [""], "line 1: no JSON"),
        ("no JSON", [*lines[:2], "{"], "line 3: no JSON"),
        ("a list", [*lines[:2], "[1]"], "line 3: no JSON object"),
        ("deeply nested", [*lines[:2], "[" * 100_000], "line 3: no JSON"),
        ("another item", [lines[0], lines[1], json.dumps(second | {"id": "x"})], "item 'x' is not among those"),
        ("an id that is no text", [lines[0], json.dumps(second | {"id": [1]}), lines[2]], "is not among those"),
        ("another question", [lines[0], json.dumps(second | {"question": "?"}), lines[2]], "asks something else"),
        ("a wrong target", [lines[0], json.dumps(second | {"target": "cat"}), lines[2]], "does not go with the"),
        ("a label that is none", [lines[0], json.dumps(second | {"known": 1}), lines[2]], "known 1 does not go"),
        ("another schema", [json.dumps(first | {"schema": "2"}), *lines[1:]], "line 1: no header"),
    ]  # fmt: skip


def test_a_file_that_is_damaged_or_of_other_items_is_refused_by_its_line(clip, tmp_path):
    items = several(clip, 2)
    path = tmp_path / "set.jsonl"
    examples = idk_data.build(items, table({item.id: 5 for item in items}), k=3)
    idk_data.save(path, examples, model=FakeModel(), k=3)
    for case, lines, message in broken(path.read_text().splitlines()):
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(ValueError) as excinfo:
            idk_data.load(path, items)
        assert message in str(excinfo.value), case
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="no UTF-8 text"):
        idk_data.load(path, items)


def mmau(folder: Path, count: int, **fields) -> Path:
    """A benchmark in MMAU's layout, of `count` clips."""
    folder.mkdir()
    records = []
    for number in range(count):
        write_tone(folder / f"{number}.wav", 300 + number, 0.2)
        records.append({
            "id": str(number), "audio_id": f"./{number}.wav", "question": "What?", "choices": list(OPTIONS),
            "answer": "bell", "task": ("sound", "music", "speech")[number % 3], **fields,
        })  # fmt: skip
    (folder / "set.json").write_text(json.dumps(records))
    return folder / "set.json"


def test_a_benchmark_without_splits_is_dealt_into_three_with_no_clip_in_two(tmp_path):
    parts = k_of_n.splits(mmau(tmp_path / "mmau", 60), test=12)
    clips = {part: {item.clip for item in members} for part, members in parts.items()}
    assert not clips["idk"] & clips["test"]
    assert not clips["dev"] & (clips["idk"] | clips["test"])
    assert len(parts["test"]) == 12
    assert 12 <= len(parts["idk"]) <= 36, "about 40 % of 60"
    assert 1 <= len(parts["dev"]) <= 15, "about 10 % of 60"
    assert k_of_n.splits(tmp_path / "mmau" / "set.json", test=12) == parts


def test_the_embedded_benchmark_has_these_splits(monkeypatch):
    items = []
    monkeypatch.setattr(
        k_of_n.benchmarks, "load", lambda name, **options: items.append((name, options)) or [options["split"]]
    )
    assert k_of_n.splits("mini", idk=9, dev=3, seed=2) == {"idk": ["idk"], "dev": ["dev"], "test": ["test"]}
    assert [(options["split"], options["n"], options["seed"]) for _, options in items] == [
        ("idk", 9, 2), ("dev", 3, 2), ("test", None, 2),
    ]  # fmt: skip


def test_parts_that_are_none_or_stay_empty_are_refused(tmp_path):
    path = mmau(tmp_path / "mmau", 1)
    with pytest.raises(ValueError, match="no part 'train': the parts are idk, dev, test"):
        k_of_n.splits(path, train=3)
    with pytest.raises(ValueError, match="too few clips to deal, none falls to "):
        k_of_n.splits(path)


def test_labelling_needs_no_models_library():
    code = "import sys, lalm_utils.finetuning.idk_data\n"
    code += "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert out.stdout.strip() == "[]"
