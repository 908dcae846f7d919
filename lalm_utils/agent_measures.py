"""How well the Task Agent's first two steps do: routing, word error rate, content of captions.

In: the steps of one run (agent.COLUMNS). Out: tidy tables with intervals. The yardstick is what the benchmark
says it put into the clip; where it says nothing there is nothing to measure, and the table says so.
"""

from __future__ import annotations

import re

import jiwer
import numpy as np
import pandas as pd

from lalm_utils import annotations, bootstrap
from lalm_utils.agent import FAILED, UNREADABLE
from lalm_utils.items import MODALITIES
from lalm_utils.wording import tidy

CAPTION_TYPES = ("sound", "music")
LEFT_OUT = "clips_left_out"  # their text was not written, or by the prompt of another type


def routing(steps: pd.DataFrame) -> pd.DataFrame:
    """The confusion of types, tidy: true, read, count (items, 0 included).

    true: sound, music, speech and mixes, as far as they occur; read: sound, music, speech, "unreadable" (such
    items go on as agent.DEFAULT), and "failed" if any failed. As a matrix: `.pivot(index="true", columns="read",
    values="count")`.
    """
    true = [*MODALITIES, *sorted(set(steps["true"]) - set(MODALITIES))]
    replies = [*MODALITIES, UNREADABLE, *([FAILED] if steps["type"].eq(FAILED).any() else [])]
    counts = steps.groupby(["true", "type"]).size()
    rows = [(t, r, int(counts.get((t, r), 0))) for t in true if steps["true"].eq(t).any() for r in replies]
    return pd.DataFrame(rows, columns=["true", "read", "count"])


def routing_rates(steps: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Shares of items, by true type and overall, whose type was read right and could not be read.

    Tidy: group, metric ("right", "unreadable"), value, low, high (Wilson) in [0, 1], n. Failed items are left
    out. For a mix no type is right.
    """
    complete = steps[steps["type"] != FAILED]
    parts = [(name, complete[complete["true"] == name]) for name in MODALITIES]
    rows = []
    for group, part in [*parts, ("overall", complete)]:
        hits = {"right": part["type"] == part["true"], "unreadable": part["type"] == UNREADABLE}
        for metric, hit in hits.items() if len(part) else ():
            k, n = int(hit.sum()), len(part)
            rows.append((group, metric, k / n, *bootstrap.wilson(k, n, level), n))
    return pd.DataFrame(rows, columns=["group", "metric", "value", "low", "high", "n"])


def normalise(text: str) -> str:
    """Words for the word error rate: NFKC, lower case, punctuation to spaces but for apostrophes within words.

    Numbers stay as they are written: "3" is not "three".
    """
    return " ".join(re.findall(r"\w+(?:'\w+)*", tidy(text).lower().replace("_", " ")))


def word_error_rate(
    steps: pd.DataFrame, *, n_boot: int = 2000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Word error rate of the model's transcripts of speech, with a bootstrap interval by clip.

    Edits of all clips over words of all true transcripts, both in the form of `normalise`; it may exceed 1. Counted are
    clips of speech with a true transcript that the model was asked to transcribe: a clip that was routed elsewhere
    has no transcript to be wrong, so read the row `clips_left_out` too. Returns bootstrap.COLUMNS: word_error_rate,
    its parts (substitutions, deletions, insertions, each per true word), words and clips_left_out. n: clips.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    speech = steps[steps["true"].eq("speech") & steps["transcript"].map(normalise).ne("")]
    transcribed = speech[_model_text(speech) & speech["kind"].eq(annotations.TEXT_KINDS["speech"])]
    pairs = zip(transcribed["transcript"], transcribed["text"])
    edits = [jiwer.process_words(normalise(true), normalise(text)) for true, text in pairs]
    words = np.array([e.hits + e.substitutions + e.deletions for e in edits], dtype=int)
    parts = {name: np.array([getattr(e, name) for e in edits], dtype=int)
             for name in ("substitutions", "deletions", "insertions")}  # fmt: skip
    parts = {"word_error_rate": sum(parts.values()), **parts}
    weights = bootstrap.weights(transcribed["true"], n_boot=n_boot, seed=seed) if edits else None
    rows = [_ratio("speech", name, top, words, weights, level) for name, top in parts.items()]
    rows.append(bootstrap.row("speech", "words", words.sum(), n=len(edits)))
    rows.append(bootstrap.row("speech", LEFT_OUT, len(speech) - len(edits), n=len(edits)))
    return bootstrap.tidy(rows, [])


def caption_content(
    steps: pd.DataFrame, *, n_boot: int = 2000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """What captions of sound and music name of what sounds, by type and overall, bootstrap by clip.

    recall: mean over clips of the share of the clip's labels that its caption names.
    precision: mean over clips, of the labels that a caption names, of the share that is true; a caption that
        names none has none and is not in n.
    recall_another_clip: the recall of the next clip's caption of the same type, a control: what a caption gets
        by naming what is common.
    Labels that a caption could name are those of all given items of its type. Returns bootstrap.COLUMNS, and
    clips_left_out (not captioned: no reply, or routed to transcription).

    It sees labels word for word (`annotations.labels_in`): not "a barking dog" for "dog bark", no order, number,
    tempo or loudness, no denial; and nothing that a caption makes up beyond these labels.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    labelled = steps[steps["true"].isin(CAPTION_TYPES) & steps["content"].map(len).gt(0)]
    captions = labelled[_model_text(labelled) & labelled["kind"].ne(annotations.TEXT_KINDS["speech"])]
    scores = pd.concat([_scores(captions, labelled, name) for name in CAPTION_TYPES])
    rows = []
    for group in (*CAPTION_TYPES, "overall"):
        part = scores if group == "overall" else scores[scores["true"] == group]
        n_clips = len(labelled) if group == "overall" else int(labelled["true"].eq(group).sum())
        weights = bootstrap.weights(part["true"], n_boot=n_boot, seed=seed) if len(part) else None
        for name in ("recall", "precision", "recall_another_clip"):
            values = part[name].to_numpy(float)
            defined = ~np.isnan(values)
            rows.append(_ratio(group, name, np.nan_to_num(values), defined.astype(int), weights, level, 1.0))
        rows.append(bootstrap.row(group, LEFT_OUT, n_clips - len(part), n=len(part)))
    return bootstrap.tidy(rows, [])


def _model_text(steps: pd.DataFrame) -> pd.Series:
    """Whether the model wrote the text: it was asked to, and replied."""
    return steps["text_prompt"].ne("") & steps["text"].ne("")


def _scores(captions: pd.DataFrame, items: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row per captioned clip of a type: true, recall, precision, recall_another_clip; NaN for none."""
    labels = {label for content in items.loc[items["true"] == kind, "content"] for label in content}
    rows = captions[captions["true"] == kind]
    predictions, true = (
        [annotations.labels_in(text, labels) for text in rows["text"]],
        [set(c) for c in rows["content"]],
    )
    others = [*predictions[1:], *predictions[:1]] if len(predictions) > 1 else [None] * len(predictions)
    return pd.DataFrame({
        "true": rows["true"].to_numpy(),
        "recall": [len(n & t) / len(t) for n, t in zip(predictions, true)],
        "precision": [len(n & t) / len(n) if n else np.nan for n, t in zip(predictions, true)],
        "recall_another_clip": [np.nan if o is None else len(o & t) / len(t) for o, t in zip(others, true)],
    }, dtype=object)  # fmt: skip


def _ratio(
    group: str, metric: str, top: np.ndarray, bottom: np.ndarray, weights: np.ndarray | None, level: float,
    maximum: float | None = None,
) -> dict:  # fmt: skip
    n = int((bottom > 0).sum())
    if weights is None or not n:
        return bootstrap.row(group, metric, np.nan, n=0, status="no clips")
    value, resampled = bootstrap.ratio(top, bottom, weights)
    return bootstrap.row(group, metric, value, resampled, n=n, level=level, maximum=maximum)
