r"""Reads a reply: which option it chooses, whether it refuses, or that it cannot be read. It never guesses.

In: the raw text of a reply and the texts of the options. Out: a `Reading`. Not known here: the gold option,
the prompt, the model. Published scorers draw a letter at random, fall back to option A, or take the article
of "A man ..." for it; each makes noise look like knowledge. The rules, in the order in which they apply:

1.  *The whole reply* is an option's text or letter. Text: exactly, else but for case, else but for
    punctuation, articles, quotes and unicode form. Letter: `b`, `B.`, `(b)`, `b)`, `Option B`, `**B**`,
    alone or before the option's text. A bare letter that may be an option's own text (it is one, or several
    options are letters) is text; then only `(b)`, `b)`, `Option B` name positions.
2.  *An explicit commitment*: "Answer: ...", "the (final, correct ...) answer is ...", "Conclusion: ...",
    <answer>, \boxed{}, "I choose ...", "Wait, ...", "... is the correct answer"; an opening like "B. It
    barks", "No, ...", "Dog, because"; a sentence or line that is nothing but an option. The last one wins
    over all before it and over any mention. If what follows "answer" names two options, or something not on
    offer, the reply is unreadable. Neighbouring lines or sentences that give different options are a list,
    not commitments.
3.  Else *a conclusion* ("therefore", "so" ...), the last such; else *leanings* ("I think", "probably" ...),
    if all agree. Both must name the option outright: "so it is a cat", "probably the cat", not "so the cat
    ran away". Else *the only option mentioned*. Two different options without a commitment are unreadable.
4.  A letter and a text that disagree are unreadable: "(A) cat" where (A) is the dog.
5.  A bare letter counts only where it is all that a reply, sentence or commitment holds, or where a full
    stop, a reason or the option's text follows it: the article of "A man" and the "I" of "I hear" are no
    letters.
6.  A mention is a run of whole words within a sentence, longest option first; part of a compound
    (post-rock) or another form (dogs) is none. Mentions that are negated ("not a dog", "rather than",
    "neither"), conditional or asked do not count. "yes", "no", "none", "both" ... inside a sentence choose
    nothing, but contradict another.
7.  "three" is "3" and "twice" is "2 times" where every option holds a number, and only there. A unit that
    all options share may be left out, except in a mere mention.
8.  *Refusals* are sentences outside quotations (refusals.py). An option whose text refuses is an option.
9.  *A refusal and an option*: the last commitment wins. An option overturns an earlier refusal by rule 2,
    by a conclusion or a leaning, or as the only one behind a "but"; a mere mention never does. A refusal
    overturns all commitments before it: "B. I don't know" is a refusal. A doubt ("I'm not sure") refuses
    only if nothing is committed.
10. Commitments are sought among the last 200 phrases of each kind, options of over 200 words only where they
    are all that is said, and a reply of over 500,000 characters is unreadable, which bounds the time that a
    reply can take.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

from lalm_utils.messages import short_repr
from lalm_utils.refusals import Refusal, Word, find_refusals, masked, quotations, tidy, words

OPTION, REFUSED, UNREADABLE = "option", "refusal", "unreadable"
MAX_REPLY = 500_000  # characters; a model that thinks in 100,000 tokens writes fewer
MAX_OPTIONS = 1000
_RECENT = 200
_LONGEST_MENTION = 200  # words
_CLASH, _REFUSAL = -1, -2  # stand where a commitment has no option's index: two or none on offer; a refusal
_LONE = frozenset("yes no none both neither either maybe all other same".split())


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile("".join(parts), re.IGNORECASE)


# Letters. A letter is bare where only what follows it tells it from an article or a pronoun.
_BARE = _pattern(
    r"([a-z])(?=[\"'*)\]}]*(?:\s*(?:$|[)\n<]|[.,;:!?/](?=[\s\"'*)}<]|$))|\s+[-(]|",
    r"\s+(?:because|since|as|due|and|or)\b))",
)
_MARKED = _pattern(
    r"(?<!\w)[(\[{]\s*([a-z])\s*[)\]}]|",
    r"\b(?:option|choice|letter) +[\"'*(]*([a-z])(?=[\"'*]*(?:\s*$|\s*[^\w\s]|",
    r"\s+(?:is|was|because|since|as|seems?|fits|matches|and|or|would|best|sounds|looks|appears)\b))",
)
_LETTER_FORM = _pattern(
    r"[\s\"'*_$#>-]*(?P<mark>(?:(?:option|choice|letter|answer)\s+)?[(\[{<]\s*|(?:option|choice|letter)\s+)?",
    r"(?P<letter>[a-z])(?P<close>\s*[)\]])?",
    r"(?:$|[\s.:,?!)\]}>\"'*_$-]+(?P<rest>[^\s\"'*_$.:,)\]}-](?:.|\n)*)?)",
)
_LABEL = _pattern(r"(?:^|\s)[(\[\"'*]*([a-z])\**(?:[).:\]]|\s-)(?=[\s*]|$)")
_INITIALS = re.compile(r"\.\s*[A-Z]\.")
_ANOTHER = re.compile(r"[\s\"'*(]*[B-HJ-Z]\b(?!')")

# What may stand before, beside and after an option that is named outright.
_DRESS = _pattern(r"[\s\"'*_#>:{]*")
_FILLER = _pattern(
    r"(?:[\s\"'*_:>#,]|-(?!\d)|(?:that|it|this|is|was|it's|must|be|most|very|likely|probably|definitely|clearly|",
    r"certainly|simply|just|option|choice|letter|indeed|therefore|actually|either|the)\b)*",
)
_LEAD = _pattern(_FILLER.pattern, r"(?:an?\s+)?[\"'*(]*")
_SUBJECT = _pattern(
    r"[\s,:]*(?:that\s+)?(?:it|this|that|he|she|(?:the|this|that)\s+\w+(?:\s+\w+)?)",
    r"(?:'s|\s+(?:is|was|are|must be|has to be|sounds?(?: like)?|seems?(?: to be)?|appears? to be|",
    r"comes? from))\b",
)
_BESIDE = _pattern(r"[\s.:)\]\"'*(-]*")
_SETTLES = _pattern(r"[\"'*]*\s*(?:$|[.,;:!?)\]\"'*}<\n]|(?:because|since|as)\b)")
_JOINED = _pattern(
    r"[\s\"'()*\]]*(?:,?\s*\b(?:or|and|but)\b|[,;/&])(?:\s*(?:maybe|possibly|perhaps|else|even|also)\b)*"
)
_REASON = _pattern(r"[\"'*]*\s*[,;:(-]*\s*(?:because|since|as|due to|given|based on)\b")

# Sentences, clauses, denials.
_SENTENCE_END = _pattern(r"[.!?]+[\"')*\]]*(?=\s|$)|\n+|[。！？]|</?[a-z]+>")
_ABBREVIATED = _pattern(r"(?:^|[\s(\"'*])(?:[a-z]|dr|mr|mrs|ms|st|vs|e\.g|i\.e)$|(?:^|\n)\s*\d{1,2}$")
_CLAUSE = _pattern(r"[.,;:!?\n]|\b(?:but|because|so|and (?:is|was|sounds|seems|feels|looks))\b")
_DENIAL = _pattern(
    r"(?:\b(?:not|never|no|neither|nor|without|cannot|rather than|instead of|as opposed to|unlike|except|",
    r"excluding|(?:other|more|less|\w+er) than|similar to|rul(?:e|es|ed|ing) out|if|whether|unless|",
    r"otherwise)\b|n't\b|",
    r"(?:^|(?<=[.,:\n]\s))(?:identify|determine|count)\b)(?!\s+(?:only|just|(?:a\s+)?doubt|question)\b)",
)
_DENIED_AFTER = _pattern(
    r"(?:(?!\b(?:because|and|but|while|since|as|so|or)\b)[^.,;:!?\n]){0,25}?",
    r"(?:n't\b|\bwould (?!be (?:the|my|correct)\b)|\bcannot be\b|",
    r"\b(?:is|are|was|were|does|do|did|can|could|would|has|have|be|seems?|sounds?)\s+",
    r"(?:(?:also|clearly|definitely|very|most)\s+)?",
    r"(?:not|never|unlikely|incorrect|wrong|absent|missing|impossible|out|ruled out|excluded|eliminated)\b)",
)
_LISTED = _pattern(r"[\s,]*(?:(?:or|nor|and)\s+)?(?:an?|the)?\s*")

# Phrases that commit.
_IS = r"\s+(?:is|would be|should be|must be|will be|has to be|seems to be|appears to be)\b"
_ANSWER_WORD = (
    r"\b(?:(?:final\s+)?answer|(?:correct|right|best|likely|final|my)\s+"
    r"(?:option|choice|response|reply|selection|letter))\b"
)
_ANSWER = _pattern(
    rf"{_ANSWER_WORD}(?:[\s*_\"'`)\]}}]*(?:[:=]|[-=]>)|(?:\s+[\w'\"(),-]+){{0,8}}?{_IS})|\bfinal[\s*_]*:|",
    r"\bfinal answer\b[\s*_#]*\n|\bconclusion[\s*_]*[:\n]|<answer>|\\boxed\s*\{(?:\\\w+\{)?|答案\s*[是为:]",
)
_ASKED_FOR = _pattern(
    r"(?<!\bi )\b(?:choose|select|pick|find|give)\s+(?:(?:the|your|correct|right|best|most)\s+)*$"
)
_IDLE = _pattern(
    r"\s+(?:based|clear|clearly|obvious|evident|correct|right|supported|because|derived|determined|in|on|from)\b"
)
_CORRECT = _pattern(
    _IS,
    r"\s+(?:(?:the|most|very|likely|probably|clearly|definitely|therefore|thus|only|an?)\s+){0,4}(?:correct|answer|"
    r"right\s+(?:answer|option|choice|one)|(?:best|appropriate|accurate|plausible|suitable)\s+"
    r"(?:answer|option|choice|match|fit))\b",
)
_CHOSEN = _pattern(
    r"\bi(?:'d| would|'ll| will| must)?\s+(?:choose|pick|select|go with|opt for|settle on)\b|",
    r"(?:^|[.!?,;\n]\s*)(?:no,?\s+)?(?:wait|actually|on second thought|correction)\b",
)
_CONCLUSION = _pattern(r"(?:^|[.!?,;\n]\s*|\band\s+)(?:so|therefore|thus|hence|in conclusion|to conclude)\b")
_LEANING = _pattern(
    r"\bi(?:'d| would| will|'ll)?\s+(?:think|believe|guess|say|suppose|suspect|reckon)\b|",
    r"\bmy (?:best )?guess(?: is| would be)?\b|\bif i had to (?:guess|choose|pick|answer)\b|",
    r"\b(?:probably|likely|maybe|perhaps|possibly|must be)\b|\bit(?:'s| is)(?=\s+\(?(?-i:[A-Z])\b)",
)
_BUT = _pattern(r"[^.!?\n]{0,200}?[.!?]?\s*\b(?:but|however|although|though|yet|still)\b")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reply says. choice: an index, None unless kind is "option"; evidence: the words that say so."""

    choice: int | None
    kind: Literal["option", "refusal", "unreadable"]
    evidence: str = ""


def read(reply: str, options: Sequence[str]) -> Reading:
    """Read one reply by the rules above; among options of equal text the first stands for all.

    Raises TypeError if the reply or an option is no text, ValueError if there are no options or over 1,000.
    """
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
    text = tidy(reply).strip() if len(reply) <= MAX_REPLY else reply
    if len(text) > MAX_REPLY:
        return Reading(choice=None, kind=UNREADABLE)
    page = _Page(text=text, options=_options(tuple(options)))
    if page.text not in page.options.texts:
        page = replace(page, text=_undressed(page.text))
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


class _Mention(NamedTuple):
    """An option named: by its "text", by a "lone" word that chooses only at a head, or by a "letter"."""

    choice: int
    start: int
    end: int
    kind: Literal["text", "lone", "letter"]


class _Found(NamedTuple):
    """What a commitment or a reply comes to (an option's index, _CLASH or _REFUSAL), and where it is said."""

    start: int
    end: int
    choice: int


@dataclass(frozen=True)
class _Options:
    """The options as they are compared; table: by first word, every (words, choice, kind) to look for, the words
    as `_line` joins them."""

    texts: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    table: dict[str, list[tuple[str, int, str]]]
    numeric: bool

    def first(self, hits: Iterable[int]) -> int | None:
        """The option that all hits mean, the first of its text; _CLASH if they differ, None without hits."""
        meant = {self.texts.index(self.texts[hit]) if hit >= 0 else _CLASH for hit in hits}
        return None if not meant else meant.pop() if len(meant) == 1 else _CLASH

    @cached_property
    def folded(self) -> tuple[str, ...]:
        return tuple(text.casefold() for text in self.texts)

    @cached_property
    def longest(self) -> int:
        """More characters than any text that gives an option and nothing else."""
        return 80 + 2 * max(map(len, self.texts))

    @cached_property
    def letters(self) -> frozenset[str]:
        """The options that are themselves one letter."""
        return frozenset(text.casefold() for text in self.texts if _is_letter(text))

    @cached_property
    def refusing(self) -> frozenset[int]:
        return frozenset(i for i, text in enumerate(self.texts) if find_refusals(text))

    def equal(self, said: str) -> int | None:
        """The option whose text is said: exactly, else but for case, else word by word."""
        key = _key(said, self.numeric)
        for known, form in ((self.texts, said), (self.folded, said.casefold()), (self.keys, key)):
            hits = [i for i, text in enumerate(known) if text and text == form]
            if hits:
                return self.first(hits)
        return None

    def is_text(self, letter: str) -> bool:
        """Whether a bare letter may be an option's text, so that it is no position (rule 1)."""
        return len(self.letters) > 1 or letter.casefold() in self.letters

    def at(self, letter: str) -> int:
        """The option at a letter; _CLASH beyond the last."""
        place = ord(letter.lower()) - ord("a")
        return self.texts.index(self.texts[place]) if place < len(self.texts) else _CLASH


@lru_cache(maxsize=256)
def _options(raw: tuple[str, ...]) -> _Options:
    texts = tuple(tidy(option).strip() for option in raw)
    plain, keys = (tuple(_key(text, numbers) for text in texts) for numbers in (False, True))
    numeric = all(any(word[-1:].isdigit() for word in key) for key in keys) and len(set(keys)) == len(
        set(texts)
    )
    keys = keys if numeric else plain
    sought = [
        (key, "lone" if len(key) == 1 and (key[0] in _LONE or _is_letter(key[0])) else "text") for key in keys
    ]
    if numeric and len({key[1:] for key in keys}) == 1 and keys[0][1:]:
        sought += [(key[:1], "lone") for key in keys]
    options = _Options(texts, keys, {}, numeric)
    for key, kind in sorted(sought, key=lambda entry: -len(entry[0])):
        if len(key) > _LONGEST_MENTION:
            continue
        same = [j % len(texts) for j, (other, _) in enumerate(sought) if other == key]
        options.table.setdefault("".join(key[:1]), []).append((_line(key), options.first(same), kind))
    return options


def _key(text: str, numbers: bool) -> tuple[str, ...]:
    return tuple(word.text for word in words(text, numbers))


def _line(key: Iterable[str]) -> str:
    """Words on one line, each with its end, so that a run of words is found by comparing texts."""
    return "".join(f"{word}\0" for word in key)


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isalpha()


@dataclass(frozen=True)
class _Page:
    """A reply laid out for reading; all spans index `text`."""

    text: str
    options: _Options

    @cached_property
    def mentions(self) -> list[_Mention]:
        """Every naming of an option, by text or by a letter that is marked as one, in order."""
        return sorted([*_by_letter(self), *_by_text(self)], key=lambda mention: (mention.start, -mention.end))

    @cached_property
    def around(self) -> str:
        """The text with quotations and options blanked, so that denials are sought in neither."""
        named = [(mention.start, mention.end) for mention in self.mentions if mention.kind != "letter"]
        return masked(self.text, [*quotations(self.text), *named])

    @cached_property
    def denials(self) -> list[tuple[int, bool]]:
        """Where a denial takes hold (True) and where a clause's end frees from it (False)."""
        holds = [(denial.end(), True) for denial in _DENIAL.finditer(self.around)]
        return sorted([*holds, *((clause.end(), False) for clause in _CLAUSE.finditer(self.around))])

    @cached_property
    def refusals(self) -> list[Refusal]:
        hidden = [(m.start, m.end) for m in self.mentions if m.choice in self.options.refusing]
        return find_refusals(self.text, hidden)

    @cached_property
    def ends(self) -> list[tuple[int, int]]:
        """Where sentences and lines end; no full stop of "B." or "Dr.", none inside an option's text."""
        inside = bytearray(len(self.text) + 1)
        for mention in self.mentions:
            if mention.kind == "letter":
                continue
            inside[mention.start : mention.end] = b"x" * (mention.end - mention.start)
        stops = [(stop[0], stop.start(), stop.end()) for stop in _SENTENCE_END.finditer(self.text)]
        open_ = [stop for stop in stops if not inside[stop[1]]]
        return [
            (a, b) for s, a, b in open_ if s != "." or not _ABBREVIATED.search(self.text[max(0, a - 6) : a])
        ]

    def stop(self, start: int) -> int:
        """The end of the sentence at start."""
        place = bisect_left(self.ends, (start, 0))
        return self.ends[place][0] if place < len(self.ends) else len(self.text)

    def rank(self, start: int) -> int:
        """The number of mentions before start."""
        return bisect_left(self.mentions, start, key=lambda mention: mention.start)


def _by_text(page: _Page) -> Iterator[_Mention]:
    said = words(page.text, page.options.numeric)
    line = _line(word.text for word in said)
    starts = list(accumulate((len(word.text) + 1 for word in said), initial=0))
    i = 0
    while i < len(said):
        for key, choice, kind in page.options.table.get(said[i].text, ()):
            stop = i + key.count("\0")
            if not line.startswith(key, starts[i]) or _broken(page, said, i, stop, choice):
                continue
            yield _Mention(choice, said[i].start, said[stop - 1].end, kind)
            i = stop - 1
            break
        i += 1


def _broken(page: _Page, said: list[Word], i: int, stop: int, choice: int) -> bool:
    """Whether the words i to stop belong to a longer compound, or to two sentences (the option to one)."""
    compound = said[i].joined or (stop < len(said) and said[stop].joined)
    crosses = stop > i + 1 and _SENTENCE_END.search(page.text, said[i].end, said[stop - 1].start + 1)
    return compound or bool(crosses and not _SENTENCE_END.search(page.options.texts[choice].rstrip(".!?")))


def _by_letter(page: _Page) -> Iterator[_Mention]:
    for match in _MARKED.finditer(page.text):
        choice = page.options.at(match[match.lastindex])
        if choice != _CLASH:
            yield _Mention(choice, match.start(), match.end(), "letter")


def _affirmed(page: _Page, mention: _Mention) -> bool:
    """Whether a mention counts: neither it nor one that it continues ("not a dog, a cat") is denied."""
    rank = page.rank(mention.start)
    for last in reversed(page.mentions[max(0, rank - 8) : rank]):
        if _denied(page, mention):
            return False
        if not _LISTED.fullmatch(page.text, last.end, mention.start):
            return True
        mention = last
    return not _denied(page, mention)


def _denied(page: _Page, mention: _Mention) -> bool:
    """Negated, conditional, or asked (rule 6)."""
    end = page.stop(mention.end)
    held = bisect_left(page.denials, (mention.start, True)) - 1
    asked = page.text[end : end + 1] == "?" and "?" not in page.text[mention.start : mention.end]
    before = held >= 0 and page.denials[held][1]
    return asked or before or bool(_DENIED_AFTER.match(page.around, mention.end, min(end, mention.end + 60)))


def _decide(page: _Page) -> _Found:
    """Rules 1 to 3 and 9."""
    everything = _Found(0, len(page.text), _CLASH)
    whole = _whole(page.options, page.text)
    if whole is not None:
        return everything._replace(choice=whole)
    firm = [refusal for refusal in page.refusals if refusal.firm][-1:]
    for tier in (_explicit, _concluded, _leaning):
        later = [found for found in tier(page) if not firm or found.start >= firm[0].end]
        found = max((found for found in later if not _within_refusal(page, found.start)), default=None)
        if found and (found.choice != _CLASH or tier is _explicit or not firm):
            return found
    for refusal in (firm or page.refusals)[-1:]:
        return _overturned(page, refusal) or _Found(refusal.start, refusal.end, _REFUSAL)
    return _sole(page, 0, len(page.text)) or everything._replace(end=0)


def _within_refusal(page: _Page, start: int) -> bool:
    """Whether start lies in a refusing clause, as "answer" does in "I'm not sure the answer is a dog"."""
    rank = bisect_left(page.refusals, start + 1, key=lambda refusal: refusal.start)
    return rank > 0 and start < page.refusals[rank - 1].end


def _overturned(page: _Page, refusal: Refusal) -> _Found | None:
    """The only option behind "but" in the refusal's sentence or at the head of the next."""
    but = _BUT.match(page.text, refusal.end)
    found = but and (_outright(page, but.end()) or _sole(page, but.end(), page.stop(but.end())))
    return found if found and found.choice >= 0 else None


def _whole(options: _Options, text: str) -> int | None:
    """The option that a whole text gives by text, letter or both (rules 1 and 4)."""
    if len(text) > options.longest:
        return None
    said = text.strip() if text.strip() in options.texts else _undressed(text)
    equal, form = options.equal(said), _LETTER_FORM.fullmatch(said)
    position = form and (form["mark"] or form["close"] or not options.is_text(form["letter"]))
    if not form or (equal is not None and not (position and options.is_text(form["letter"]))):
        return equal
    rest = options.equal(form["rest"] or "")
    if form["rest"]:
        return rest if rest is None or rest == options.at(form["letter"]) else _CLASH
    return options.at(form["letter"]) if position and options.at(form["letter"]) != _CLASH else None


def _undressed(text: str) -> str:
    """Without blanks, emphasis and one pair of quotation marks around the whole."""
    quoted = re.fullmatch(r"[*_]*([\"'])(.+?)\1[.!]?[*_]*", text.strip(), re.DOTALL)
    return quoted[2] if quoted and not re.search(r"\"|(?<!\w)'|'(?!\w)", quoted[2]) else text.strip()


def _sole(page: _Page, start: int, end: int) -> _Found | None:
    """What the mentions that count name in text[start:end]: one option, or _CLASH."""
    seen: dict[int, _Mention] = {}
    for mention in page.mentions[page.rank(start) : page.rank(end)]:
        if mention.choice not in seen and _affirmed(page, mention):
            seen[mention.choice] = mention
    named = list(seen.values())
    if all(mention.kind == "lone" for mention in named):
        return None
    return _Found(named[0].start, named[-1].end, page.options.first(seen))


def _head(page: _Page, start: int, end: int) -> _Mention | None:
    """The option at the head of text[start:end], past "most likely" and the like: letter or text."""
    near = page.mentions[page.rank(start) : page.rank(start) + 2]
    head = next((m for m in near if m.start < end and _LEAD.fullmatch(page.text, start, m.start)), None)
    if head and head.kind == "lone" and page.options.numeric and not _SETTLES.match(page.text, head.end):
        head = None
    bare = _BARE.match(page.text, _FILLER.match(page.text, start, end).end(), end)
    if (
        not bare
        or page.options.is_text(bare[1])
        or (head and head.start <= bare.start() and head.end >= bare.end())
    ):
        return head
    return _Mention(page.options.at(bare[1]), bare.start(), bare.end(), "letter")


def _headed(page: _Page, start: int) -> _Found | None:
    """The option at the head of a sentence; _CLASH if text beside a letter disagrees or "or" adds another."""
    head = _head(page, start, max(start, page.stop(start)))
    if head is None:
        return None
    end = max(head.end, page.stop(head.end))
    beside = _head(page, _BESIDE.match(page.text, head.end, end).end(), end)
    beside = beside if beside and _SETTLES.match(page.text, beside.end, max(end, beside.end)) else None
    named, last = [head, beside or head], beside or head
    while joined := _JOINED.match(page.text, last.end, end):
        if _ANOTHER.match(page.text, joined.end()):
            return _Found(head.start, joined.end(), _CLASH)
        last = _head(page, joined.end(), end)
        if last is None:
            break
        named.append(last)
    return _Found(head.start, named[-1].end, page.options.first(mention.choice for mention in named))


def _outright(page: _Page, start: int) -> _Found | None:
    """The option that a clause names outright: behind "it is" or the like, or as all that it holds."""
    subject = _SUBJECT.match(page.text, start, page.stop(start))
    found = _headed(page, subject.end()) if subject else None
    if found is None:
        found = _headed(page, start)
        found = found if found and _SETTLES.match(page.text, found.end) else None
    return found


def _recent(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[-_RECENT:]


def _explicit(page: _Page) -> Iterator[_Found]:
    """Commitments by rule 2."""
    yield from _answered(page)
    yield from _chosen(page)
    yield from _alone(page)
    yield from _opening(page)


def _answered(page: _Page) -> Iterator[_Found]:
    """What follows "Answer:" or "the answer is"; _CLASH if that is nothing on offer."""
    for cue in _recent(_ANSWER, page.text):
        if _ASKED_FOR.search(page.text[max(0, cue.start() - 40) : cue.start()]):
            continue  # the prompt repeated: "Choose the correct option: (A) ..."
        start = _DRESS.match(page.text, cue.end()).end()
        said = _said(page, start) if start < len(page.text) else None
        if said or not _IDLE.match(page.text, cue.end()):
            yield said._replace(start=cue.start()) if said else _Found(cue.start(), page.stop(start), _CLASH)


def _said(page: _Page, start: int) -> _Found | None:
    """A whole line or sentence, an option at its head, a refusal, or the only option in it."""
    end, line = page.stop(start), page.text.find("\n", start)
    for stop in (line if line > 0 else len(page.text), end):
        whole = _whole(page.options, page.text[start:stop])
        if whole is not None:
            return _Found(start, stop, whole)
    refuses = find_refusals(_undressed(page.text[start:end][:1_000]))
    return _headed(page, start) or (_Found(start, end, _REFUSAL) if refuses else _sole(page, start, end))


def _chosen(page: _Page) -> Iterator[_Found]:
    """Of "I choose ...", "Wait, ..." and "... is the correct answer", where they name an option."""
    for cue in _recent(_CHOSEN, page.around):
        found = _outright(page, cue.end())
        if found and found.choice >= 0:
            yield found._replace(start=cue.start())
    for cue in _recent(_CORRECT, page.around):
        rank, before = page.rank(cue.start()), page.text[max(0, cue.start() - 12) : cue.start()]
        letter = re.search(r"(?:^|[\s(\"'*])([A-Z])[)\"'*.]*$", before)
        near = page.mentions[max(0, rank - 1) : rank]
        if near and not page.text[near[0].end : cue.start()].strip("\"')*]. "):
            either = re.search(
                r"\b(?:or|and)\s+(?:the\s+)?$", page.text[max(0, near[0].start - 9) : near[0].start]
            )
            if _affirmed(page, near[0]):
                yield _Found(near[0].start, cue.end(), _CLASH if either else near[0].choice)
        elif letter and not page.options.is_text(letter[1]):
            yield _Found(cue.start() - 1, cue.end(), page.options.at(letter[1]))


def _alone(page: _Page) -> Iterator[_Found]:
    """Sentences and lines that are nothing but an option; neighbours that differ are a list of options."""
    starts, stops = [0, *(b for _, b in page.ends)], [*(a for a, _ in page.ends), len(page.text)]
    run: list[_Found] = []
    listing = [page.options.texts.index(text) for text in page.options.texts]
    for start, stop in [*list(zip(starts, stops))[-_RECENT:], (0, 0)]:
        whole = _whole(page.options, page.text[start:stop])
        asked = page.text[stop : stop + 1] == "?" and "?" not in page.options.texts[whole or 0]
        if whole is not None and not asked:
            run.append(_Found(start, stop, whole))
        elif page.text[start:stop].strip() or stop == 0:
            if len(listing) > 2 and [found.choice for found in run[: len(listing)]] == listing:
                run = run[len(listing) :]
            yield from run if len({found.choice for found in run}) == 1 else ()
            run = []


def _opening(page: _Page) -> Iterator[_Found]:
    """The head of "B. It barks", "Yes, ..." or "Dog, because", past a repeated question; not of a list."""
    start = next((after for at, after in page.ends[:1] if page.text[at] == "?"), 0)
    head = _head(page, start, page.stop(start))
    if (
        head is None
        or head.choice == _CLASH
        or _whole(page.options, page.text[start : page.stop(start)]) is not None
    ):
        return
    labels = {label.lower() for label in _LABEL.findall(page.text[:2_000])}
    opens = {
        "letter": len(labels) < 2 and not _INITIALS.match(page.text, head.end),
        "lone": _SETTLES.match(page.text, head.end),
    }
    if opens.get(head.kind, _REASON.match(page.text, head.end)):
        yield _headed(page, start)


def _concluded(page: _Page) -> Iterator[_Found]:
    for cue in _recent(_CONCLUSION, page.around):
        found = _outright(page, cue.end())
        if found and found.choice >= 0:
            yield found._replace(start=cue.start())


def _leaning(page: _Page) -> Iterator[_Found]:
    """One commitment for all leanings since the last firm refusal, _CLASH if they differ."""
    after = max((refusal.end for refusal in page.refusals if refusal.firm), default=0)
    found = [
        (cue, _outright(page, cue.end())) for cue in _recent(_LEANING, page.around) if cue.start() >= after
    ]
    named = [(cue, leant) for cue, leant in found if leant]
    if named:
        cue, leant = named[-1]
        yield leant._replace(start=cue.start(), choice=page.options.first(f.choice for _, f in named))
