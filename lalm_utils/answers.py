r"""Reads a reply: which option it chooses, whether it refuses, or that it cannot be read. It never guesses.

In: the raw text of a reply and the texts of the options. Out: a `Reading`. Not known here: the gold option, the prompt,
the model. Published scorers guess a letter at random, fall back to option A, or take the article of "A man ..." for it;
each makes noise look like knowledge. The rules, in the order in which they apply:

1.  *The whole reply* is an option's text or letter. Text: exactly, else but for case, else but for punctuation, articles,
    quotes and unicode form. Letter: `b`, `B.`, `(b)`, `b)`, `Option B`, `**B**`, alone or before the option's text.
    Where some option's text is itself one letter, a bare letter is text; only `(b)`, `b)`, `Option B` name positions.
2.  *An explicit commitment*: "Answer: ...", "the (final, correct ...) answer is ...", <answer>, \boxed{}, "I choose ...",
    "... is the correct answer", a lettered or yes/no opening ("B. It barks", "No, ..."), and a sentence, line or bold
    phrase that is nothing but an option. The last one wins over all before it and over any mention. If it names two
    options, or something that is no option, the reply is unreadable. Lines that list options are no commitments.
3.  Else *a conclusion* ("so", "therefore" ...) that names one option, the last such. Else *a leaning* ("I think",
    "probably" ...), if all leanings name the same. Else *the only option mentioned*; two are unreadable.
4.  A letter and a text that disagree are unreadable: "(A) cat" where (A) is the dog.
5.  A bare letter counts only where it is all that a reply, sentence or commitment holds, or a reason follows it: "A man"
    and "I hear" are no letters.
6.  A mention is a run of whole words, longest option first; part of a compound (post-rock) is none. Mentions that are
    negated ("not a dog", "rather than", "neither"), conditional or asked do not count. "yes", "no", "none", "both" ...
    are never read from inside a sentence.
7.  "three" is "3", "twice" is "2 times" only where every option holds a number; the unit that all options share may be left
    out, except in a mere mention.
8.  *Refusals* are sentences (see refusals.py), outside quotations; an option whose text refuses is an option.
9.  *A refusal and an option*: the last commitment wins. An option overturns an earlier refusal by rule 2, by a conclusion
    or leaning, or behind a "but"; a mere mention never does. A refusal overturns every commitment before it:
    "B. I don't know" is a refusal. A doubt ("I'm not sure") refuses only if nothing is committed.
10. Commitments are sought among the last 200 phrases of each kind, which keeps the reading of any reply linear.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from lalm_utils.refusals import Refusal, find_refusals, masked, quotations, tidy, words

OPTION, REFUSED, UNREADABLE = "option", "refusal", "unreadable"
_RECENT = 200
_CLASH, _REFUSAL = -1, -2  # stand where a commitment has no option's index: two or none on offer; a refusal
_LONE = frozenset("yes no none both neither either maybe all other same".split())
_FILLER = re.compile(
    r"(?:[\s\"'*_:>#,]|-(?!\d)|(?:that|it|this|is|was|it's|most|very|likely|probably|definitely|clearly|certainly|simply|"
    r"just|option|choice|letter|indeed|therefore|actually|either|the)\b)*",
    re.IGNORECASE,
)
_LEAD = re.compile(_FILLER.pattern + r"(?:an?\s+)?[\"'*(]*", re.IGNORECASE)
_BARE = re.compile(
    r"([a-z])(?=[\"'*)\]}]*(?:\s*(?:$|[)\n<]|[.,;:!?/](?=[\s\"'*)}<]|$))|\s+(?:because|since|as|due|and|or)\b|\s+[-(]))", re.IGNORECASE
)
_MARKED_LETTER = re.compile(
    r"(?<!\w)[(\[{]\s*([a-z])\s*[)\]}]|\b(?:option|choice|letter)\s+[\"'*(]*([a-z])(?=[\"'*]*(?:\s*$|\s*[^\w\s]|"
    r"\s+(?:is|was|because|since|as|seems?|fits|matches|and|or|would|best|sounds|looks|appears)\b))",
    re.IGNORECASE,
)
_LETTER_FORM = re.compile(
    r"[\s\"'*_$#>-]*(?P<mark>(?:(?:option|choice|letter|answer)\s+)?[(\[{<]\s*|(?:option|choice|letter)\s+)?(?P<letter>[a-z])"
    r"(?P<close>\s*[)\]])?(?:$|[\s.:,)\]}>\"'*_$-]+(?P<rest>[^\s\"'*_$.:,)\]}-].*)?)",
    re.IGNORECASE | re.DOTALL,
)
_LABEL = re.compile(r"(?:^|\s)[(\[\"'*]*([a-z])\**[).:\]](?=[\s*]|$)", re.IGNORECASE)
_DRESS = re.compile(r"[\s\"'*_#>:{]*")
_BESIDE = re.compile(r"[\s.:)\]\"'*(-]*")
_SETTLES = re.compile(r"[\"'*]*\s*(?:$|[.,;:!?)\]\"'*}<\n]|(?:because|since|as)\b)", re.IGNORECASE)
_JOINED = re.compile(r"[\s\"')*\]]*(?:,?\s*\b(?:or|and)\b|[,;/&])(?:\s*(?:maybe|possibly|perhaps|else|even|also)\b)*", re.IGNORECASE)
_ANOTHER = re.compile(r"[\s\"'*(]*[B-HJ-Z]\b(?!')")
_REASON = re.compile(r"[\"'*]*\s*[,;:(-]*\s*(?:because|since|as|due to|given|based on)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]+[\"')*\]]*(?=\s|$)|\n+|[。！？]|</?[a-z]+>", re.IGNORECASE)
_ABBREVIATED = re.compile(r"(?:^|[\s(\"'*])(?:[a-z]|dr|mr|mrs|ms|st|vs|e\.g|i\.e)$|(?:^|\n)\s*\d{1,2}$", re.IGNORECASE)
_CLAUSE = re.compile(r"[.,;:!?\n\"]|\b(?:but|because|so)\b", re.IGNORECASE)
_DENIAL = re.compile(
    r"(?:\b(?:not|never|no|neither|nor|without|cannot|rather than|instead of|as opposed to|unlike|other than|except|excluding|"
    r"rul(?:e|es|ed|ing) out|if|whether|unless|otherwise)\b|n't\b)(?!\s+(?:only|just|(?:a\s+)?doubt|question)\b)",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"(?:(?!\b(?:because|and|but|while|since|as|so|or)\b)[^.,;:!?\n]){0,25}?(?:\b(?:is|are|was|were|does|do|did|can|could|would|"
    r"has|have|be|seems?|sounds?)\s+(?:(?:also|clearly|definitely|probably|very|most)\s+)?(?:not|never|unlikely|incorrect|wrong|"
    r"absent|missing|impossible|out|ruled out|excluded|eliminated)\b|n't\b|\bcannot be\b)",
    re.IGNORECASE,
)
_LISTED = re.compile(r"[\s,]*(?:(?:or|nor|and)\s+)?(?:an?|the)?\s*", re.IGNORECASE)
_IS = r"(?:is|would be|should be|must be|will be|has to be|seems to be|appears to be)"
_ANSWER = re.compile(
    rf"\banswer\b[\s*_\"'`)\]}}]*[:=]|\bfinal answer\b[\s*_#]*\n|\bconclusion[\s*_]*[:\n]|<answer>|"
    rf"\\boxed\s*\{{(?:\\\w+\{{)?|答案\s*[是为:]|"
    rf"\b(?:answer|(?:correct|right|best|likely|final|my)\s+(?:option|choice|response|selection))(?:\s+[\w'\"(),-]+){{0,8}}?"
    rf"\s+{_IS}\b",
    re.IGNORECASE,
)
_IDLE = re.compile(
    r"\s+(?:based|clear|clearly|obvious|evident|correct|right|supported|because|derived|determined|not|in|on|from)\b",
    re.IGNORECASE,
)
_CHOSEN = re.compile(r"\bi(?:'d| would|'ll| will| must)?\s+(?:choose|pick|select|go with|opt for|settle on)\b|"
    r"\b(?:no,? )?wait,|\bactually\b|\bon second thought\b|\bcorrection:", re.IGNORECASE)
_CORRECT = re.compile(
    rf"\s+{_IS}\s+(?:(?:the|most|very|likely|probably|clearly|definitely|therefore|thus|only|an?)\s+){{0,4}}(?:correct\b|"
    r"answer\b|right\s+(?:answer|option|choice|one)|(?:best|appropriate|accurate|plausible|suitable)\s+"
    r"(?:answer|option|choice|match|fit)\b)",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"(?:^|[.!?,;\n]\s*|\band\s+)(?:so|therefore|thus|hence|consequently|in conclusion|to conclude|in summary|overall|"
    r"ultimately)\b",
    re.IGNORECASE,
)
_LEANING = re.compile(
    r"\bi(?:'d| would)?\s+(?:think|believe|guess|say|suppose|suspect|reckon)\b|\bmy (?:best )?guess(?: is| would be)?\b|"
    r"\b(?:probably|likely|maybe|perhaps|possibly|must be)\b|\bif i had to (?:guess|choose|pick|answer)\b",
    re.IGNORECASE,
)
_BUT = re.compile(r"[^.!?\n]{0,200}?[.!?]?\s*\b(?:but|however|although|though|yet|still)\b", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,300})\*\*")


class Mention(NamedTuple):
    """Where an option is named: by its "text", by a "lone" word or number that means it only at a head, or by "letter"."""

    choice: int
    start: int
    end: int
    kind: Literal["text", "lone", "letter"]
    affirmed: bool = True


class _Found(NamedTuple):
    """What a commitment, or a reply, comes to: an option's index, _CLASH or _REFUSAL, and where it is said."""

    start: int
    end: int
    choice: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reply says: `choice` indexes the options (None unless kind is "option"); `evidence` is what was read."""

    choice: int | None
    kind: Literal["option", "refusal", "unreadable"]
    evidence: str = ""


def read(reply: str, options: Sequence[str]) -> Reading:
    """Read one reply by the rules above; among options of equal text the first stands for all.

    Raises TypeError if the reply or an option is no text, ValueError if there are no options.
    """
    if not isinstance(reply, str):
        raise TypeError(f"reply is {reply!r}: only text can be read; grade a missing reply as failed, unread")
    if isinstance(options, str) or not all(isinstance(option, str) for option in options):
        raise TypeError(f"options are {options!r}: give a sequence of texts, one per option")
    if not options:
        raise ValueError("options are empty: give the texts that the reply could choose from")
    page = _Page(text=_undressed(tidy(reply)), options=_options(tuple(options)))
    found = _decide(page)
    evidence = page.text[found.start : found.end].strip()
    if found.choice >= 0:
        return Reading(choice=found.choice, kind=OPTION, evidence=evidence)
    return Reading(choice=None, kind=REFUSED if found.choice == _REFUSAL else UNREADABLE, evidence=evidence)


def mmau_match(reply: str, options: Sequence[str], gold_text: str) -> bool:
    r"""MMAU's own rule: the reply has every word of the gold text, and none that only other options have.

    A word is a lower-cased run of \w. The rule sees neither letters nor refusals, and fails a reply whose
    explanation uses a word of another option.
    """
    said, gold, *others = (set(re.findall(r"\w+", text.lower())) for text in (reply, gold_text, *options))
    return bool(said) and gold <= said and not said & (set().union(*others) - gold)


@dataclass(frozen=True)
class _Options:
    """The options as they are compared; `table` lists under its first word every (words, choice, kind) to look for."""

    texts: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    table: dict[str, list[tuple[tuple[str, ...], int, str]]]
    numeric: bool
    letters: frozenset[str]

    def first(self, hits: Iterable[int]) -> int | None:
        """The option that all hits mean: the first of its text; _CLASH if they differ, None without hits."""
        meant = {self.texts.index(self.texts[hit]) if hit >= 0 else _CLASH for hit in hits}
        return None if not meant else meant.pop() if len(meant) == 1 else _CLASH

    def equal(self, said: str) -> int | None:
        """The option whose text is said: exactly, else but for case, else word by word (rule 1)."""
        key = tuple(word.text for word in words(said, self.numeric))
        folded = [text.casefold() for text in self.texts]
        for known, form in ((self.texts, said), (folded, said.casefold()), (self.keys, key)):
            hits = [i for i, text in enumerate(known) if text and text == form]
            if hits:
                return self.first(hits)
        return None

    def is_text(self, letter: str) -> bool:
        """Whether a bare letter may be an option's text, so that it is no position (rule 1)."""
        return len(self.letters) > 1 or letter.casefold() in self.letters

    def letter(self, letter: str) -> int:
        """The option at a letter; _CLASH beyond the last."""
        place = ord(letter.lower()) - ord("a")
        return self.texts.index(self.texts[place]) if place < len(self.texts) else _CLASH


@lru_cache(maxsize=256)
def _options(raw: tuple[str, ...]) -> _Options:
    texts = tuple(tidy(option).strip() for option in raw)
    numbered = tuple(tuple(word.text for word in words(text, True)) for text in texts)
    numeric = all(any(word[-1:].isdigit() for word in key) for key in numbered) and (
        len(set(numbered)) == len(set(texts))
    )
    keys = numbered if numeric else tuple(tuple(word.text for word in words(text, False)) for text in texts)
    letters = frozenset(text.casefold() for text in texts if len(text) == 1 and text.isascii() and text.isalpha())
    options = _Options(texts, keys, {}, numeric, letters)
    sought = [(key, _kind(key)) for key in keys]
    if numeric and len({key[1:] for key in keys}) == 1 and keys[0][1:] and all(key[0].isdigit() for key in keys):
        sought += [(key[:1], "lone") for key in keys]
    for key, kind in sought:
        if key:
            same = [j % len(texts) for j, (other, _) in enumerate(sought) if other == key]
            options.table.setdefault(key[0], []).append((key, options.first(same), kind))
    for entries in options.table.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return options


def _kind(key: tuple[str, ...]) -> str:
    letter = len(key) == 1 and len(key[0]) == 1 and key[0].isascii() and key[0].isalpha()
    return "lone" if letter or (len(key) == 1 and key[0] in _LONE) else "text"


@dataclass(frozen=True)
class _Page:
    """A reply laid out for reading: its options mentioned, its refusals, its sentence ends; spans index `text`."""

    text: str
    options: _Options

    @cached_property
    def mentions(self) -> list[Mention]:
        """Every naming of an option, by text or by a letter that is marked as one, in order."""
        found = sorted([*_by_letter(self), *_by_text(self)], key=lambda mention: (mention.start, -mention.end))
        affirmed: list[Mention] = []
        for mention in found:
            denied = _denied(self, mention) or (affirmed and _continues_denial(self, affirmed[-1], mention))
            affirmed.append(mention._replace(affirmed=not denied))
        return affirmed

    @cached_property
    def unquoted(self) -> str:
        return masked(self.text, quotations(self.text))

    @cached_property
    def refusals(self) -> list[Refusal]:
        refusing = {i for i, text in enumerate(self.options.texts) if find_refusals(text)}
        return find_refusals(self.text, [(m.start, m.end) for m in self.mentions if m.choice in refusing])

    @cached_property
    def ends(self) -> list[tuple[int, int]]:
        """Where sentences and lines end; the full stop of "B." or "Dr." ends none."""
        stops = [(stop[0], stop.start(), stop.end()) for stop in _SENTENCE_END.finditer(self.text)]
        return [(a, b) for stop, a, b in stops if stop != "." or not _ABBREVIATED.search(self.text[max(0, a - 6) : a])]

    def stop(self, start: int) -> int:
        """The end of the sentence at start."""
        place = bisect_left(self.ends, (start, 0))
        return self.ends[place][0] if place < len(self.ends) else len(self.text)

    def between(self, start: int, end: int) -> list[Mention]:
        first = bisect_left(self.mentions, start, key=lambda mention: mention.start)
        last = bisect_left(self.mentions, end, key=lambda mention: mention.start)
        return self.mentions[first:last]


def _undressed(text: str) -> str:
    """Without blanks, emphasis and one pair of quotation marks around the whole."""
    text = text.strip()
    quoted = re.fullmatch(r"[*_]*([\"'])(.+?)\1[.!]?[*_]*", text, re.DOTALL)
    if quoted and not re.search(r"\"|(?<!\w)'|'(?!\w)", quoted[2]):
        return quoted[2]
    return text


def _by_text(page: _Page) -> Iterator[Mention]:
    said = words(page.text, page.options.numeric)
    i = 0
    while i < len(said):
        for key, choice, kind in page.options.table.get(said[i].text, ()):
            stop = i + len(key)
            compound = said[i].joined or (stop < len(said) and said[stop].joined)
            if not compound and tuple(word.text for word in said[i:stop]) == key:
                yield Mention(choice, said[i].start, said[stop - 1].end, kind)
                i = stop - 1
                break
        i += 1


def _by_letter(page: _Page) -> Iterator[Mention]:
    for match in _MARKED_LETTER.finditer(page.text):
        choice = page.options.letter(match[match.lastindex])
        if choice != _CLASH:
            yield Mention(choice, match.start(), match.end(), "letter")


def _denied(page: _Page, mention: Mention) -> bool:
    """Negated, conditional, or asked (rule 6)."""
    end = page.stop(mention.end)
    before = page.unquoted[max(0, mention.start - 80) : mention.start]
    after = page.unquoted[mention.end : min(end, mention.end + 60)]
    asked = page.text[end : end + 1] == "?" and "?" not in page.text[mention.start : mention.end]
    return bool(asked or _DENIAL.search(_CLAUSE.split(before)[-1]) or _DENIED_AFTER.match(after))


def _continues_denial(page: _Page, last: Mention, mention: Mention) -> bool:
    return not last.affirmed and bool(_LISTED.fullmatch(page.text[last.end : mention.start]))


def _decide(page: _Page) -> _Found:
    """Rules 1 to 3 and 9."""
    everything = _Found(0, len(page.text), _CLASH)
    whole = _whole(page.options, page.text)
    if whole is not None:
        return everything._replace(choice=whole)
    firm = [refusal for refusal in page.refusals if refusal.firm][-1:]
    after = firm[0].start if firm else -1
    for tier in (_explicit, _concluded, _leaning):
        later = [found for found in tier(page) if found.start > after and not _within_refusal(page, found)]
        if later and tier is not _leaning:
            return max(later)
        leant = page.options.first(found.choice for found in later)
        if later and (leant != _CLASH or not firm):
            return later[-1]._replace(choice=leant)
    for refusal in (firm or page.refusals)[-1:]:
        return _overturned(page, refusal) or _Found(refusal.start, refusal.end, _REFUSAL)
    return _sole(page, 0, len(page.text)) or everything._replace(end=0)


def _within_refusal(page: _Page, found: _Found) -> bool:
    return any(refusal.start <= found.start < refusal.end for refusal in page.refusals)


def _overturned(page: _Page, refusal: Refusal) -> _Found | None:
    """The option behind "but" in the refusal's sentence or at the head of the next."""
    but = _BUT.match(page.text, refusal.end)
    found = but and _named(page, but.end())
    return found if found and found.choice >= 0 else None


def _whole(options: _Options, text: str) -> int | None:
    """The option that a whole text gives by text, letter or both (rules 1 and 4)."""
    said = _undressed(text)
    equal, form = options.equal(said), _LETTER_FORM.fullmatch(said)
    marked = form and (form["mark"] or form["close"])
    if equal is not None and not (marked and options.is_text(form["letter"])):
        return equal
    if not form or (options.is_text(form["letter"]) and not marked and not form["rest"]):
        return None
    letter = options.letter(form["letter"])
    if not form["rest"]:
        return letter if letter != _CLASH else None
    text = options.equal(form["rest"])
    return text if text is None or text == letter else _CLASH


def _sole(page: _Page, start: int, end: int) -> _Found | None:
    """What the affirmed mentions in a span name: one option, or _CLASH."""
    mentions = [mention for mention in page.between(start, end) if mention.kind != "lone" and mention.affirmed]
    choice = page.options.first(mention.choice for mention in mentions)
    return None if choice is None else _Found(mentions[0].start, mentions[-1].end, choice)


def _at(page: _Page, start: int, end: int) -> Mention | None:
    """The option at the head of text[start:end], past words like "most likely option": by bare letter, mark or text."""
    head = next((m for m in page.between(start, end)[:2] if _LEAD.fullmatch(page.text, start, m.start)), None)
    if head and head.kind == "lone" and page.options.numeric and not _SETTLES.match(page.text, head.end):
        head = None
    bare = _BARE.match(page.text, _FILLER.match(page.text, start, end).end(), end)
    if not bare or page.options.is_text(bare[1]) or (head and head.start <= bare.start() and head.end > bare.end()):
        return head
    return Mention(page.options.letter(bare[1]), bare.start(), bare.end(), "letter")


def _headed(page: _Page, start: int, end: int) -> _Found | None:
    """The option at the head of text[start:end]; _CLASH if a letter and its text disagree, or "or" adds another."""
    head = _at(page, start, end)
    if head is None:
        return None
    end = max(end, page.stop(head.end))
    beside = _at(page, _BESIDE.match(page.text, head.end, end).end(), end)
    if beside and not _SETTLES.match(page.text[:end], beside.end):
        beside = None
    last = beside or head
    joined = _JOINED.match(page.text, last.end, end)
    other = _at(page, joined.end(), end) if joined else None
    if joined and _ANOTHER.match(page.text, joined.end()):
        return _Found(head.start, joined.end() + 1, _CLASH)
    return _Found(head.start, last.end, page.options.first(m.choice for m in (head, beside, other) if m))


def _named(page: _Page, start: int) -> _Found | None:
    """What the rest of a sentence names: by a letter at its head, else as the only option mentioned, else _CLASH."""
    end = page.stop(start)
    head = _at(page, start, end)
    return _headed(page, start, end) if head and head.kind == "letter" else _sole(page, start, end)


def _explicit(page: _Page) -> list[_Found]:
    """Commitments by rule 2."""
    found = [*_stated(page), *_alone(page), *_bold(page), *_affirmed_correct(page), _opening(page)]
    return [commitment for commitment in found if commitment]


def _recent(pattern: re.Pattern[str], page: _Page) -> list[re.Match[str]]:
    return list(pattern.finditer(page.text))[-_RECENT:]


def _stated(page: _Page) -> Iterator[_Found | None]:
    for cue in _recent(_ANSWER, page):
        start = _DRESS.match(page.text, cue.end()).end()
        said = _said(page, start)
        if said is None and _IDLE.match(page.text, cue.end()):
            continue
        yield _Found(cue.start(), said.end if said else page.stop(start), said.choice if said else _CLASH)
    for cue in _recent(_CHOSEN, page):
        named = _named(page, cue.end())
        yield named._replace(start=cue.start()) if named and named.choice >= 0 else None


def _said(page: _Page, start: int) -> _Found | None:
    """What follows "Answer:": a whole line or sentence, an option at its head, a refusal, or the only option in it."""
    end, line = page.stop(start), page.text.find("\n", start)
    for stop in (line if line > 0 else len(page.text), end):
        whole = _whole(page.options, page.text[start:stop]) if stop - start < _longest(page) else None
        if whole is not None:
            return _Found(start, stop, whole)
    refuses = find_refusals(_undressed(page.text[start:end]))
    return _headed(page, start, end) or (_Found(start, end, _REFUSAL) if refuses else _sole(page, start, end))


def _longest(page: _Page) -> int:
    return 80 + max(map(len, page.options.texts))


def _alone(page: _Page) -> Iterator[_Found]:
    """Sentences and lines that are nothing but an option; neighbours that differ are a list of the options."""
    starts, stops = [0, *(b for _, b in page.ends)], [*(a for a, _ in page.ends), len(page.text)]
    run: list[_Found] = []
    for start, stop in list(zip(starts, stops))[-_RECENT:]:
        blank = not page.text[start:stop].strip()
        whole = _whole(page.options, page.text[start:stop]) if stop - start < _longest(page) else None
        if whole is not None:
            run.append(_Found(start, stop, whole))
        elif not blank:
            yield from run if len({found.choice for found in run}) == 1 else ()
            run = []
    yield from run if len({found.choice for found in run}) == 1 else ()


def _bold(page: _Page) -> Iterator[_Found]:
    """The last bold phrase that is an option, unless bold is used for several options."""
    bold = [_Found(m.start(), m.end(), w) for m in _recent(_BOLD, page) if (w := _whole(page.options, m[1])) is not None]
    yield from bold[-1:] if len({found.choice for found in bold}) == 1 else ()


def _affirmed_correct(page: _Page) -> Iterator[_Found]:
    for cue in _recent(_CORRECT, page):
        before = page.text[max(0, cue.start() - 12) : cue.start()]
        letter = re.search(r"(?:^|[\s(\"'*])([A-Z])[)\"'*.]*$", before)
        near = [m for m in page.between(cue.start() - _longest(page), cue.start()) if m.affirmed][-1:]
        if near and not page.text[near[0].end : cue.start()].strip("\"')*]. "):
            either = re.search(r"\b(?:or|and)\s+(?:the\s+)?$", page.text[max(0, near[0].start - 9) : near[0].start])
            yield _Found(near[0].start, cue.end(), _CLASH if either else near[0].choice)
        elif letter and not page.options.is_text(letter[1]):
            yield _Found(cue.start() - 1, cue.end(), page.options.letter(letter[1]))


def _opening(page: _Page) -> _Found | None:
    """A reply that opens with a letter, "Yes," or "dog because", past a question repeated; several letters are a list."""
    start = next((after for at, after in page.ends[:1] if page.text[at] == "?"), 0)
    end = page.stop(start)
    head = _at(page, start, end)
    if head is None or head.choice == _CLASH or _whole(page.options, page.text[start:end]) is not None:
        return None
    labels = {label.lower() for label in _LABEL.findall(page.text[:2_000])}
    opens = {"letter": len(labels) < 2, "lone": _SETTLES.match(page.text, head.end)}
    return _headed(page, start, end) if opens.get(head.kind, _REASON.match(page.text, head.end)) else None


def _concluded(page: _Page) -> list[_Found]:
    named = [(cue, _named(page, cue.end())) for cue in _recent(_CONCLUSION, page)]
    return [found._replace(start=cue.start()) for cue, found in named if found and found.choice >= 0]


def _leaning(page: _Page) -> list[_Found]:
    named = [(cue, _named(page, cue.end())) for cue in _recent(_LEANING, page)]
    return [found._replace(start=cue.start()) for cue, found in named if found]
