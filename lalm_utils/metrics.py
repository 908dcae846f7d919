"""How reliable a model is, and what a method changed: every metric of outcome tables, with intervals.

In: an outcome table (outcomes.COLUMNS) of one run, or two tables of the same items before and after a method.
Out: numbers (one function per metric), or tidy rows with an interval each (`evaluate`, `compare`).

Conventions
-----------
One row per item. n counts the items scored: those with a reply, without those excluded by name. `unreadable`
counts as wrong in every metric, as in the paper (arXiv 2505.19294), and is counted apart as well. `failed` rows
and unanswerable items are refused (see outcomes.scorable); a failed row may be excluded by name, and is then
reported. Two tables are paired by item id, whatever the order of the rows; unequal sets are refused. Nc and Nw
are the items right and wrong *before*. A baseline may itself refuse: such items count in N and have transitions
of their own (refused_to_...), but are neither right nor wrong, so they enter neither ΔCon nor ΔHum.

`low` and `high` bound a percentile-bootstrap interval by item (level 0.95), paired where there are two tables,
pooled groups stratified by modality. An RGI with ΔCon = 0, ΔHum = 0 or both is +inf, -inf or NaN, and the row's
`status` says which. Resamples may be so too: infinite ones keep their place in the order (a bound may be
infinite), undefined ones are left out; the columns `infinite` and `undefined` count both. Where more than half
are undefined there is no interval, and the status says so.

Where all resamples equal the data, as at 0 of n and n of n, a bootstrap interval would have no width and look
certain. A share of the items (SHARES) or a number of them (TRANSITIONS) then has Wilson's interval; a difference,
a ratio or a mix of shares has none, and the status says "no interval".

Metrics of one table, shares in [0, 1]
--------------------------------------
* :func:`accuracy`: Nc/N.
* :func:`truthfulness`: 1 - Nw/N, the share that is not wrong.
* :func:`rejection_rate`: Nr/N, the share refused.
* :func:`reliability`: Rej·Acc + (1 - Rej)·Truth.
* :func:`refusal_by_kind`: refusals of answerable items beside those of each kind of unanswerable ones.
* :func:`cut_clips`: accuracy with and without the items whose clip was longer than the model hears.

Metrics of two tables
---------------------
* :func:`delta_con`, conservativeness: share of all items that were right and no longer are.
* :func:`delta_hum`, humbleness: share of all items that were wrong and no longer are.
* :func:`rgi`, reliability gain index: log10(ΔHum/ΔCon).
* :func:`rgi_null`: the RGI of refusing a random share of the items. It is not zero.
* :func:`rgi_excess`: RGI above that null.
* :func:`youden_j`: a wrong answer's chance to be given up less a right answer's.
* :func:`refusal_con`, :func:`refusal_hum`, :func:`refusal_rgi`, :func:`refusal_excess`,
  :func:`refusal_youden_j`: the same from refusals only.
* :func:`stratified_excess`, :func:`stratified_youden`: those above random refusal within parts of the items that
  can be told apart without listening, such as novel, task and modality.
* :func:`churn_excess`, :func:`churn_youden`: what answers drawn anew give by themselves, a zero of its own.
* :func:`youden_at_share`: J of refusals at another run's share of refusals.
* :func:`transition_table`: how many items went from each outcome to each.

>>> baseline = pd.DataFrame({"item": range(5), "modality": "sound", "answerable": True,
...                          "outcome": ["correct", "correct", "wrong", "wrong", "wrong"]})
>>> method = baseline.assign(outcome=["correct", "refused", "refused", "refused", "correct"])
>>> accuracy(baseline), reliability(method)
(0.4, 0.64)
>>> delta_con(baseline, method), delta_hum(baseline, method)
(0.2, 0.6)
>>> f"{rgi(baseline, method):.3f} above a null of {rgi_null(baseline, method):.3f}"
'0.477 above a null of 0.176'
>>> compare(baseline, method).query("group == 'overall' and metric == 'rgi'")["status"].item()
''

Every metric is a function of counts of items (`Counts`, `Transitions`), and may be called with those in place of
tables: so the bootstrap computes all resamples at once by the same function that gives the value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, outcomes
from lalm_utils.outcomes import REPLY_OUTCOMES, Outcome, OutcomeError, validate

__all__ = [
    "CHANGES", "GAINS", "METRICS", "OTHERS", "SHARES", "TRANSITIONS", "accuracy", "blind_refusals",
    "churn_excess", "churn_share", "churn_youden", "compare", "cut_clips", "delta_con", "delta_hum", "evaluate",
    "pair", "refusal_by_kind", "refusal_con", "refusal_excess", "refusal_hum", "refusal_rgi", "refusal_share",
    "refusal_youden_j", "rejection_rate", "reliability", "rgi", "rgi_excess", "rgi_null", "stratified_excess",
    "stratified_youden", "transition_table", "truthfulness", "validate", "youden_at_share", "youden_j",
]  # fmt: skip
FOLDED = {"correct": [0], "wrong": [1, 3], "refused": [2]}  # indices in REPLY_OUTCOMES: unreadable is wrong
TRANSITIONS = tuple(f"{before}_to_{after}" for before in FOLDED for after in FOLDED)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Items by outcome, of one table or of a stack of resampled ones.

    cells : int array [shape=(..., 4)], in the order of REPLY_OUTCOMES.
    """

    cells: np.ndarray

    def __getattr__(self, name: str) -> np.ndarray:
        """The items with one outcome, e.g. counts.correct [shape=(...)]."""
        if name not in REPLY_OUTCOMES:
            raise AttributeError(name)
        return self.cells[..., REPLY_OUTCOMES.index(name)]

    @property
    def n(self) -> np.ndarray:
        """N, the items scored [shape=(...)]."""
        return self.cells.sum(axis=-1)


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """Items by outcome before and after, of one pair of tables or of a stack of resampled ones.

    cells : int array [shape=(..., 4, 4)], before by after, each in the order of REPLY_OUTCOMES.
    """

    cells: np.ndarray

    def between(self, before: str, after: str) -> np.ndarray:
        """Items that went from `before` to `after`, unreadable counted as wrong [shape=(...)]."""
        return self.cells[..., FOLDED[before], :][..., FOLDED[after]].sum(axis=(-2, -1))

    @property
    def n(self) -> np.ndarray:
        """N, all paired items [shape=(...)]."""
        return self.cells.sum(axis=(-2, -1))

    @property
    def n_correct(self) -> np.ndarray:
        """Nc, right before [shape=(...)]."""
        return self.cells[..., FOLDED["correct"], :].sum(axis=(-2, -1))

    @property
    def n_wrong(self) -> np.ndarray:
        """Nw, wrong or unreadable before [shape=(...)]."""
        return self.cells[..., FOLDED["wrong"], :].sum(axis=(-2, -1))

    @property
    def before(self) -> Counts:
        """The outcomes before."""
        return Counts(cells=self.cells.sum(axis=-1))

    @property
    def after(self) -> Counts:
        """The outcomes after."""
        return Counts(cells=self.cells.sum(axis=-2))


Run = pd.DataFrame | Counts  # what a metric of one table takes
Strata = pd.DataFrame | Sequence[Transitions]  # two tables, or counts of pairs for each part of the items
Side = pd.DataFrame | Transitions  # what a metric of two tables takes; counts of pairs stand for both sides
Value = float | np.ndarray


# ---- metrics of one table


def accuracy(table: Run) -> Value:
    """Nc/N in [0, 1]: refusals and unreadable replies stay in the denominator."""
    counts = _counts(table)
    return _share(counts.correct, counts.n)


def truthfulness(table: Run) -> Value:
    """1 - Nw/N in [0, 1], Nw with the unreadable: right answers and refusals are both truthful."""
    counts = _counts(table)
    return 1 - _share(counts.wrong + counts.unreadable, counts.n)


def rejection_rate(table: Run) -> Value:
    """Nr/N in [0, 1]."""
    counts = _counts(table)
    return _share(counts.refused, counts.n)


def reliability(table: Run) -> Value:
    """Rej·Acc + (1 - Rej)·Truth in [0, 1] (Xu et al. 2024, as taken over by the paper).

    With Truth = Acc + Rej it is Acc + Rej·(1 - Rej): it does not see which answers were refused. Refusing
    everything scores 0; refusing a share p at random scores (1 - p)(Acc + p), more than refusing nothing for
    every p < 1 - Acc.
    """
    rejected = rejection_rate(table)
    return rejected * accuracy(table) + (1 - rejected) * truthfulness(table)


# ---- metrics of two tables


def delta_con(before: Side, after: Side) -> Value:
    """ΔCon = (Nc - Ncc)/N in [0, 1], Ncc = right before and still right. Lower is better.

    The denominator is N, not the Nc of a third-party note on the paper: the printed numbers decide it.
    """
    pairs = _transitions(before, after)
    return _share(pairs.n_correct - pairs.between("correct", "correct"), pairs.n)


def delta_hum(before: Side, after: Side) -> Value:
    """ΔHum = (Nw - Nww)/N in [0, 1], Nww = wrong before and still wrong. Higher is better."""
    pairs = _transitions(before, after)
    return _share(pairs.n_wrong - pairs.between("wrong", "wrong"), pairs.n)


def rgi(before: Side, after: Side) -> Value:
    """RGI = log10(ΔHum/ΔCon), in [-inf, inf] or NaN if both are 0.

    ΔCon and ΔHum hold every change, so an answer re-rolled to another one counts like a refusal.
    """
    return _log_ratio(delta_hum(before, after), delta_con(before, after))


def rgi_null(before: Side, after: Side) -> Value:
    """log10(Nw/Nc): where RGI stands when nothing is known about what is not known.

    Refuse each item with probability p, whether it was right or wrong, and repeat the other answers:
        E[ΔCon] = p·Nc/N,    E[ΔHum] = p·Nw/N,    log10(E[ΔHum]/E[ΔCon]) = log10(Nw/Nc)
    for any p in (0, 1]; RGI converges to it as N grows. The zero of RGI is therefore a property of the
    baseline: a model right on 61 % gets -0.19 for refusing at random, a model right on 30 % gets +0.37.
    """
    pairs = _transitions(before, after)
    return _log_ratio(pairs.n_wrong, pairs.n_correct)


def rgi_excess(before: Side, after: Side) -> Value:
    """RGI - log10(Nw/Nc), zero for random refusal whatever the baseline.

    It equals log10[((Nw-Nww)/Nw) / ((Nc-Ncc)/Nc)]: a wrong answer's chance to be given up over a right
    answer's. Answer churn has a zero of its own: if every reply is drawn anew, blind to the old one, the
    excess is log10(truthfulness after / (1 - accuracy after)) (see :func:`churn_excess`); :func:`refusal_excess`
    is 0 there too.
    """
    pairs = _transitions(before, after)
    right = pairs.n_correct - pairs.between("correct", "correct")
    wrong = pairs.n_wrong - pairs.between("wrong", "wrong")
    return _excess(right, wrong, pairs)


def youden_j(before: Side, after: Side) -> Value:
    """Youden's J of giving up answers, in [-1, 1]: (Nw - Nww)/Nw - (Nc - Ncc)/Nc.

    The excess of the RGI is the logarithm of the ratio of the same two chances, so both have one sign and one
    zero, random refusal. J is finite where the ratio is not (ΔCon = 0 or ΔHum = 0); it needs Nw and Nc above 0.
    """
    pairs = _transitions(before, after)
    wrong_given_up = 1 - _share(pairs.between("wrong", "wrong"), pairs.n_wrong)
    right_given_up = 1 - _share(pairs.between("correct", "correct"), pairs.n_correct)
    return wrong_given_up - right_given_up


def refusal_con(before: Side, after: Side) -> Value:
    """Share of all items that were right and are now refused, in [0, 1]."""
    pairs = _transitions(before, after)
    return _share(pairs.between("correct", "refused"), pairs.n)


def refusal_hum(before: Side, after: Side) -> Value:
    """Share of all items that were wrong and are now refused, in [0, 1]."""
    pairs = _transitions(before, after)
    return _share(pairs.between("wrong", "refused"), pairs.n)


def refusal_rgi(before: Side, after: Side) -> Value:
    """Refusal-only gain: RGI from correct→refused and wrong→refused alone, blind to answer churn."""
    return _log_ratio(refusal_hum(before, after), refusal_con(before, after))


def refusal_excess(before: Side, after: Side) -> Value:
    """Refusal-only gain above the null; the derivation of :func:`rgi_null` holds for it unchanged."""
    pairs = _transitions(before, after)
    return _excess(pairs.between("correct", "refused"), pairs.between("wrong", "refused"), pairs)


def refusal_youden_j(before: Side, after: Side) -> Value:
    """The share of wrong answers now refused less the share of right ones, in [-1, 1]; 0 for random refusal.

    The refusal-only excess is the logarithm of their ratio. The difference is finite where the ratio is not,
    and small for a model that hardly refuses, so that a setting can be chosen by it. A share of none is 0. Items
    that failed in either table are left out.
    """
    exclude = () if isinstance(before, Transitions) else outcomes.failed_ids(before, after)
    pairs = _transitions(before, after, exclude=exclude)
    wrong = _share(pairs.between("wrong", "refused"), np.maximum(pairs.n_wrong, 1))
    return wrong - _share(pairs.between("correct", "refused"), np.maximum(pairs.n_correct, 1))


# ---- what is no knowledge: blind refusal within parts of the items, and answers drawn anew


def blind_refusals(strata: Sequence[Transitions]) -> tuple[Value, Value]:
    """Right and wrong answers refused on average, if each stratum refuses as many answers as it did, at random."""
    right = wrong = 0.0
    for pairs in strata:
        refusals = pairs.between("correct", "refused") + pairs.between("wrong", "refused")
        share = refusals / np.maximum(pairs.n_correct + pairs.n_wrong, 1)
        right, wrong = right + share * pairs.n_correct, wrong + share * pairs.n_wrong
    return right, wrong


def stratified_excess(before: Strata, after: Strata, by: Sequence[str] = ()) -> Value:
    """Refusal-only gain above refusing at random within parts of the items, e.g. by=["novel", "task"].

    Parts that can be told apart without listening need no knowledge of what is heard: refusing more where more
    is wrong already beats the pooled null. With one part it is :func:`refusal_excess`.
    """
    strata = _strata(before, after, by)
    pairs, (right, wrong) = _pool(strata), blind_refusals(strata)
    return _log_ratio(pairs.between("wrong", "refused") * right, pairs.between("correct", "refused") * wrong)


def stratified_youden(before: Strata, after: Strata, by: Sequence[str] = ()) -> Value:
    """:func:`refusal_youden_j` above that of refusing at random within parts of the items."""
    strata = _strata(before, after, by)
    pairs, (right, wrong) = _pool(strata), blind_refusals(strata)
    random_refusal = _share(wrong, np.maximum(pairs.n_wrong, 1)) - _share(
        right, np.maximum(pairs.n_correct, 1)
    )
    return refusal_youden_j(pairs, pairs) - random_refusal


def churn_share(before: Side, after: Side) -> Value:
    """The share of answers that would have to be drawn anew for as many to turn from right to wrong and back.

    Of the items answered in both runs, Nc right and Nw wrong before: a redraw blind to the old answer and as accurate
    turns 2·Nc·Nw/(Nc + Nw) of them. Above 1 where more have turned.
    """
    pairs = _transitions(before, after)
    stay, turn = pairs.between("correct", "correct"), pairs.between("correct", "wrong")
    back, wrong = pairs.between("wrong", "correct"), pairs.between("wrong", "wrong")
    expected = _share(2 * (stay + turn) * (back + wrong), stay + turn + back + wrong)
    return _share(turn + back, expected)


def churn_excess(before: Side, after: Side) -> Value:
    """The RGI's excess from answer churn alone: log10(Nc/Nw), +0.27 for a model right on 65 %.

    Draw any share of the answers anew, blind to the old ones and as accurate as before: as many right answers are
    lost as wrong ones are left, so the expected RGI is 0, and its excess the null with the other sign.
    """
    return _difference(0.0, rgi_null(before, after))


def churn_youden(before: Side, after: Side) -> Value:
    """Youden's J from answer churn alone: share·(Nc - Nw)/(Nc + Nw), above 0 for a model that is mostly right.

    The share of answers drawn anew is that of :func:`churn_share`; a redrawn answer is right with chance
    Nc/(Nc + Nw). :func:`refusal_youden_j` is 0 under churn.
    """
    pairs = _transitions(before, after)
    accuracy = _share(pairs.n_correct, pairs.n_correct + pairs.n_wrong)
    with np.errstate(invalid="ignore"):  # as in `_difference`: without right or wrong answers it is NaN
        return churn_share(pairs, pairs) * (2 * accuracy - 1)


def refusal_share(before: Side, after: Side) -> Value:
    """Share of the baseline's answers that are now refused, in [0, 1]."""
    pairs = _transitions(before, after)
    refusals = pairs.between("correct", "refused") + pairs.between("wrong", "refused")
    return _share(refusals, np.maximum(pairs.n_correct + pairs.n_wrong, 1))


def youden_at_share(before: Side, after: Side, share: Value) -> Value:
    """:func:`refusal_youden_j` of a run that takes back refusals at random until it refuses this share of answers.

    It is the mean over all such draws: every refusal stays with the same chance, so J shrinks in proportion. A run
    that refuses no more than `share` keeps its J. Runs are comparable at the smallest share of all.
    """
    own = refusal_share(before, after)
    return refusal_youden_j(before, after) * np.minimum(_share(share, np.maximum(own, 1e-12)), 1)


METRICS = {
    "accuracy": accuracy, "truthfulness": truthfulness,
    "rejection_rate": rejection_rate, "reliability": reliability,
}  # fmt: skip
GAINS = {
    "delta_con": delta_con, "delta_hum": delta_hum,
    "rgi": rgi, "rgi_null": rgi_null, "rgi_excess": rgi_excess,
    "refusal_con": refusal_con, "refusal_hum": refusal_hum,
    "refusal_rgi": refusal_rgi, "refusal_excess": refusal_excess,
}  # fmt: skip
CHANGES = tuple(f"{name}_change" for name in METRICS)
# A number of items over all items: these have Wilson's interval where the bootstrap's has no width.
SHARES = (
    "accuracy",
    "truthfulness",
    "rejection_rate",
    "delta_con",
    "delta_hum",
    "refusal_con",
    "refusal_hum",
)


OTHERS = {  # what `compare` gives only by name
    "youden": youden_j, "refusal_youden": refusal_youden_j,
    "churn_share": churn_share, "churn_excess": churn_excess, "churn_youden": churn_youden,
}  # fmt: skip


# ---- tables of metrics


def evaluate(
    table: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Counts and every metric of one run, per group (a value of column `by`) and overall.

    Returns a tidy frame with bootstrap.COLUMNS. Per group: n (items scored), correct, wrong, refused,
    unreadable, failed (rows without a reply, all of them excluded by name), excluded (all rows left out by
    name) and METRICS.
    """
    options = {"n_boot": n_boot, "level": level, "seed": seed}
    return _metric_table(_outcome_groups(table, exclude, by), tuple(METRICS), exclude=exclude, **options)


def compare(
    before: pd.DataFrame, after: pd.DataFrame, names: Sequence[str] | None = None, *,
    exclude: Collection[str] = (), by: str | None = "modality", n_boot: int = 2000, level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """What changed from one run to another on the same items, per group and overall.

    names : metrics that `measure` knows, such as CHANGES; None for all counts and gains: per group n and
    excluded (items), unreadable before and after (items, a part of wrong), TRANSITIONS (items, e.g.
    correct_to_refused) and GAINS. Returns a tidy frame with bootstrap.COLUMNS. Raises OutcomeError as `pair`
    does, ValueError for an unknown metric.
    """
    groups = transition_groups(before, after, exclude=exclude, by=by)
    if names is not None:
        groups = (Group(label=group.label, strata=group.strata, plain={}) for group in groups)
    names = (*TRANSITIONS, *GAINS) if names is None else names
    return _metric_table(groups, names, exclude=exclude, n_boot=n_boot, level=level, seed=seed)


def refusal_by_kind(
    table: pd.DataFrame,
    *,
    by: str = "kind",
    novel: bool = False,
    exclude: Collection[str] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """Refusal, answer and unreadable rates of answerable items beside those of unanswerable ones.

    by : {"kind", "reason"}: inaudible and ungrounded, or silence, masked, option_removed and wrong_category.
    novel : split the answerable ones into "answerable, known content" and "answerable, novel content".
    To refuse is right only where nothing can be known, so no row is called accuracy. Returns a tidy frame:
    group (modality, then overall), kind (answerable first), metric, value, low, high (Wilson) in [0, 1], n.
    Raises OutcomeError for a malformed table, failed rows not excluded, and an unanswerable item without a
    kind.
    """
    validate(table)
    if by not in ("kind", "reason") or by not in table.columns:
        raise OutcomeError(f"by = {by!r}: it is 'kind' or 'reason', a column that the table must have")
    table = table[~table["item"].isin(outcomes.as_ids(exclude))]
    outcomes.refuse_failed(table)
    answerable = table["answerable"].astype(bool)
    without = table.loc[~answerable & table[by].fillna("").eq(""), "item"]
    if len(without):
        raise OutcomeError(f"item {without.iloc[0]!r} is unanswerable but has no {by}: it must say why")
    label = "answerable"
    if novel:
        label = table["novel"].map({True: "answerable, novel content", False: "answerable, known content"})
    table = table.assign(_kind=table[by].where(~answerable, label))
    rows = []
    for group, part in outcomes.groups(table):
        kinds = sorted(part["_kind"].unique(), key=lambda name: (not name.startswith("answerable"), name))
        for kind in kinds:
            rows += _rates(group, kind, Counts(cells=_cells(part[part["_kind"] == kind])), level)
    return pd.DataFrame(rows, columns=["group", "kind", "metric", "value", "low", "high", "n"])


def cut_clips(
    table: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality"
) -> pd.DataFrame:
    """By group (a value of column `by`) and overall: group, n, cut (items whose clip was cut, column truncated),
    accuracy, and accuracy_without (of the others; NaN if there are none). Raises OutcomeError as outcomes.scorable
    does.
    """
    rows = []
    for group, part in outcomes.groups(outcomes.scorable(table, exclude=exclude), by):
        cut = part["truncated"].astype(bool)
        shares = [accuracy(Counts(cells=_cells(some))) for some in (part, part[~cut])]
        rows.append((group, len(part), int(cut.sum()), *shares))
    return pd.DataFrame(rows, columns=["group", "n", "cut", "accuracy", "accuracy_without"])


def transition_table(
    before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    unreadable: str = "wrong",
) -> pd.DataFrame:  # fmt: skip
    """All transitions as a tidy frame: group, before, after, count (items), share (of the group's items, 0..1).

    unreadable : {"wrong", "apart"}: folded into wrong as in the metrics (3 x 3), or an outcome of its own
    (4 x 4).
    """
    if unreadable not in ("wrong", "apart"):
        raise ValueError(f"unreadable = {unreadable!r}: it is 'wrong' (folded) or 'apart'")
    apart = {name: [index] for index, name in enumerate(REPLY_OUTCOMES)}
    indices = apart if unreadable == "apart" else FOLDED
    rows = []
    for group in transition_groups(before, after, exclude=exclude, by=by):
        cells, n = group.counts.cells, max(int(group.counts.n), 1)
        for old in indices:
            for new in indices:
                count = int(cells[np.ix_(indices[old], indices[new])].sum())
                rows.append((group.label, old, new, count, count / n))
    return pd.DataFrame(rows, columns=["group", "before", "after", "count", "share"])


# ---- from tables to counts


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of items: its label, its counts per modality (cells of Counts or of Transitions), and plain numbers."""

    label: str
    strata: dict[str, np.ndarray]
    plain: dict[str, int]

    @property
    def counts(self) -> Counts | Transitions:
        """The group's counts, all modalities together."""
        cells = reduce(add, self.strata.values())
        return Counts(cells=cells) if cells.ndim == 1 else Transitions(cells=cells)


def pair(
    before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables without the excluded items, in one order of items (that of `before`).

    Raises OutcomeError as outcomes.scorable does for either table, for unequal sets of items, and for an item
    whose modality, gold option or number of options differs between the two.
    """
    ids = outcomes.as_ids(exclude)
    unknown = sorted(ids - set(before.get("item", ())) - set(after.get("item", ())))
    if unknown:
        raise OutcomeError(f"exclude names {unknown[:3]}, in neither table: correct the ids")
    before, after = _scorable_side(before, ids, "before"), _scorable_side(after, ids, "after")
    only_before, only_after = (
        sorted(set(before.index) - set(after.index)),
        sorted(set(after.index) - set(before.index)),
    )
    if only_before or only_after:
        raise OutcomeError(
            f"the two tables hold different items: {len(only_before)} only before {only_before[:3]}, "
            f"{len(only_after)} only after {only_after[:3]}; a gain is paired, ask both about the same items"
        )
    after = after.loc[before.index]
    _refuse_other_questions(before, after)
    return before.reset_index(), after.reset_index()


def pair_codes(before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = ()) -> pd.Series:
    """Each item's cell in Transitions as one number, 4 * before + after, by item id. Raises as `pair` does."""
    first, second = pair(before, after, exclude=exclude)
    index = {outcome: number for number, outcome in enumerate(REPLY_OUTCOMES)}
    codes = [side["outcome"].map(index).to_numpy(int) for side in (first, second)]
    return pd.Series(len(REPLY_OUTCOMES) * codes[0] + codes[1], first["item"])


def transition_groups(
    before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    strata: Sequence[str] = ("modality",),
) -> Iterator[Group]:  # fmt: skip
    """The groups of outcomes.groups over the paired items; a group with nothing left stays, empty.

    strata : columns of `before` by which the counts of each group are kept apart; none for all items together.
    """
    missing = [name for name in strata if name not in before.columns]
    if missing:
        raise OutcomeError(f"no column {missing[0]!r}: the table has {', '.join(map(str, before.columns))}")
    codes = pair_codes(before, after, exclude=exclude)
    for label, part in outcomes.groups(before.assign(_code=before["item"].map(codes)), by):
        counts = {
            "/".join(map(str, names)): np.bincount(rows.dropna().to_numpy(int), minlength=16).reshape(4, 4)
            for names, rows in part.groupby(list(strata) or [np.zeros(len(part), int)], dropna=False)["_code"]
        }
        cells = reduce(add, counts.values())
        plain = {"n": int(cells.sum()), "excluded": int(part["_code"].isna().sum())}
        plain |= {"unreadable_before": cells[3].sum(), "unreadable_after": cells[:, 3].sum()}
        yield Group(label=label, strata=counts, plain=plain)


def _outcome_groups(table: pd.DataFrame, exclude: Collection[str], by: str | None) -> Iterator[Group]:
    rows = outcomes.scorable(table, exclude=exclude)
    for label, part in outcomes.groups(table.assign(_scored=table["item"].isin(rows["item"])), by):
        strata = {str(name): _cells(some[some["_scored"]]) for name, some in part.groupby("modality")}
        cells = reduce(add, strata.values())
        plain = {"n": int(cells.sum())} | dict(zip(REPLY_OUTCOMES, cells))
        plain |= {"failed": (part["outcome"] == Outcome.FAILED).sum(), "excluded": (~part["_scored"]).sum()}
        yield Group(label=label, strata=strata, plain=plain)


def _counts(table: Run) -> Counts:
    if isinstance(table, Counts):
        return table
    return Counts(cells=_cells(outcomes.scorable(table)))


def _transitions(before: Side, after: Side, *, exclude: Collection[str] = ()) -> Transitions:
    if isinstance(before, Transitions):
        return before
    codes = pair_codes(before, after, exclude=exclude)
    return Transitions(cells=np.bincount(codes, minlength=16).reshape(4, 4))


def _strata(before: Strata, after: Strata, by: Sequence[str]) -> Sequence[Transitions]:
    if not isinstance(before, pd.DataFrame):
        return before
    [group] = transition_groups(before, after, by=None, strata=by)
    return [Transitions(cells=cells) for cells in group.strata.values()]


def _pool(strata: Sequence[Transitions]) -> Transitions:
    return Transitions(cells=reduce(add, [pairs.cells for pairs in strata]))


def _cells(table: pd.DataFrame) -> np.ndarray:
    """Numbers of items in the order of REPLY_OUTCOMES [shape=(4,)]."""
    return np.array([(table["outcome"] == name).sum() for name in REPLY_OUTCOMES])


def _scorable_side(frame: pd.DataFrame, ids: set[str], side: str) -> pd.DataFrame:
    try:
        return outcomes.scorable(frame, exclude=ids & set(frame.get("item", ()))).set_index("item")
    except OutcomeError as error:
        raise OutcomeError(f"{side}: {error}") from None


def _refuse_other_questions(before: pd.DataFrame, after: pd.DataFrame) -> None:
    before, after = _without_declining(before), _without_declining(after)
    for column in ("modality", "gold", "n_options"):
        if column not in before or column not in after:
            continue
        differs = before.index[(before[column].fillna(-1) != after[column].fillna(-1)).to_numpy(bool)]
        if len(differs):
            raise OutcomeError(
                f"item {differs[0]!r} has another {column} before ({before.at[differs[0], column]}) "
                f"than after ({after.at[differs[0], column]}): these are not the same questions"
            )


def _without_declining(table: pd.DataFrame) -> pd.DataFrame:
    """gold and n_options as they are without the option that declines, which one of two runs may offer alone."""
    if not {"declining", "gold", "n_options"} <= set(table.columns) or table["declining"].isna().all():
        return table
    declining, gold = table["declining"].astype("Int64"), table["gold"].astype("Int64")
    shift = (declining < gold).fillna(False).astype("Int64")
    has_option = declining.notna().astype("Int64")
    return table.assign(gold=gold - shift, n_options=table["n_options"].astype("Int64") - has_option)


# ---- from counts to rows


def _metric_table(
    groups: Iterable[Group], names: Sequence[str], *, exclude: Collection[str], n_boot: int, level: float,
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """The one loop of all metric tables: for each group counts, metrics of them, and intervals."""
    bootstrap.check(n_boot=n_boot, level=level)
    rows = []
    for group in groups:
        counts, n = group.counts, int(group.counts.n)
        resamples = type(counts)(cells=bootstrap.resample(group.strata, n_boot=n_boot, seed=seed))
        rows += [bootstrap.row(group.label, name, value, n=n) for name, value in group.plain.items()]
        for name in names:
            values, status = (measure(name, counts), measure(name, resamples)), why_not_finite(name, counts)
            options = {"level": level, "status": status, "maximum": maximum(name, n)}
            rows.append(bootstrap.row(group.label, name, *values, n=n, **options))
    return bootstrap.tidy(rows, sorted(outcomes.as_ids(exclude)))


def measure(name: str, counts: Counts | Transitions) -> Value:
    """A metric of counts by its name [shape=(...)].

    Of one table: METRICS. Of pairs: TRANSITIONS, GAINS, OTHERS, METRICS of the second run, or their change
    from the first run ("reliability_change"). Raises ValueError for any other name.
    """
    if name in TRANSITIONS:
        return counts.between(*name.split("_to_"))
    gains = GAINS | OTHERS
    if name in gains:
        return gains[name](counts, counts)
    level = name.removesuffix("_change")
    if level not in METRICS:
        names = (*gains, *METRICS, *CHANGES)
        raise ValueError(f"no metric {name!r} of paired runs: there are {', '.join(names)}")
    if isinstance(counts, Counts):
        return METRICS[name](counts)
    value = METRICS[level](counts.after)
    return value - METRICS[level](counts.before) if name in CHANGES else value


def maximum(name: str, n: int) -> float | None:
    """What a share or a number of n items can be at most; None for a metric that is neither."""
    return 1.0 if name in SHARES else float(n) if name in TRANSITIONS else None


def why_not_finite(name: str, counts: Counts | Transitions) -> str:
    """Why a metric of one table of counts is not finite, "" where it is."""
    if name in TRANSITIONS:
        return ""
    if name != "youden" and not any(word in name for word in ("rgi", "excess", "churn")):
        return "" if counts.n else "no items"
    baseline = {"Nc": counts.n_correct, "Nw": counts.n_wrong}
    if name in ("youden", "rgi_null", "churn_excess", "churn_youden", "churn_share"):
        parts = baseline
    else:
        prefix = "refusal" if name.startswith("refusal") else "delta"
        parts = {part: GAINS[part](counts, counts) for part in (f"{prefix}_con", f"{prefix}_hum")}
        if name.endswith("excess"):
            parts |= baseline
    return ", ".join(f"{part} = 0" for part, value in parts.items() if not value > 0)


def _rates(group: str, kind: str, counts: Counts, level: float) -> list[tuple]:
    n = int(counts.n)
    parts = {
        "refusal_rate": counts.refused, "answer_rate": counts.correct + counts.wrong,
        "unreadable_rate": counts.unreadable,
    }  # fmt: skip
    return [(group, kind, name, k / n, *bootstrap.wilson(int(k), n, level), n) for name, k in parts.items()]


def _share(part: np.ndarray, whole: np.ndarray) -> Value:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.divide(part, whole)
    return float(share) if np.ndim(share) == 0 else share


def _excess(right: Value, wrong: Value, pairs: Transitions) -> Value:
    # One logarithm of counts: the difference of two would be ±1e-17 for blind refusal, by the processor's log10.
    return _log_ratio(wrong * pairs.n_correct, right * pairs.n_wrong)


def _log_ratio(top: Value, bottom: Value) -> Value:
    with np.errstate(divide="ignore"):
        return _difference(np.log10(top), np.log10(bottom))


def _difference(left: Value, right: Value) -> Value:
    # inf - inf is NaN, as it should be: the row's status tells it, a warning would only repeat it.
    with np.errstate(invalid="ignore"):
        difference = left - right
    return float(difference) if np.ndim(difference) == 0 else difference
