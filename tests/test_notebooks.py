"""Notebooks, found by glob so that none can escape: their shape, their README line, and that they run.

Each is executed by papermill, as a copy on few items, and its cells marked `# NBVAL_CHECK_OUTPUT` are compared with
what is committed; what such a cell shows must not depend on N_ITEMS or FIGURES. nbval, which reads the same mark, would
execute every notebook a second time: that it passes is tested on the first.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

from lalm_utils.cli import execute

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SH_BENCH = ROOT.parent / "shared" / "sh_bench"  # released replies of real models
SAKURA = ROOT.parent / "shared" / "sakura"  # real recordings; no licence to hand them on
COMMON = {"MODEL": str, "BENCHMARK": str, "N_ITEMS": int, "SEED": int, "FIGURES": str}
FEW = 6
TRAINING = {"sampled": 6, "questions": 6, "dev": 6, "seeds": 1, "rates": [3e-4], "ks": [3], "epochs": [1]}
SMALL = {
    "N_ITEMS": FEW,
    "N_CHAINS": 3,
    "N_LONG": 9,
    "N_UNANSWERABLE": 8,
    "N_DEV": 6,
    "TRAINING": TRAINING,
}  # those that a notebook has
BALANCED = {"TRAINING": TRAINING | {"questions": 12}}  # of six, no modality has a known and an unknown one
FEWER = {  # sizes of single notebooks
    "06_transfer_analysis.ipynb": BALANCED,
    "07_paper_side_by_side.ipynb": BALANCED,
    "11_speed_and_cost.ipynb": {"N_ITEMS": 2},  # it asks one by one, too, which takes minutes
}
MOST_PARAMETERS, LONGEST_SENTENCE = 6, 35  # words
SAME_ADAPTERS = ("06_transfer_analysis.ipynb", "07_paper_side_by_side.ipynb")
MARKED = "NBVAL_CHECK_OUTPUT"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Those set up by one call keep the rules of the rework; the others follow one by one, as they are executed anew.
REWORKED = [path for path in NOTEBOOKS if "notebook.setup(" in path.read_text(encoding="utf-8")]
each_reworked = pytest.mark.parametrize("path", REWORKED, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code" and cell.source.strip()]


def lines_of(cell: nbformat.NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def headings(path: Path) -> list[str]:
    """The notebook's headings in order, `#` signs included; code fences hold none."""
    prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return re.findall(r"^#+ .*$", re.sub(r"```.*?```", "", prose, flags=re.DOTALL), re.MULTILINE)


def text_of_outputs(path: Path) -> str:
    """All text of all outputs; pictures and sounds are left out."""
    parts = []
    for output in [output for cell in code_cells(path) for output in cell.outputs]:
        parts.append(output.get("text", ""))
        parts += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return re.sub(r"base64,[^\"']*", "", "\n".join(parts))


def marked_outputs(path: Path) -> dict[str, list[str]]:
    """The texts that each marked cell shows, by its source."""
    return {
        cell.source: [output.get("text") or output.data["text/plain"] for output in cell.outputs]
        for cell in code_cells(path)
        if MARKED in cell.source
    }


def sentences(path: Path) -> list[str]:
    """The sentences of the notebook's prose, without formulas, code, tables and headings."""
    prose = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    prose = re.sub(r"\$\$.*?\$\$|```.*?```", ".", prose, flags=re.DOTALL)
    prose = re.sub(r"^\s*([#|].*|[-*] |\d+\. )", "\n\n", prose, flags=re.MULTILINE)
    parts = [
        part for paragraph in prose.split("\n\n") for part in re.split(r"(?<=[.?!])[\s*)\"]+", paragraph)
    ]
    return [part.strip() for part in parts if part.strip()]


def small(path: Path) -> dict[str, int]:
    """Small values of the notebook's own parameters."""
    sizes = SMALL | FEWER.get(path.name, {})
    return {name: value for name, value in sizes.items() if name in execute.parameters_of(read(path))}


def run(path: Path, folder: Path, **parameters: object) -> Path:
    """Execute a copy into `folder`, figures included; returns the copy."""
    copy = folder / path.name
    execute.execute(path, parameters={"FIGURES": str(folder / "figures"), **parameters}, out=copy)
    return copy


def test_there_are_notebooks_to_test():
    assert NOTEBOOKS, "notebooks/ holds no NN_name.ipynb, so no other test of this file tests anything"


@each_notebook
def test_a_notebook_begins_with_its_question(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# [^\n]+\?\s*(\n|$)", first.source), "the first line is not `# a question?`"
    assert [line for line in headings(path) if line.startswith("# ")] == headings(path)[:1], (
        "more than one H1"
    )


@each_notebook
def test_a_notebook_ends_with_its_answer(path):
    assert headings(path)[-1] == "## Answer"
    cells = read(path).cells
    (start,) = (n for n, cell in enumerate(cells) if re.search(r"^## Answer$", cell.source, re.MULTILINE))
    answer = [cell for cell in cells[start:] if cell.cell_type == "code"]
    assert any(cell.outputs for cell in answer), "the answer shows neither a table nor a figure"


@each_notebook
def test_a_notebook_has_one_cell_of_parameters(path):
    tags = [tag for cell in read(path).cells for tag in cell.metadata.get("tags", [])]
    assert tags.count("parameters") == 1
    assert execute.INJECTED not in tags, "committed with other parameters than its own: run `make publish`"
    defaults = execute.parameters_of(read(path))
    assert {name: type(defaults.get(name)) for name in COMMON} == COMMON
    assert (defaults["MODEL"], defaults["BENCHMARK"]) == ("mini", "mini")
    most = MOST_PARAMETERS if path in REWORKED else 13
    assert len(defaults) <= most, "settings of one experiment belong into a cell of their own"


@each_reworked
def test_a_notebook_is_set_up_by_one_call(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    assert source.count("notebook.setup(") == 1
    assert not re.search(r"\b(load_model|default_store|figure_files\.save)\b", source)


@each_reworked
def test_no_value_of_a_parameter_changes_another(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    assert not re.search(r"\bif N_ITEMS\b|\bN_ITEMS\s*[<>]", source)


@each_reworked
def test_a_notebook_shows_no_picture_twice(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(set(pictures))


@each_reworked
def test_a_notebook_states_its_finding_from_an_interval(path):
    cells = read(path).cells
    (start,) = (n for n, cell in enumerate(cells) if re.search(r"^## Answer$", cell.source, re.MULTILINE))
    assert "verdicts." in "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "code")


@each_reworked
def test_no_sentence_of_a_notebook_is_too_long(path):
    assert [text for text in sentences(path) if len(text.split()) > LONGEST_SENTENCE] == []


def test_the_side_by_side_trains_the_adapters_of_the_transfer_analysis():
    # Else it would not find them in the cache, and the two notebooks would tell of different adapters.
    transfer, beside = (execute.parameters_of(read(ROOT / "notebooks" / name)) for name in SAME_ADAPTERS)
    assert beside == transfer


@each_notebook
def test_a_notebook_is_committed_executed_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make publish`"
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds


@each_notebook
def test_a_notebook_holds_nothing_of_the_machine_that_ran_it(path):
    text = text_of_outputs(path)
    assert re.findall(r"(?<![\w.~/])/(?:home|Users|root|tmp|work|opt|mnt|var)/\S*", text) == []
    assert re.findall(r"\bat 0x[0-9a-f]{6,}", text) == []
    assert set(read(path).metadata) == {"kernelspec", "language_info"}


@each_notebook
def test_a_notebook_is_more_prose_than_code(path):
    prose = " ".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    words = len(re.findall(r"\w+", re.sub(r"```.*?```", "", prose, flags=re.DOTALL)))
    lines = [lines_of(cell) for cell in code_cells(path)]
    assert max(lines) <= 25
    assert statistics.median(lines) <= 6
    assert words >= 4 * sum(lines), f"{words} words of prose for {sum(lines)} lines of code"


@each_notebook
def test_a_notebook_defines_at_most_one_short_function(path):
    trees = [
        ast.parse(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE)) for cell in code_cells(path)
    ]
    defined = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert len(defined) <= 1
    assert all(node.end_lineno - node.lineno < 10 for node in defined)


@each_notebook
def test_a_notebook_is_small_and_holds_few_players(path):
    players = sum(
        "<audio" in str(output.get("data", {})) for cell in code_cells(path) for output in cell.outputs
    )
    assert players <= 3
    assert path.stat().st_size < (1e6 if path in REWORKED else 3e6)


@each_notebook
def test_the_readme_lists_a_notebook_with_its_question(path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    question = headings(path)[0].removeprefix("# ").strip()
    (line, *_) = [
        line for line in readme.splitlines() if f"notebooks/{path.name}" in line and question in line
    ] or [""]
    assert line, f"no line of README.md links notebooks/{path.name} and says {question!r}"


@each_notebook
def test_a_notebook_marks_what_must_stay(path):
    assert marked_outputs(path), f"no cell is marked # {MARKED}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_notebook
def test_a_notebook_runs_on_few_items_and_shows_what_is_committed(path, tmp_path):
    before = path.read_bytes()
    copy = run(path, tmp_path, **small(path))
    assert path.read_bytes() == before
    assert all(cell.execution_count for cell in code_cells(copy))
    assert marked_outputs(copy) == marked_outputs(path)
    figures = {file.relative_to(tmp_path / "figures") for file in (tmp_path / "figures").rglob("*.*")}
    assert figures, "it draws no figure into FIGURES"
    for file in figures:
        assert {file.with_suffix(kind) for kind in (".csv", ".svg", ".png")} <= figures


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nbval_passes_on_the_first_notebook(tmp_path):
    path = NOTEBOOKS[0]
    parameters = {"FIGURES": str(tmp_path / "figures")} | small(path)
    papermill.execute_notebook(path, tmp_path / path.name, parameters, prepare_only=True, progress_bar=False)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-c", "pytest.ini", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", "-q"]
    command = [sys.executable, "-m", "pytest", *options, path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not SAKURA.is_dir(), reason="SAKURA's recordings are not at ../shared/sakura")
def test_a_notebook_runs_on_real_recordings(tmp_path):
    (path,) = (path for path in NOTEBOOKS if path.name.startswith("02_"))
    copy = run(path, tmp_path, **small(path) | {"BENCHMARK": str(SAKURA), "N_ITEMS": 8})
    assert "sakura" in text_of_outputs(copy).lower()
    assert list((tmp_path / "figures").rglob("*.csv"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not SH_BENCH.is_dir(), reason="SH-Bench's released replies are not at ../shared/sh_bench")
def test_the_committed_tables_of_real_models_are_those_of_the_released_files(tmp_path):
    (path,) = (path for path in NOTEBOOKS if path.name.startswith("12_"))
    run(path, tmp_path, REPLIES=str(SH_BENCH), N_ITEMS=FEW)
    for name in ("real_models_gain.csv", "real_models_risk.csv"):
        (found,) = (tmp_path / "figures").rglob(name)
        pd.testing.assert_frame_equal(pd.read_csv(found), pd.read_csv(ROOT / "figures" / name), rtol=1e-6)
