"""Question generators on sound. Each takes a `Draw` and returns a `Draft`; levers are the triples in `lever`."""

from __future__ import annotations

from functools import partial

import numpy as np

from lalm_utils.mini.benchmark import sounds
from lalm_utils.mini.benchmark.sampling import Draw
from lalm_utils.mini.benchmark.scene import RATE, Canvas, Draft, Scene

ORDINALS = ("first", "second", "third", "fourth")
TRAJECTORIES = ("getting louder", "getting quieter", "louder then quieter", "quieter then louder")

EVENT = (
    "Which sound is heard in this clip?",
    "What is making the sound in the recording?",
    "Name the sound that occurs in the audio.",
    "Which of these best describes the sound you hear?",
    "What can be heard in this recording?",
    "Identify the sound event in the clip.",
)
BACKGROUND = (
    "What is heard in the background?",
    "Behind the {event}, which continuous sound goes on?",
    "Which background sound accompanies the {event}?",
    "Apart from the {event}, what steady sound is there?",
)
COUNT = (
    "How many times does the {event} occur?",
    "Count the occurrences of the {event}.",
    "How often is the {event} heard in the clip?",
    "What is the number of times the {event} sounds?",
)
ORDER = (
    "Which sound comes {nth}?",
    "What is the {nth} sound in the recording?",
    "In order of time, which sound is heard {nth}?",
    "Several sounds follow each other. Which one is the {nth}?",
)
ABSENT = (
    "Which of these sounds is not heard?",
    "Which sound is missing from the recording?",
    "All of these occur in the clip except one. Which one does not?",
)
TRAJECTORY = (
    "How does the loudness change over the clip?",
    "What happens to the volume of the sound?",
    "Describe how loud the sound is over time.",
)
LOUDER = (
    "Which of the two sounds is louder?",
    "Two sounds follow each other. Which is the louder one?",
    "Comparing the sounds in the clip, which one is louder?",
)
MAKER = (
    "What kind of thing makes the sound in the clip?",
    "The sound heard here is made by what?",
    "Which source does the sound you hear come from?",
)
PLACE = (
    "Where would you most likely hear this sound?",
    "In which place is this sound typical?",
    "The sound in the clip belongs to which place?",
)


def _sequence(
    labels: tuple[str, ...], gap: float, snr: float, spread: float, rng: np.random.Generator
) -> Scene:
    """Events one after the other, `gap` seconds apart, levels within +-`spread` dB, noise at `snr` dB."""
    canvas, at = Canvas(), float(rng.uniform(0.05, 0.3))
    for label in labels:
        end = canvas.add(sounds.event(label, rng), at=at, gain_db=float(rng.uniform(-spread, spread)))
        canvas.mark("content", label, at, end)
        at = end + gap * float(rng.uniform(0.8, 1.3))
    canvas.mark_all("type", "sound")
    return canvas.finish(rng, snr_db=snr)


def event(draw: Draw) -> Draft:
    """Which of four sounds is heard; the lever is the signal-to-noise ratio."""
    kind = (
        draw.pools.textures
        if draw.rng.random() < 0.25 and len(draw.pools.textures) >= 4
        else draw.pools.events
    )
    options, gold = draw.deal(draw.sample(kind, 4))
    label = options[gold]
    snr = draw.uniform(draw.lever((15, 30), (2, 10), (-10, -3)))
    question, wordings = draw.word_question(EVENT)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=kind,
        build=partial(_single, label, snr),
        rationale=f"I hear the sound of {a(label)}.",
        truth={"type": "sound", "caption": f"the sound of {a(label)}", "content": [label]},
    )  # fmt: skip


def _single(label: str, snr: float, rng: np.random.Generator) -> Scene:
    """A texture for two to four seconds, or an event heard once or twice."""
    if sounds.SOUNDS[label].kind == "event":
        return _sequence((label,) * int(rng.integers(1, 3)), 0.3, snr, 1.0, rng)
    canvas = Canvas()
    canvas.add(sounds.texture(label, float(rng.uniform(2.0, 4.0)), rng), at=0.0)
    canvas.mark_all("content", label)
    canvas.mark_all("type", "sound")
    return canvas.finish(rng, snr_db=snr)


def background(draw: Draw) -> Draft:
    """The steady sound behind a foreground event; the lever is its level below the event."""
    options, gold = draw.deal(draw.sample(draw.pools.textures, 4))
    front = draw.pick(draw.pools.events)
    level = draw.uniform(draw.lever((0, 6), (-12, -6), (-24, -18)))
    question, wordings = draw.word_question(BACKGROUND, event=front)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=draw.pools.textures,
        build=partial(_behind, front, options[gold], level),
        rationale=f"In front there is {a(front)}. Behind it goes on the sound of {options[gold]}.",
        truth={"type": "sound", "caption": f"{a(front)} with {options[gold]} in the background",
               "content": [front, options[gold]]},
    )  # fmt: skip


def _behind(front: str, texture: str, level_db: float, rng: np.random.Generator) -> Scene:
    canvas, seconds = Canvas(), float(rng.uniform(2.5, 4.0))
    canvas.add(sounds.texture(texture, seconds, rng), at=0.0, gain_db=level_db)
    canvas.mark_all("background", texture)
    at = float(rng.uniform(0.3, 0.8))
    while at < seconds - 0.7:
        end = canvas.add(sounds.event(front, rng), at=at)
        canvas.mark("content", front, at, end)
        at = end + float(rng.uniform(0.6, 1.4))
    canvas.mark_all("type", "sound")
    return canvas.finish(rng)


def count(draw: Draw) -> Draft:
    """How many times an event occurs; levers are the range, the gap and the noise."""
    high = draw.lever(5, 6, 9)
    options, gold = draw.window(1, high)
    label = draw.pick(draw.pools.events)
    gap, snr = draw.lever(0.45, 0.25, 0.1), draw.lever(30.0, 15.0, 5.0)
    question, wordings = draw.word_question(COUNT, event=label)
    times = int(options[gold])
    heard = ", ".join([label] * times)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=tuple(map(str, range(1, high + 1))),
        build=partial(_repeat, label, times, gap, snr),
        rationale=f"I hear: {heard}.",
        truth={"type": "sound", "caption": f"{a(label)}, heard {times} times", "content": [label] * times},
    )  # fmt: skip


def _repeat(label: str, times: int, gap: float, snr: float, rng: np.random.Generator) -> Scene:
    """The same rendering of one event, so that its repetitions are recognisable; it is cut to fit six seconds."""
    sound = sounds.event(label, rng)
    room = 5.8 / times - gap
    sound = sound[: int(max(0.15, min(room, 0.6)) * RATE)] * np.float32(1.0)
    sound[-160:] *= np.linspace(1, 0, 160, dtype=np.float32)
    canvas, at = Canvas(), 0.1
    for number in range(1, times + 1):
        end = canvas.add(sound, at=at)
        canvas.mark("content", label, at, end)
        canvas.mark("number", str(number), at, end + gap / 2)
        at = end + gap
    canvas.mark_all("type", "sound")
    return canvas.finish(rng, snr_db=snr)


def order(draw: Draw) -> Draft:
    """Which sound comes n-th; levers are the number of sounds and the noise."""
    size = draw.lever(2, 3, 4)
    options, gold = draw.deal(draw.sample(draw.pools.events, 4))
    others = [option for option in options if option != options[gold]]
    place = int(draw.rng.integers(size))
    heard = tuple(draw.sample(others, size - 1))
    heard = (*heard[:place], options[gold], *heard[place:])
    question, wordings = draw.word_question(ORDER, nth=ORDINALS[place])
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=options,
        build=partial(_sequence, heard, 0.3, draw.lever(30.0, 18.0, 6.0), 2.0),
        rationale=listed(heard),
        truth={"type": "sound", "caption": ", then ".join(a(label) for label in heard), "content": list(heard)},
    )  # fmt: skip


def absent(draw: Draw) -> Draft:
    """Three of four sounds occur: which does not; levers are noise and spread of level."""
    options, gold = draw.deal(draw.sample(draw.pools.events, 4))
    heard = tuple(draw.sample([option for option in options if option != options[gold]], 3))
    question, wordings = draw.word_question(ABSENT)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=options,
        build=partial(_sequence, heard, draw.lever(0.35, 0.25, 0.1), draw.lever(30.0, 15.0, 3.0),
                      draw.lever(1.0, 3.0, 6.0)),
        rationale=listed(heard),
        truth={"type": "sound", "caption": ", then ".join(a(label) for label in heard), "content": list(heard)},
    )  # fmt: skip


def trajectory(draw: Draw) -> Draft:
    """How loudness moves over a steady sound; the lever is its range in dB."""
    options, gold = draw.deal(TRAJECTORIES)
    label = draw.pick(draw.pools.textures)
    question, wordings = draw.word_question(TRAJECTORY)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=TRAJECTORIES,
        build=partial(_swell, label, options[gold], draw.lever(30.0, 16.0, 8.0)),
        rationale=f"I listen to the level of the {label} from start to end.",
        truth={"type": "sound", "caption": f"{label}, {options[gold]}", "content": [label]},
    )  # fmt: skip


def _swell(label: str, shape: str, range_db: float, rng: np.random.Generator) -> Scene:
    samples = sounds.texture(label, float(rng.uniform(3.0, 4.5)), rng)
    ramp = {
        "getting louder": [0.0, 0.5, 1.0],
        "getting quieter": [1.0, 0.5, 0.0],
        "louder then quieter": [0.0, 1.0, 0.0],
        "quieter then louder": [1.0, 0.0, 1.0],
    }[shape]
    curve = np.interp(np.linspace(0, 2, len(samples)), [0, 1, 2], ramp)
    canvas = Canvas()
    canvas.add(samples * 10 ** ((curve - 1) * range_db / 20), at=0.0)
    canvas.mark_all("content", label)
    canvas.mark_all("trajectory", shape)
    canvas.mark_all("type", "sound")
    return canvas.finish(rng)


def louder(draw: Draw) -> Draft:
    """Which of two sounds is louder; the lever is the difference in dB."""
    pair = draw.sample(draw.pools.events, 2)
    options, gold = draw.deal(pair)
    quiet = options[1 - gold]
    heard = tuple(draw.sample(pair, 2))
    question, wordings = draw.word_question(LOUDER)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=tuple(pair),
        build=partial(_pair, heard, quiet, draw.lever(18.0, 10.0, 5.0)),
        rationale=listed(heard) + " I compare how loud they are.",
        truth={"type": "sound", "caption": ", then ".join(a(label) for label in heard), "content": list(heard)},
    )  # fmt: skip


def _pair(heard: tuple[str, ...], quiet: str, difference_db: float, rng: np.random.Generator) -> Scene:
    canvas, at = Canvas(), 0.1
    for label in heard:
        end = canvas.add(sounds.event(label, rng), at=at, gain_db=-difference_db if label == quiet else 0.0)
        canvas.mark("content", label, at, end)
        canvas.mark("loud", "quiet" if label == quiet else "loud", at, end)
        at = end + 0.4
    canvas.mark_all("type", "sound")
    return canvas.finish(rng)


def _fact(draw: Draw, key: str, wordings: tuple[str, ...]) -> Draft:
    """Two hops: hear the sound, then know something about it. The fact is dealt first, then a sound that has it."""
    labels = (*draw.pools.events, *draw.pools.textures)
    facts = sorted({sounds.SOUNDS[label].fact[key] for label in labels})
    options, gold = draw.deal(draw.sample(facts, min(4, len(facts))))
    label = draw.pick([label for label in labels if sounds.SOUNDS[label].fact[key] == options[gold]])
    question, filled = draw.word_question(wordings)
    return Draft(
        question=question, wordings=filled, options=options, gold=gold, pool=tuple(facts),
        build=partial(_single, label, draw.uniform(draw.lever((15, 30), (2, 10), (-10, -3)))),
        rationale=f"I hear the sound of {a(label)}.",
        truth={"type": "sound", "caption": f"the sound of {a(label)}", "content": [label]},
    )  # fmt: skip


def maker(draw: Draw) -> Draft:
    """Two hops: what kind of thing makes the sound."""
    return _fact(draw, "made_by", MAKER)


def place(draw: Draw) -> Draft:
    """Two hops: where the sound is typical."""
    return _fact(draw, "place", PLACE)


def a(label: str) -> str:
    """The label with an indefinite article; steady sounds ("rain") take none."""
    sound = sounds.SOUNDS.get(label)
    if sound is not None and sound.kind == "texture":
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def listed(heard: tuple[str, ...]) -> str:
    """What is heard, in order, as a sentence of a rationale."""
    return "I hear " + ", then ".join(a(label) for label in heard) + "."


TASKS = {
    "Sound event": (event, "Perception"),
    "Background sound": (background, "Perception"),
    "Event count": (count, "Perception"),
    "Event order": (order, "Reasoning"),
    "Absent sound": (absent, "Reasoning"),
    "Loudness trajectory": (trajectory, "Perception"),
    "Louder sound": (louder, "Perception"),
    "Sound source": (maker, "Reasoning"),
    "Sound place": (place, "Reasoning"),
}
NOVEL = ("Sound event", "Event order", "Absent sound")  # the tasks whose options can all be novel labels
