"""What the embedded benchmark holds, against stored values: moving or renaming code may change none of it.

`mini_golden.json` has a SHA-256 of each split's questions. Of 137 clips, spread over all tasks, levels, novel labels
and reasons, it has the length, eight random projections, and a SHA-256 of the 16-bit samples and of the annotations.
Another processor's vector instructions round some samples the other way (without AVX2, 37 of the 137 clips), so a clip
whose hash differs is compared by its projections: their mean square difference over the length estimates the mean
square difference of the two clips.

After a change that is meant: raise `VERSION`, then `python tests/test_mini_golden.py`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lalm_utils.audio import content_hash
from lalm_utils.cache import sha256_of
from lalm_utils.mini.benchmark import splits
from lalm_utils.mini.benchmark.plan import REASONS, SIZES, PlannedItem, plan, render
from lalm_utils.mini.model import WEIGHTS

GOLDEN = Path(__file__).with_name("mini_golden.json")
TOLERANCE = 1.0  # steps of 16 bits, root mean square
SIGNS = np.random.default_rng(0).integers(0, 2, (8, 97_000)) * 2 - 1
MEANT = "if the change is meant, raise VERSION in the generator and run python tests/test_mini_golden.py"


def questions_of(split: str) -> list[list[Any]]:
    """Every item of the split as it is written, but for its clip, with what training redraws from."""
    items = plan("train", size=600) if split == "train" else plan(split)
    return [[splits.record(item, 0.0), item.spec.wordings, item.spec.pool] for item in items]


def chosen() -> list[PlannedItem]:
    """One item of every task and level of `test`, of every novel task of both splits, of every reason and modality."""
    result: dict[tuple, PlannedItem] = {}
    for split in ("test", "idk", "unanswerable"):
        for item in plan(split):
            if not item.novel and split == "test":
                result.setdefault((item.task, item.level), item)
            elif item.novel:
                result.setdefault((split, item.task, "novel"), item)
            elif item.reason:
                result.setdefault((item.modality, item.reason), item)
    train = plan("train", size=600)
    return [*result.values(), *train[::40]]


def digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def facts_of(item: PlannedItem) -> dict[str, Any]:
    scene = render(item)
    stored = np.clip(np.rint(scene.samples.astype(np.float64) * 32768), -32768, 32767).astype(np.int64)
    annotations = sorted([a.group, a.label, round(a.start, 4), round(a.end, 4)] for a in scene.annotations)
    return {
        "sha256": content_hash(scene.samples),
        "samples": len(stored),
        "projections": (SIGNS[:, : len(stored)] @ stored).tolist(),
        "annotations": digest_of(annotations)[:16],
    }


def distance(facts: dict[str, Any], expected: dict[str, Any]) -> float:
    """Estimated root mean square difference of two clips in steps of 16 bits; infinite between unequal lengths."""
    if facts["sha256"] == expected["sha256"]:
        return 0.0
    if facts["samples"] != expected["samples"]:
        return float("inf")
    gap = np.subtract(facts["projections"], expected["projections"])
    return float(np.sqrt(np.mean(np.square(gap)) / facts["samples"]))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_stored_values_are_those_of_this_version(golden):
    assert golden["version"] == splits.VERSION, "run python tests/test_mini_golden.py"


@pytest.mark.parametrize("split", ["dev", "idk", "test", "unanswerable", "train"])
def test_questions_are_the_stored_ones(golden, split):
    assert digest_of(questions_of(split)) == golden["questions"][split], (
        f"{split} has other questions: {MEANT}"
    )


def test_clips_are_the_stored_ones(golden):
    items = chosen()
    assert [item.id for item in items] == list(golden["clips"])
    assert len(items) >= 130
    assert {item.reason for item in items} == {"", *REASONS}
    result = {item.id: facts_of(item) for item in items}
    far = {id: d for id, facts in result.items() if (d := distance(facts, golden["clips"][id])) > TOLERANCE}
    exact = sum(facts["sha256"] == golden["clips"][id]["sha256"] for id, facts in result.items())
    print(f"{exact} of {len(result)} clips are equal to the bit")
    packages = "; ".join(splits.packages())
    assert not far, f"{len(far)} of {len(result)} clips differ: {far}; {MEANT} (rendered with {packages})"
    other = [id for id, facts in result.items() if facts["annotations"] != golden["clips"][id]["annotations"]]
    assert not other, f"the annotations of {other} differ: {MEANT}"


def test_another_clip_lies_far_outside_the_tolerance_and_a_rounded_sample_inside(golden):
    items = plan("test")[:2]
    first, second = (np.rint(render(item).samples * 32768.0).astype(np.int64)[:16_000] for item in items)
    rounded = first + (np.random.default_rng(1).random(16_000) < 0.05)

    def facts(stored: np.ndarray) -> dict[str, Any]:
        projections = (SIGNS[:, : len(stored)] @ stored).tolist()
        return {"sha256": str(hash(stored.tobytes())), "samples": len(stored), "projections": projections}

    assert distance(facts(rounded), facts(first)) < 0.5
    assert distance(facts(second), facts(first)) > 100
    assert distance(facts(first // 2), facts(first)) > 100
    assert distance(facts(first[:-1]), facts(first)) == float("inf")


def test_the_models_weights_are_the_committed_ones():
    # The first digits name the merged model's folder in the user's cache.
    expected = "bc2e646482fd79ec0af431fabcb1e9d8ee260e7956a92d003d57cfcfe2ca9d0e"
    assert sha256_of(WEIGHTS / "adapter_model.safetensors") == expected


def write(path: Path = GOLDEN) -> None:
    """Store the values of today's generator; refuses to change those of a version."""
    content = {
        "version": splits.VERSION,
        "packages": list(splits.packages()),
        "questions": {split: digest_of(questions_of(split)) for split in (*SIZES, "train")},
        "clips": {item.id: facts_of(item) for item in chosen()},
    }
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["version"] == content["version"] and before != content:
            sys.exit(f"version {before['version']} has other questions or clips; raise VERSION first")
    rows = [f"  {json.dumps(id)}: {json.dumps(facts)}" for id, facts in content.pop("clips").items()]
    head = json.dumps(content, indent=1).removesuffix("\n}")
    path.write_text(f'{head},\n "clips": {{\n' + ",\n".join(rows) + "\n }\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
