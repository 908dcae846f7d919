"""The wording of replies: their words, folded for comparison, and the sentences in which they refuse to
answer.

In: the text of a reply. Out: `tidy`, its one unicode form; `words`, what comparisons see of it (no case, no
articles, no punctuation, numbers as digits on request); `quotations`; `find_refusals`, where it refuses and
how firmly. Not known here: the options, except as spans that the caller hides, because "Cannot be
determined" may be one.

A refusal speaks for the one who answers ("I don't know", "it cannot be determined", "IDK"). None is read
from a quotation ("she says 'I don't know'"), a report (the man says I don't know), a condition (if I don't
know), an instruction (told to output IDK), or another's inability (the man cannot hear her). Two degrees
are told apart: *firm*, ignorance or inability; *doubt*, a lack of certainty ("I'm not sure"), which an
answer beside it outweighs. English is covered broadly; of other languages only the commonest phrases.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_MARKS = "".join(mark for mark in map(chr, range(0x300, 0x10000)) if unicodedata.category(mark)[0] == "M")
_FOLD = str.maketrans(
    dict.fromkeys("‘’‚‛`´ʼ′", "'")
    | dict.fromkeys("“”„‟«»「」『』″", '"')
    | dict.fromkeys("‐‑‒–−﹣", "-")
    | dict.fromkeys("—―", " - ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\r")
    | {"İ": "I"}
)
# Patterns that begin with what may repeat, and the ordering of combining marks, take the square of a run's length.
_RUN = re.compile(r"([\W\uff9e\uff9f]{100})[\W\uff9e\uff9f]+")
_WORD = re.compile(
    rf"(?:(?<!\S)-(?=\d))?[^\W_](?:[^\W_]|[{_MARKS}]|(?<=\d)[.,:](?=\d)|'(?=[^\W\d_]))*[#♯♭°+%]*"
)
_SMALL = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen".split()
    )
} | {
    word: 10 * tens
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_TIMES = {"once": "1", "twice": "2", "thrice": "3"}
_PRONOUN_BEFORE = frozenset("the this that which each every no any another".split())
_PRONOUN_AFTER = frozenset("of can could may might must would should cannot has hears".split())
_JOINTS = ("", "-", "/", "_", "&")
_KEYS = frozenset("major minor maj min flat sharp dorian phrygian lydian mixolydian".split())


class Word(NamedTuple):
    """A folded word, where it stands, and whether it is joined to the one before (post-rock)."""

    text: str
    start: int
    end: int
    joined: bool = False


def tidy(text: str) -> str:
    """NFKC with straight quotes, plain hyphens and no invisible characters; letter case and lines stay.

    Of a run of blanks, punctuation or combining marks, the first 100 are kept.
    """
    return unicodedata.normalize("NFKC", _RUN.sub(r"\1", text.translate(_FOLD))).translate(_FOLD)


def words(text: str, numbers: bool) -> list[Word]:
    """The words of a tidied text without articles; numbers: number words become digits."""
    found, last = [], 0
    for match in _WORD.finditer(text):
        plain = match[0].casefold()
        if "'" in plain or "," in plain:
            plain = re.sub(r"'(?!s$)|(?<=\d),(?=\d{3})", "", plain)
        found.append(
            Word(plain, match.start(), match.end(), last > 0 and text[last : match.start()] in _JOINTS)
        )
        last = match.end()
    found = _digits(found, text) if numbers else found
    return [
        word for word, after in zip(found, [*found[1:], None]) if not _article(word, after, text)
    ] or found


def _article(word: Word, after: Word | None, text: str) -> bool:
    if word.text != "a":
        return word.text in ("the", "an")
    return after is not None and text[word.end : after.start].isspace() and after.text not in _KEYS


def _digits(words: list[Word], text: str) -> list[Word]:
    """Number words as digits ("twice": "2", "time"); the unit after a number loses its plural s."""
    found: list[Word] = []
    i = 0
    while i < len(words):
        word, (value, stop) = words[i], _number(words, i, text)
        if word.text in _TIMES:
            found += [word._replace(text=_TIMES[word.text]), Word("time", word.start, word.end)]
        elif stop > i and not (word.text == "one" and _pronoun(words, i)):
            found.append(Word(str(value), word.start, words[stop - 1].end, word.joined))
        elif word.text == "none" and not (i + 1 < len(words) and words[i + 1].text == "of"):
            found.append(word._replace(text="0"))
        elif found and found[-1].text[-1].isdigit():
            found.append(word._replace(text=word.text.removesuffix("s") or word.text))
        else:
            found.append(word)
        i = max(stop, i + 1)
    return found


def _pronoun(words: list[Word], i: int) -> bool:
    return (i > 0 and words[i - 1].text in _PRONOUN_BEFORE) or (
        i + 1 < len(words) and words[i + 1].text in _PRONOUN_AFTER
    )


def _number(words: list[Word], i: int, text: str) -> tuple[int, int]:
    """The number that starts at word i and the index after it; (0, i) if there is none."""
    total, current, room, stop = 0, 0, 1_000, i
    for j in range(i, len(words)):
        word = words[j].text
        if j > i and text[words[j - 1].end : words[j].start] not in (
            (" ", "-", ", ") if room >= 100 else (" ", "-")
        ):
            break
        if word in _SMALL and _SMALL[word] < room and (_SMALL[word] or j == i):
            current, room = current + _SMALL[word], 10 if _SMALL[word] >= 20 else 0
        elif word in _SCALES and current and (word != "hundred" or current < 100):
            total, current = (
                (total, current * 100) if word == "hundred" else (total + current * _SCALES[word], 0)
            )
            room = 100 if word == "hundred" else 1_000
        elif not (word == "and" and room >= 100 and j > i):
            break
        if word != "and":
            stop = j + 1
    return total + current, stop


class Refusal(NamedTuple):
    """A refusing clause, text[start:end]; firm: ignorance or inability, not a mere doubt."""

    start: int
    end: int
    firm: bool


_ADVERBS = (
    r"(?:(?:really|honestly|simply|just|truly|actually|still|currently|also|even|quite|fully|possibly|reliably|"
    r"definitely|definitively|confidently|accurately|clearly|exactly|directly|personally|sorry)\s+){0,2}"
)
_WE = r"\b(?:i|we)"
_OPENING = (
    r"(?:^|(?<=[.!?;:,\n(>{*\"-])|(?<=[.!?;:,\n(>{*\"-]\s)|"
    r"(?<=\bbut\s)|(?<=\bso\s)|(?<=\band\s)|(?<=sorry\s))"
)
_DO_NOT = r"(?:do not|don't|dont|did not|didn't)"
_UNABLE = (
    r"(?:cannot|can not|can't|cant|could not|couldn't|"
    r"(?:(?:am|are|is|was|'m|'re|'s)\s+)?(?:not able|unable) to|won't be able to)"
)
_NOTHING_ELSE = r"(?!\s+(?:but|else|except|like|other))"
_DECIDE = (
    r"(?:(?:determine|tell|say|answer|know|decide|distinguish|make out|establish|ascertain|infer|judge|"
    r"discern|conclude)\b|"
    r"(?:identify|recogni[sz]e|choose|pick)(?!\s+any\b)|(?:process|listen|access|play|help|assist|comply)\b|"
    r"(?:provide|give)\s+(?:you\s+)?(?:an?|the|any)\s+(?:\w+\s+)?answer|"
    r"(?:hear|perceive|understand)\s+(?:(?:the|this|that|your|any|an)\s+)?"
    rf"(?:(?:audio|sound|clip|recording|it)\b|anything\b{_NOTHING_ELSE}))"
)
_SETTLED = (
    r"(?:determined|answered|known|told|inferred|established|ascertained|concluded|deduced|decided|judged)"
)
_VAGUE = (
    r"(?:unknown|unclear|not clear|uncertain|undetermin(?:ed|able)|unanswerable|indeterminate|inconclusive)"
)
_MATTER = r"(?:information|context|evidence|data|detail|details|audio|clues?)"
_ABOUT = (
    r"(?=[\s\"')]*(?:$|[.,;!?\n<]|(?:what|which|whether|if|who|how|where|why|from|to|based|because|since|as|in|and|"
    r"but)\b))"
)
_LINE_END = r"(?=[\s.!\"')*\]}]*(?:$|[\n,;<]))"

_FIRM = {
    "abbreviation": r"\bidk\b|\bi\.d\.k\b",
    "ignorance": rf"{_WE}\s+{_ADVERBS}{_DO_NOT}\s+{_ADVERBS}know\b|\b(?:i\s+)?dunno\b",
    "ignorance, no subject": rf"{_OPENING}(?:{_DO_NOT}\s+know|no (?:idea|clue)|who knows|beats me)\b",
    "disbelief": rf"{_WE}\s+{_DO_NOT}\s+(?:think|believe)\s+i\s+(?:can\s+{_DECIDE}|know\b)",
    "lack": rf"{_WE}\s+{_ADVERBS}{_DO_NOT}\s+have\s+(?:access\b|(?:an?|the|any|enough|sufficient)\s+"
    rf"(?:\w+\s+)?(?:idea|clue|answer|way|ability|capability|means|audio|{_MATTER})\b)",
    "hears nothing": rf"{_WE}\s+{_ADVERBS}{_DO_NOT}\s+(?:recogni[sz]e\s+(?:the|this|it)\b|"
    rf"(?:hear|perceive|detect)\s+(?:anything\b{_NOTHING_ELSE}|"
    r"any (?:audio|sounds?)\b(?!\s+(?:of|from|like))))",
    "nothing to go by": rf"{_WE}(?:'ve| have)\s+(?:absolutely\s+)?no\s+"
    rf"(?:idea|clue|way|answer|knowledge|{_MATTER})\b",
    "inability": rf"(?:{_WE}|\bone|\byou)(?:\s+{_ADVERBS}|(?='))(?:(?:am|are|'m|'re)\s+{_ADVERBS})?"
    rf"{_UNABLE}\s+{_ADVERBS}{_DECIDE}",
    "inability, no subject": rf"{_OPENING}(?:{_UNABLE}|(?:impossible|not possible) to|no way (?:to|of))\s+"
    rf"{_ADVERBS}{_DECIDE}",
    "no way": rf"\b(?:is|'s|seems)\s+(?:simply\s+)?(?:impossible to|not possible to|no way (?:to|of))\s+"
    rf"{_ADVERBS}(?:{_DECIDE}|knowing|telling)",
    "passive": rf"\b{_UNABLE}\s+{_ADVERBS}be\s+{_ADVERBS}{_SETTLED}\b|"
    rf"\bnone\b[\w ]{{0,30}}\bcan be {_SETTLED}\b",
    "too little": rf"(?:\bnot|n't)\s+(?:\w+\s+)?(?:enough|sufficient)\s+(?:\w+\s+)?{_MATTER}\b|"
    rf"\binsufficient\s+{_MATTER}\b|\bnot clear enough to\b|"
    rf"\b{_MATTER}\s+(?:is|are)\s+(?:insufficient|not enough|not sufficient)\b|"
    rf"\bno\s+{_MATTER}\s+to\s+{_DECIDE}",
    "unknowable": rf"\b(?:it|this|that|answer|question)(?: is|'s| remains)\s+{_ADVERBS}{_VAGUE}\b{_ABOUT}|"
    r"\b(?:is|are)\s+(?:(?:un|in)determin(?:ed|able|ate)|unanswerable|not known)\b|\bno answer can be\b|"
    rf"{_OPENING}{_VAGUE}\b{_LINE_END}",
    "declining": r"\b(?:decline|refuse) to (?:answer|choose|guess|respond)|\bi (?:abstain|give up|pass)\b|"
    r"\b(?:rather not|prefer not to|will not|won't) (?:answer|guess|speculate|choose|say)\b",
    "other languages": r"不知道|无法(?:确定|判断|回答)|[分わ]かりません|모르겠|\bno lo s[eé]\b|"
    r"\bje ne sais pas\b|\bich wei(?:ß|ss) (?:es )?nicht\b|\bnon lo so\b|\bnão sei\b|\bне знаю\b",
}
_DOUBT = {
    "not sure": rf"(?:{_WE}(?:'m| am|'re| are)\s+{_ADVERBS}|{_OPENING})(?:not|n't)\s+{_ADVERBS}"
    r"(?:(?:100\s?%|completely|entirely|totally|absolutely|very|too|so)\s+)?(?:sure|certain|confident|positive)\b",
    "unsure": rf"{_WE}(?:'m| am|'re| are)\s+{_ADVERBS}(?:unsure|uncertain)\b|{_OPENING}unsure\b{_LINE_END}",
    "cannot be sure": rf"\b(?:i|we|one)\s+{_ADVERBS}{_UNABLE}\s+be\s+{_ADVERBS}(?:sure|certain)\b",
    "hard to say": rf"\b(?:hard|difficult|tricky|tough)\s+(?:for me )?to\s+{_DECIDE}",
}
_PHRASE = re.compile(
    "|".join([*(f"(?P<firm{i}>{p})" for i, p in enumerate(_FIRM.values())), *_DOUBT.values()])
)
# _PHRASE is slow on long replies; a line without any of these stems holds no refusal.
_STEM = re.compile(
    r"idk|i\.d\.k|know|dunno|n't|cant|dont|not|unable|no (?:idea|clue|way|answer|info)|beats me|"
    r"impossible|none|insuff|no \w+ (?:to|can)|un(?:know|clear|cert|deter|answ|sure)|indeter|inconcl|decline|"
    r"refuse|abstain|give up|pass|hard|diffic|tricky|tough|[不无わ分모]|no lo s|je ne|ich wei|non lo|não|знаю"
)
_OTHERS_WORDS = re.compile(
    r"(?:\b(?:if|when|whenever|unless|in case|at first|not that|says|said|saying|states|stated|replies|"
    r"replied|responds|responded|answers|answered|sings|sang|claims|claimed|mentions|admits|admitted|whispers|shouts)"
    r"(?:\s+that)?|\b(?:told|instructed|asked|supposed)\s+(?:me\s+)?to\b[^.!?\n]{0,40})[\s,:]*$"
)
_CONDITION = re.compile(r"\W{0,3}(?:if|when|unless)\b")
_CLAUSE_END = re.compile(r"[.,;!?\n]|\s-\s|\b(?:but|however|although|though|yet)\b")
_QUOTE = re.compile(r"\"|(?P<opening>(?<!\w)'(?=\w))|(?P<closing>(?<=[\w.,!?])'(?!\w))|\n")


def find_refusals(text: str, hidden: Sequence[tuple[int, int]] = ()) -> list[Refusal]:
    """Refusing clauses of a tidied reply, in order; none from a quotation or a hidden (start, end) span."""
    return list(_refusing(masked(text.lower(), [*quotations(text), *hidden])))


def masked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with underscores over the (start, end) spans."""
    letters = list(text)
    for start, end in spans:
        letters[start:end] = "_" * (end - start)
    return "".join(letters)


def _refusing(visible: str) -> Iterator[Refusal]:
    for line in re.finditer(r"[^\n]+", visible):
        if not _STEM.search(visible, line.start(), line.end()):
            continue
        for phrase in _PHRASE.finditer(visible, line.start(), line.end()):
            before = visible[max(line.start(), phrase.start() - 60) : phrase.start()]
            instructed = "idk" in phrase[0] and _CONDITION.match(visible, phrase.end())
            if _OTHERS_WORDS.search(before) or instructed:
                continue
            limit = min(line.end(), phrase.end() + 300)
            stop = _CLAUSE_END.search(visible, phrase.end(), limit)
            yield Refusal(phrase.start(), stop.start() if stop else limit, phrase.lastgroup is not None)


def quotations(text: str) -> Iterator[tuple[int, int]]:
    """Spans between paired quotation marks, double or single, opened and closed within one line."""
    opened: dict[str, int] = {}
    for mark in _QUOTE.finditer(text):
        if mark[0] == "\n":
            opened.clear()
        elif mark[0] in opened and mark.lastgroup != "opening":
            yield opened.pop(mark[0]), mark.end()
        elif mark.lastgroup != "closing":
            opened[mark[0]] = mark.start()
