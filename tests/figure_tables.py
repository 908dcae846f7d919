"""An example table for every figure, with extreme values, for the tests of figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pandas as pd

MODALITIES = ("sound", "music", "speech")
METHODS = ("Baseline", "IDK prompt", "MCoT prompt", "Task Agent", "LoRA SFT (out of domain)")
METRICS = ("accuracy", "truthfulness", "rejection_rate", "reliability")
RUN = {"model": "mini", "benchmark": "mini", "seed": 0}


def frame(columns: str, rows: Sequence[tuple], **run) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split()).assign(**run or RUN)


def accuracies() -> pd.DataFrame:
    cells = [("easy", "", 0.8, 34), ("medium", "", 0.6, 33), ("hard", "", 0.4, 33), ("overall", "", 0.6, 100),
             ("overall", "no audio", 0.26, 100), ("overall", "silence", 0.24, 100)]  # fmt: skip
    rows = [(modality, level, control, share, share - 0.1, share + 0.1, 0.25, n)
            for modality in MODALITIES for level, control, share, n in cells]  # fmt: skip
    return frame("modality level control accuracy low high chance n", rows)


def flows() -> pd.DataFrame:
    pairs = {("correct", "correct"): 45, ("correct", "refused"): 8, ("wrong", "refused"): 20}
    pairs |= {("wrong", "wrong"): 25, ("unreadable", "correct"): 2}
    sizes = dict.fromkeys(MODALITIES, 1) | {"overall": 3}
    rows = [(m, *pair, count * size) for m, size in sizes.items() for pair, count in pairs.items()]
    return frame("modality before after count", rows)


def gains() -> pd.DataFrame:
    rows = [
        ("sound", "measured here", "mini", 0.3, 0.05, 0.6, -0.2, 100),
        ("sound", "printed in the paper", "Qwen2-Audio-7B-Instruct", 0.27, None, None, -0.19, 333),
        ("music", "measured here", "mini", math.inf, 0.1, math.inf, 0.1, 100),
        ("speech", "measured here", "mini", None, None, None, 0.05, 100),
        ("overall", "measured here", "mini", 0.2, -0.05, 0.5, 0.0, 300),
    ]
    return frame("group source model rgi low high null n", rows, benchmark="mini", seed=0)


def refusals() -> pd.DataFrame:
    groups = {
        "answerable, known content": 240,
        "answerable, novel content": 60,
        "inaudible": 60,
        "ungrounded": 60,
    }
    rows = [(prompt, group, rate, max(rate - 0.1, 0), rate + 0.1, n)
            for prompt, rate in (("plain", 0.0), ("IDK", 0.4)) for group, n in groups.items()]  # fmt: skip
    return frame("prompt group rate low high n", rows)


def by_metric(column: str, names=METHODS, metrics=METRICS) -> pd.DataFrame:
    values = itertools.cycle([0.5, 0.0, 0.35, 1.0, 0.42, 0.63, 0.2])
    rows = [(name, metric, value, max(value - 0.06, 0), min(value + 0.06, 1), 300)
            for (name, metric), value in zip(itertools.product(names, metrics), values)]  # fmt: skip
    return frame(f"{column} metric value low high n", rows)


def ablations() -> pd.DataFrame:
    table = by_metric("variant", ("Task Agent", "no content", "true type"), ("reliability", "rgi_excess"))
    extreme = [(math.nan, math.nan, math.nan), (math.inf, math.nan, math.nan), (0.3, 0.1, math.inf)]
    table.loc[table["metric"] == "rgi_excess", ["value", "low", "high"]] = extreme
    return table


def chains() -> pd.DataFrame:
    lengths = {"plain": range(1, 8), "MCoT prompt": range(10, 60, 5), "Task Agent": range(5, 25, 3)}
    rows = [(method, outcome, words, 1 + words % 3) for method, numbers in lengths.items()
            for outcome in ("correct", "wrong", "refused") for words in numbers]  # fmt: skip
    return frame("method outcome words n", [*rows, ("plain", "unreadable", 3, 1)])


def routing() -> pd.DataFrame:
    rows = [("sound", "sound", 80), ("sound", "music", 20), ("music", "music", 94), ("music", "unreadable", 6),
            ("speech", "speech", 70), ("speech", "sound", 30)]  # fmt: skip
    return frame("true read count", rows)


def side_by_side() -> pd.DataFrame:
    rows = []
    for method, group, metric in itertools.product(
        (*METHODS[:4], "LoRA SFT"), (*MODALITIES, "overall"), ("accuracy", "reliability", "rgi")
    ):
        null = -0.1 if metric == "rgi" else None
        ours, theirs = (300, 1000) if group == "overall" else (100, 333)
        rows.append((method, group, metric, "measured here", "mini", 0.4, 0.3, 0.5, ours, null))
        rows.append(
            (method, group, metric, "printed in the paper", "Qwen2-Audio", 0.5, None, None, theirs, null)
        )
    return frame("method group metric source model value low high n null", rows, benchmark="mini", seed=0)


def quadrants() -> pd.DataFrame:
    counts = dict(zip(("known-known", "known-unknown", "unknown-known", "unknown-unknown"), (40, 15, 5, 40)))
    rows = [(stage, group, quadrant, count * (3 if group == "overall" else 1)) for stage in METHODS[:3]
            for group in (*MODALITIES, "overall") for quadrant, count in counts.items()]  # fmt: skip
    return frame("stage group quadrant count", rows)


def shares() -> pd.DataFrame:
    rows = [(group, k, "measured here", 0.4 + 0.07 * k, 0.35 + 0.07 * k, 0.45 + 0.07 * k, n)
            for group, n in (("sound", 300), ("music", 300), ("overall", 900), ("novel content", 180))
            for k in range(1, 6)]  # fmt: skip
    rows += [
        ("overall", k, "printed in the paper", share, *[None] * 3) for k, share in ((1, 0.502), (5, 0.635))
    ]
    return frame("group k source share low high n", rows)


def curves() -> pd.DataFrame:
    rows = [(f"{modality}, seed {seed}", step, round(1.3 * math.exp(-step / 5) + 0.2 + 0.05 * seed, 3))
            for modality in MODALITIES for seed in (0, 1) for step in range(1, 16)]  # fmt: skip
    return frame("adapter step loss", rows)


def scales() -> pd.DataFrame:
    rows = [(scale, metric, value, value - 0.05, value + 0.05, 300) for scale in (0, 0.5, 1, 2)
            for metric, value in (("accuracy", 0.5 - 0.1 * scale), ("rejection_rate", 0.3 * scale + 0.05))]  # fmt: skip
    rows += [(0, "rgi_excess", None, None, None, 300), (0.5, "rgi_excess", math.inf, None, None, 300)]
    rows += [(1, "rgi_excess", 0.2, -0.1, math.inf, 300), (2, "rgi_excess", -0.1, -0.3, 0.1, 300)]
    return frame("scale metric value low high n", rows)


def rules() -> pd.DataFrame:
    table = scales().assign(metric=lambda t: t["metric"].replace("rgi_excess", "youden"))
    return table.assign(k=table["scale"].map({0: 1, 0.5: 3, 1: 4, 2: 5})).drop(columns="scale")


def speeds() -> pd.DataFrame:
    rows = [("one reply", 4.2, 3.9, 4.4, 4, 16), ("5 samples", 11.0, 9.8, 12.5, 10, 16),
            ("4 methods", 3.0, 2.9, 3.3, None, 16)]  # fmt: skip
    return frame("task ratio lowest highest goal n", rows)


def matrices() -> pd.DataFrame:
    """Youden's J, the excess and accuracy by modality; the first cells are infinite, undefined and unbounded."""
    cells = itertools.product(MODALITIES, MODALITIES, ("youden", "rgi_excess", "accuracy"))
    rows = [(trained, tested, metric, "mean", 0.3, -0.1, 0.7, 50) for trained, tested, metric in cells]
    table = frame("trained_on tested_on metric seed value low high n", rows, model="mini", benchmark="mini")
    table.loc[1, ["value", "low", "high"]] = [math.inf, math.nan, math.nan]
    table.loc[0, ["value", "low", "high"]] = math.nan
    table.loc[3, "high"] = math.inf
    return table


def controls() -> pd.DataFrame:
    kinds = (("IDK labels", 0.4), ("shuffled labels", 0.05), ("random refusal", 0.0))
    rows = [(trained, tested, kind, value, value - 0.3, value + 0.3, 50)
            for trained, tested in itertools.product(MODALITIES, MODALITIES) for kind, value in kinds]  # fmt: skip
    table = frame("trained_on tested_on kind value low high n", rows).assign(metric="rgi_excess")
    table.loc[0, ["value", "low", "high"]] = [-math.inf, math.nan, math.nan]
    table.loc[1, ["value", "low", "high"]] = math.nan
    table.loc[2, "low"] = -math.inf
    return table


def real_gains() -> pd.DataFrame:
    values = [(0.3, 0.1, 0.5), (math.inf, 0.1, math.inf), (None, None, None), (-0.3, -math.inf, 0.1)]
    cells = itertools.product(("overall", "main", "bystander"), ("Qwen2.5-Omni-7B", "Step-Audio-2-mini"))
    rows = [(model, group, "rgi", *interval, -0.6, 2000 if group == "overall" else 1000)
            for (group, model), interval in zip(cells, itertools.cycle(values))]  # fmt: skip
    rows.append(("Qwen2.5-Omni-7B", "overall", "delta_con", 0.1, None, None, None, 2000))
    return frame("model group metric value low high reference n", rows, benchmark="mini", seed=0)


def risks() -> pd.DataFrame:
    rows = [(model, group, "threshold", k / 8, 0.03 * k, max(0.03 * k - 0.04, 0), 0.03 * k + 0.04, n)
            for model in ("Qwen2.5-Omni-7B", "Step-Audio-2-mini")
            for group, n in (("overall", 2000), ("main", 1000), ("bystander", 1000))
            for k in range(1, 9)]  # fmt: skip
    rows.append(("Qwen2.5-Omni-7B", "overall", "option", 0.75, 0.2, 0.15, 0.25, 2000))
    return frame("model group source coverage value low high n", rows, benchmark="mini", seed=0)


def scores() -> pd.DataFrame:
    rows = [(name, "score", k / 8, 0.04 * k + shift, 0.04 * k, 0.04 * k + 2 * shift, 300)
            for name, shift in (("largest probability", 0.02), ("margin", 0.03)) for k in range(1, 9)]  # fmt: skip
    rows += [
        ("oracle", "reference", k / 8, max(0, 0.1 * (k - 5)), math.nan, math.nan, 300) for k in range(1, 9)
    ]
    rows += [(name, "method", at, 0.3, 0.25, 0.35, 300) for name, at in (("plain", 1.0), ("IDK prompt", 0.8))]
    return frame("series kind coverage value low high n", rows, benchmark="mini", seed=0)


def scores_and_scales() -> pd.DataFrame:
    rows = [("LoRA × 0.25 to 2", "scales", at, 0.4 * at, math.nan, math.nan, 300) for at in (0.9, 0.4, 0.6)]
    extra = frame("series kind coverage value low high n", rows, benchmark="mini", seed=0)
    return pd.concat([scores(), extra], ignore_index=True)


def interventions(series=("mini", "ignores its chain", "copies its chain")) -> pd.DataFrame:
    rows = [(test, who, k / 5, 1 - k * loss / 5, 0.9 - k * loss / 5, 1.1 - k * loss / 5, 100)
            for test in ("early answering", "filler", "paraphrase", "mistakes")
            for who, loss in zip(series, itertools.cycle((0.5, 0.0, 1.0))) for k in range(6)]  # fmt: skip
    table = frame("intervention series strength value low high n", rows)
    table.loc[3, ["value", "low", "high"]] = math.nan
    return table


def chain_parts(parts=("all", "Animal, single hop", "Gender, multi hop")) -> pd.DataFrame:
    rows = [(part, test, 1 - loss, 0.9 - loss, 1.1 - loss, n) for part, n in zip(parts, (48, 6, 6), strict=False)
            for test, loss in (("early answering", 0.4), ("mistakes", 0.9))]  # fmt: skip
    table = frame("part intervention value low high n", rows)
    table.loc[3, ["value", "low", "high"]] = math.nan
    return table


def spoilt_clips() -> pd.DataFrame:
    settings = {"white noise": ("none", "20 dB", "0 dB", "-20 dB"), "mask": ("50 %", "100 %"),
                "another voice or clip": ("swapped clip", "a voice says a wrong option")}  # fmt: skip
    rows = [(panel, setting, metric, value, value - 0.1, value + 0.1, 60)
            for panel, names in settings.items() for setting in names
            for metric, value in (("accuracy", 0.6), ("rejection_rate", 0.1), ("names absent", 0.4))]  # fmt: skip
    return frame("panel setting metric value low high n", rows)


def needs() -> pd.DataFrame:
    parts = ("text-solvable", "fragment-sufficient", "cross-segment", "audio-harmful", "unsolvable")
    rows = [(series, part, count * (3 if series == "overall" else 1)) for series in (*MODALITIES, "overall")
            for part, count in zip(parts, (10, 12, 3, 2, 6))]  # fmt: skip
    return frame("series part count", rows)


def trust() -> pd.DataFrame:
    metrics = {"withheld, rightly": 0.6, "withheld, wrongly": 0.2, "J of withholding": 0.4}
    rows = [(axis, way, metric, value, value - 0.2, value + 0.2, 120)
            for axis in ("hallucination", "safety") for way in ("plain", "IDK prompt")
            for metric, value in metrics.items()]  # fmt: skip
    return frame("axis way metric value low high n", rows)


def strengths() -> pd.DataFrame:
    metrics = (
        "a right option: accuracy of what is answered",
        "a right option: withheld",
        "no right option: withheld",
    )
    rows = [(metric, way, k, 0.9 - 0.1 * k, 0.8 - 0.1 * k, 1 - 0.1 * k, 24) for metric in metrics
            for way in ("plain", "IDK prompt", "IDK adapter", "threshold") for k in range(6)]  # fmt: skip
    return frame("metric way strength value low high n", rows)


def trade_offs() -> pd.DataFrame:
    rows = [(form, series, k / 8, 1 - (k / 8) ** power, k / 8, 0.4, 40) for form in ("speaker", "phrase", "overall")
            for series, power in (("off", 1), ("on", 0.5)) for k in range(9)]  # fmt: skip
    return frame("form series threshold false_acceptance false_rejection eer n", rows)


EXAMPLES = {
    "baseline_accuracy": accuracies, "idk_flows": flows, "idk_gain": gains, "unanswerable": refusals,
    "methods_compared": lambda: by_metric("method"), "sft_compared": lambda: by_metric("run"),
    "agent_ablations": ablations, "chain_length": chains,
    "agent_routing": routing, "paper_side_by_side": side_by_side, "quadrants": quadrants,
    "idk_share_by_k": shares, "sft_curve": curves, "lora_scale": scales, "sft_by_k": rules,
    "speed_ratio": speeds, "transfer_matrix": matrices, "transfer_control": controls,
    "real_models_gain": real_gains, "real_models_risk": risks, "chain_curves": interventions,
    "chain_parts": chain_parts,
    "audio_curves": spoilt_clips, "audio_needs": needs, "trust_axes": trust,
    "trust_strength": strengths, "trust_det": trade_offs, "risk_coverage": scores,
    "risk_coverage_trained": scores_and_scales, "risk_coverage_open": scores,
}  # fmt: skip
TABLES = {name: example() for name, example in EXAMPLES.items()}

# Columns whose words are names from data; all other text columns have a fixed vocabulary.
NAMES = {
    "baseline_accuracy": "modality", "idk_flows": "modality", "idk_gain": "group model",
    "unanswerable": "prompt group", "methods_compared": "method", "sft_compared": "run",
    "agent_ablations": "variant",
    "chain_length": "method", "agent_routing": "true read", "paper_side_by_side": "method group model",
    "quadrants": "stage group", "idk_share_by_k": "group", "sft_curve": "adapter", "lora_scale": "metric",
    "sft_by_k": "metric", "speed_ratio": "task", "transfer_matrix": "trained_on tested_on",
    "transfer_control": "trained_on tested_on kind", "real_models_gain": "model group",
    "real_models_risk": "model group", "chain_curves": "intervention series",
    "chain_parts": "part intervention",
    "audio_curves": "panel setting metric", "audio_needs": "series", "trust_axes": "axis way",
    "trust_strength": "metric way", "trust_det": "form series",
    "risk_coverage": "series", "risk_coverage_trained": "series", "risk_coverage_open": "series",
}  # fmt: skip

MANY = [f"method {letter}" for letter in "ABCDEFGH"]


def eight(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows of the table's second name, for eight names."""
    second = table[table[column] == table[column].unique()[1]]
    return pd.concat([second.assign(**{column: name}) for name in MANY])


EIGHT = {
    "methods_compared": by_metric("method", MANY),
    "sft_compared": by_metric("run", MANY),
    "agent_ablations": by_metric("variant", MANY, ("accuracy", "reliability", "rgi_excess")),
    "chain_length": eight(chains(), "method"),
    "paper_side_by_side": eight(side_by_side(), "method"),
    "quadrants": eight(quadrants(), "stage"),
    "sft_curve": eight(curves(), "adapter"),
}
