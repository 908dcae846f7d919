"""Ways to decline compared at one share of refusals, and what a model withholds of what it demonstrably heard.

In: released replies of SH-Bench (arXiv 2512.06380, reply_logs.py) with the probabilities of the options. Out: an
outcome table for each model and prompt (`load`), and tidy rows for a page. The curve itself is in risk_coverage.py.

A *forced answer* is the most probable option of those that do not decline; its probability is the confidence. The
threshold refuses the least confident forced answers, as many as the model declines when an option permits it, so that
both ways keep the same answers and differ only in which of them they give up. What is declined is the parser's verdict.

Prompts, by file name: "basicnoidk" without and "basic" with an option that declines; "selective" has that option and
says to heed the main speaker alone, to protect a bystander's privacy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lalm_utils import benchmarks, bootstrap, metrics, outcomes, reply_logs, risk_coverage

__all__ = [
    "ANSWERED", "compare_with_threshold", "digest", "excess_at_share", "load", "operating_point", "refusal_share",
    "rows", "withholding_counts",
]  # fmt: skip
FREE, PERMISSIVE, SELECTIVE = "basicnoidk", "basic", "selective"
ANSWERED = (
    "answered without it"  # the group of questions that the model did not decline when it had no such option
)
SPEAKER, RECORDING = "category", "task"  # columns of outcome tables: main or bystander, real or synth
FILES = {
    "Qwen2.5-Omni-7B": "qwen25omni", "Qwen2.5-Omni-3B": "qwen25omni3B", "Step-Audio-2-mini": "stepaudio",
    "Qwen2.5-Omni-7B + BPFT": "train_qwen25omni",
}  # fmt: skip
Runs = Mapping[tuple[str, str], pd.DataFrame]


def load(folder: str | Path) -> dict[tuple[str, str], pd.DataFrame]:
    """The outcome table of each (model, prompt) whose file is in `folder`, with the columns path, forced_correct
    and confidence. Raises BenchmarkError as reply_logs.read does, FileNotFoundError if there is no file at all.
    """
    runs = {}
    for (model, stem), prompt in product(FILES.items(), (FREE, PERMISSIVE, SELECTIVE)):
        for path in sorted(Path(folder).glob(f"{stem}_{prompt}_qa.json*"))[:1]:
            predictions = reply_logs.read(path).predictions
            items, replies = [each.item for each in predictions], [each.reply for each in predictions]
            table = outcomes.table(items, replies, model=model, method=prompt, seed=0)
            forced_answers = pd.DataFrame([_forced_answer(each) for each in predictions])
            runs[model, prompt] = table.assign(path=str(path), **forced_answers)
    if not runs:
        raise FileNotFoundError(
            f"{folder}: no file such as qwen25omni_basic_qa.json; give SH-Bench's results/"
        )
    return runs


def digest(path: str | Path) -> str:
    """SHA-256 of a file's content, unpacked where it is gzipped."""
    content = Path(path).read_bytes()
    is_gzipped = content.startswith(benchmarks.GZIP)
    return hashlib.sha256(benchmarks.gunzip(content, Path(path)) if is_gzipped else content).hexdigest()


def _forced_answer(prediction: reply_logs.Prediction) -> dict[str, float]:
    probabilities = np.array(prediction.probabilities or [np.nan] * len(prediction.item.options), dtype=float)
    if prediction.item.declining is not None:
        probabilities[prediction.item.declining] = np.nan
    if np.isnan(probabilities).all():
        return {"forced_correct": np.nan, "confidence": np.nan}
    choice = int(np.nanargmax(probabilities))
    right = prediction.item.options[choice] == prediction.item.options[prediction.item.gold]
    return {"forced_correct": float(right), "confidence": float(probabilities[choice])}


# ---- methods


def refusal_share(confidence: np.ndarray, refusals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each item is refused by a threshold that refuses as many as were declined [shape=(n_boot, n)].

    weights: how often each item is drawn; the threshold is set anew in each resample. Ties go by the items' order.
    """
    order = np.argsort(confidence, kind="stable")
    counts = weights[:, order]
    share = np.empty_like(weights)
    share[:, order] = np.clip((weights @ refusals)[:, None] - (counts.cumsum(1) - counts), 0, counts)
    return share


def compare_with_threshold(
    table: pd.DataFrame, refusals: np.ndarray, *, n_boot: int = 2000, seed: int = 0
) -> list[dict]:
    """Youden's J and the error among the answered, of the option and of a threshold at its share, and differences.

    table: item, forced_correct, confidence; refusals: bool per row. Rows of bootstrap.row, paired by item.
    """
    right = table["forced_correct"].to_numpy(int)
    ones = np.ones((1, len(table)), int)
    resamples = bootstrap.weights(["all"] * len(table), n_boot=n_boot, seed=seed)
    values = {}
    for weights in (ones, resamples):
        ways = {
            "option": weights * refusals,
            "threshold": refusal_share(table["confidence"], refusals, weights),
        }
        for way, counts in ways.items():
            answers = weights - counts
            with np.errstate(divide="ignore", invalid="ignore"):
                j = counts @ (1 - right) / (weights @ (1 - right)) - counts @ right / (weights @ right)
                values.setdefault(f"J, {way}", []).append(j)
                values.setdefault(f"error, {way}", []).append(answers @ (1 - right) / answers.sum(1))
    for name in ("J", "error"):
        pairs = zip(values[f"{name}, threshold"], values[f"{name}, option"], strict=True)
        values[f"{name}, threshold - option"] = [threshold - option for threshold, option in pairs]
    return [bootstrap.row("", name, value[0], draws, n=len(table)) for name, (value, draws) in values.items()]


def operating_point(tables: Sequence[pd.DataFrame]) -> dict[str, float]:
    """Coverage and risk of replies that may refuse in words, the mean over training seeds' outcome tables.

    coverage: share answered; value: share of the answers that is not right; low, high: Wilson's, for the mean numbers
    of one table; n: questions. OutcomeError for a reply that failed, which is no answer.
    """
    rows = pd.concat(tables)
    outcomes.refuse_failed(rows)
    outcome = rows["outcome"]
    n_answers = int(outcome.ne("refused").sum())
    n_wrong = int((outcome.ne("refused") & outcome.ne("correct")).sum())
    low, high = bootstrap.wilson(round(n_wrong / len(tables)), round(n_answers / len(tables)))
    return {
        "coverage": n_answers / len(outcome), "value": n_wrong / n_answers if n_answers else np.nan, "low": low,
        "high": high, "n": len(tables[0]),
    }  # fmt: skip


def excess_at_share(
    before: pd.DataFrame, after: Sequence[pd.DataFrame], confidence: np.ndarray, *, n_boot: int = 2000, seed: int = 0
) -> list[dict]:  # fmt: skip
    """The RGI's excess of a method and of a threshold at its share of refusals, and threshold - method, paired.

    before : the baseline's outcome table, confidence : of its answers, in its order; after : the method's tables of
    the same items, one per training seed. The threshold takes back the least confident of the baseline's answers;
    what the baseline refused itself is neither given up nor in the share. Means over the seeds; resamples draw items
    within modalities, and seeds (bootstrap.seed_draws). Rows of bootstrap.row with metric rgi_excess (all changes, as
    the paper counts) or refusal_excess (refusals alone), and group "method", "threshold" or "threshold - method".
    Infinite where no right answer is given up. OutcomeError for a reply that failed.
    """
    for table in (before, *after):
        outcomes.refuse_failed(table)
    ones = np.ones((1, len(before)), int)
    weights = bootstrap.weights(before["modality"].tolist(), n_boot=n_boot, seed=seed)
    pick = bootstrap.seed_draws(len(after), n_boot=n_boot, seed=seed)
    values, draws = ([_excesses(before, each, confidence, w) for each in after] for w in (ones, weights))
    rows = []
    for metric, group in values[0]:
        each = np.array([excesses[metric, group] for excesses in draws])
        mean = each[0] if pick is None else each[pick.T, np.arange(n_boot)].mean(0)
        value = float(np.mean([excesses[metric, group] for excesses in values]))
        rows.append(bootstrap.row(group, metric, value, mean, n=len(before)))
    return rows


def _excesses(
    before: pd.DataFrame, after: pd.DataFrame, confidence: np.ndarray, weights: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """(metric, group) to values (n_boot,), of one table `after`."""
    outcome = after.set_index("item").loc[before["item"], "outcome"].to_numpy()
    right = before["outcome"].eq("correct").to_numpy(int)
    wrong = before["outcome"].isin(["wrong", "unreadable"]).to_numpy(int)
    refusals = (outcome == "refused") & (right | wrong).astype(bool)
    confidence = np.where(right | wrong, confidence, np.inf)
    changes = np.where(right, outcome != "correct", ~np.isin(outcome, ["wrong", "unreadable"]))
    share = refusal_share(confidence, refusals.astype(int), weights)
    retractions = {
        ("rgi_excess", "method"): weights * changes,
        ("refusal_excess", "method"): weights * refusals,
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        excesses = {
            # One logarithm of products, as in metrics.rgi_excess: exactly 0 where both shares are equal.
            key: np.log10((part @ wrong * (weights @ right)) / (part @ right * (weights @ wrong)))
            for key, part in (retractions | {(name, "threshold"): share for name, _ in retractions}).items()
        }
        for name, _ in retractions:
            excesses[name, "threshold - method"] = excesses[name, "threshold"] - excesses[name, "method"]
    return excesses


def withholding_counts(free: pd.DataFrame, instructed: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """(refused under the instruction to withhold, all) of the questions answered right without it, and of all others;
    and of all refusals under it, those of questions answered right without it.
    """
    free, instructed = metrics.pair(free, instructed)
    right, refusals = free["outcome"].eq("correct"), instructed["outcome"].eq("refused")
    return {
        "withheld, heard": (int((right & refusals).sum()), int(right.sum())),
        "withheld, not heard": (int((~right & refusals).sum()), int((~right).sum())),
        "heard, of all withheld": (int((right & refusals).sum()), int(refusals.sum())),
    }


# ---- tidy rows


def rows(runs: Runs, *, seed: int = 0) -> pd.DataFrame:
    """All results: part, model, prompt, group, metric, value, low, high, reference (of an RGI: its null), n, status.

    part: gain, decline, outcomes, flows, withheld, or place (of the option that declines); or file, whose "metric" is
    its SHA-256 and whose n its items.
    """
    files = [
        _share_row("file", model, prompt, "overall", digest(table["path"].iloc[0]), len(table), len(table))
        for (model, prompt), table in runs.items()
    ]
    parts = [
        files,
        *_gains(runs, seed),
        *_decline(runs, seed),
        *_outcomes(runs),
        *_flows(runs),
        *_withholding(runs),
        *_positions(runs),
    ]
    table = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    columns = [
        "part",
        "model",
        "prompt",
        "group",
        "metric",
        "value",
        "low",
        "high",
        "reference",
        "n",
        "status",
    ]
    return table.reindex(columns=columns).fillna({"prompt": "", "status": ""})


def curves(runs: Runs) -> pd.DataFrame:
    """Risk-coverage curves by threshold, and the point of the option: model, group, source, coverage, value, low,
    high, n. The main speaker's questions have none of their own: hardly an answer is wrong.
    """
    frames = []
    for model, group, table, refusals in _pairs(runs):
        if group == "main":
            continue
        curve = risk_coverage.curve(table["confidence"], table["forced_correct"])
        frames.append(curve.assign(model=model, group=group, source="threshold"))
        n_answers, n_wrong = int((~refusals).sum()), int((table["forced_correct"].eq(0) & ~refusals).sum())
        low, high = bootstrap.wilson(n_wrong, n_answers)
        option = {
            "coverage": n_answers / len(table),
            "value": n_wrong / n_answers,
            "low": low,
            "high": high,
            "n": len(table),
        }
        frames.append(pd.DataFrame([option | {"model": model, "group": group, "source": "option"}]))
    return pd.concat(frames, ignore_index=True)


def _groups(table: pd.DataFrame, columns: Sequence[str] = (SPEAKER,)) -> dict[str, pd.DataFrame]:
    return {"overall": table} | {name: part for column in columns for name, part in table.groupby(column)}


def _same_items(table: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    return table[table["item"].isin(part["item"])]


def _pairs(runs: Runs):
    """(model, group, forced answers, declined?) of models with both prompts, but for those that were fine-tuned."""
    for model in FILES:
        if (model, FREE) in runs and (model, PERMISSIVE) in runs and "BPFT" not in model:
            before, after = metrics.pair(runs[model, FREE], runs[model, PERMISSIVE])
            before = before[before["confidence"].notna()]  # without probabilities no option can be forced
            for group, part in _groups(before).items():
                yield model, group, part, after.loc[part.index, "outcome"].eq("refused").to_numpy()


def _answered(pairs: Sequence[tuple[str, str, pd.DataFrame, np.ndarray]]):
    """Of what _pairs gives, the questions that the model did not decline when no option did: ANSWERED."""
    for model, group, table, refusals in pairs:
        if group == "overall":
            answers = table["outcome"].ne("refused").to_numpy()
            yield model, ANSWERED, table[answers], refusals[answers]


def _gains(runs: Runs, seed: int):
    names = ("correct_to_refused", "wrong_to_refused", *metrics.GAINS, "youden")
    for model in FILES:
        if (model, FREE) in runs and (model, PERMISSIVE) in runs:
            before, after = runs[model, FREE], runs[model, PERMISSIVE]
            for group, part in _groups(before, (SPEAKER, RECORDING)).items():
                table = metrics.compare(part, _same_items(after, part), names, by=None, seed=seed)
                null = table.loc[table["metric"].eq("rgi_null"), "value"].item()
                counts = [("N", len(part)), ("Nc", part["outcome"].eq("correct").sum()),
                          ("Nw", part["outcome"].isin(["wrong", "unreadable"]).sum())]  # fmt: skip
                counts = pd.DataFrame(counts, columns=["metric", "value"]).assign(n=len(part))
                table = table.assign(reference=np.where(table["metric"].eq("rgi"), null, np.nan))
                yield pd.concat([counts, table]).assign(part="gain", model=model, group=group)


def _decline(runs: Runs, seed: int):
    pairs = list(_pairs(runs))
    for model, group, table, refusals in (*pairs, *_answered(pairs)):
        share = bootstrap.row("", "share refused", refusals.mean(), n=len(table))
        results = [share, *compare_with_threshold(table, refusals, seed=seed)]
        yield pd.DataFrame(results).assign(part="decline", model=model, group=group)


def _outcomes(runs: Runs):
    for (model, prompt), table in runs.items():
        for group, part in _groups(table).items():
            for outcome in outcomes.REPLY_OUTCOMES:
                k = int(part["outcome"].eq(outcome).sum())
                yield [_share_row("outcomes", model, prompt, group, outcome, k, len(part))]


def _flows(runs: Runs):
    for model, prompt in product(FILES, (PERMISSIVE, SELECTIVE)):
        if (model, prompt) in runs and (f"{model} + BPFT", prompt) in runs:
            table = metrics.transition_table(runs[model, prompt], runs[f"{model} + BPFT", prompt], by=SPEAKER)
            name = table["before"] + "_to_" + table["after"]
            table = table.assign(
                metric=name, value=table["count"], n=table.groupby("group")["count"].transform("sum")
            )
            yield table.assign(part="flows", model=model, prompt=prompt)


def _withholding(runs: Runs):
    for model, prompt in product(FILES, (FREE, PERMISSIVE)):
        if (model, prompt) in runs and (model, SELECTIVE) in runs:
            for group, part in _groups(runs[model, prompt]).items():
                shares = withholding_counts(part, _same_items(runs[model, SELECTIVE], part))
                if prompt == FREE:  # what permission alone does to the same questions
                    with_option = withholding_counts(part, _same_items(runs[model, PERMISSIVE], part))
                    shares["declined, heard"] = with_option["withheld, heard"]
                yield [
                    _share_row("withheld", model, prompt, group, name, k, n)
                    for name, (k, n) in shares.items()
                ]


def _positions(runs: Runs):
    """How often it was declined, by the letter of the option that declines."""
    for (model, prompt), table in runs.items():
        for index, part in table.groupby("declining") if prompt == PERMISSIVE else ():
            k = int(part["outcome"].eq("refused").sum())
            yield [_share_row("place", model, prompt, chr(ord("A") + int(index)), "refused", k, len(part))]


def _share_row(part: str, model: str, prompt: str, group: str, metric: str, k: int, n: int) -> dict:
    low, high = bootstrap.wilson(k, n)
    share = {"value": k / n if n else np.nan, "low": low, "high": high, "n": n}
    return {"part": part, "model": model, "prompt": prompt, "group": group, "metric": metric} | share
