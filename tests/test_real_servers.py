"""The embedded model behind real servers, reply for reply; skipped where none is installed.

A server may live in another environment than the tests: LALM_UTILS_VLLM and LALM_UTILS_TRANSFORMERS_SERVE name the
commands (`/path/to/vllm`, `/path/to/transformers`). Without them those on the path are taken, `transformers` only if
what its server needs is installed (`pip install 'transformers[serving]'`).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import pytest
from scipy.special import log_softmax

from lalm_utils import faithfulness, runs
from lalm_utils.benchmarks import load
from lalm_utils.load_model import load_model
from lalm_utils.mini.model import mini_dir, servable
from lalm_utils.server import logprobs
from lalm_utils.store import Store

START = 600  # seconds that a server may take to load the model
SERVING = all(find_spec(name) for name in ("fastapi", "uvicorn", "openai"))
COMMANDS = {
    "vllm": os.environ.get("LALM_UTILS_VLLM") or shutil.which("vllm"),
    "transformers": os.environ.get("LALM_UTILS_TRANSFORMERS_SERVE")
    or (SERVING and shutil.which("transformers")),
}
ARGUMENTS = {
    "vllm": ["serve", "{model}", "--port", "{port}", "--dtype", "float32", "--max-model-len", "2048"],
    "transformers": ["serve", "{model}", "--port", "{port}", "--dtype", "float32", "--device", "cpu"],
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", params=["vllm", "transformers"])
def server(request, tmp_path_factory):
    """Address and model's name of a server of the embedded model that answers."""
    tmp_path = tmp_path_factory.mktemp(request.param)
    command = COMMANDS[request.param]
    if not command:
        pytest.skip(f"no server of {request.param} is installed, and no variable names one")
    model = str(servable.write(tmp_path / "copy") if request.param == "vllm" else mini_dir())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [text.format(model=model, port=port) for text in ARGUMENTS[request.param]]
    log = tmp_path / "server.log"
    # its own folder: where a file of the checkout shadows a package, the server would import that
    with log.open("w") as output:
        process = subprocess.Popen([command, *arguments], stdout=output, stderr=output, cwd=tmp_path)
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", process, log)
        yield f"http://127.0.0.1:{port}/v1", model
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    last = time.monotonic() + START
    while time.monotonic() < last and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    pytest.fail(f"the server did not come up (exit status {process.poll()}):\n{log.read_text()[-3000:]}")


@pytest.fixture
def items():
    return load("mini", split="dev", n=12, seed=0)


def test_a_server_of_the_embedded_model_replies_as_the_model_does_here(server, items, tmp_path):
    address, name = server
    with Store(tmp_path / "replies.sqlite") as store:
        here, there = (
            [
                runs.ask(load_model(model, **options), items, method, store=store)["reply"].tolist()
                for method in ("plain", "idk")
            ]
            for model, options in (("mini", {"dtype": "float32"}), (f"openai:{address}#{name}", {}))
        )
    assert there == here


def test_vllm_goes_on_with_a_chain_and_scores_options_by_the_first_token_behind_it(server, items):
    address, name = server
    if "vllm" not in name:
        pytest.skip("transformers serve knows neither")
    prompts = [faithfulness.forced_answer_prompt(item, "I listen to the clip.") for item in items]
    here = load_model("mini", dtype="float32")
    there = load_model(f"openai:{address}#{name}", continues=True)
    replies = [[reply.text for (reply,) in model.generate(prompts)] for model in (here, there)]
    assert replies[1] == replies[0]
    expected = []
    for prompt, nats in zip(prompts, log_softmax(here.first_logits(prompts), axis=-1)):
        likely = [(here.processor.tokenizer.decode([i]), nats[i]) for i in np.argsort(-nats)[: logprobs.MOST]]
        expected.append(logprobs.options(likely, prompt.options))
    np.testing.assert_allclose(
        np.concatenate(there.option_logprobs(prompts)), np.concatenate(expected), atol=1e-3
    )
