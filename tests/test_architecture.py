"""The import graph of the package, drawn from its code: no circle, no arrow up, four rooms with a door each."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lalm_utils"

# Each room: its modules (with all below them), and the rooms and single modules that it may import beside itself.
# A module of no other room is one of "proper".
ROOMS = {
    "foundation": (("cache", "progress", "messages"), ()),
    "mini": (("mini",), ("foundation",)),
    "proper": ((), ("foundation",)),
    "engine": (("engine",), ("models", "audio", "messages", "progress", "cache")),
    "server": (("server",), ("models", "audio", "messages")),
    "commands": (("cli", "__main__", "mini.training", "mini.train", "mini.acceptance"),
                 ("foundation", "mini", "proper", "engine", "server")),
}  # fmt: skip
# The modules of proper that may reach into another room.
WAYS = {
    "load_model": ("mini", "engine", "server"),
    "benchmarks": ("mini",),
}
# What proper may use of mini, by module.
DOORS = {
    "mini.benchmark": {"ensure", "planned_records", "generator_version", "say"},
    "mini.model": {"mini_dir"},
}


@dataclass(frozen=True, kw_only=True)
class Import:
    """`importer` imports `target`, both modules below the package, and uses these `names` of it."""

    importer: str
    target: str
    names: frozenset[str]


def sources() -> dict[str, str]:
    """The text of every module, by its path below the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def read_imports(sources: Mapping[str, str]) -> list[Import]:
    """All imports of one module of the package by another, those inside functions included."""
    modules = {module_name(path) for path in sources}
    return [found for path, text in sources.items() for found in imports_of(path, ast.parse(text), modules)]


def imports_of(path: str, tree: ast.Module, modules: set[str]) -> Iterator[Import]:
    importer = module_name(path)
    for node in executed_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (target := alias.name.removeprefix("lalm_utils.")) in modules and target != alias.name:
                    yield Import(importer=importer, target=target, names=frozenset())
        elif isinstance(node, ast.ImportFrom) and (base := base_of(node, path)) is not None:
            for alias in node.names:
                target = f"{base}.{alias.name}".lstrip(".")
                if target in modules:
                    yield Import(
                        importer=importer, target=target, names=attributes(tree, alias.asname or alias.name)
                    )
                elif base in modules:
                    yield Import(importer=importer, target=base, names=frozenset({alias.name}))


def executed_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from executed_nodes(child)


def base_of(node: ast.ImportFrom, path: str) -> str | None:
    """What `from ... import` names, below the package: "" for the package itself, None for another package."""
    if node.level:
        folder = path.split("/")[: -node.level]
        return ".".join([*folder, *([node.module] if node.module else [])])
    if node.module == "lalm_utils":
        return ""
    inner = (node.module or "").removeprefix("lalm_utils.")
    return inner if inner != node.module else None


def attributes(tree: ast.Module, name: str) -> frozenset[str]:
    """What the code takes from the module that is called `name` there."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return frozenset(
        node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == name
    )


def room_of(module: str) -> str:
    """The room with the longest name that the module lies under."""
    parts = [(len(part), room) for room, (modules, _) in ROOMS.items() for part in modules
             if f"{module}.".startswith(f"{part}.")]  # fmt: skip
    return max(parts)[1] if parts else "proper"


def arrows_up(imports: list[Import]) -> set[str]:
    """Imports that the table of rooms does not allow."""
    wrong = set()
    for each in imports:
        room, other = room_of(each.importer), room_of(each.target)
        allowed = {room, *ROOMS[room][1], *WAYS.get(each.importer, ())}
        if not {other, each.target} & allowed:
            wrong.add(f"{each.importer} -> {each.target}")
    return wrong


def side_doors(imports: list[Import]) -> set[str]:
    """What proper uses of mini beside its doors."""
    return {
        f"{each.importer} -> {each.target}.{name}"
        for each in imports
        if room_of(each.target) == "mini" and room_of(each.importer) not in ("mini", "commands")
        for name in each.names - DOORS.get(each.target, set())
    }


def circles(imports: list[Import]) -> set[str]:
    """The imports that lie on a circle: their target leads back to their importer."""
    targets: dict[str, set[str]] = {}
    for each in imports:
        targets.setdefault(each.importer, set()).add(each.target)
    return {f"{i} -> {t}" for i, direct in targets.items() for t in direct if i in reachable(t, targets)}


def reachable(start: str, targets: Mapping[str, set[str]]) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += targets.get(module, ())
    return seen


# ---- the package


@pytest.fixture(scope="module")
def package_imports() -> list[Import]:
    return read_imports(sources())


@pytest.mark.parametrize("violations", [arrows_up, side_doors, circles])
def test_the_package_keeps_its_architecture(package_imports, violations):
    assert violations(package_imports) == set()


def test_every_room_of_the_table_holds_modules():
    rooms = {room_of(module_name(path)) for path in sources()}
    assert rooms == set(ROOMS)


# ---- each kind of violation is seen, on trees of a few modules

WRONG = [
    ("proper to commands", {"store.py": "from lalm_utils.cli.run import main", "cli/run.py": ""},
     arrows_up, "store -> cli.run"),
    ("inside a function", {"store.py": "def f():\n    from lalm_utils import engine", "engine/__init__.py": ""},
     arrows_up, "store -> engine"),
    ("a plain import", {"store.py": "import lalm_utils.server.chat", "server/chat.py": ""},
     arrows_up, "store -> server.chat"),
    ("benchmarks to the engine", {"benchmarks.py": "from lalm_utils.engine import loading", "engine/loading.py": ""},
     arrows_up, "benchmarks -> engine.loading"),
    ("engine to another of proper", {"engine/loading.py": "from lalm_utils.items import Item", "items.py": ""},
     arrows_up, "engine.loading -> items"),
    ("server to engine", {"server/chat.py": "from ..engine import loading", "engine/loading.py": ""},
     arrows_up, "server.chat -> engine.loading"),
    ("foundation to proper", {"cache.py": "from . import items", "items.py": ""}, arrows_up, "cache -> items"),
    ("finetuning to engine", {"finetuning/lora.py": "from lalm_utils.engine import cache", "engine/cache.py": ""},
     arrows_up, "finetuning.lora -> engine.cache"),
    ("mini to proper", {"mini/benchmark/__init__.py": "from ...audio import RATE", "audio.py": ""},
     arrows_up, "mini.benchmark -> audio"),
    ("mini to its training", {"mini/model/base.py": "from ..training import card", "mini/training/card.py": ""},
     arrows_up, "mini.model.base -> mini.training.card"),
    ("mini past its doors", {"benchmarks.py": "from lalm_utils.mini import benchmark as b\nb.ensure, b.plan",
     "mini/benchmark.py": ""}, side_doors, "benchmarks -> mini.benchmark.plan"),
    ("an inner module of mini", {"benchmarks.py": "from lalm_utils.mini.plan import plan", "mini/plan.py": ""},
     side_doors, "benchmarks -> mini.plan.plan"),
    ("a circle of three", {"a.py": "from lalm_utils import b", "b.py": "from lalm_utils.c import x",
     "c.py": "def f():\n    import lalm_utils.a"}, circles, "c -> a"),
]  # fmt: skip
RIGHT = {
    "benchmarks.py": "from lalm_utils.mini import benchmark\nbenchmark.ensure('dev')",
    "load_model.py": "def f():\n    from .engine import loading\n    from lalm_utils.mini.model import mini_dir",
    "items.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lalm_utils.cli import run",
    "engine/loading.py": "import torch\nfrom lalm_utils.models import Prompt\nfrom . import batches",
    "mini/benchmark/__init__.py": "from lalm_utils.cache import build_once\nfrom .plan import plan",
    "mini/training/card.py": "from lalm_utils.engine import loading\nfrom lalm_utils import metrics",
    "cli/run.py": "from lalm_utils import items\nfrom lalm_utils.mini.benchmark.plan import plan",
    **dict.fromkeys(("models.py", "cache.py", "metrics.py"), ""),
    **dict.fromkeys(("engine/batches.py", "mini/model.py", "mini/benchmark/plan.py"), ""),
}  # fmt: skip


@pytest.mark.parametrize("case, tree, violations, found", WRONG, ids=[row[0] for row in WRONG])
def test_a_violation_is_found(case, tree, violations, found):
    assert found in violations(read_imports(tree)), case


@pytest.mark.parametrize("violations", [arrows_up, side_doors, circles])
def test_what_is_allowed_is_no_violation(violations):
    assert violations(read_imports(RIGHT)) == set()
