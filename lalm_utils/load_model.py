"""Models by name: "mini", a folder, a hub id, or a model of a server.

In: a name. Out: an object that keeps the protocol of models.py. The only module that knows every backend; each is
imported when a name calls for it.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from lalm_utils.messages import short_repr
from lalm_utils.models import Model, ModelError

MINI = "mini"
API = "openai:"  # then a server's address, "#" and the name of a model there
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load_model(name: str | Path, /, **options: Any) -> Model:
    """The model called `name`: "mini", a folder of a model or of a peft adapter, or a hub id "owner/name".

    `options` go to `TransformersModel` (dtype, device, batch_size, attn, ...; for an adapter also `base`). No
    remote code is run, and only safetensors are read. Raises `ModelError` for a name that is none of these.

    "openai:http://HOST:PORT/v1#MODEL" is a model of an OpenAI-compatible server; `options` go to `ApiModel`
    (revision, concurrency, ...).
    """
    if str(name).startswith(API):
        from lalm_utils.server.api_model import ApiModel  # httpx is loaded for those who need it

        address, model = _server_and_model(str(name))
        parameters = set(inspect.signature(ApiModel).parameters) - {"address", "model", "backoff"}
        if unknown := sorted(set(options) - parameters - {"backoff"}):
            raise ModelError(
                f"{', '.join(unknown)}: a server decides that itself; leave it out, or load a model on this machine. "
                f"The options of a server's model are {', '.join(sorted(parameters))}."
            )
        try:
            return ApiModel(address, model, **options)
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(
                f"an option of {short_repr(options)} has the wrong type ({error}); mend its value."
            ) from error
    folder = folder_of(name) if str(name).strip() else None  # Path("") would be the current folder
    if folder is None and str(name) != MINI and not HUB_ID.fullmatch(str(name)):
        raise ModelError(
            f"there is no model {short_repr(str(name))}: it is not {MINI!r}, not an existing folder, and not a hub "
            "id of the form owner/name. Check the spelling, or give a folder that holds config.json and safetensors."
        )
    import lalm_utils.progress  # noqa: F401, first: it silences a warning that transformers sets off in notebooks
    from lalm_utils.engine.transformers_model import TransformersModel  # torch takes seconds to import

    if str(name) == MINI:
        return TransformersModel(MINI, resolve=resolve, **{"name": MINI} | options)
    return TransformersModel(folder or str(name), resolve=resolve, **options)


def resolve(name: str | Path, *, revision: str | None = None, near: Path | None = None) -> Path:
    """The folder of a model or adapter: "mini", built if need be, a folder, or a hub id, fetched if need be.

    A relative folder is looked for in `near` first. Raises ModelError for a name that is none of these.
    """
    if near and not Path(name).is_absolute() and (folder := folder_of(near / name)):
        return folder
    if str(name) == MINI:
        from lalm_utils.mini.model import mini_dir

        return mini_dir()
    if folder := folder_of(name):
        return folder
    if not HUB_ID.fullmatch(str(name)):
        raise ModelError(
            f"{name}: no such folder, and not a hub id of the form owner/name. Correct the path."
        )
    from lalm_utils.engine import weights

    return weights.fetch(str(name), revision)


def folder_of(name: str | Path) -> Path | None:
    """The folder of that name, its "~" resolved, if there is one."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, or the home of nobody
        return None


def _server_and_model(name: str) -> tuple[str, str]:
    address, _, model = name.removeprefix(API).partition("#")
    if not address.startswith(("http://", "https://")) or not model.strip():
        raise ModelError(
            f"{name!r} is no model of a server: write {API}ADDRESS#MODEL with an http(s) address, as in "
            f"{API}http://localhost:8000/v1#Qwen/Qwen2-Audio-7B-Instruct."
        )
    return address, model
