from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from fake_model import FakeModel, questions
from filelock import FileLock

from lalm_utils import reply_file
from lalm_utils.models import Decoding, Prompt, Reply, Turn, failed
from lalm_utils.store import SCHEMA, Store, StoreError, reply_keys

PROGRAM = Path(__file__).with_name("fake_model.py")


def clip_prompt(path: Path, content: bytes) -> Prompt:
    path.write_bytes(content)
    return Prompt(turns=(Turn(role="user", text="what is it?", clips=(path,)),))


def test_replies_come_back_in_the_order_asked_and_nothing_is_asked_twice(store):
    model, prompts = FakeModel(), questions(100)
    first = store.ask(model, prompts, chunk=7)
    assert [reply.text for (reply,) in first] == [f"question {i} 0" for i in range(100)]
    assert Counter(model.requests).most_common(1)[0][1] == 1
    again = FakeModel()
    assert store.ask(again, prompts[::-1]) == first[::-1]
    assert again.requests == []
    assert len(store) == 100


def test_identical_prompts_of_one_call_are_asked_once(store):
    model, one = FakeModel(), questions(1)
    assert [reply.text for (reply,) in store.ask(model, one * 5)] == ["question 0 0"] * 5
    assert len(model.requests) == 1


def echo_until_question_20(text, sample):
    if text == "question 20":
        raise RuntimeError("power cut")
    return text


def test_each_chunk_is_written_before_the_next_is_asked(store):
    with pytest.raises(RuntimeError, match="power cut"):
        store.ask(FakeModel(echo_until_question_20), questions(30), chunk=8)
    assert len(store) == 16


class Arriving(FakeModel):
    """A model that gives its replies one by one, the last prompt's first."""

    def arrivals(self, prompts, *, n=1, first_sample=0, **settings):
        for number, prompt in reversed(list(enumerate(prompts))):
            yield number, [self._one(prompt.turns[-1].text, first_sample + i) for i in range(n)]


def test_each_reply_is_written_as_it_arrives(store):
    with pytest.raises(RuntimeError, match="power cut"):
        store.ask(Arriving(echo_until_question_20), questions(30))
    assert len(store) == 9  # 29 to 21: all but what was under way
    again = Arriving()
    texts = [reply.text for (reply,) in store.ask(again, questions(30))]
    assert texts == [f"question {i} 0" for i in range(21)] + [f"question {i}" for i in range(21, 30)]
    assert len(again.requests) == 21


def test_missing_samples_that_arrive_one_by_one_come_under_their_own_numbers(store):
    store.ask(Arriving(), questions(3), n=2, temperature=1.0)
    replies = store.ask(model := Arriving(), questions(3), n=4, temperature=1.0)
    assert replies[1] == [Reply(text=f"question 1 {k}", n_tokens=2, finish="stop") for k in range(4)]
    assert sorted(model.requests) == [(f"question {i}", k) for i in range(3) for k in (2, 3)]


# ---- network file systems


def on_network(monkeypatch, folder: Path, kind: str = "nfs4") -> None:
    mounts = folder.parent / f"{folder.name}.mounts"
    point = str(folder).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home {point} {kind} rw 0 0\n")
    monkeypatch.setattr(reply_file, "MOUNTS", mounts)


def journal(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return connection.execute("pragma journal_mode").fetchone()[0]


@pytest.mark.parametrize("kind, mode", [("nfs4", "delete"), ("lustre", "delete"), ("xfs", "wal")])
def test_a_store_on_a_network_file_system_has_no_write_ahead_log(tmp_path, monkeypatch, kind, mode):
    folder = tmp_path / "a home"
    folder.mkdir()
    on_network(monkeypatch, folder, kind)
    with Store(folder / "replies.db") as store:
        store.ask(FakeModel(), questions(3))
        assert (folder / "replies.db-wal").exists() is (mode == "wal")
        assert len(store) == 3
    assert journal(folder / "replies.db") == mode


def test_an_older_store_on_a_network_home_loses_its_log_and_no_reply(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    with Store(folder / "replies.db") as store:
        store.ask(FakeModel(), questions(3))
    on_network(monkeypatch, folder)
    with Store(folder / "replies.db") as store, Store(folder / "replies.db") as second:
        assert (len(store), len(second)) == (3, 3)
        second.ask(FakeModel(), questions(5))
        assert len(store) == 5
    assert journal(folder / "replies.db") == "delete"


def test_a_store_on_a_network_home_that_another_host_holds_is_refused_with_a_way_out(tmp_path, monkeypatch):
    on_network(monkeypatch, tmp_path)
    monkeypatch.setattr(reply_file, "TIMEOUT_SECONDS", 0.05)
    with (
        FileLock(tmp_path / ".replies.db.lock"),
        pytest.raises(StoreError, match=r"\(nfs4\).* give a --store on a"),
    ):
        Store(tmp_path / "replies.db")


# ---- keys

SETTINGS = [
    ("another fingerprint", {"fingerprint": "0" * 64}, {}, True),
    ("another temperature", {}, {"temperature": 0.5}, True),
    ("another token limit", {}, {"max_new_tokens": 65}, True),
    ("another seed", {}, {"seed": 1}, True),
    ("the same again", {}, {}, False),
    ("another chunk size", {}, {"chunk": 1}, False),
]


@pytest.mark.parametrize("case, model, settings, asked", SETTINGS, ids=[row[0] for row in SETTINGS])
def test_what_decides_a_sampled_reply_is_its_key(store, case, model, settings, asked):
    store.ask(FakeModel(), questions(1), temperature=1.0)
    second = FakeModel(**model)
    store.ask(second, questions(1), **({"temperature": 1.0} | settings))
    assert bool(second.requests) is asked, case


def test_greedy_replies_do_not_depend_on_the_seed_and_count_as_one_sample(store):
    model = FakeModel()
    assert store.ask(model, questions(1), seed=0) == [[Reply(text="question 0 0", n_tokens=2, finish="stop")]]
    (replies,) = store.ask(model, questions(1), seed=7, n=4)
    assert [reply.text for reply in replies] == ["question 0 0"] * 4
    assert len(model.requests) == 1


def test_raising_n_asks_only_for_the_samples_that_are_missing(store):
    model = FakeModel()
    store.ask(model, questions(3), n=2, temperature=1.0)
    (replies, *_) = store.ask(model, [*questions(3), *questions(5)[3:]], n=5, temperature=1.0)
    assert [reply.text for reply in replies] == [f"question 0 {i}" for i in range(5)]
    assert Counter(model.requests) == Counter((f"question {q}", s) for q in range(5) for s in range(5))


def test_fewer_samples_than_stored_are_the_first_ones(store):
    model = FakeModel()
    five = store.ask(model, questions(1), n=5, temperature=1.0)
    assert store.ask(model, questions(1), n=2, temperature=1.0) == [five[0][:2]]


def test_clips_count_by_content_and_not_by_path(store, tmp_path):
    model = FakeModel()
    store.ask(model, [clip_prompt(tmp_path / "a.wav", b"one")])
    store.ask(model, [clip_prompt(tmp_path / "moved.wav", b"one")])
    assert len(model.requests) == 1
    store.ask(model, [clip_prompt(tmp_path / "a.wav", b"other")])
    assert len(model.requests) == 2


def test_a_missing_clip_fails_its_own_prompt_only(store, tmp_path):
    without_clip = Prompt(turns=(Turn(role="user", text="?", clips=(tmp_path / "lost.wav",)),))
    (bad, *_), (good, *_) = store.ask(FakeModel(), [without_clip, *questions(1)], n=2, temperature=1.0)
    assert bad.finish == "failed"
    assert "lost.wav" in bad.error
    assert good.text == "question 0 0"


@pytest.mark.parametrize(
    "case, answer, error",
    [
        ("a failed call", failed("out of luck"), "out of luck"),
        ("an empty reply", "", "empty reply"),
        ("white space", " \n", "empty reply"),
    ],
)
def test_failed_and_empty_replies_are_returned_as_failed_and_asked_anew(store, case, answer, error):
    model = FakeModel(lambda text, sample: answer)
    for _ in range(2):
        ((reply,),) = store.ask(model, questions(1))
        assert (reply.finish, reply.error, reply.text) == ("failed", error, ""), case
    assert len(model.requests) == 2
    assert len(store) == 0
    assert store.ask(FakeModel(), questions(1))[0][0].text == "question 0 0"


@pytest.mark.parametrize("blank", ["", " \t\r\n"])
def test_a_blank_reply_that_is_in_the_file_all_the_same_is_asked_anew_and_replaced(store, blank):
    requests = questions(3)
    store.ask(FakeModel(), requests)
    with sqlite3.connect(store.path) as file:
        file.execute("update replies set text = ? where prompt like '%question 1%'", (blank,))
    file.close()
    model = FakeModel(lambda text, sample: "now")
    assert [reply.text for (reply,) in store.ask(model, requests)] == ["question 0 0", "now", "question 2 0"]
    assert model.requests == [("question 1", 0)]
    assert store.ask(FakeModel(), requests)[1][0].text == "now"
    assert len(store) == 3


def test_a_blank_reply_is_not_merged(store, tmp_path):
    with Store(tmp_path / "other.db") as other:
        other.ask(FakeModel(), questions(2))
        with sqlite3.connect(other.path) as file:
            file.execute("update replies set text = '' where prompt like '%question 1%'")
        file.close()
        assert (store.merge(other.path), len(store)) == (1, 1)


def test_one_failed_sample_among_good_ones_is_asked_anew_alone(store):
    store.ask(
        FakeModel(lambda text, s: failed("no") if s == 2 else f"{s}"), questions(1), n=3, temperature=1.0
    )
    model = FakeModel()
    (replies,) = store.ask(model, questions(1), n=3, temperature=1.0)
    assert [reply.text for reply in replies] == ["0", "1", "question 0 2"]
    assert model.requests == [("question 0", 2)]


def test_truncation_and_the_finish_survive_storing(store):
    cut = Reply(text="a long", n_tokens=64, finish="length", truncated=True)
    store.ask(FakeModel(lambda text, sample: cut), questions(1))
    assert store.ask(FakeModel(), questions(1)) == [[cut]]


def test_a_model_that_returns_too_few_replies_is_an_error(store):
    model = FakeModel()
    model.generate = lambda prompts, **settings: [[]] * len(prompts)
    with pytest.raises(StoreError, match=r"fake.generate returned \[0, 0\] replies for 2 prompts with n=1"):
        store.ask(model, questions(2))


@pytest.mark.parametrize("settings", [{"n": 0}, {"chunk": 0}])
def test_counts_below_one_are_refused(store, settings):
    with pytest.raises(ValueError, match="both are at least 1"):
        store.ask(FakeModel(), questions(1), **settings)


def test_settings_reach_the_model_unchanged(store):
    model = FakeModel()
    store.ask(model, questions(1), n=3, temperature=0.7, max_new_tokens=9, seed=4)
    assert model.calls == [
        {"texts": ["question 0"], "n": 3, "temperature": 0.7, "max_new_tokens": 9, "seed": 4}
    ]


def make_foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("create table birds (name)")
    connection.commit()
    connection.close()


def make_future(path):
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"pragma user_version={SCHEMA + 1}")
    connection.close()


FILES = [
    (
        "a text file",
        lambda path: path.write_text("my notes, do not lose"),
        "not a store, the file starts with b'my no",
    ),
    ("another program's database", make_foreign, "a database, but not a store of replies"),
    ("a later schema", make_future, f"schema {SCHEMA + 1}, and this version reads schema {SCHEMA}"),
    ("a folder", lambda path: path.mkdir(), "is a folder"),
]


@pytest.mark.parametrize("case, make, message", FILES, ids=[row[0] for row in FILES])
def test_what_is_not_a_store_is_refused_and_left_as_it_is(tmp_path, case, make, message):
    path = tmp_path / "file"
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(StoreError, match=message):
        Store(path)
    if before is not None:
        assert path.read_bytes() == before, case


def test_a_damaged_store_is_reported(tmp_path):
    path = tmp_path / "replies.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with pytest.raises(StoreError, match=r"cannot be used as a store .* mend it or give another"):
        Store(path)


def test_an_empty_file_left_by_a_killed_process_becomes_a_store(tmp_path):
    path = tmp_path / "replies.db"
    path.touch()
    with Store(path) as store:
        assert store.ask(FakeModel(), questions(1))[0][0].text == "question 0 0"


def test_folders_on_the_way_are_made(tmp_path):
    with Store(tmp_path / "deep" / "er" / "replies.db") as store:
        assert len(store) == 0


def test_progress_is_shown_on_request_and_not_into_a_pipe(store, capsys, monkeypatch):
    monkeypatch.delenv("LALM_UTILS_PROGRESS", raising=False)
    store.ask(FakeModel(), questions(2), progress=True)
    assert "fake: 100%" in capsys.readouterr().err
    store.ask(FakeModel(), questions(4), progress="baseline")
    store.ask(FakeModel(), questions(6))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LALM_UTILS_PROGRESS", "1")
    store.ask(FakeModel(), questions(8), progress="baseline")
    assert "baseline: 100%" in capsys.readouterr().err
    store.ask(FakeModel(), questions(9), progress=False)
    store.ask(FakeModel(), questions(9), progress=True)
    assert capsys.readouterr().err == "", "nothing was left to do"


def test_a_store_can_be_told_once_and_for_all_not_to_show_progress(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_PROGRESS", "1")
    with Store(tmp_path / "replies.db", progress=False) as quiet:
        quiet.ask(FakeModel(), questions(2))
        assert capsys.readouterr().err == ""
        quiet.ask(FakeModel(), questions(4), progress=True)
        assert "fake: 100%" in capsys.readouterr().err


def test_a_chunk_is_at_least_a_batch_of_the_model(store):
    model = FakeModel()
    model.batch_size = 50
    store.ask(model, questions(120))
    assert [len(call["texts"]) for call in model.calls] == [50, 50, 20]


# ---- merging


def other_store(path: Path, count: int, tag: str) -> Path:
    with Store(path) as other:
        other.ask(FakeModel(lambda text, sample: f"{text} {tag}"), questions(count))
    return path


def test_merging_adds_what_is_new_keeps_what_is_there_and_changes_nothing_the_second_time(store, tmp_path):
    store.ask(FakeModel(lambda text, sample: f"{text} mine"), questions(2))
    other = other_store(tmp_path / "other.db", 5, "theirs")
    assert [store.merge(other), store.merge(str(other))] == [3, 0]
    replies = [reply.text for (reply,) in store.ask(FakeModel(), questions(5))]
    assert replies == [f"question {i} {'mine' if i < 2 else 'theirs'}" for i in range(5)]
    with Store(other) as merged:
        assert len(merged) == 5
    times = [
        dict(sqlite3.connect(path).execute("select key, stored_at from replies"))
        for path in (store.path, other)
    ]
    shared = [key for key in times[1] if times[0][key] == times[1][key]]
    assert len(shared) >= 3, "a merged reply keeps the time it was stored at"


def test_a_store_in_use_can_be_merged(store, tmp_path):
    with Store(tmp_path / "other.db") as other:
        other.ask(FakeModel(), questions(3))
        assert store.merge(other.path) == 3
        other.ask(FakeModel(), questions(4))
        assert store.merge(other.path) == 1


def test_a_store_merged_into_itself_stays_as_it_is(store):
    store.ask(FakeModel(), questions(3))
    assert store.merge(store.path) == 0
    assert len(store) == 3


@pytest.mark.parametrize("case, make, message", FILES, ids=[row[0] for row in FILES])
def test_what_is_not_a_store_is_not_merged_and_left_as_it_is(store, tmp_path, case, make, message):
    store.ask(FakeModel(), questions(3))
    other = tmp_path / "other"
    make(other)
    before = None if other.is_dir() else other.read_bytes()
    with pytest.raises(StoreError, match=message):
        store.merge(other)
    if before is not None:
        assert other.read_bytes() == before, case
    assert len(store) == 3


def test_a_store_that_is_not_there_is_not_made_by_merging(store, tmp_path):
    with pytest.raises(StoreError, match="no such store"):
        store.merge(tmp_path / "nowhere.db")
    assert not (tmp_path / "nowhere.db").exists()


def test_of_a_damaged_store_nothing_is_merged(store, tmp_path):
    other = other_store(tmp_path / "other.db", 400, "theirs")
    content = other.read_bytes()
    other.write_bytes(content[: len(content) // 2 // 4096 * 4096])
    with pytest.raises(StoreError, match=r"other.db: cannot be (merged|used)"):
        store.merge(other)
    assert len(store) == 0


def test_a_file_in_place_of_a_folder_is_reported(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises((StoreError, OSError), match="notes"):
        Store(tmp_path / "notes" / "replies.db")


# ---- processes


def spawn(*arguments: object) -> subprocess.Popen:
    here = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[1])}
    return subprocess.Popen([sys.executable, str(PROGRAM), *map(str, arguments)], env=here)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_random_twenty_times_it_loses_nothing_and_asks_nothing_stored_again(tmp_path):
    path, log, total, chunk, kills = tmp_path / "replies.db", tmp_path / "log", 4000, 8, 20
    log.touch()
    chance, wasted = random.Random(0), 0
    for turn in range(kills):
        start = log.stat().st_size
        process = spawn(path, log, total, chunk)
        if turn % 5:  # the others are killed while they start, or open the file
            while log.stat().st_size == start and process.poll() is None:
                time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.12))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed: raise `total`"
        with Store(path) as store:
            requests, before = len(log.read_text().splitlines()), wasted
            wasted = requests - len(store)
        assert wasted - before <= chunk, "more than the chunk in flight was lost"
    stored = {text for (text,) in sqlite3.connect(path).execute("select prompt from replies")}
    assert 100 < len(stored) < total
    asked_before = len(log.read_text().splitlines())
    assert spawn(path, log, total, chunk).wait() == 0
    asked_last = log.read_text().splitlines()[asked_before:]
    assert not stored & {f"user: {text}" for text in asked_last}
    assert json.loads(Path(f"{log}.reply").read_text()) == [f"question {i} reply" for i in range(total)]
    finished = FakeModel()
    with Store(path) as store:
        store.ask(finished, questions(total))
    assert finished.requests == []


def test_two_processes_share_one_store_and_report_the_same_replies(tmp_path):
    path, total = tmp_path / "replies.db", 400
    processes = [spawn(path, tmp_path / f"log{tag}", total, 8, tag) for tag in ("one", "two")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    one, two = (json.loads((tmp_path / f"log{tag}.{tag}").read_text()) for tag in ("one", "two"))
    assert one == two
    assert [text.rsplit(" ", 1)[0] for text in one] == [f"question {i}" for i in range(total)]
    with Store(path) as store:
        assert len(store) == total


# ---- stored replies survive every later version ------------------------------------------------------

GREEDY, SAMPLED = (
    '{"max_new_tokens": 32, "temperature": 0.0}',
    '{"max_new_tokens": 64, "seed": 7, "temperature": 1.0}',
)
GOLDEN_KEYS = [
    (GREEDY, 0, "74b04e562833566fb295d7717d487fd48976ae2e67f909d1a767e234bd303d17"),
    (SAMPLED, 0, "030c9d9aa834940436186a81df90f665cb387457aaed9df81bbc55b44a10d13d"),
    (SAMPLED, 1, "4039f99df313863a787d802f9b074371196bd4b334d6b4f5afe1de38394b1317"),
]


def test_the_keys_of_stored_replies_never_change(tmp_path, store):
    """A changed key would have every stored reply asked for again."""
    prompt = clip_prompt(tmp_path / "clip.wav", b"RIFF golden")
    prompt = Prompt(turns=(Turn(role="user", text="Who sings?", clips=prompt.clips),))
    store.ask(FakeModel(), [prompt], max_new_tokens=32, seed=5)
    store.ask(FakeModel(), [prompt], n=2, temperature=1, seed=7)
    rows = sqlite3.connect(store.path).execute(
        "select decoding, sample, key from replies order by decoding, sample"
    )
    assert rows.fetchall() == GOLDEN_KEYS


def test_the_key_of_a_question_without_a_clip_never_changes():
    decoding = Decoding(n=2, temperature=1, max_new_tokens=64, seed=7)
    assert reply_keys("0" * 64, 'Wie heißt das?\n(A) "x"', (), decoding) == (
        "c94d3160bd5f6c3d73da103ff4b1622a2688c59bd12fcb2bcaeb8c739d57bc02",
        "b35e706f5faac402a8ae3816703c8071bba25d94c3b0c8797a88f6a1a7bbc401",
    )
