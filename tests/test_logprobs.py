"""Options scored through a server: `top_logprobs` of the first token, from a chat server over HTTP."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from chat_server import Answer, completion

from lalm_utils.models import ModelError, Prompt, Turn
from lalm_utils.server import logprobs
from lalm_utils.server.api_model import ApiModel

OPTIONS = ("rain", "dog bark", "wind")


@pytest.fixture
def model(server, monkeypatch):
    monkeypatch.setattr(ApiModel, "probe", lambda self: {})
    loaded = ApiModel(server.address, "tiny", retries=0)
    yield loaded
    loaded.close()


def prompt(text: str = "What is it?", options: tuple[str, ...] = OPTIONS) -> Prompt:
    return Prompt(turns=(Turn(role="user", text=text),), options=options)


def with_top(pairs: dict[str, float]) -> Answer:
    listed = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in pairs.items()]
    answer = json.loads(completion("rain").body)
    answer["choices"][0]["logprobs"] = {"content": [{"token": "rain", "top_logprobs": listed}]}
    return Answer(body=json.dumps(answer).encode())


@pytest.mark.parametrize(
    "case, listed, expected",
    [
        ("a token may stand for an option's begin", {"rain": 0.5, " dog": 0.25, "W": 0.2}, [0.5, 0.25, 0.2]),
        (
            "forms of one begin are added",
            {"rain": 0.5, " Rain": 0.25, "ra": 0.05, "dog": 0.2},
            [0.8, 0.2, 0.05],
        ),
        ("what is not listed has at most the least", {"rain": 0.9, "the": 0.01}, [0.9, 0.01, 0.01]),
        ("a sign may follow", {"rain.": 0.9, "wind": 0.1, "rainy": 0.1}, [0.9, 0.1, 0.1]),
        ("blank tokens begin nothing", {" ": 0.9, "wind": 0.1}, [0.1, 0.1, 0.1]),
    ],
)
def test_an_option_has_what_begins_it(case, listed, expected):
    first = [(token, math.log(p)) for token, p in listed.items()]
    assert np.exp(logprobs.options(first, OPTIONS)) == pytest.approx(expected), case


def test_options_of_one_begin_share_it():
    first = [("getting", math.log(0.6)), ("steady", math.log(0.4))]
    result = logprobs.options(first, ("getting slower", "getting faster", "steady"))
    assert np.exp(result) == pytest.approx([0.3, 0.3, 0.4])


def test_a_server_is_asked_for_one_token_and_its_rivals(server, model):
    server.script("first", [with_top({"rain": 0.7, "dog": 0.2, "wind": 0.1})])
    server.script("second", [with_top({"wind": 0.6, "dog": 0.4})])
    first, second = model.option_logprobs([prompt("first"), prompt("second")])
    assert np.exp(first) == pytest.approx([0.7, 0.2, 0.1])
    assert np.exp(second) == pytest.approx([0.4, 0.4, 0.6])
    (chat,) = server.chats_of("first")
    fields = {name: chat.body[name] for name in ("logprobs", "top_logprobs", "max_tokens", "temperature")}
    assert fields == {"logprobs": True, "top_logprobs": 20, "max_tokens": 1, "temperature": 0.0}


@pytest.mark.parametrize(
    "answer",
    [
        completion("rain"),
        Answer(status=400, body=b'{"error": {"message": "top_logprobs is unknown"}}'),
        with_top({}),
    ],
    ids=["none in the answer", "the field is refused", "an empty list"],
)
def test_a_server_without_them_is_refused_with_the_next_step(server, model, answer):
    server.script("What is it?", [answer])
    with pytest.raises(
        ModelError, match=r"tiny cannot score options: .*top_logprobs.*vLLM and SGLang do; else"
    ):
        model.option_logprobs([prompt()])


def test_what_fails_or_answers_by_letter_costs_its_own_prompt_alone(server, model, caplog):
    server.script("down", [Answer(status=502)])
    server.script("letter", [with_top({"(": 0.9, "B": 0.1})])
    server.script("fine", [with_top({"rain": 1.0})])
    down, letter, fine = model.option_logprobs([prompt("down"), prompt("letter"), prompt("fine")])
    assert np.isnan(down).all()
    assert np.isnan(letter).all()
    assert fine[0] == pytest.approx(0)
    assert "no option begins with a likely token, such as '('" in caplog.text


@pytest.mark.parametrize(
    "listed",
    [None, 3, [None], [{"token": "rain"}], [{"token": 3, "logprob": -1}], [{"token": "rain", "logprob": True}],
     [{"token": "rain", "logprob": math.nan}], [{"token": "rain", "logprob": 1e300}]],
)  # fmt: skip
def test_malformed_lists_are_none(listed):
    assert logprobs.top({"choices": [{"logprobs": {"content": [{"top_logprobs": listed}]}}]}) is None


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"choices": []}, {"choices": [{"logprobs": {"content": []}}]}]
)
def test_answers_without_the_path_are_none(answer):
    assert logprobs.top(answer) is None
