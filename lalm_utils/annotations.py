"""What a benchmark says is true of a clip beyond the right option: its type, its text, its labels.

In: items. Out: their type and text for oracle runs and measures, and which labels a text names. MMAU, MMAR and
SAKURA tell at most the modality; the embedded benchmark tells what its generator put into the clip. This module
knows no model and no reply.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from lalm_utils.items import MODALITIES, Item
from lalm_utils.wording import tidy, words

KINDS = {"sound": "caption", "music": "music caption", "speech": "transcript"}  # of text, by a clip's type


def clip_type(item: Item) -> str:
    """What the clip is: the generator's type if it tells one, else the modality, which may be a mix."""
    told = item.truth.get("type")
    return told if told in MODALITIES else item.modality


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
    """(kind, text) that the benchmark tells: the transcript of speech, else the caption.

    Speech that is not transcribed, as of another language, may have a caption. ValueError if there is neither.
    """
    kind = type_of(item)
    transcript, caption = (str(item.truth.get(key) or "").strip() for key in ("transcript", "caption"))
    if kind == "speech" and transcript:
        return KINDS[kind], transcript
    if caption:
        return KINDS["music" if kind == "music" else "sound"], caption
    raise ValueError(
        f"item {item.id!r} of {item.benchmark}: its truth holds no {KINDS[kind]}, only "
        f"{', '.join(sorted(item.truth)) or 'nothing'}; let the model write the text, or take a benchmark that "
        "tells it, such as mini"
    )


def labels_of(item: Item) -> tuple[str, ...]:
    """The labels of what sounds in the clip, in order, one per occurrence; () where the benchmark is silent."""
    content = item.truth.get("content")
    return tuple(map(str, content)) if isinstance(content, list | tuple) else ()


def told(items: Sequence[Item]) -> set[str]:
    """What the benchmark tells of every item: a subset of {"type", "text"}."""
    return {name for name, of in {"type": type_of, "text": text_of}.items() if _all(items, of)}


def _all(items: Sequence[Item], of: Callable[[Item], object]) -> bool:
    try:
        return bool([of(item) for item in items])
    except ValueError:
        return False


def named(text: str, labels: Collection[str]) -> set[str]:
    """The labels that occur in a text as whole words, whatever their case, articles and punctuation.

    Where labels overlap the longer one counts: "a muted trumpet" does not name "trumpet". Numbers are the same in
    words and digits. A denial is not seen: "no rain" names "rain".
    """
    keys = {label: tuple(_folded(label)) for label in labels}
    longest_first = sorted(set(filter(None, keys.values())), key=len, reverse=True)
    said, found, place = _folded(text), set(), 0
    while place < len(said):
        here = next((key for key in longest_first if tuple(said[place : place + len(key)]) == key), None)
        found.add(here)
        place += len(here or (1,))
    return {label for label, key in keys.items() if key in found}


def _folded(text: str) -> list[str]:
    return [word.text for word in words(tidy(text), numbers=True)]
