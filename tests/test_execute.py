"""Executing notebooks: in place, the same bytes each time, and nothing written where a cell fails."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from lalm_utils.cli import execute, quick
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


@pytest.fixture(autouse=True)
def dtype_variable(monkeypatch):
    """The variable that main sets is gone after each test."""
    monkeypatch.setenv("LALM_UTILS_CPU_DTYPE", "bfloat16")
    monkeypatch.delenv("LALM_UTILS_CPU_DTYPE")


@pytest.mark.parametrize("out, dtype", [([], "float32"), (["--out", "copy"], "None")])
def test_what_is_executed_in_place_is_computed_in_float32(tmp_path, monkeypatch, out, dtype):
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "01_a.ipynb", "import os\nprint(os.environ.get('LALM_UTILS_CPU_DTYPE'))")
    assert execute.main(out) == 0
    assert outputs(tmp_path / "copy" / path.name if out else path) == [f"{dtype}\n"]


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
    with pytest.raises(NotebookError, match=r"01_a\.ipynb failed[\s\S]*out of memory; try a smaller N_ITEMS"):
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
    printed, warned, display = normalised.cells[0].outputs
    assert printed.text == "one x.py\n"
    assert warned.text == "<cell>:1: ~/cache\n"
    assert display.data == {"text/plain": "figures", "image/png": "L2hvbWUv"}


def test_a_long_clip_in_an_output_is_tidied_at_once():
    page = "<audio src='data:audio/wav;base64," + "A" * 300_000 + "'/>"
    cell = v4.new_code_cell("x", outputs=[v4.new_output("display_data", data={"text/html": page})])
    start = time.process_time()
    normalised = execute.normalise(v4.new_notebook(cells=[cell]))
    assert time.process_time() - start < 5  # minutes, where every character is tried as the start of a path
    assert normalised.cells[0].outputs[0].data == {"text/html": page}


# ---- the quick size and the full size


def execute_here(path: Path, *, parameters: dict | None = None, out: Path | None = None) -> float:
    """Stands in for `execute.execute`, whose tests are above: the cells run in this process, without a kernel."""
    notebook, names = nbformat.read(path, as_version=4), {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= parameters or {}
            cell.outputs = [v4.new_output("stream", name="stdout", text=printed.getvalue())]
    nbformat.write(notebook, out or path)
    return 60.0


def fail_first(path: Path, **arguments: object) -> float:
    if path.name == "01_b.ipynb":
        raise NotebookError("01_b.ipynb failed; the file is as it was.")
    return execute_here(path, **arguments)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder of notebooks with its quick.yaml, out/ and committed figures; the notebook writes its own figure."""
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(execute, "execute", execute_here)
    monkeypatch.setattr(quick, "OUT", tmp_path / "out")
    monkeypatch.setattr(quick, "COMMITTED", tmp_path / "figures")
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    figure = (
        "import pathlib\nfolder = pathlib.Path(FIGURES, 'trial')\nfolder.mkdir(parents=True)\n"
        "row = f'all,{N_ITEMS},{N_ITEMS - 5},{N_ITEMS + 5},{N_ITEMS}'\n"
        "folder.joinpath('gain.csv').write_text('group,value,low,high,n\\n' + row)"
    )
    path = write(tmp_path / "02_a.ipynb", figure, parameters='N_ITEMS = 300\nFIGURES = "figures"')
    notebook = nbformat.read(path, as_version=4)
    answer = [v4.new_code_cell("print('It helps', end='.')"), v4.new_code_cell("print('In part.')")]
    notebook.cells += [v4.new_markdown_cell("## Answer"), *answer]
    nbformat.write(notebook, path)
    return tmp_path


def headlines(folder: Path, committed: str) -> None:
    (folder / "quick.yaml").write_text(
        '"02": {minutes: 2, parameters: {N_ITEMS: 12}, headline: [{figure: gain, row: {group: all}}]}'
    )
    (folder / "figures").mkdir()
    (folder / "figures" / "gain.csv").write_text(f"group,value,low,high\nall,{committed},0,1\n")


@pytest.mark.parametrize("committed, covers", [("16", "yes"), ("18", "no")])
def test_the_quick_size_is_told_beside_what_is_committed_and_writes_over_nothing(
    committed, covers, house, capsys
):
    headlines(house, committed)
    before = {path: path.read_bytes() for path in [house / "02_a.ipynb", house / "figures" / "gain.csv"]}
    assert quick.main([]) == 0
    assert {path: path.read_bytes() for path in before} == before
    output = capsys.readouterr().out
    assert "1 notebooks into" in output
    assert "about 2 minutes" in output
    assert "02_a.ipynb: {'N_ITEMS': 12}, about 2 min" in output
    assert "02_a.ipynb: 1.0 min, 1 of 1, about 0 min left" in output
    assert "It helps.\nIn part.\n" in output
    assert output.splitlines()[-1].split()[-1] == covers
    assert "12.00 [7.00, 17.00], n = 12" in output


def test_a_notebook_that_fails_is_told_at_the_end_and_the_others_are_executed(house, capsys, monkeypatch):
    headlines(house, "16")
    write(house / "01_b.ipynb", "1", parameters='FIGURES = "figures"')

    monkeypatch.setattr(execute, "execute", fail_first)
    assert quick.main([]) == 1
    output = capsys.readouterr()
    assert "01_b.ipynb failed; the file is as it was." in output.err
    assert "01_b.ipynb: failed, see below" in output.out
    assert "12.00 [7.00, 17.00]" in output.out


def test_two_notebooks_run_at_once_with_a_share_of_the_cores_each(house, capsys, monkeypatch):
    monkeypatch.delenv("LALM_UTILS_THREADS", raising=False)  # as `make test` sets it
    monkeypatch.setattr(quick, "CORES", 4)
    source = (  # each waits for the other
        "import os, pathlib, time\nhere, other = pathlib.Path(FIGURES), pathlib.Path(FIGURES).parent / {other!r}\n"
        "here.mkdir(parents=True)\nlast = time.time() + 300\n"
        "while not other.is_dir() and time.time() < last: time.sleep(0.05)\n"
        "print(other.is_dir(), os.environ['LALM_UTILS_THREADS'])"
    )
    (house / "02_a.ipynb").unlink()
    (house / "quick.yaml").write_text("{}")
    for name, other in (("01", "02"), ("02", "01")):
        write(house / f"{name}_x.ipynb", source.format(other=other), parameters='FIGURES = "figures"')
    assert quick.main(["--jobs", "2"]) == 0
    copies = [nbformat.read(house / "out" / f"{name}_x.ipynb", as_version=4) for name in ("01", "02")]
    assert [copy.cells[-1].outputs[0].text for copy in copies] == ["True 2\n"] * 2


def test_a_notebook_without_an_entry_runs_with_its_own_parameters(house, capsys):
    (house / "quick.yaml").write_text("{}")
    assert quick.main(["--only", "02"]) == 0
    output = capsys.readouterr().out
    assert "02_a.ipynb: its own parameters, no time is known" in output
    assert "all,300" in (house / "out" / "figures" / "02" / "trial" / "gain.csv").read_text()


@pytest.mark.parametrize(
    "text, message",
    [
        ("02: {}", "quote the number"),
        ('"02": {sizes: 3}', "give headline, minutes, parameters only"),
        ("[1]", "write one entry for each notebook"),
        ("{", "not readable as YAML"),
    ],
)
def test_quick_settings_of_another_shape_are_refused(text, message, tmp_path):
    (tmp_path / "quick.yaml").write_text(text)
    with pytest.raises(NotebookError, match=message):
        quick.settings(tmp_path / "quick.yaml")


def test_a_headline_names_exactly_one_row(tmp_path):
    (tmp_path / "gain.csv").write_text("group,value\nall,1\nall,2\n")
    with pytest.raises(NotebookError, match="2 rows have"):
        quick.row_of(tmp_path, {"figure": "gain", "row": {"group": "all"}})
    with pytest.raises(NotebookError, match="0 rows have"):
        quick.row_of(tmp_path, {"figure": "gain", "row": {"grup": "all"}})


def test_the_committed_quick_settings_name_notebooks_parameters_and_rows_that_exist():
    entries = quick.settings(execute.NOTEBOOKS / "quick.yaml")
    for number, entry in entries.items():
        (path,) = execute.find(execute.NOTEBOOKS, number)
        names = execute.parameters_of(nbformat.read(path, as_version=4))
        assert set(entry.get("parameters", {})) <= set(names)
        for headline in entry.get("headline", []):
            row = quick.row_of(quick.COMMITTED, headline)
            assert row is not None
            assert headline.get("value", "value") in row


def test_what_was_executed_from_the_same_code_is_not_executed_again(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "01_a.ipynb", "import time\nprint(time.time())")
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(execute, "execute", execute_here)
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    assert execute.main(["--resume"]) == 0
    first = path.read_bytes()
    assert execute.main(["--resume"]) == 0
    assert path.read_bytes() == first
    assert "0 of 1 notebooks to execute" in capsys.readouterr().out
    path.write_text(path.read_text().replace("N_ITEMS: int = 300", "N_ITEMS: int = 200"))
    assert execute.main(["--resume"]) == 0
    assert "1 of 1 notebooks to execute" in capsys.readouterr().out
    assert path.read_bytes() != first


def test_resuming_takes_no_other_parameters(capsys):
    with pytest.raises(SystemExit):
        execute.main(["--resume", "-p", "N_ITEMS", "3"])
    assert "leave out -p and --out" in capsys.readouterr().err
