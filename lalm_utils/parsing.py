r"""Reads a reply: which option it chooses, whether it refuses and how, or that it cannot be read. It never guesses.

In: the raw text of a reply and the texts of the options. Out: a `Reading`. Not known here: the gold option, the
prompt, the model. Published scorers draw a letter at random, fall back to option A, or take the article of "A man
..." for it; each makes noise look like knowledge.

First, what is not addressed to the asker is left out: thoughts (`<think>` and its kin; text before an end tag that
has no start; all after a start that has no end), what stands outside response tags, and turns that the model invents
("Human: ..."). Then RULES apply in their order; `Reading.rule` names the one that decided. What they share:

* A letter and a text that disagree ("(A) cat" where (A) is the dog), two options in one commitment, and an answer
  that is not on offer are unreadable. So is the bare "None of the above" where no option says so.
* A bare letter counts only where it is all that a reply, sentence or commitment holds, or where a full stop, a
  reason or the option's text follows it: the article of "A man" and the "I" of "I hear" are no letters. Where
  options are themselves letters, it is text, and only `(b)`, `b)`, `Option B` name positions.
* A mention is a run of whole words within a sentence, longest option first; part of a compound (post-rock) or
  another form (dogs) is none. Negated, conditional and asked mentions do not count, nor does courtesy ("happy to
  help"). "yes", "no", "none", "both" ... inside a sentence choose nothing, but contradict another.
* Another form of an option's text counts where one option alone has it: a unit or a key in other words, a compound
  in two words, a noun in -ness or a participle in -ed, a list joined by "and". Where every option holds a number,
  "three" is "3", "twice" is "2 times", and a unit that all share may be left out, except in a mere mention.
* The last commitment wins, also over a refusal before it; a refusal overturns what was committed before it ("B. I
  don't know"). But who will not say what is said already has said it, and who cannot tell a detail ("B. I can't
  identify the breed") has answered: such refusals overturn no answer.
* Commitments are sought among the last 200 phrases of each kind in the last 20,000 characters, options of over 200
  words only where they are all that is said, and a reply of over 500,000 characters is unreadable, which bounds the
  time that a reply can take.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from numbers import Integral
from typing import Literal, NamedTuple

from lalm_utils.cues import CUES
from lalm_utils.messages import short_repr
from lalm_utils.option_texts import CLASH, Options, is_letter, join_words, prepare
from lalm_utils.refusals import (
    ABSENCE,
    CANNOT_TELL,
    NONE_FITS,
    WILL_NOT_SAY,
    Refusal,
    RefusalKind,
    find_refusals,
    main_kind,
)
from lalm_utils.wording import Word, mask, quotations, tidy, words

OPTION, REFUSED, UNREADABLE = "option", "refusal", "unreadable"
RULES = {  # in the order in which they apply
    "whole reply": "The whole reply is an option's text or letter, or a letter and (a beginning of) its text.",
    "commitment": "An explicit commitment: 'Answer: ...', 'the answer is ...', \\boxed{}, 'I choose ...', 'Wait, ...', "
    "'... is correct', an opening like 'B. It barks', a line or sentence that is nothing but an option.",
    "conclusion": "A conclusion that names an option outright: 'so it is a cat', 'that makes 7', not 'so the cat ran'.",
    "leaning": "Leanings that agree: 'I think', 'probably', 'my best guess', 'this suggests'.",
    "but": "The only option behind a 'but' that follows a refusal.",
    "refusal": "A refusal: see refusals.PHRASES for its kinds and strengths.",
    "mention": "The only option that is mentioned.",
    "nothing": "None of these: unreadable.",
}
MAX_REPLY = 500_000  # characters; a model that thinks in 100,000 tokens writes fewer
MAX_OPTIONS = 1000
_RECENT, _LATE = 200, 20_000  # phrases and characters, from the end, in which commitments are sought
_REFUSAL = -2  # stands where a claim declines; CLASH where it names two options or none on offer
_LEAD_IN = re.compile(  # of SH-Bench's script
    r".*(?:The (?:best|correct) answer is|The answer|The correct (?:answer|option)|Answer:|Option:)",
    re.DOTALL,
)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reply says.

    choice: an index; None unless kind is "option", or a refusal by choosing the option that declines.
    refusal: which kind of refusal, None unless kind is "refusal".
    evidence: the words that say so; the whole reply where markup stands between them. rule: the one of
    RULES that decided.
    """

    choice: int | None
    kind: Literal["option", "refusal", "unreadable"]
    evidence: str = ""
    refusal: RefusalKind | None = None
    rule: str = "nothing"


def read(reply: str, options: Sequence[str], *, declining: int | None = None, cut: bool = False) -> Reading:
    """Read one reply by RULES; among options of equal text the first stands for all.

    declining: the index of an option that declines ("I do not have an answer"): choosing it is a refusal.
    cut: the reply ended at the token limit, so a mere leaning or mention on the way is no answer.
    Raises TypeError if the reply or an option is no text or declining no whole number, ValueError if there are no
    options or over 1,000, or if declining is no option's index.
    """
    _check(reply, options, declining)
    text = tidy(reply).strip() if len(reply) <= MAX_REPLY else reply
    if len(text) > MAX_REPLY:
        return Reading(choice=None, kind=UNREADABLE)
    known_options = prepare(tuple(options))
    text = text if text in known_options.raw else _undress(text)
    page, claim = _first_turn(_Page(text=_addressed(text, known_options), options=known_options, cut=cut))
    evidence = page.text[claim.start : claim.end].strip()
    evidence = evidence if evidence in text else text.strip()
    if declining is not None and claim.choice == known_options.first([declining]):
        kind = (
            NONE_FITS
            if known_options.casefolds[declining].startswith(("none", "no correct", "no right"))
            else CANNOT_TELL
        )
        return Reading(choice=int(declining), kind=REFUSED, evidence=evidence, refusal=kind, rule=claim.rule)
    if claim.choice >= 0:
        return Reading(choice=claim.choice, kind=OPTION, evidence=evidence, rule=claim.rule)
    if claim.choice == _REFUSAL:
        reason = main_kind([*page.refusals, *find_refusals(_without(text, _thoughts(text), "\n"))])
        return Reading(choice=None, kind=REFUSED, evidence=evidence, refusal=reason, rule=claim.rule)
    return Reading(choice=None, kind=UNREADABLE, evidence=evidence, rule=claim.rule)


def thoughts(reply: str) -> str:
    """What a reply holds in tags of thoughts, the tags left out; "" without any."""
    return "\n".join(CUES.THOUGHT.sub("", reply[start:end]).strip() for start, end in _thoughts(reply))


def mmau_match(reply: str, options: Sequence[str], gold_text: str) -> bool:
    r"""MMAU's own rule: the reply has every word of the gold text, and none that only other options have.

    A word is a lower-cased run of \w. The rule sees neither letters nor refusals, and fails a reply whose
    explanation uses a word of another option.
    """
    reply_words, gold, *others = (
        set(re.findall(r"\w+", text.lower())) for text in (reply, gold_text, *options)
    )
    return bool(reply_words) and gold <= reply_words and not reply_words & (set().union(*others) - gold)


def first_letter(reply: str) -> int | None:
    """The index of the option that SH-Bench's script reads: the first capital A to E behind the last lead-in.

    That capital may be the B of "But", and the index beyond the options; None where there is no such capital.
    """
    lead_in = _LEAD_IN.match(reply)
    match = re.search("[A-E]", reply[lead_in.end() if lead_in else 0 :])
    return match and ord(match[0]) - ord("A")


def _check(reply: str, options: Sequence[str], declining: int | None) -> None:
    if not isinstance(reply, str):
        raise TypeError(
            f"reply is {short_repr(reply)}: only text can be read; grade a missing reply as failed, unread"
        )
    if isinstance(options, str) or not all(isinstance(option, str) for option in options):
        raise TypeError(f"options are {short_repr(options)}: give a sequence of texts, one per option")
    if not options:
        raise ValueError("options are empty: give the texts that the reply could choose from")
    if len(options) > MAX_OPTIONS:
        raise ValueError(
            f"{len(options):,} options: a reply is read against at most {MAX_OPTIONS:,}; give fewer"
        )
    if declining is None:
        return
    if isinstance(declining, bool) or not isinstance(declining, Integral):
        raise TypeError(
            f"declining is {short_repr(declining)}: give a whole number, the index of one of {len(options)} options"
        )
    if declining not in range(len(options)):
        raise ValueError(
            f"declining is {short_repr(declining)}: give the index of one of {len(options)} options"
        )


class _Mention(NamedTuple):
    """An option named: by its "text", by a "lone" word or "value" (a number, a note) that chooses only at a head or
    behind "is", or by a "letter"."""

    choice: int
    start: int
    end: int
    kind: Literal["text", "lone", "value", "letter"]


class _Claim(NamedTuple):
    """What a commitment or a reply comes to (an option's index, CLASH or _REFUSAL), where, and by which rule."""

    start: int
    end: int
    choice: int
    rule: str = "nothing"


# --- what is read ---


def _addressed(text: str, options: Options) -> str:
    """The text without what is not addressed to the asker, without markup, and without a sum before its result."""
    if text in options.raw:
        return text
    text = _without(text, _thoughts(text), "\n")
    text = _without(text, _outside_response(text), "\n")
    spans = [match.span() for pattern in (CUES.STRUCK, CUES.MARKUP) for match in pattern.finditer(text)]
    text = _without(text, spans, " ")
    text = (
        _without(text, [match.span() for match in CUES.SUM.finditer(text)], " ") if options.numeric else text
    )
    return text.strip()


def _without(text: str, spans: Iterable[tuple[int, int]], blank: str) -> str:
    """The text with one blank for each of the (start, end) spans, which may overlap."""
    pieces: list[str] = []
    last = 0
    for start, end in sorted(spans):
        pieces += [text[last:start], blank] if start >= last else []
        last = max(last, end)
    return re.sub(
        r"(\s{50})\s+", r"\1", "".join([*pieces, text[last:]])
    )  # patterns take the square of such a run


def _thoughts(text: str) -> list[tuple[int, int]]:
    """Spans of thoughts: from a tag to its end tag, to an end tag without a start, from a tag without an end."""
    spans, starts = [], {}
    if not any(opening in text for opening in "<[◁"):
        return spans
    for tag in CUES.THOUGHT.finditer(text):
        name = (tag["name"] or tag["name2"] or "channel").lower()
        if tag["end"] or tag["end2"] or tag["final"]:
            spans.append((starts.get(name, 0), tag.end()))
            starts = {open_: start for open_, start in starts.items() if name in starts and open_ != name}
        else:
            starts.setdefault(name, tag.start())
    if starts:
        start = min(starts.values())
        response = CUES.RESPONSE.search(text, start)
        spans.append((start, response.start() if response else len(text)))
    return spans


def _outside_response(text: str) -> list[tuple[int, int]]:
    """What stands outside the last response tag, if there is one."""
    tags = list(CUES.RESPONSE.finditer(text))
    start = next((tag for tag in reversed(tags) if not tag[1]), None)
    if start is None:
        return [tag.span() for tag in tags]
    end = next((tag.start() for tag in tags if tag[1] and tag.start() > start.start()), len(text))
    return [(0, start.end()), (end, len(text))]


def _first_turn(page: _Page) -> tuple[_Page, _Claim]:
    """The reply up to a turn that the model invents, and what it comes to.

    Another person's turn ends the reply once anything is said; a new question or a second reply only behind a
    commitment or a refusal, since a model may first repeat the question.
    """
    for turn in list(CUES.TURN.finditer(page.text))[:4]:
        before = _Page(text=page.text[: turn.start()], options=page.options, cut=page.cut)
        name = page.options.equal(turn[0].strip(" \n\t:*#"))  # an option may be called "Human"
        if name is not None or not CUES.TURN.sub("", before.text).strip(" \n:*#"):
            continue
        claim = _decide(before)
        if (turn["other"] and not CUES.TURN.match(page.text)) or claim.rule in (
            "whole reply",
            "commitment",
            "conclusion",
            "refusal",
        ):
            return before, claim
    return page, _decide(page)


@dataclass(frozen=True)
class _Page:
    """A reply laid out for reading; all spans index `text`."""

    text: str
    options: Options
    cut: bool = False

    @cached_property
    def mentions(self) -> list[_Mention]:
        """Every naming of an option, by text or by a letter that is marked as one, in order; none within courtesy."""
        mentions = sorted(
            [*_by_letter(self), *_by_text(self)], key=lambda mention: (mention.start, -mention.end)
        )
        if all(mention.kind == "letter" for mention in mentions):
            return mentions
        courtesy = [part.span() for part in CUES.COURTESY.finditer(self.text)]
        whole = {
            (mention.start, mention.end) for mention in mentions
        }  # an option may be nothing but a courtesy
        courtesy = [span for span in courtesy if span not in whole]
        return (
            [mention for mention in mentions if not _within(courtesy, mention.start)]
            if courtesy
            else mentions
        )

    @cached_property
    def quotes(self) -> list[tuple[int, int]]:
        return sorted(quotations(self.text))

    @cached_property
    def around(self) -> str:
        """The text with quotations and options blanked, so that denials are sought in neither."""
        names = [(mention.start, mention.end) for mention in self.mentions if mention.kind != "letter"]
        return mask(self.text, [*self.quotes, *names])

    @cached_property
    def denials(self) -> list[tuple[int, bool]]:
        """Where a denial takes hold (True) and where a clause's end frees from it (False)."""
        starts = [(denial.end(), True) for denial in CUES.DENIAL.finditer(self.around)]
        return sorted([*starts, *((clause.end(), False) for clause in CUES.CLAUSE.finditer(self.around))])

    @cached_property
    def refusals(self) -> list[Refusal]:
        names = [(m.start, m.end) for m in self.mentions if m.kind == "text"]
        return [refusal for refusal in find_refusals(self.text, names) if not self._denies_option(refusal)]

    @cached_property
    def refusal_spans(self) -> list[tuple[int, int]]:
        return [(refusal.start, refusal.end) for refusal in self.refusals]

    @cached_property
    def reports(self) -> list[tuple[int, int]]:
        """Quotations that hold more than an option: what somebody says, not the naming of an option.

        One that quotes an option within, "he said 'dog'", names it all the same.
        """
        names = [
            _whole(self.options, self.text[start + 1 : end - 1].strip(" .,!?")) is not None
            for start, end in self.quotes
        ]
        starts = [
            start for (start, _), is_name in zip(self.quotes, names) if is_name
        ]  # in order, as the quotes are
        return [
            (start, end)
            for (start, end), is_name in zip(self.quotes, names)
            if not is_name and bisect_left(starts, start) == bisect_left(starts, end)
        ]

    def _denies_option(self, refusal: Refusal) -> bool:
        """Whether what "does not mention ..." misses is an option: a denial, no refusal."""
        if refusal.strength != ABSENCE:
            return False
        near = self.mentions[self.rank(refusal.start) : self.rank(refusal.end)]
        return any(
            re.search(
                r"(?:mention|state|say|contain|include|indicate|of|about|on|reference|to)(?:s|ed|d)?\s+(?:any\s+|an?\s+|the\s+)?$",
                self.text[refusal.start : mention.start],
            )
            for mention in near[:1]
        )

    @cached_property
    def ends(self) -> list[tuple[int, int]]:
        """Where sentences and lines end; no full stop of "B." or "Dr.", none inside an option's text or a quotation."""
        inside = bytearray(len(self.text) + 1)
        names = [(mention.start, mention.end) for mention in self.mentions if mention.kind != "letter"]
        for start, end in [*names, *((start, end - 2) for start, end in self.quotes)]:
            inside[start : max(start, end)] = b"x" * max(0, end - start)
        stops = [(stop[0], stop.start(), stop.end()) for stop in CUES.SENTENCE_END.finditer(self.text)]
        outside = [stop for stop in stops if not inside[stop[1]]]
        return [
            (a, b)
            for s, a, b in outside
            if s != "." or not CUES.ABBREVIATED.search(self.text[max(0, a - 6) : a])
        ]

    def stop(self, start: int) -> int:
        """The end of the sentence at start."""
        rank = bisect_left(self.ends, (start, 0))
        return self.ends[rank][0] if rank < len(self.ends) else len(self.text)

    def rank(self, start: int) -> int:
        """The number of mentions before start."""
        return bisect_left(self.mentions, start, key=lambda mention: mention.start)


def _within(spans: Sequence[tuple[int, int]], start: int) -> bool:
    """Whether start lies in one of the spans, which are in order."""
    rank = bisect_left(spans, start + 1, key=lambda span: span[0])
    return rank > 0 and start < spans[rank - 1][1]


def _by_text(page: _Page) -> Iterator[_Mention]:
    yield from _by_characters(page)
    run = words(page.text, page.options.numeric)
    line = join_words(word.text for word in run)
    starts = list(accumulate((len(word.text) + 1 for word in run), initial=0))
    table, compounds = page.options.table, len(page.text) < 20_000
    i = -1
    while (i := i + 1) < len(run):
        entries = table.get(run[i].text, ())
        if not (entries or compounds):
            continue  # nine tenths of a long reply
        for key, choice, kind in entries:
            stop = i + key.count("\0")
            if not line.startswith(key, starts[i]) or _is_broken(page, run, i, stop, choice):
                continue
            yield _Mention(choice, run[i].start, run[stop - 1].end, kind)
            i = stop - 1
            break
        else:
            compound = run[i].text + run[i + 1].text if i + 1 < len(run) and compounds else ""
            if (
                len(compound) > 6
                and (compound,) in page.options.keys
                and not _is_broken(page, run, i, i + 2, 0)
            ):
                yield _Mention(page.options.keys.index((compound,)), run[i].start, run[i + 1].end, "text")
                i += 1


def _by_characters(page: _Page) -> Iterator[_Mention]:
    """Options in scripts without blanks, of two characters or more; the longest first."""
    spaceless = [(text, i) for i, text in enumerate(page.options.texts) if len(text) > 1 and _CJK.match(text)]
    if not spaceless:
        return
    forms = sorted((text for text, _ in spaceless), key=len, reverse=True)
    for match in re.finditer("|".join(map(re.escape, forms)), page.text):
        yield _Mention(page.options.texts.index(match[0]), match.start(), match.end(), "text")


def _is_broken(page: _Page, run: list[Word], i: int, stop: int, choice: int) -> bool:
    """Whether the words i to stop belong to a longer compound, or to two sentences (the option to one)."""
    compound = run[i].joined or (stop < len(run) and run[stop].joined)
    crosses = stop > i + 1 and CUES.SENTENCE_END.search(page.text, run[i].end, run[stop - 1].start + 1)
    return compound or bool(crosses and not CUES.SENTENCE_END.search(page.options.raw[choice].rstrip(".!?")))


def _by_letter(page: _Page) -> Iterator[_Mention]:
    for match in CUES.MARKED.finditer(page.text):
        choice = page.options.at(match[match.lastindex])
        if choice != CLASH:
            yield _Mention(choice, match.start(), match.end(), "letter")


def _is_affirmed(page: _Page, mention: _Mention) -> bool:
    """Whether a mention counts: neither it nor one that it continues ("not a dog, a cat") is denied."""
    rank = page.rank(mention.start)
    for last in reversed(page.mentions[max(0, rank - 8) : rank]):
        if _is_denied(page, mention):
            return False
        if not CUES.LISTED.fullmatch(page.text, last.end, mention.start):
            return True
        mention = last
    return not _is_denied(page, mention)


def _is_denied(page: _Page, mention: _Mention) -> bool:
    """Negated, conditional, asked, or no more than a number's bound ("at least 3")."""
    if page.options.numeric and mention.kind != "letter":
        if CUES.BOUND.search(page.text, max(0, mention.start - 20), mention.start):
            return True
        if CUES.OR_MORE.match(page.text, mention.end):
            return True
    end = page.stop(mention.end)
    last = bisect_left(page.denials, (mention.start, 2)) - 1
    question = page.text[end : end + 1] == "?" and "?" not in page.text[mention.start : mention.end]
    before = last >= 0 and page.denials[last][1]
    rank = page.rank(mention.end)
    for following in page.mentions[rank : rank + 8]:  # "a dog and a cat are unlikely"
        if not CUES.JOIN.fullmatch(page.text, mention.end, following.start):
            break
        mention = following
    tail = CUES.TAIL.match(page.text, mention.end).end()
    after = CUES.DENIED_AFTER.match(page.around, tail, min(end, tail + 60)) if tail < end else None
    return question or before or after is not None


# --- the rules ---


def _decide(page: _Page) -> _Claim:
    """RULES in their order."""
    everything = _Claim(0, len(page.text), CLASH)
    whole = _whole(page.options, page.text)
    whole = _cut_option(page.options, page.text) if whole is None or whole == CLASH else whole
    if whole is not None:
        return everything._replace(choice=whole, rule="whole reply")
    explicit = list(_explicit(page))
    firm = _overturning(page, explicit)
    tiers = [("commitment", explicit), ("conclusion", _concluding(page)), ("leaning", _leaning(page))]
    for rule, claims in tiers[: 2 if page.cut else 3]:
        later = [claim for claim in claims if not firm or claim.start >= firm[0].end]
        claim = max((claim for claim in later if not _within_refusal(page, claim.start)), default=None)
        if claim and (claim.choice != CLASH or rule == "commitment" or not firm):
            return claim._replace(rule=rule)
    refusals = firm or [refusal for refusal in page.refusals if refusal.kind != WILL_NOT_SAY or not explicit]
    mention = _sole(page, 0, len(page.text))
    for refusal in refusals[-1:]:
        if refusal.kind == NONE_FITS and mention:
            return mention._replace(choice=CLASH)
        if refusal.strength > ABSENCE or not mention:
            claim = _behind_but(page, refusal) or _stated(page, refusal)
            return claim or _Claim(refusal.start, refusal.end, _REFUSAL, "refusal")
    return mention._replace(rule="mention") if mention and not page.cut else everything._replace(end=0)


def _overturning(page: _Page, explicit: list[_Claim]) -> list[Refusal]:
    """The last firm refusal, in a list, if there is one that overturns what stands before it.

    Who will not say what is said already has said it, and a reason for choosing an option that declines is none.
    """
    firm = [refusal for refusal in page.refusals if refusal.overturns]
    first = min((claim.start for claim in explicit if claim.choice >= 0), default=len(page.text))
    firm = [refusal for refusal in firm if refusal.kind != WILL_NOT_SAY or refusal.start < first]
    before = [claim for claim in explicit if firm and claim.start < firm[-1].start]
    agrees = before and max(before).choice in page.options.refusals
    return [] if agrees else firm[-1:]


def _within_refusal(page: _Page, start: int) -> bool:
    """Whether start lies in a refusing clause, as "answer" does in "I'm not sure the answer is a dog"."""
    return _within(page.refusal_spans, start)


def _behind_but(page: _Page, refusal: Refusal) -> _Claim | None:
    """The only option behind "but" in the refusal's sentence or at the head of the next.

    Who cannot answer, and who merely concedes ("though"), must name it outright ("though it is rain") or say that it
    is a guess ("but if I had to pick").
    """
    but = CUES.BUT.match(page.text, refusal.end)
    if not but:
        return None
    clause = page.text[refusal.start : refusal.end]
    strict = refusal.overturns and (CUES.CANNOT_ANSWER.search(clause) or CUES.CONCEDES.search(but[0]))
    claim = _outright(page, but.end())
    if not claim and (not strict or CUES.GUESS.match(page.text, but.end())):
        claim = _sole(page, but.end(), page.stop(but.end()))
    return claim._replace(rule="but") if claim and claim.choice >= 0 and not page.cut else None


def _stated(page: _Page, refusal: Refusal) -> _Claim | None:
    """The only option that stands outright before the refusal of a detail: "It is a cat. I can't tell its breed"."""
    if not refusal.detail or page.cut:
        return None
    starts = [0, *(end for _, end in page.ends if end <= refusal.start)][-8:]
    head = page.text[starts[-1] : refusal.start].rstrip(" (,;:-")
    whole = _whole(page.options, head)
    claims = [_Claim(starts[-1], starts[-1] + len(head), whole)] if whole is not None else []
    claims += filter(None, (_outright(page, start) for start in starts))
    claims = [claim for claim in claims if claim.start < refusal.start]
    choice = page.options.first(claim.choice for claim in claims)
    return claims[-1]._replace(rule="mention") if choice is not None and choice >= 0 else None


def _whole(options: Options, text: str) -> int | None:
    """The option that a whole text gives by text, letter or both."""
    if len(text) > options.longest:
        return None
    bare = text.strip() if text.strip() in options.raw else _undress(text)
    equal, form = options.equal(bare), CUES.LETTER_FORM.fullmatch(bare)
    position = form and (form["mark"] or form["close"] or not options.is_text(form["letter"]))
    if not form or (equal is not None and not (position and options.is_text(form["letter"]))):
        return equal
    rest = options.equal(form["rest"] or "")
    if form["rest"]:
        return rest if rest is None or rest == options.at(form["letter"]) else CLASH
    return options.at(form["letter"]) if position and options.at(form["letter"]) != CLASH else None


def _cut_option(options: Options, text: str) -> int | None:
    """The option of a letter that a beginning of its text follows, cut by the token limit: "C. The D"."""
    form = CUES.CUT_FORM.fullmatch(text) if len(text) <= options.longest else None
    if not form or options.is_text(form["letter"]) or options.at(form["letter"]) == CLASH:
        return None
    choice, rest = options.at(form["letter"]), form["rest"].casefold().strip()
    if _begins(options.casefolds[choice], rest) and not (
        is_letter(rest)
        and options.at(rest) not in (CLASH, choice)
        and not options.casefolds[choice].startswith(rest + " ")
    ):
        return choice
    return CLASH if len(rest) > 2 and any(_begins(text, rest) for text in options.casefolds) else None


def _begins(text: str, rest: str) -> bool:
    quotes = " \"'"
    return text.startswith(rest) or text.lstrip(quotes).startswith(rest.lstrip(quotes) or "\0")


def _undress(text: str) -> str:
    """Without blanks, emphasis, the speaker's name and one pair of quotation marks around the whole."""
    text = text.strip()
    speaker = CUES.SPEAKER.match(text)
    text = text[speaker.end() :] if speaker and speaker.end() < len(text) else text
    quoted = re.fullmatch(r"[*_]*([\"'])(.+?)\1[.!]?[*_]*", text, re.DOTALL)
    text = quoted[2] if quoted and not re.search(r"\"|(?<!\w)'|'(?!\w)", quoted[2]) else text
    return text[: CUES.COPULA.search(text).start()] if _CJK.search(text[-12:]) else text


def _sole(page: _Page, start: int, end: int) -> _Claim | None:
    """What the mentions that count name in text[start:end]: one option, or CLASH."""
    by_choice: dict[int, _Mention] = {}
    for mention in page.mentions[page.rank(start) : page.rank(end)]:
        if (
            mention.choice not in by_choice
            and not _within(page.reports, mention.start)
            and not _within_refusal(page, mention.start)
            and _is_affirmed(page, mention)
        ):
            by_choice[mention.choice] = mention
    names = list(by_choice.values())
    if all(mention.kind in ("lone", "value") for mention in names):
        settled = len(names) == 1 and names[0].kind == "value" and CUES.SETTLES.match(page.text, names[0].end)
        if not settled or not CUES.VALUE.search(page.text[max(0, names[0].start - 20) : names[0].start]):
            return None
    return _Claim(names[0].start, names[-1].end, page.options.first(by_choice))


def _head(page: _Page, start: int, end: int) -> _Mention | None:
    """The option at the head of text[start:end], past "most likely" and the like: letter or text."""
    near = page.mentions[page.rank(start) : page.rank(start) + 2]
    head = next((m for m in near if m.start < end and CUES.LEAD.fullmatch(page.text, start, m.start)), None)
    single = head and head.kind in ("lone", "value")
    if single and page.options.numeric and not CUES.SETTLES.match(page.text, head.end):
        head = None
    bare = CUES.BARE.match(page.text, CUES.FILLER.match(page.text, start, end).end(), end)
    if (
        not bare
        or page.options.is_text(bare[1])
        or (head and head.start <= bare.start() and head.end >= bare.end())
    ):
        return head
    return _Mention(page.options.at(bare[1]), bare.start(), bare.end(), "letter")


def _headed(page: _Page, start: int) -> _Claim | None:
    """The option at the head of a sentence; CLASH if text beside a letter disagrees or "or" adds another."""
    head = _head(page, start, max(start, page.stop(start)))
    if head is None:
        return None
    end = max(head.end, page.stop(head.end))
    beside = _head(page, CUES.BESIDE.match(page.text, head.end, end).end(), end)
    beside = beside if beside and CUES.SETTLES.match(page.text, beside.end, max(end, beside.end)) else None
    names, last = [head, beside or head], beside or head
    while joint := CUES.JOINED.match(page.text, last.end, end):
        number = (
            page.options.numeric
            and re.match(r"\s*\d", page.text[joint.end() : joint.end() + 3])
            and "+" in joint[0]
        )
        if number or CUES.ANOTHER.match(page.text, joint.end()):
            return _Claim(head.start, joint.end(), CLASH)
        last = _head(page, joint.end(), end)
        if last is None:
            break
        names.append(last)
    either = len(names) == 2 and re.search(r"\beither\b", page.text[start : head.start], re.IGNORECASE)
    choice = CLASH if either else page.options.first(mention.choice for mention in names)
    return _Claim(head.start, names[-1].end, choice)


def _outright(page: _Page, start: int) -> _Claim | None:
    """The option that a clause names outright: behind "it is" or the like, or as all that it holds."""
    end = page.stop(start)
    subject = CUES.SUBJECT.match(page.text, start, end)
    claim = _headed(page, subject.end()) if subject else None
    if claim is None:
        claim = _headed(page, start)
        claim = claim if claim and CUES.SETTLES.match(page.text, claim.end) else None
    if claim is None and _CJK.search(page.text[start:end][:200]):
        whole = _whole(page.options, page.text[start:end])
        claim = None if whole is None else _Claim(start, end, whole)
    return claim


def _recent(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text, max(0, len(text) - _LATE)))[-_RECENT:]


def _explicit(page: _Page) -> Iterator[_Claim]:
    yield from _answers(page)
    yield from _choices(page)
    yield from _alone(page)
    yield from _opening(page)
    yield from _affirmations(page)


def _answers(page: _Page) -> Iterator[_Claim]:
    """What follows "Answer:" or "the answer is"; CLASH if that is nothing on offer."""
    for cue in _recent(CUES.ANSWER, page.text):
        if CUES.ASKED_FOR.search(page.text[max(0, cue.start() - 40) : cue.start()]):
            continue  # the prompt repeated: "Choose the correct option: (A) ..."
        start = CUES.DRESS.match(page.text, cue.end()).end()
        claim = _after_cue(page, start) if start < len(page.text) else None
        if claim or not CUES.IDLE.match(page.text, cue.end()):
            yield (
                claim._replace(start=cue.start()) if claim else _Claim(cue.start(), page.stop(start), CLASH)
            )


def _after_cue(page: _Page, start: int) -> _Claim | None:
    """A whole line or sentence, an option at its head, a refusal, or the only option in it."""
    end, line = page.stop(start), page.text.find("\n", start)
    for stop in (line if line > 0 else len(page.text), end):
        whole = _whole(page.options, page.text[start:stop])
        if whole is not None:
            return _Claim(start, stop, whole)
    refuses = find_refusals(_undress(page.text[start:end][:1_000]))
    return _headed(page, start) or (_Claim(start, end, _REFUSAL) if refuses else _sole(page, start, end))


def _choices(page: _Page) -> Iterator[_Claim]:
    """Of "I choose ...", "Wait, ..." and "... is the correct answer", where they name an option."""
    for cue in _recent(CUES.CHOSEN, page.around):
        claim = _outright(page, cue.end())
        if claim and claim.choice >= 0:
            yield claim._replace(start=cue.start())
    for cue in _recent(CUES.CORRECT, page.around):
        rank, before = page.rank(cue.start()), page.text[max(0, cue.start() - 12) : cue.start()]
        letter = re.search(r"(?:^|[\s(\"'*])([A-Z])[)\"'*.]*$", before)
        near = page.mentions[max(0, rank - 1) : rank]
        if near and not page.text[near[0].end : cue.start()].strip("\"')*]. "):
            either = re.search(
                r"\b(?:or|and)\s+(?:the\s+)?$", page.text[max(0, near[0].start - 9) : near[0].start]
            )
            if _is_affirmed(page, near[0]):
                yield _Claim(near[0].start, cue.end(), CLASH if either else near[0].choice)
        elif letter and not page.options.is_text(letter[1]):
            yield _Claim(cue.start() - 1, cue.end(), page.options.at(letter[1]))


def _alone(page: _Page) -> Iterator[_Claim]:
    """Sentences and lines that are nothing but an option; neighbours that differ are a list of options."""
    starts, stops = [0, *(b for _, b in page.ends)], [*(a for a, _ in page.ends), len(page.text)]
    run: list[_Claim] = []
    listing = [page.options.texts.index(text) for text in page.options.texts]
    for start, stop in [*list(zip(starts, stops))[-_RECENT:], (0, 0)]:
        whole = _whole(page.options, page.text[start:stop])
        question = page.text[stop : stop + 1] == "?" and "?" not in page.options.texts[whole or 0]
        if whole is not None and not question:
            run.append(_Claim(start, stop, whole))
        elif page.text[start:stop].strip() or stop == 0:
            if len(listing) > 2 and [claim.choice for claim in run[: len(listing)]] == listing:
                run = run[len(listing) :]
            yield from run if len({claim.choice for claim in run}) == 1 else ()
            run = []


def _opening(page: _Page) -> Iterator[_Claim]:
    """The head of "B. It barks", "Yes, ..." or "Dog, because", past a repeated question; not of a list."""
    echo = next((after for at, after in page.ends[:1] if page.text[at] == "?"), 0)
    start = next((start for start in (0, echo) if _head(page, start, page.stop(start))), echo)
    head = _head(page, start, page.stop(start))
    if (
        head is None
        or head.choice == CLASH
        or _whole(page.options, page.text[start : page.stop(start)]) is not None
    ):
        return
    labels = {label.lower() for label in CUES.LABEL.findall(page.text[:2_000])}
    opens = {
        "letter": len(labels) < 2 and not CUES.INITIALS.match(page.text, head.end),
        "lone": CUES.SETTLES.match(page.text, head.end),
        "value": CUES.SETTLES.match(page.text, head.end),
    }
    if opens.get(head.kind, CUES.REASON.match(page.text, head.end)):
        yield _headed(page, start)


def _affirmations(page: _Page) -> Iterator[_Claim]:
    """Of "Is it rain? Yes.", where "Yes" is no option; CLASH if several options are affirmed."""
    if page.options.equal("yes") is not None:
        return
    claims = []
    for cue in _recent(CUES.AFFIRMED, page.text):
        choice = _whole(page.options, cue["asked"])
        claims += [_Claim(cue.start(), cue.end(), choice)] if choice is not None else []
    if claims:
        yield claims[-1]._replace(choice=page.options.first(claim.choice for claim in claims))


def _concluding(page: _Page) -> Iterator[_Claim]:
    for cue in _recent(CUES.CONCLUSION, page.around):
        claim = _outright(page, cue.end())
        if claim and claim.choice >= 0:
            yield claim._replace(start=cue.start())
    for cue in _recent(CUES.TOTAL, page.text) if page.options.numeric else ():
        rank = page.rank(cue.end())
        near = page.mentions[rank : rank + 1]
        if near and near[0].start == cue.end():
            yield _Claim(cue.start(), near[0].end, near[0].choice)


def _leaning(page: _Page) -> Iterator[_Claim]:
    """One commitment for all leanings since the last firm refusal, CLASH if they differ."""
    after = max((refusal.end for refusal in page.refusals if refusal.overturns), default=0)
    claims = [
        (cue, _outright(page, cue.end()))
        for cue in _recent(CUES.LEANING, page.around)
        if cue.start() >= after
    ]
    leanings = [(cue, claim) for cue, claim in claims if claim]
    if leanings:
        cue, claim = leanings[-1]
        yield claim._replace(start=cue.start(), choice=page.options.first(c.choice for _, c in leanings))
