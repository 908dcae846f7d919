"""Ground truth about clips beyond the right option: type, text, labels of what sounds.

In: items. Out: their type and text for oracle runs and measures, and which labels a text names. MMAU, MMAR and
SAKURA say at most the modality; the embedded benchmark says what its generator put into the clip.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from lalm_utils.items import MODALITIES, Item
from lalm_utils.wording import tidy, words

TEXT_KINDS = {
    "sound": "caption",
    "music": "music caption",
    "speech": "transcript",
}  # of text, by a clip's type
# A sentence of a chain that tells what is not there: "Missing: car horn."
ABSENCE = re.compile(r"\b(?:Not heard|Not said|Not in the clip|Missing|There is no)\b[^.\n]*")


def clip_type(item: Item) -> str:
    """What the clip is: its annotated type if there is one, else the modality, which may be a mix."""
    annotation = item.annotations.get("type")
    return annotation if annotation in MODALITIES else item.modality


def type_of(item: Item) -> str:
    """The one type of the item's clip: sound, music or speech. ValueError for a mix."""
    kind = clip_type(item)
    if kind not in MODALITIES:
        raise ValueError(
            f"item {item.id!r} is of modality {kind!r}, which is not one of {', '.join(MODALITIES)}: leave it "
            "out, or let the model name the type and write the text"
        )
    return kind


def text_of(item: Item) -> tuple[str, str]:
    """(kind, text) by the benchmark: the transcript of speech, else the caption.

    Speech that is not transcribed, as of another language, may have a caption. ValueError if there is neither.
    """
    kind = type_of(item)
    transcript, caption = (str(item.annotations.get(key) or "").strip() for key in ("transcript", "caption"))
    if kind == "speech" and transcript:
        return TEXT_KINDS[kind], transcript
    if caption:
        return TEXT_KINDS["music" if kind == "music" else "sound"], caption
    raise ValueError(
        f"item {item.id!r} of {item.benchmark}: its truth holds no {TEXT_KINDS[kind]}, only "
        f"{', '.join(sorted(item.annotations)) or 'nothing'}; let the model write the text, or take a benchmark that "
        "tells it, such as mini"
    )


def labels_of(item: Item) -> tuple[str, ...]:
    """The labels of what sounds in the clip, in order, one per occurrence; () where the benchmark is silent."""
    content = item.annotations.get("content")
    return tuple(map(str, content)) if isinstance(content, list | tuple) else ()


def available(items: Sequence[Item]) -> set[str]:
    """What the benchmark annotates in every item: a subset of {"type", "text"}."""
    return {name for name, getter in {"type": type_of, "text": text_of}.items() if _in_all(items, getter)}


def _in_all(items: Sequence[Item], getter: Callable[[Item], object]) -> bool:
    try:
        return bool([getter(item) for item in items])
    except ValueError:
        return False


def labels_in(text: str, labels: Collection[str]) -> set[str]:
    """The labels that occur in a text as whole words, whatever their case, articles and punctuation.

    Where labels overlap the longer one counts: "a muted trumpet" does not name "trumpet". Numbers are the same in
    words and digits. A denial is not seen: "no rain" names "rain"; take out what ABSENCE matches first.
    """
    keys = {label: tuple(_words(label)) for label in labels}
    longest_first = sorted(set(filter(None, keys.values())), key=len, reverse=True)
    text_words, matches, start = _words(text), set(), 0
    while start < len(text_words):
        match = next(
            (key for key in longest_first if tuple(text_words[start : start + len(key)]) == key), None
        )
        matches.add(match)
        start += len(match or (1,))
    return {label for label, key in keys.items() if key in matches}


def _words(text: str) -> list[str]:
    return [word.text for word in words(tidy(text), numbers=True)]
