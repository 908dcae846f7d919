"""Executing notebooks: in place, the same bytes each time, and nothing written where a cell fails."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from lalm_utils.cli import execute
from lalm_utils.cli.execute import NotebookError

PARAMETERS = 'MODEL = "mini"\nN_ITEMS: int = 300  # how many\nSHARES = [0.5, -1]'


def write(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    cells = [
        v4.new_markdown_cell("# Does it run?"),
        v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
    ]
    notebook = v4.new_notebook(cells=cells + [v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, path)
    return path


def outputs(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [
        output.get("text") or output.data["text/plain"]
        for cell in cells
        for output in cell.get("outputs", [])
    ]


def test_a_notebook_is_executed_in_place_to_the_same_bytes_each_time(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "import os\nprint(N_ITEMS, end=' ')\nprint(os.getcwd())", "1 + 1")
    assert 0 < execute.execute(path) < 60
    first = path.read_bytes()
    execute.execute(path)
    assert path.read_bytes() == first
    assert outputs(path) == [f"300 {tmp_path}\n", "2"]
    counts = [
        cell.execution_count for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"
    ]
    assert counts == [1, 2, 3]


def test_parameters_go_to_a_copy_and_are_gone_in_the_next_plain_run(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "(MODEL, N_ITEMS)")
    before = path.read_bytes()
    copy = tmp_path / "copy.ipynb"
    execute.execute(path, parameters={"N_ITEMS": 12}, out=copy)
    assert path.read_bytes() == before
    assert outputs(copy) == ["('mini', 12)"]
    execute.execute(copy)
    assert outputs(copy) == ["('mini', 300)"]


def test_a_failing_cell_is_shown_and_the_file_stays_as_it_was(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "01_a.ipynb", "x = 1", "raise ValueError(f'broken {x}')", "never = 1")
    before = path.read_bytes()
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    assert execute.main([]) == 1
    message = capsys.readouterr().err
    assert "01_a.ipynb failed; the file is as it was." in message
    assert "raise ValueError(f'broken {x}')" in message
    assert "ValueError: broken 1" in message
    assert path.read_bytes() == before


def test_a_kernel_that_dies_is_an_error_and_no_result(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "import os\nos._exit(3)")
    before = path.read_bytes()
    with pytest.raises(NotebookError, match=r"01_a\.ipynb failed"):
        execute.execute(path)
    assert path.read_bytes() == before


def test_the_command_executes_the_chosen_ones_in_order_and_says_the_minutes(tmp_path, monkeypatch, capsys):
    for name in ("02_c", "10_d", "02_b", "draft"):
        write(tmp_path / f"{name}.ipynb", "(MODEL, SHARES)")
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    out = tmp_path / "out"
    assert (
        execute.main(["--only", "02", "-p", "MODEL", "tiny", "-p", "SHARES", "[1]", "--out", str(out)]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[::2]] == ["02_b.ipynb", "02_c.ipynb", "all"]
    assert lines[1].endswith(" min")
    assert [path.name for path in sorted(out.iterdir())] == ["02_b.ipynb", "02_c.ipynb"]
    assert outputs(out / "02_b.ipynb") == ["('tiny', [1])"]


def test_notebooks_that_are_not_there_are_an_error(tmp_path, monkeypatch, capsys):
    write(tmp_path / "01_a.ipynb")
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    assert execute.main(["--only", "07"]) == 1
    assert "no notebook is named 07*.ipynb; check the folder and --only" in capsys.readouterr().err


def test_an_unknown_parameter_is_refused_with_the_known_ones(tmp_path):
    path = write(tmp_path / "01_a.ipynb")
    with pytest.raises(NotebookError, match="no parameter N_ITEM: its parameters are MODEL, N_ITEMS, SHARES"):
        execute.execute(path, parameters={"N_ITEM": 3})


@pytest.mark.parametrize(
    "case, source",
    [
        ("a call", "N_ITEMS = int('3')"),
        ("an import", "import os"),
        ("an unpacking", "A, B = 1, 2"),
        ("an expression", "1 + x"),
        ("a declaration without a value", "N_ITEMS: int"),
    ],
)
def test_parameters_are_literals(case, source, tmp_path):
    path = write(tmp_path / "01_a.ipynb", parameters=source)
    with pytest.raises(NotebookError, match=r"the parameters cell holds .* write NAME = literal, no more"):
        execute.parameters_of(nbformat.read(path, as_version=4))


def test_tidying_takes_out_what_differs_between_runs_and_machines():
    stream = [
        v4.new_output("stream", name="stdout", text=text) for text in ("one ", f"{execute.ROOT}/x.py\n")
    ]
    warning = v4.new_output(
        "stream", name="stderr", text=f"/tmp/ipykernel_77/123.py:1: {Path.home()}/cache\n"
    )
    table = v4.new_output(
        "display_data", data={"text/plain": f"{execute.ROOT}/figures", "image/png": "L2hvbWUv"}
    )
    cell = v4.new_code_cell(
        "x", outputs=[*stream, warning, table], metadata={"tags": [], "papermill": {"duration": 1}}
    )
    cell.metadata["execution"] = {"iopub.execute_input": "2020-01-01"}
    notebook = v4.new_notebook(
        cells=[cell], metadata={"papermill": {"output_path": "out.ipynb"}, "widgets": {}}
    )
    normalised = execute.normalise(notebook)
    assert set(normalised.metadata) == {"kernelspec", "language_info"}
    assert normalised.cells[0].metadata == {}
    printed, warned, shown = normalised.cells[0].outputs
    assert printed.text == "one x.py\n"
    assert warned.text == "<cell>:1: ~/cache\n"
    assert shown.data == {"text/plain": "figures", "image/png": "L2hvbWUv"}


def test_a_long_clip_in_an_output_is_tidied_at_once():
    page = "<audio src='data:audio/wav;base64," + "A" * 300_000 + "'/>"
    cell = v4.new_code_cell("x", outputs=[v4.new_output("display_data", data={"text/html": page})])
    start = time.process_time()
    normalised = execute.normalise(v4.new_notebook(cells=[cell]))
    assert time.process_time() - start < 5  # minutes, where every character is tried as the start of a path
    assert normalised.cells[0].outputs[0].data == {"text/html": page}
