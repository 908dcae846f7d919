"""The frames of an MP3 file: how long it really is, and the same sound with a count of its frames in front.

In: the bytes of a file. Out: its frames of layer III, in order; tags and damaged parts between them are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

KBITS = {  # by whether it is MPEG-1
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44_100, 48_000, 32_000)  # of MPEG-1; MPEG-2 has half of each, MPEG-2.5 a quarter
SHIFTS = {3: 0, 2: 1, 0: 2}  # of these rates, by the header's bits of the version
TAGS = (b"ID3", b"TAG", b"APE")  # what may stand between and behind frames


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where a frame stands, and what its header says."""

    start: int
    length: int
    samples: int  # of each channel
    form: tuple[int, bool]  # rate and whether it is mono: they may not change within a sound
    is_count: bool  # it holds no sound, but how many frames there are


def frames(content: bytes) -> Iterator[Frame]:
    """All frames. After a part that is none, a frame counts only if another one, or the end, follows it."""
    at, in_step = 0, False
    while (at := _next(content, at)) >= 0:
        frame = _frame(content, at)
        after = at + frame.length if frame else 0
        if frame and (
            in_step or after == len(content) or _frame(content, after) or content[after : after + 3] in TAGS
        ):
            yield frame
            at, in_step = after, True
        else:
            at, in_step = at + 1, False


def with_count(content: bytes, sound: Sequence[Frame]) -> bytes:
    """The frames of one sound behind a frame of Xing's form that counts them, which decoders believe."""
    head = bytearray(content[sound[0].start : sound[0].start + 4])
    head[1] |= 1  # no checksum
    head[2] = head[2] & 0b00001100 | 9 << 4  # 128 or 80 kbit/s, no padding: long enough for the count
    frame = _frame(bytes(head) + bytes(2000), 0)
    side = _side_bytes(head)
    count = bytes(head) + bytes(side) + b"Xing" + struct.pack(">II", 1, len(sound))
    audio = (content[each.start : each.start + each.length] for each in sound)
    return count.ljust(frame.length, b"\0") + b"".join(audio)


def _next(content: bytes, at: int) -> int:
    """The next place at which a frame may start; behind a tag's text and pictures."""
    if content[at : at + 3] == b"ID3" and len(content) >= at + 10:
        size = content[at + 6 : at + 10]
        at += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    sync = content.find(b"\xff", at)
    tag = content.find(b"ID3", at, max(sync, at))
    return _next(content, tag) if tag > at else sync


def _frame(content: bytes, at: int) -> Frame | None:
    """The frame whose header starts here, if one does."""
    head = content[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or head[1] >> 1 & 3 != 1:
        return None
    version, kbits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in SHIFTS or not 1 <= kbits <= 14 or rate == 3:
        return None
    hertz, first = RATES[rate] >> SHIFTS[version], version == 3
    length = (144_000 if first else 72_000) * KBITS[first][kbits] // hertz + (head[2] >> 1 & 1)
    if at + length > len(content):
        return None
    start = content[at + 4 : at + 44]
    is_count = any(name in start for name in (b"Xing", b"Info", b"VBRI"))
    samples = 1152 if first else 576
    return Frame(start=at, length=length, samples=samples, form=(hertz, head[3] >> 6 == 3), is_count=is_count)


def _side_bytes(head: bytes) -> int:
    """Bytes of side information behind a header."""
    mono = head[3] >> 6 == 3
    return (17 if mono else 32) if head[1] >> 3 & 3 == 3 else (9 if mono else 17)
