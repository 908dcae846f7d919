"""The repository itself: one environment said twice, light imports, a Makefile that repairs itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import lalm_utils

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lalm_utils"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {"torch", "transformers", "peft"}
PLOTTING = {"matplotlib", "seaborn"}
PLOTTERS = {
    "figures.py",
    "faithfulness_figures.py",
    "risk_figures.py",
    "training_figures.py",
    "trust_figures.py",
    "drawing.py",
    "figure_files.py",
}
# What a reader may import to score, tabulate or show results must not wait for a model's libraries.
LIGHT = (
    "items", "benchmarks", "audio", "prompts", "models", "load_model", "parsing", "outcomes", "metrics", "store",
    "paper", "cli.score", "plots.figures", "show", "notebook", "cli.audit", "releases", "mini.benchmark",
    "comparison", "transfer", "verdicts", "tables", "selective", "reply_logs",
)  # fmt: skip
TEXT = {".py", ".toml", ".yml", ".md", ".cff", ".mplstyle", ".csv", ".json", ".ipynb", ""}
LEFT_OUT = {
    ".git",
    ".venv",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    "__pycache__",
    ".ipynb_checkpoints",
    "out",
    "build",
    "dist",
}


@cache
def committed_files() -> list[Path]:
    """The files that git tracks; in a tree without git, all but those that no commit holds."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return [path for name in done.stdout.split("\0") if (path := ROOT / name).is_file()]
    paths = (path for path in ROOT.rglob("*") if not LEFT_OUT & set(path.relative_to(ROOT).parts))
    return [path for path in paths if path.is_file() and "egg-info" not in str(path)]


def requirements() -> dict[str, SpecifierSet]:
    """Name and pin of all that pyproject.toml asks for, its extra `test` included."""
    lines = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"]
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in parsed}


def conda_environment() -> tuple[dict[str, SpecifierSet], list[str]]:
    """Name and pin of all that environment.yml asks for, and its pip lines that are no requirements."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    options = [line for line in pip if line.startswith("-")]
    lines = [entry for entry in entries if isinstance(entry, str)] + [
        line for line in pip if line not in options
    ]
    parsed = [Requirement(re.sub(r"(?<=[\w.-])=(?=\d)", "==", line, count=1)) for line in lines]
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in parsed}, options


def test_conda_and_pip_users_get_the_same_packages():
    conda, _options = conda_environment()
    assert set(conda) - {"python", "pip", "make"} == set(requirements())


@pytest.mark.parametrize("name", sorted(requirements()))
def test_environment_and_pyproject_pin_a_package_alike(name):
    conda, _options = conda_environment()
    assert conda[name] == requirements()[name]


def test_conda_installs_the_package_itself_by_pip():
    assert conda_environment()[1] == ["-e .[test]"]


def test_condas_python_is_one_that_the_package_allows():
    conda, _options = conda_environment()
    (pinned,) = conda["python"]
    lowest = Version(pinned.version.removesuffix(".*"))
    assert lowest in SpecifierSet(PROJECT["project"]["requires-python"])


@pytest.mark.parametrize("name", sorted(requirements()))
def test_what_is_installed_here_is_within_its_pin(name):
    assert requirements()[name].contains(Version(metadata.version(name)).public, prereleases=True)


def lock() -> dict[str, Version]:
    """Name and release of all that requirements.lock fixes."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("name", sorted(requirements()))
def test_the_lock_file_fixes_a_release_that_the_pin_allows(name):
    assert requirements()[name].contains(lock()[name], prereleases=True)


def test_the_lock_file_fits_every_machine():
    assert [name for name, version in lock().items() if version.local] == []
    assert "lalm-utils" not in lock()


def test_the_metadata_names_the_pythons_a_command_and_authors():
    project = PROJECT["project"]
    pythons = {entry.rpartition(" ")[2] for entry in project["classifiers"] if "Python :: 3." in entry}
    assert pythons == {"3.11", "3.12", "3.13"}
    assert all(Version(python) in SpecifierSet(project["requires-python"]) for python in pythons)
    assert project["scripts"] == {"lalm": "lalm_utils.__main__:main"}
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in project["authors"]
    ]
    assert project["urls"]
    assert citation["date-released"]


def test_an_sdist_holds_what_its_tests_need():
    lines = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    included = [word for line in lines if line.startswith("include ") for word in line.split()[1:]]
    folders = {line.split()[1] for line in lines if line.startswith("recursive-include ")}
    assert all((ROOT / name).is_file() for name in included)
    assert {"tests", "notebooks", "figures", ".ci"} <= folders
    assert {"environment.yml", "CITATION.cff", "Makefile", "LOG.md", "requirements.lock"} <= set(included)


def test_the_packages_that_the_project_is_built_on_are_asked_for():
    fixed = {"jupyterlab", "torch", "transformers", "peft", "seaborn", "pandas", "papermill", "nbval"}
    assert fixed <= set(requirements())


def imported(path: Path, *, anywhere: bool = True) -> set[str]:
    """Top-level names of the packages that a module imports, but for what only a type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    unseen = {id(node) for block in checked for node in ast.walk(block)}
    result = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            result |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            result.add(node.module.split(".")[0])
    return result


@pytest.mark.parametrize("folder, extra", [("lalm_utils", False), ("tests", True)])
def test_every_package_that_is_imported_is_asked_for(folder, extra):
    extras = PROJECT["project"]["optional-dependencies"]
    lines = PROJECT["project"]["dependencies"] + extras["tables"] + extras["test"] * extra
    requirements = {canonicalize_name(Requirement(line).name) for line in lines}
    of_package = metadata.packages_distributions()
    own = {path.stem for path in (ROOT / "tests").glob("*.py")} | {"lalm_utils", "tests"}
    missing = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imported(path) - set(sys.stdlib_module_names) - own:
            if not requirements & {canonicalize_name(owner) for owner in of_package.get(name, [name])}:
                missing.setdefault(name, str(path.relative_to(ROOT)))
    assert missing == {}, "add these to pyproject.toml and environment.yml, or do without"


def loaded_by(modules: str, names: set[str]) -> list[str]:
    """Which of `names` a fresh interpreter has loaded after importing `modules`."""
    code = f"import sys, importlib\nfor m in {modules!r}.split(): importlib.import_module(m)\n"
    code += f"print(*sorted({names!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_itself_loads_nothing_heavy():
    assert loaded_by("lalm_utils", HEAVY | PLOTTING | {"numpy", "pandas", "scipy", "IPython"}) == []


def test_measuring_loads_no_models_library():
    assert loaded_by(" ".join(f"lalm_utils.{name}" for name in LIGHT), HEAVY) == []


def test_measuring_without_figures_loads_no_plotting_library():
    measuring = [name for name in LIGHT if name not in ("plots.figures", "show", "notebook")]
    assert loaded_by(" ".join(f"lalm_utils.{name}" for name in measuring), PLOTTING) == []


def test_plotting_libraries_are_imported_by_the_figures_modules_alone():
    plotters = {path.name for path in PACKAGE.rglob("*.py") if imported(path) & PLOTTING}
    assert plotters <= PLOTTERS


def test_every_module_says_what_it_is_for():
    silent = [
        path
        for path in PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert [str(path.relative_to(ROOT)) for path in silent] == []


def test_the_version_is_said_once_and_cited():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert citation["version"] == lalm_utils.__version__


def test_the_citation_names_the_three_papers_and_the_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    cited = {entry["value"] for reference in citation["references"] for entry in reference["identifiers"]}
    assert cited == {"arXiv:2505.19294", "arXiv:2509.22363", "arXiv:2605.20266"}
    assert citation["license"] == PROJECT["project"]["license"] == "Apache-2.0"
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_all_that_the_package_needs_at_run_time_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["lalm_utils"]
    packaged = {path for pattern in patterns for path in PACKAGE.glob(pattern.replace("/**", "/**/*"))}
    needed = {path for path in committed_files() if path.is_relative_to(PACKAGE) and path.suffix != ".py"}
    assert needed <= packaged, "name these under package-data in pyproject.toml"
    assert PACKAGE / "plots" / "figures.mplstyle" in packaged


def test_trained_weights_stay_small():
    weights = [path for path in committed_files() if path.is_relative_to(PACKAGE / "mini" / "weights")]
    assert sum(path.stat().st_size for path in weights) <= 20e6


def test_no_file_names_a_folder_of_one_machine():
    folder = re.compile(r"(?<![\w.~/])/(?:home|Users|root|work|opt|mnt)/\w+")
    result = []
    for path in committed_files():
        if path.suffix in TEXT and path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8", errors="ignore")
            result += [f"{path.relative_to(ROOT)}: {match[0]}" for match in folder.finditer(text)]
    assert result == []


# The Makefile is tried on a stand-in for Python that makes a stand-in for a virtual environment.
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$1 $2" in
  "-c import"*) exit "${TOO_OLD:-0}" ;;
  "-m venv") rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip") [ "$3" = install ] && exit "${BROKEN:-0}" ;;
esac
exit 0
"""


@pytest.fixture
def make(tmp_path):
    """Runs make in a folder that holds the Makefile alone; gives the process and what Python was asked."""
    python = tmp_path / "stand-in"
    python.write_text(STAND_IN)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    place = tmp_path / "a folder"
    place.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        (place / name).write_bytes((ROOT / name).read_bytes())
    log = tmp_path / "log"

    def run(
        target: str, folder: Path = place, **environment: str
    ) -> tuple[subprocess.CompletedProcess, list[str]]:
        log.write_text("")
        done = subprocess.run(
            ["make", target, f"PYTHON={python}"], cwd=folder, capture_output=True, text=True, check=False,
            env=os.environ | {"LOG": str(log)} | environment,
        )  # fmt: skip
        return done, [line.split(" ", 1)[1] for line in log.read_text().splitlines()]

    return run


def test_make_alone_lists_the_targets():
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "publish", "test", "figures", "lint", "clean"):
        assert re.search(rf"^  make {target} +\w+", listed, re.MULTILINE), f"{target} has no description"


@pytest.mark.parametrize(
    "target, module",
    [
        ("run", "lalm_utils.cli.quick"),
        ("publish", "lalm_utils.cli.execute --resume"),
        ("test", "pytest -n 2 --dist loadfile"),
        ("figures", "lalm_utils.plots.redraw"),
    ],
)
def test_a_target_sets_up_once_and_then_runs(make, target, module):
    first, commands = make(target)
    assert first.returncode == 0, first.stderr
    assert commands[1] == "-m venv --clear .venv"
    assert "-m pip install -e .[test]" in commands
    assert commands[-1] == f"-m {module}"
    assert make(target)[1] == [f"-m {module}"]


def test_an_interrupted_set_up_is_taken_up_again(make):
    broken, _asked = make("setup", BROKEN="1")
    assert broken.returncode != 0
    repaired, commands = make("setup")
    assert repaired.returncode == 0
    assert "-m pip install -e .[test]" in commands
    assert "-m venv --clear .venv" not in commands


def test_an_environment_whose_python_is_gone_is_made_anew(make, tmp_path):
    make("setup")
    python = tmp_path / "a folder" / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    done, commands = make("setup")
    assert done.returncode == 0
    assert "-m venv --clear .venv" in commands


def test_a_copied_folder_installs_its_own_package(make, tmp_path):
    make("setup")
    copy = (tmp_path / "a folder").rename(tmp_path / "elsewhere")
    assert "-m pip install -e .[test]" in make("setup", folder=copy)[1]


def test_changed_requirements_are_installed(make, tmp_path):
    make("setup")
    later = (tmp_path / "a folder" / ".venv" / "bin" / "python").stat().st_mtime + 60
    os.utime(tmp_path / "a folder" / "pyproject.toml", (later, later))
    assert "-m pip install -e .[test]" in make("setup")[1]


def test_an_old_python_is_named_with_the_way_out(make, tmp_path):
    done, _asked = make("test", TOO_OLD="1")
    assert done.returncode != 0
    assert "is not Python 3.11 or newer. Install one and name it: make test PYTHON=" in done.stderr
    assert not (tmp_path / "a folder" / ".venv").exists()


def test_continuous_integration_runs_what_everybody_runs():
    script = ROOT / ".ci" / "run"
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "make test"
    assert os.access(script, os.X_OK)


def test_the_tree_in_the_readme_is_the_folders():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.split("    lalm_utils/ ")[1].split("\n    figures/ ")[0]
    columns = [line[:37] for line in block.splitlines()[1:]]
    listed_names = {name.strip() for column in columns for name in column.split(",") if name.strip()}
    names = (path.name.removesuffix(".py") + "/" * path.is_dir() for path in PACKAGE.iterdir())
    assert listed_names == {name for name in names if not name.startswith("__")} - {"releases.json"}


def test_every_test_that_the_readme_of_tests_names_exists():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    names, file = set(), ""
    for result in re.finditer(r"(test_\w+\.py)?::(test_\w+)", text):
        file = result[1] or file  # `::name` alone is a test of the file named before it
        names.add((file, result[2]))
    assert len(names) > 60
    missing = [
        f"{file}::{name}"
        for file, name in sorted(names)
        if f"def {name}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]
    assert missing == []
