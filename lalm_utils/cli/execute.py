"""Execute notebooks in place: `python -m lalm_utils.cli.execute [--only 02] [-p NAME VALUE] [--out DIR] [--resume]`.

In: notebooks/[0-9]*.ipynb, in order. Out: the same files with fresh outputs, free of what differs between
runs and machines: timings, absolute paths, the way streams were cut. In place, CPUs compute in float32 unless
LALM_UTILS_CPU_DTYPE says otherwise. A notebook that fails
keeps its former content, its error is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillException

from lalm_utils.cache import cache_dir

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
INJECTED = "injected-parameters"
# Else each kernel warns of local TCP, and some of the interrupt that ends them, which hides what is told of progress.
QUIET = ["--log-level=50"]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
FAILURES = (PapermillException, CellExecutionError, CellTimeoutError, DeadKernelError)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Tried at the start of a word alone: else the text of a clip, 100,000 characters without a space, takes minutes.
_CELL_FILE = re.compile(r"(?<![^\s\"'])[^\s\"']*ipykernel_\d+[/\\]\d+\.py")


class NotebookError(RuntimeError):
    """A notebook that cannot be found or executed; the message names it, the cell and the error."""


def find(folder: Path, only: str = "") -> list[Path]:
    """The numbered notebooks of `folder` whose names begin with `only`, in order; NotebookError for none."""
    paths = sorted(path for path in folder.glob("[0-9]*.ipynb") if path.name.startswith(only))
    if not paths:
        raise NotebookError(
            f"{folder}: no notebook is named {only or '[0-9]'}*.ipynb; check the folder and --only"
        )
    return paths


def parameters_of(notebook: NotebookNode) -> dict[str, Any]:
    """Names and default values in the `parameters` cells; NotebookError for a value that is no literal."""
    defaults = {}
    for cell in notebook.cells:
        if "parameters" not in cell.metadata.get("tags", []):
            continue
        for statement in ast.parse(cell.source).body:
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            try:
                defaults |= {target.id: ast.literal_eval(statement.value) for target in targets}
            except (AttributeError, ValueError):
                text = ast.unparse(statement)
                raise NotebookError(
                    f"the parameters cell holds {text!r}: write NAME = literal, no more"
                ) from None
    return defaults


def execute(path: Path, *, parameters: Mapping[str, Any] | None = None, out: Path | None = None) -> float:
    """Execute the notebook at `path`, with its folder as the working directory, and write it once it is done.

    parameters: values that replace those of its parameters cell; out: the file to write, by default `path`.
    Returns the seconds it took. Raises NotebookError, and leaves the file as it was, if a cell fails, the kernel
    dies or a parameter is unknown.
    """
    notebook = nbformat.read(path, as_version=4)
    names = parameters_of(notebook)
    unknown = sorted(set(parameters or {}) - set(names))
    if unknown:
        raise NotebookError(
            f"{path.name} has no parameter {', '.join(unknown)}: its parameters are {', '.join(names)}"
        )
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    start = time.monotonic()
    try:
        executed = papermill.execute_notebook(
            notebook, None, dict(parameters or {}), kernel_name=KERNEL["name"], language="python",
            progress_bar=False, cwd=path.resolve().parent, extra_arguments=QUIET,
        )  # fmt: skip
    except FAILURES as error:
        # papermill does not say in which cell a kernel died
        died = isinstance(error, DeadKernelError)
        hint = " Perhaps it ran out of memory; try a smaller N_ITEMS." if died else ""
        raise NotebookError(f"{path.name} failed; the file is as it was.\n{_failure(error)}{hint}") from error
    text = nbformat.writes(normalise(executed))
    (out or path).write_text(text + "\n", encoding="utf-8", newline="\n")
    return time.monotonic() - start


def state(path: Path) -> str:
    """A hash of the notebook at `path` as it stands, of the package's code, and of the embedded weights' files."""
    package = ROOT / "lalm_utils"
    files = sorted([*package.rglob("*.py"), *(package / "mini" / "weights").rglob("*.*")])
    digest = hashlib.sha256()
    for file in [path, *files]:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _finished() -> Path:
    """The folder of empty files called after the states of notebooks that were executed whole, in the user's cache."""
    return cache_dir() / "executed"


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what differs between two runs or two machines. `notebook` itself is changed."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        if INJECTED in cell.metadata.get("tags", []):
            cell.id = f"injected-{number}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code":
            cell.outputs = list(_join_streams(cell.outputs))
    return notebook


def _join_streams(outputs: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    """The outputs, neighbouring pieces of one stream joined, without this machine's paths."""
    last = None
    for output in outputs:
        if output.output_type == "stream":
            output.text = _without_paths(output.text)
            if last is not None and last.output_type == "stream" and last.name == output.name:
                last.text += output.text
                continue
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/") and isinstance(value, str):
                output.data[kind] = _without_paths(value)
        last = output
        yield output


def _without_paths(text: str) -> str:
    """`text` without the repository's root, the home folder as ~, a cell's temporary file as <cell>."""
    text = _CELL_FILE.sub("<cell>", text)
    return text.replace(f"{ROOT}/", "").replace(f"{Path.home()}/", "~/")


def _failure(error: Exception) -> str:
    """The failing cell, its source and the end of its traceback, without colours."""
    source, lines = getattr(error, "source", ""), getattr(error, "traceback", None)
    if not isinstance(lines, list):
        return _COLOUR.sub("", str(error))
    cell = f"cell {error.exec_count}:\n\n    " + source.replace("\n", "\n    ")
    traceback = _COLOUR.sub("", "\n".join(lines)).splitlines()[-25:]
    return f"{cell}\n\n" + "\n".join(traceback or [f"{error.ename}: {error.evalue}"])


def _value(text: str) -> Any:
    """A parameter as typed: a Python literal if it is one, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lalm_utils.cli.execute", description="Execute the notebooks."
    )
    parser.add_argument("--only", default="", metavar="02", help="only notebooks whose names begin like this")
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE")
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write there instead of in place")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="skip what was executed from the same code and weights, in place",
    )
    args = parser.parse_args(arguments)
    if args.resume and (args.parameters or args.out):
        parser.error("--resume executes in place with the notebooks' own parameters: leave out -p and --out")
    parameters = {name: _value(value) for name, value in args.parameters}
    total = 0.0
    if args.out is None:  # what is committed does not depend on which formats this processor is fast in
        os.environ.setdefault("LALM_UTILS_CPU_DTYPE", "float32")
    try:
        paths = find(NOTEBOOKS, args.only)
        if args.resume:
            unfinished = [path for path in paths if not (_finished() / state(path)).exists()]
            print(
                f"{len(unfinished)} of {len(paths)} notebooks to execute at full size, in place: hours on 2 cores. "
                "Stop at any time: replies are kept, and what is finished is not executed again."
            )
            paths = unfinished
        for path in paths:
            out = path if args.out is None else args.out / path.name
            out.parent.mkdir(parents=True, exist_ok=True)
            print(f"{path.name}: executing", flush=True)
            seconds = execute(path, parameters=parameters, out=out)
            total += seconds
            if out == path and not parameters:
                _finished().mkdir(parents=True, exist_ok=True)
                (_finished() / state(path)).touch()
            print(f"{path.name}: {seconds / 60:.1f} min", flush=True)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"all: {total / 60:.1f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
