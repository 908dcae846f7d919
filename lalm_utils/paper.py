"""The numbers that the papers print, as data, each with its table and row.

In: nothing. Out: printed cells (`TABLE`), and the counts of items behind them as we reconstruct them
(`COUNTS`, `SOUND_FLOWS`). This module imports no metric: the tests hold the one to the other.

Source: Towards Reliable Large Audio Language Model (Ma et al., arXiv 2505.19294, ACL 2025 Findings),
Qwen2-Audio-7B-Instruct on MMAU test-mini. Certainty of each number:

    "note"      as a third-party digest of the paper prints it; we have not seen the paper's own table
    "inferred"  reconstructed by us: from accuracy and reliability (smaller root of Rej(1-Rej) = Rel-Acc)
                for counts, from the counts and the printed ΔCon and ΔHum for flows
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

ARXIV = "2505.19294"
MEASURED, PRINTED = "measured here", "printed in the paper"  # where a number of a table or figure comes from
MODEL = "Qwen2-Audio-7B-Instruct"
MODALITIES = {"sound": 333, "music": 334, "speech": 333}  # items in MMAU test-mini
TRAINING_FREE = ("IDK prompt", "MCoT prompt", "Task Agent")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One printed number, in the printed unit (% for shares, log10 for rgi) and with the printed digits."""

    table: str
    method: str
    group: str
    metric: str
    value: float
    digits: int = 2
    certainty: str = "note"


@dataclass(frozen=True, kw_only=True)
class PrintedCounts:
    """Items of one modality by outcome; a mean of two models where a number is not whole."""

    correct: float
    refused: float
    wrong: float
    certainty: str = "inferred"

    @property
    def n(self) -> float:
        """All items of the modality."""
        return self.correct + self.refused + self.wrong


@dataclass(frozen=True, kw_only=True)
class PrintedFlows:
    """Items of the sound subset that a method moved, against a baseline that never refuses.

    lost (right before, not after), gained (wrong before, not after); the four flows are None where the
    printed numbers do not give whole ones.
    """

    lost: int
    gained: int
    correct_to_refused: int | None = None
    correct_to_wrong: int | None = None
    wrong_to_refused: int | None = None
    wrong_to_correct: int | None = None
    certainty: str = "inferred"


# Accuracy and reliability in % of sound, music, speech; then total reliability (total accuracy is not).
_ACCURACY_RELIABILITY = {
    "Baseline": ((60.96, 60.96), (55.09, 55.09), (50.75, 50.75), 55.60),
    "IDK prompt": ((58.26, 73.03), (54.19, 65.19), (43.84, 56.18), 64.85),
    "MCoT prompt": ((57.96, 67.13), (51.50, 67.53), (44.74, 57.71), 64.29),
    "Task Agent": ((58.56, 70.68), (53.29, 68.22), (46.25, 57.93), 65.66),
    "LoRA SFT": ((61.71, 70.71), (51.35, 66.43), (47.90, 59.91), 65.68),
}
# Humans answer MMAU's test-mini: sound, music, speech, total accuracy in %.
_HUMAN = (86.31, 78.22, 82.17, 82.23)
# Sound ΔCon % and ΔHum %; then RGI of sound, music, speech, total. Other ΔCon and ΔHum are not known to us.
_GAINS = {
    "IDK prompt": ((10.81, 20.12), (0.27, 0.20, 0.02, 0.16)),
    "MCoT prompt": ((11.71, 14.41), (0.09, 0.25, 0.09, 0.15)),
    "Task Agent": ((9.61, 16.52), (0.24, 0.27, 0.17, 0.23)),
    "LoRA SFT": ((6.91, 15.62), (0.36, 0.23, 0.19, 0.26)),
}
GROUPS = (*MODALITIES, "overall")

COUNTS = {
    ("Baseline", "sound"): PrintedCounts(correct=203, refused=0, wrong=130),
    ("Baseline", "music"): PrintedCounts(correct=184, refused=0, wrong=150),
    ("Baseline", "speech"): PrintedCounts(correct=169, refused=0, wrong=164),
    ("IDK prompt", "sound"): PrintedCounts(correct=194, refused=60, wrong=79),
    ("IDK prompt", "music"): PrintedCounts(correct=181, refused=42, wrong=111),
    ("IDK prompt", "speech"): PrintedCounts(correct=146, refused=48, wrong=139),
    ("MCoT prompt", "sound"): PrintedCounts(correct=193, refused=34, wrong=106),
    ("MCoT prompt", "music"): PrintedCounts(correct=172, refused=67, wrong=95),
    ("MCoT prompt", "speech"): PrintedCounts(correct=149, refused=51, wrong=133),
    ("Task Agent", "sound"): PrintedCounts(correct=195, refused=47, wrong=91),
    ("Task Agent", "music"): PrintedCounts(correct=178, refused=61, wrong=95),
    ("Task Agent", "speech"): PrintedCounts(correct=154, refused=45, wrong=134),
    # The LoRA row looks like the mean of two models; refused and wrong are approximate.
    ("LoRA SFT", "sound"): PrintedCounts(correct=205.5, refused=33.3, wrong=94.2),
    ("LoRA SFT", "music"): PrintedCounts(correct=171.5, refused=61.8, wrong=100.7),
    ("LoRA SFT", "speech"): PrintedCounts(correct=159.5, refused=46.5, wrong=127.0),
}

SOUND_FLOWS = {
    "IDK prompt": PrintedFlows(lost=36, gained=67, correct_to_refused=20, correct_to_wrong=16,
                               wrong_to_refused=40, wrong_to_correct=27),
    "MCoT prompt": PrintedFlows(lost=39, gained=48, correct_to_refused=15, correct_to_wrong=24,
                                wrong_to_refused=19, wrong_to_correct=29),
    "Task Agent": PrintedFlows(lost=32, gained=55, correct_to_refused=16, correct_to_wrong=16,
                               wrong_to_refused=31, wrong_to_correct=24),
    # Known misfit: log10(52/23) = 0.354 prints as 0.35, the paper has 0.36. A mean over two models could.
    "LoRA SFT": PrintedFlows(lost=23, gained=52),
}  # fmt: skip

# % of the IDK dataset's questions that are labelled IDK at K@5, by K; K = 2 to 4 are not known to us ("note").
IDK_SHARES = {1: 50.2, 5: 63.5}


def _cells() -> tuple[Cell, ...]:
    cells = []
    for method, (*pairs, total) in _ACCURACY_RELIABILITY.items():
        where = {"table": "accuracy and reliability by modality", "method": method}
        for group, (accuracy, reliability) in zip(MODALITIES, pairs, strict=True):
            cells.append(Cell(**where, group=group, metric="accuracy", value=accuracy))
            cells.append(Cell(**where, group=group, metric="reliability", value=reliability))
        cells.append(Cell(**where, group="overall", metric="reliability", value=total))
    for group, value in zip(GROUPS, _HUMAN, strict=True):
        where = {"table": "accuracy and reliability by modality", "method": "Human"}
        cells.append(Cell(**where, group=group, metric="accuracy", value=value))
    for method, ((con, hum), indices) in _GAINS.items():
        where = {"table": "reliability gain by modality", "method": method}
        cells.append(Cell(**where, group="sound", metric="delta_con", value=con))
        cells.append(Cell(**where, group="sound", metric="delta_hum", value=hum))
        cells += [Cell(**where, group=g, metric="rgi", value=v) for g, v in zip(GROUPS, indices, strict=True)]
    return tuple(cells)


TABLE = _cells()


def published() -> pd.DataFrame:
    """All printed cells, tidy: table, method, group, metric, value (printed unit), digits, certainty."""
    return pd.DataFrame([vars(cell) for cell in TABLE])


def printed(method: str, group: str, metric: str) -> Cell:
    """The printed cell of a method, e.g. printed("IDK prompt", "sound", "rgi").value == 0.27.

    Raises KeyError for a cell that the paper does not print, or that we have not seen.
    """
    for cell in TABLE:
        if (cell.method, cell.group, cell.metric) == (method, group, metric):
            return cell
    raise KeyError(f"no printed {metric} of {method!r} for {group!r}: paper.published() lists what there is")
