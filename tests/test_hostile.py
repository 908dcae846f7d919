"""Hostile inputs end in a clear error or a right answer, in bounded time and memory.

The tables of hostile_*.py hold the inputs by class. Each is tried within the bounds of hostile.py: an error is the
one that the package promises, names what is wrong, and is short enough to read. Below them, the same promises for
inputs that hypothesis makes up.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import hostile_audio
import hostile_folders
import hostile_questions
import hostile_replies
import hostile_servers
import numpy as np
import pandas as pd
import pytest
from chat_server import Answer, ChatServer
from hostile import MESSAGE, PACE, Case, TooMuch, within
from hostile_audio import wav
from hostile_questions import HEADER, MMAU, ROW
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lalm_utils import show
from lalm_utils.audio import RATE, AudioError, Clip, check_clip, read_clip
from lalm_utils.benchmarks import load
from lalm_utils.cli import predictions
from lalm_utils.cli.predictions import PredictionError
from lalm_utils.cli.score import as_text, score
from lalm_utils.items import MAX_OPTIONS, BenchmarkError, Item, from_record
from lalm_utils.messages import MAX_CHARACTERS, join, short_repr
from lalm_utils.models import ModelError
from lalm_utils.outcomes import Outcome
from lalm_utils.parsing import read
from lalm_utils.server.api_model import ApiModel
from lalm_utils.store import StoreError

# The classes that were asked for, and those that stand beside them.
ASKED_FOR = (
    "broken WAV headers", "zero-length", "NaN samples", "8-bit", "96 kHz", "stereo", "path escapes",
    "symlinks out of the folder", "JSON bombs", "non-UTF-8", "million-option items", "HTML in questions",
)  # fmt: skip
FURTHER = (
    "other encodings", "loudness", "long clips", "no audio", "no files", "broken question files", "broken items",
    "SAKURA tables", "broken predictions", "markup in replies", "odd characters in replies", "misleading replies",
    "long replies", "answers of a server", "broken HTTP", "answers without end", "the key", "broken stores",
    "broken weights", "adapters", "addresses and keys",
)  # fmt: skip
BY_FUNCTION = [
    (read_clip, hostile_audio.CASES, (AudioError,)),
    *[(act, cases, (BenchmarkError, PredictionError)) for act, cases in hostile_questions.TABLES_BY_FUNCTION],
    (hostile_replies.read_reply, hostile_replies.CASES, (TypeError, ValueError)),
    *[(act, cases, (StoreError, ModelError)) for act, cases in hostile_folders.TABLES],
]
FILES = [(act, case, errors) for act, cases, errors in BY_FUNCTION for case in cases]
SECRETS = (hostile_servers.KEY[:10].lower(), hostile_servers.KEY[-6:].lower())
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUESTION = "<img src=x onerror=alert(1)>Which <b>sound</b>? &lt;"


def names(rows: list[tuple]) -> list[str]:
    return [str(row[1]) for row in rows]


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Failed replies are logged, thousands of characters of them here."""
    caplog.set_level(logging.CRITICAL)


# ---- the tables


@pytest.mark.parametrize("act, case, errors", FILES, ids=names(FILES))
def test_a_hostile_input_ends_in_a_clear_error_or_a_right_answer(tmp_path, act, case, errors):
    case_input, answer, error = case.build(tmp_path), None, None
    with within():
        try:
            answer = act(case_input)
        except errors as refused:
            error = refused
    if isinstance(case.expected, str):
        assert error is not None, f"{case}: {short_repr(answer)} where an error is due"
        text = str(error).replace(str(tmp_path), "")
        assert re.search(case.expected, text, re.DOTALL), text[:2_000]
        assert len(text) < MESSAGE + longest_name(case_input), "nobody reads that"
    else:
        assert error is None, error
        assert case.expected(answer), short_repr(answer)


def longest_name(case_input: Any) -> int:
    """A path is named in full, however long it is, and the operating system names it once more."""
    return 3 * len(str(case_input)) if isinstance(case_input, Path) else 0


@pytest.mark.parametrize("case", hostile_audio.CASES, ids=str)
def test_what_cannot_be_read_is_no_reason_for_the_cheap_check_to_break(tmp_path, case):
    case_input = case.build(tmp_path)
    with within():
        try:
            assert check_clip(case_input) > 0
        except AudioError:
            assert isinstance(case.expected, str), "what is heard passes the check of its header"


@pytest.mark.parametrize("case", hostile_servers.CASES, ids=str)
def test_a_hostile_server_costs_a_failed_reply_and_never_the_key(tmp_path, monkeypatch, case):
    monkeypatch.setenv("LALM_UTILS_API_KEY", hostile_servers.KEY)
    act = hostile_servers.query_briefly if case.kind == hostile_servers.ENDLESS else hostile_servers.query
    with within(8.0 * PACE):
        result = act(case.build(tmp_path))
    message = result.reply.error + result.loading
    if isinstance(case.expected, str):
        assert result.reply.finish == "failed"
        assert result.reply.text == ""
        assert re.search(case.expected, result.reply.error), result.reply.error
    else:
        assert case.expected(result), result.reply.error
    assert len(message) < 2 * MESSAGE
    assert message.isprintable(), "nothing moves a terminal's cursor"
    assert not [part for part in SECRETS if part in (message + result.reply.text).lower()], (
        "a part of the key"
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect(monkeypatch, status):
    monkeypatch.setenv("LALM_UTILS_API_KEY", hostile_servers.KEY)
    with ChatServer() as other, within():
        result = hostile_servers.query(hostile_servers.redirect(status, f"{other.address}/chat/completions"))
        assert "a redirect, which is not followed" in result.loading
        assert "a redirect, which is not followed" in result.reply.error
        assert (other.chats, other.lists) == ([], [])


KEYS = [
    ("a line end and a header", "sk-12345678\r\nHost: evil"),
    ("a blank", "sk-1234 5678"),
    ("a null", "sk-12345678\0"),
    ("an accent", "sk-1234567\u00e9"),
]


@pytest.mark.parametrize("case, key", KEYS, ids=[row[0] for row in KEYS])
def test_a_key_that_is_no_header_is_refused_unsaid(monkeypatch, case, key):
    monkeypatch.setattr("os.environ", {"LALM_UTILS_API_KEY": key})
    with pytest.raises(ModelError, match="the API key has blanks or characters outside ASCII") as excinfo:
        ApiModel("http://127.0.0.1:9/v1", "tiny")
    assert "sk-1234" not in str(excinfo.value)


SHOWN = [
    ("a caption", lambda item: show.player(np.zeros(RATE, np.float32), f"{item.id}: {item.question}").data),
    ("an option", lambda item: show.player(np.zeros(RATE, np.float32), ", ".join(item.options)).data),
    ("a table of items", lambda item: pd.DataFrame([vars(item)])._repr_html_()),
    ("provenance", lambda item: show.provenance(fake_model(item.question), [item], 0)._repr_html_()),
]
HTML_CASES = [
    Case(kind="HTML in questions", name=name, build=lambda _: None, expected="&lt;") for name, _ in SHOWN
]


def fake_model(name: str) -> Any:
    """What `provenance` looks at."""
    return type("Fake", (), {"name": name, "fingerprint": "0" * 64, "description": {"device": name}})()


@pytest.mark.parametrize("case, page", SHOWN, ids=[row[0] for row in SHOWN])
def test_markup_in_a_question_is_shown_and_not_obeyed(tmp_path, case, page):
    record = {**MMAU, "id": QUESTION, "question": QUESTION, "choices": [QUESTION, "A dog"], "split": QUESTION}
    html = page(from_record(record, tmp_path))
    assert "<img" not in html
    assert "<b>sound" not in html
    assert "&lt;img" in html


def test_the_table_has_every_class_and_at_least_200_distinct_inputs():
    cases = [case for _, case, _ in FILES] + hostile_servers.CASES + HTML_CASES
    assert len(cases) == len({str(case) for case in cases}), "each has a name of its own"
    assert len(cases) >= 200
    counts = Counter(case.kind for case in cases)
    assert set(counts) == {*ASKED_FOR, *FURTHER}
    assert min(counts.values()) >= 3, counts


# ---- the bounds themselves


def test_what_takes_too_long_is_stopped():
    start = time.monotonic()
    with pytest.raises(TooMuch, match="not done after"), within(seconds=0.2):
        time.sleep(5)
    assert time.monotonic() - start < 2


def test_an_alarm_is_not_survived_by_catching_exceptions():
    def stubborn() -> None:
        for _ in range(100):
            try:
                time.sleep(0.1)
            except Exception:
                continue

    with pytest.raises(TooMuch), within(seconds=0.3):
        stubborn()


def test_one_call_into_c_that_takes_too_long_is_reported():
    with pytest.raises(TooMuch), within(seconds=0.2):
        re.search(r"(a+)+b", "a" * 24)


def test_what_takes_too_much_memory_is_reported():
    # in a small process: of a large one the system may take back pages of files meanwhile, which hides the growth
    code = "import numpy, hostile\nwith hostile.within(megabytes=50):\n    numpy.ones(20_000_000).sum()"
    folder = Path(__file__).parent
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert re.search(r"TooMuch: took \d+ MB, and 50 are allowed", result.stderr), result.stderr


def test_memory_is_bounded_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(hostile, "HIGH_WATER", Path("/nowhere/to/write"))
    with pytest.raises(TooMuch, match=r"took \d+ MB"), within(megabytes=5):
        list(range(1_000_000))


# ---- values in messages


VALUES = [
    ("a text", "dog", "'dog'"),
    ("options", [f"o{i}" for i in range(26)], repr([f"o{i}" for i in range(26)])),
    ("a megabyte", "x" * 1_000_000, None),
    ("a million", list(range(1_000_000)), None),
    ("a number of 10,000 digits", 10**3_000, None),
    ("lists in lists", json.loads("[" * 500 + "]" * 500), "[[[[[...]]]]]"),
    ("long texts in a list", ["x" * 1_000] * 100, None),
]


@pytest.mark.parametrize("case, value, text", VALUES, ids=[row[0] for row in VALUES])
def test_a_value_is_shown_whole_or_cut(case, value, text):
    assert short_repr(value) == text if text else "..." in short_repr(value)
    assert len(short_repr(value)) <= MAX_CHARACTERS


def test_names_are_listed_up_to_a_number():
    assert join("abc", 3) == "a, b, c"
    assert join("abcd", 3) == "a, b, c, ..."
    assert join([]) == ""
    assert len(join(["x" * 1_000] * 1_000)) < 2_000


def test_an_id_cannot_move_the_terminals_cursor(tmp_path):
    build = hostile_questions.predictions({"id": "\x1b[2Jq", "response": None})
    assert "\x1b" not in as_text(score(build(tmp_path), n_boot=10))


# ---- inputs that hypothesis makes up


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
some_records = st.fixed_dictionaries({}, optional=dict.fromkeys(MMAU, json_values)).map(
    lambda changes: {**MMAU, **changes}
)
some_options = st.lists(st.text(max_size=12), min_size=1, max_size=8)


def refusal(error: type[Exception], act: Callable[[], Any]) -> Any:
    """What comes of it, or None where it is refused by this error; any other one passes through."""
    try:
        return act()
    except error as refused:
        text = str(refused)
    assert 10 < len(text) < 5_000
    return None


@SOME
@given(record=some_records)
def test_any_record_is_an_item_or_is_refused(tmp_path, record):
    item = refusal(BenchmarkError, lambda: from_record(record, tmp_path))
    if item is not None:
        assert 2 <= len(item.options) <= MAX_OPTIONS
        assert item.clip.is_relative_to(tmp_path.resolve())
        assert item.gold is None or 0 <= item.gold < len(item.options)


@SOME
@given(name=st.text("./\\:~a\u2025\uff0e\0 ", max_size=12))
def test_any_name_of_a_clip_stays_in_its_folder(tmp_path, name):
    item = refusal(BenchmarkError, lambda: from_record({**MMAU, "audio_id": name}, tmp_path))
    assert item is None or item.clip.is_relative_to(tmp_path.resolve())


@SOME
@given(value=json_values)
def test_any_json_is_a_benchmark_or_is_refused(tmp_path, value):
    (tmp_path / "q.json").write_text(json.dumps(value), encoding="utf-8")
    items = refusal(BenchmarkError, lambda: load(tmp_path / "q.json", need_clips=False))
    assert items is None or all(isinstance(item, Item) for item in items)


def edits(text: bytes) -> st.SearchStrategy[bytes]:
    """The text with some of its bytes replaced, left out or doubled."""
    places = st.integers(0, len(text))
    changes = st.tuples(places, places, st.binary(max_size=6))
    return st.lists(changes, min_size=1, max_size=5).map(lambda several: edited(text, several))


def edited(text: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for start, length, new in changes:
        text = text[:start] + new + text[start + length % 9 :]
    return text


@SOME
@given(content=edits(json.dumps([MMAU, {**MMAU, "id": "a2", "answer": None}]).encode()))
def test_a_question_file_with_changed_bytes_is_read_or_refused(tmp_path, content):
    (tmp_path / "q.json").write_bytes(content)
    items = refusal(BenchmarkError, lambda: load(tmp_path / "q.json", need_clips=False))
    assert items is None or len(items) in (1, 2)


@SOME
@given(content=edits((HEADER + ROW).encode()))
def test_a_table_with_changed_bytes_is_read_or_refused(tmp_path, content):
    (tmp_path / "Animal").mkdir(exist_ok=True)
    (tmp_path / "Animal" / "metadata.csv").write_bytes(content)
    items = refusal(BenchmarkError, lambda: load(tmp_path, need_clips=False))
    assert items is None or all(2 <= len(item.options) <= MAX_OPTIONS for item in items)


SOUND = wav(b"\x00\x10" * 4_000)
FLAC = hostile_audio.encoded("FLAC", "PCM_16", hostile_audio.tone(seconds=0.25))


@SOME
@given(content=edits(SOUND[:60]).map(lambda head: head + SOUND[60:]) | edits(FLAC) | st.binary(max_size=100))
def test_changed_bytes_are_heard_as_a_finite_clip_or_refused(tmp_path, content):
    (tmp_path / "clip.wav").write_bytes(content)
    clip = refusal(AudioError, lambda: read_clip(tmp_path / "clip.wav"))
    if clip is not None:
        assert isinstance(clip, Clip)
        assert (clip.samples.dtype, clip.samples.ndim) == (np.float32, 1)
        assert np.abs(clip.samples).max() <= 1, "NaN is not below 1"
        assert 1_500 < len(clip.samples) <= 30 * RATE


spoken = st.text(max_size=40) | st.lists(
    st.sampled_from(
        [*"abcABC().:,\n\"'*?", " ", "dog", "cat", "Answer", "the", "not", "or", "idk", "I don't know"]
    ),
    max_size=15,
).map(" ".join)


@settings(SOME, max_examples=200)
@given(reply=spoken, options=some_options | st.just(["dog", "cat"]))
def test_any_reply_has_one_reading_that_blanks_and_invisible_signs_do_not_change(reply, options):
    reading = read(reply, options)
    assert reading.kind in ("option", "refusal", "unreadable")
    assert (reading.choice is not None) == (reading.kind == "option")
    assert reading.choice is None or 0 <= reading.choice < len(options)
    for same in (reply, f"  {reply}\n", f"\ufeff{reply}", reply.replace("\n", "\r\n")):
        again = read(same, options)
        assert (again.kind, again.choice) == (reading.kind, reading.choice), repr(same)


@settings(SOME, max_examples=100)
@given(reply=spoken)
def test_options_that_swap_places_swap_their_readings_where_no_letter_is_said(reply):
    if re.search(r"\b[a-zA-Z]\b", unicodedata.normalize("NFKC", reply)):  # as the parser sees it: "ª" is an a
        return
    one, other = read(reply, ["dog", "cat"]), read(reply, ["cat", "dog"])
    assert one.kind == other.kind
    assert one.choice is None or one.choice == 1 - other.choice


@settings(SOME, max_examples=25)
@given(replies=st.lists(spoken | st.none(), min_size=1, max_size=8))
def test_any_predictions_have_outcomes_that_add_up_to_the_items(tmp_path, replies):
    records = [
        {**MMAU, "id": str(number), "response": text, "task": ("sound", "speech")[number % 2]}
        for number, text in enumerate(replies)
    ]
    (tmp_path / "p.json").write_text(json.dumps(records), encoding="utf-8")
    if (
        refusal(
            PredictionError, lambda: predictions.table(predictions.records(tmp_path / "p.json"), tmp_path)
        )
        is None
    ):
        return
    report = score(tmp_path / "p.json", n_boot=5)
    for fields in report.values():
        assert sum(fields[outcome] for outcome in Outcome) == fields["n"]
    assert report["overall"]["n"] == len(replies)
    assert json.loads(json.dumps(report, allow_nan=False)) is not None


@pytest.fixture(scope="module")
def server():
    with ChatServer() as started:
        yield started


@pytest.fixture(scope="module")
def model(server):
    loaded = ApiModel(server.address, "tiny", retries=0, check=False)
    yield loaded
    loaded.close()


@SOME
@given(body=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())
       | edits(hostile_servers.GOOD))  # fmt: skip
def test_any_body_is_a_whole_reply_or_a_failed_one(server, model, body):
    server.default = lambda chat: Answer(body=body)
    ((reply,),) = model.generate([hostile_servers.QUESTION])
    assert (reply.finish == "failed") == bool(reply.error)
    assert bool(reply.text.strip()) == (reply.finish != "failed")


@SOME
@given(message=json_values, finish=json_values | st.sampled_from(["stop", "length"]), usage=json_values)
def test_any_choice_is_a_whole_reply_or_a_failed_one(server, model, message, finish, usage):
    choice = {"message": {"content": message}, "finish_reason": finish}
    body = json.dumps({"choices": [choice], "usage": {"completion_tokens": usage}}).encode()
    server.default = lambda chat: Answer(body=body)
    ((reply,),) = model.generate([hostile_servers.QUESTION])
    assert (reply.finish == "failed") == bool(reply.error)
    assert reply.finish == "failed" or reply.text == message
    assert isinstance(reply.n_tokens, int)
