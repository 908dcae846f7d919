"""Question generators on music, rendered from the General MIDI font. Shape as in tasks_sound.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from lalm_utils.mini.benchmark import font
from lalm_utils.mini.benchmark.sampling import Draw
from lalm_utils.mini.benchmark.scene import Canvas, Draft, Scene
from lalm_utils.mini.benchmark.tasks_sound import ORDINALS

CONTOURS = ("rising", "falling", "rising then falling", "falling then rising")
TEMPI = {"slow": 54.0, "moderate": 90.0, "fast": 145.0, "very fast": 225.0}  # beats a minute
DYNAMICS = ("getting louder", "getting softer", "staying the same")
HIGHER = ("the first note", "the second note", "both are the same")
REGISTERS = {"low": 40, "middle": 62, "high": 84}  # MIDI pitch of the register's centre
FAMILIES = {
    "strings": "bowed strings", "brass": "brass", "woodwind": "woodwinds", "keyboard": "keyboards",
    "guitar": "guitars", "percussion": "tuned percussion", "voice": "voices", "organ": "organs",
}  # fmt: skip

INSTRUMENT = (
    "Which instrument is playing?",
    "Name the instrument heard in the clip.",
    "What instrument plays the melody?",
    "Identify the instrument in this recording.",
    "On which instrument is this music played?",
)
PLAYERS = (
    "Which instrument plays {nth}?",
    "Several instruments play one after another. Which is the {nth}?",
    "What is the {nth} instrument to be heard?",
)
FAMILY = (
    "Which family does the instrument belong to?",
    "The instrument heard here is one of which group?",
    "To what family of instruments does this one belong?",
)
CONTOUR = (
    "How does the melody move?",
    "What is the shape of the melody?",
    "Describe the direction of the pitches.",
    "Which contour does the melody follow?",
)
NOTES = (
    "How many notes are played?",
    "Count the notes of the melody.",
    "What is the number of notes in the clip?",
)
TEMPO = (
    "How fast is the music?",
    "What is the tempo of this clip?",
    "Which tempo describes the beat best?",
)
DYNAMIC = (
    "How does the music change in loudness?",
    "What happens to the dynamics of the music?",
    "Is the playing getting louder or softer?",
)
HIGH = (
    "Which of the two notes is higher?",
    "Two notes are played. Which has the higher pitch?",
    "Compare the pitch of the two notes: which is higher?",
)
REGISTER = (
    "In which register does the instrument play?",
    "Are the notes low, high or in the middle?",
    "Which pitch range do the notes lie in?",
)
ENSEMBLE = (
    "How many different instruments play?",
    "Count the different instruments in the clip.",
    "What is the number of instruments heard?",
)


def _note(program: int, pitch: int, start: float, seconds: float, velocity: int = 96) -> font.Note:
    return font.Note(pitch=int(pitch), start=start, seconds=seconds, velocity=int(velocity), program=program)


def _fit(name: str, pitches: Sequence[int]) -> list[int]:
    """Pitches moved by octaves into the instrument's comfortable range."""
    instrument = font.INSTRUMENTS[name]
    centre, middle = (instrument.low + instrument.high) / 2, (min(pitches) + max(pitches)) / 2
    shift = 12 * round((centre - middle) / 12)
    return [int(pitch + shift) for pitch in pitches]


def _melody(rng: np.random.Generator, size: int) -> list[int]:
    """A random walk on the major scale around middle C."""
    scale = np.array([0, 2, 4, 5, 7, 9, 11])
    degrees = np.cumsum(rng.integers(-2, 3, size)) + int(rng.integers(0, 7))
    return [int(60 + 12 * (degree // 7) + scale[degree % 7]) for degree in degrees]


def _canvas(notes: list[font.Note], seconds: float) -> Canvas:
    canvas = Canvas()
    canvas.add(font.render(notes, seconds=seconds), at=0.0)
    canvas.mark_all("type", "music")
    return canvas


def _solo(name: str, snr: float, rng: np.random.Generator) -> Scene:
    """Four to six notes of one instrument."""
    program, step = font.INSTRUMENTS[name].program, float(rng.uniform(0.35, 0.6))
    pitches = _fit(name, _melody(rng, int(rng.integers(4, 7))))
    notes = [_note(program, p, 0.05 + i * step, step, rng.integers(75, 115)) for i, p in enumerate(pitches)]
    canvas = _canvas(notes, len(pitches) * step + 0.5)
    canvas.mark_all("content", name)
    return canvas.finish(rng, snr_db=snr)


def _named(draw: Draw, options, gold, name, wordings, pool, rationale) -> Draft:
    snr = draw.uniform(draw.lever((25, 40), (8, 16), (-2, 5)))
    question, filled = draw.word_question(wordings)
    return Draft(
        question=question, wordings=filled, options=options, gold=gold, pool=tuple(pool),
        build=partial(_solo, name, snr), rationale=rationale,
        truth={"type": "music", "caption": f"{a(name)} plays a short melody", "content": [name]},
    )  # fmt: skip


def instrument(draw: Draw) -> Draft:
    """Which instrument plays; levers are the noise and, when hard, distractors of the same family."""
    names = draw.pools.instruments
    options, gold = draw.deal(draw.sample(names, 4))
    family = FAMILIES[font.INSTRUMENTS[options[gold]].family]
    return _named(
        draw, options, gold, options[gold], INSTRUMENT, names, f"The timbre is one of the {family}."
    )


def family(draw: Draw) -> Draft:
    """Two hops: hear the instrument, then know its family. The family is dealt first."""
    by_family: dict[str, list[str]] = {}
    for name in draw.pools.instruments:
        by_family.setdefault(FAMILIES[font.INSTRUMENTS[name].family], []).append(name)
    options, gold = draw.deal(draw.sample(sorted(by_family), 4))
    name = draw.pick(by_family[options[gold]])
    return _named(draw, options, gold, name, FAMILY, sorted(by_family), f"I hear {a(name)}.")


def players(draw: Draw) -> Draft:
    """Which instrument is the n-th; the lever is the number of players."""
    size = draw.lever(2, 3, 4)
    options, gold = draw.deal(draw.sample(draw.pools.instruments, 4))
    others = [option for option in options if option != options[gold]]
    place = int(draw.rng.integers(size))
    heard = draw.sample(others, size - 1)
    heard.insert(place, options[gold])
    question, wordings = draw.word_question(PLAYERS, nth=ORDINALS[place])
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=options,
        build=partial(_relay, tuple(heard)),
        rationale="I hear " + ", then ".join(a(name) for name in heard) + ".",
        truth={"type": "music", "caption": ", then ".join(a(name) for name in heard), "content": heard},
    )  # fmt: skip


def _relay(heard: tuple[str, ...], rng: np.random.Generator) -> Scene:
    """Each instrument plays two or three notes in turn."""
    notes, marks, at, step = [], [], 0.05, 0.42 if len(heard) < 4 else 0.33
    for name in heard:
        pitches = _fit(name, _melody(rng, int(rng.integers(2, 4))))
        start = at
        for pitch in pitches:
            notes.append(_note(font.INSTRUMENTS[name].program, pitch, at, step))
            at += step
        marks.append((name, start, at))
        at += 0.15
    canvas = _canvas(notes, min(at + 0.3, 6.0))
    for name, start, end in marks:
        canvas.mark("content", name, start, end)
    return canvas.finish(rng, snr_db=35.0)


def ensemble(draw: Draw) -> Draft:
    """How many different instruments; they enter one by one (easy), overlapping (medium) or together (hard)."""
    options, gold = draw.window(1, 4)
    names = draw.sample(draw.pools.instruments, int(options[gold]))
    question, wordings = draw.word_question(ENSEMBLE)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=options,
        build=partial(_entries, tuple(names), draw.lever(1.0, 0.5, 0.0)),
        rationale="I hear " + ", ".join(a(name) for name in names) + ".",
        truth={"type": "music", "caption": " and ".join(a(name) for name in names), "content": names},
    )  # fmt: skip


def _entries(names: tuple[str, ...], stagger: float, rng: np.random.Generator) -> Scene:
    notes, step, marks = [], 0.45, []
    for i, name in enumerate(names):
        start = 0.05 + i * 3 * step * stagger
        for j, pitch in enumerate(_fit(name, _melody(rng, 3))):
            notes.append(_note(font.INSTRUMENTS[name].program, pitch, start + j * step, step))
        marks.append((name, str(i + 1), start, start + 3 * step))
    canvas = _canvas(notes, min(max(end for *_, end in marks) + 0.3, 6.0))
    for name, number, start, end in marks:
        canvas.mark("content", name, start, end)
        if stagger >= 1.0:
            canvas.mark("number", number, start, end)
    return canvas.finish(rng, snr_db=35.0)


def _shape(contour: str, size: int, step: int) -> list[int]:
    up, turn = list(range(size)), size // 2
    arch = (
        [min(i, size - 1 - i) for i in range(size)]
        if size % 2
        else [i if i < turn else size - 1 - i for i in up]
    )
    steps = {"rising": up, "falling": up[::-1], "rising then falling": arch,
             "falling then rising": [-value for value in arch]}[contour]  # fmt: skip
    return [60 + step * value for value in steps]


def contour(draw: Draw) -> Draft:
    """The shape of a melody; the lever is the step in semitones."""
    options, gold = draw.deal(CONTOURS)
    step = draw.lever(4, 3, 1)
    name = draw.pick(draw.pools.instruments)
    question, wordings = draw.word_question(CONTOUR)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=CONTOURS,
        build=partial(_line, name, options[gold], step),
        rationale="I follow the pitch from note to note.",
        truth={"type": "music", "caption": f"{a(name)} plays a {options[gold]} melody", "content": [name]},
    )  # fmt: skip


def _line(name: str, shape: str, step: int, rng: np.random.Generator) -> Scene:
    pitches, seconds = _fit(name, _shape(shape, 5, step)), float(rng.uniform(0.4, 0.6))
    program = font.INSTRUMENTS[name].program
    notes = [_note(program, p, 0.05 + i * seconds, seconds) for i, p in enumerate(pitches)]
    canvas = _canvas(notes, len(notes) * seconds + 0.4)
    for note in notes:
        canvas.mark("pitch", pitch_label(note.pitch), note.start, note.start + seconds)
    canvas.mark_all("contour", shape)
    return canvas.finish(rng, snr_db=35.0)


def note_count(draw: Draw) -> Draft:
    """How many notes; levers are their number and pace."""
    high = draw.lever(5, 7, 10)
    options, gold = draw.window(1, high)
    name, times = draw.pick(draw.pools.instruments), int(options[gold])
    question, wordings = draw.word_question(NOTES)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=tuple(map(str, range(1, high + 1))),
        build=partial(_counted, name, times, draw.lever(0.6, 0.42, 0.28)),
        rationale="I count: " + ", ".join(str(i + 1) for i in range(times)) + ".",
        truth={"type": "music", "caption": f"{a(name)} plays {times} notes", "content": [name]},
    )  # fmt: skip


def _counted(name: str, times: int, step: float, rng: np.random.Generator) -> Scene:
    pitches = _fit(name, [60 + int(i) for i in np.cumsum(rng.choice([-4, -3, 3, 4, 5], times))])
    program = font.INSTRUMENTS[name].program
    notes = [_note(program, p, 0.1 + i * step, step * 0.7) for i, p in enumerate(pitches)]
    canvas = _canvas(notes, min(times * step + 0.5, 6.0))
    for i, note in enumerate(notes):
        canvas.mark("number", str(i + 1), note.start, note.start + step)
    return canvas.finish(rng, snr_db=35.0)


def tempo(draw: Draw) -> Draft:
    """How fast a drum beat is; the lever is how far the tempo strays from its class."""
    options, gold = draw.deal(tuple(TEMPI))
    stray = draw.lever(0.03, 0.12, 0.2)
    beats = TEMPI[options[gold]] * (1 + draw.uniform((-stray, stray)))
    name = draw.pick(draw.pools.instruments)
    question, wordings = draw.word_question(TEMPO)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=tuple(TEMPI),
        build=partial(_beat, name, beats, options[gold]),
        rationale="I listen to how closely the beats follow each other.",
        truth={"type": "music", "caption": f"{a(name)} over a {options[gold]} drum beat", "content": [name]},
    )  # fmt: skip


def _beat(name: str, beats: float, label: str, rng: np.random.Generator) -> Scene:
    period, seconds = 60 / beats, 4.0
    notes, at, i = [], 0.05, 0
    pitches = _fit(name, _melody(rng, 24))
    while at < seconds - 0.1:
        notes.append(
            font.Note(pitch=(36, 38)[i % 2], start=at, seconds=0.2, velocity=110, program=0, drum=True)
        )
        if i % 2 == 0:
            notes.append(_note(font.INSTRUMENTS[name].program, pitches[i % 24], at, period, 70))
        at, i = at + period, i + 1
    canvas = _canvas(notes, seconds)
    canvas.mark_all("tempo", label)
    return canvas.finish(rng, snr_db=35.0)


def dynamics(draw: Draw) -> Draft:
    """How loudness changes over a phrase; the lever is the range in dB."""
    options, gold = draw.deal(DYNAMICS)
    name = draw.pick(draw.pools.instruments)
    question, wordings = draw.word_question(DYNAMIC)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=DYNAMICS,
        build=partial(_swelling, name, options[gold], draw.lever(26.0, 15.0, 8.0)),
        rationale="I compare the loudness of the notes from first to last.",
        truth={"type": "music", "caption": f"{a(name)} plays, {options[gold]}", "content": [name]},
    )  # fmt: skip


def _swelling(name: str, label: str, range_db: float, rng: np.random.Generator) -> Scene:
    pitches, step = _fit(name, _melody(rng, 7)), 0.45
    notes = [_note(font.INSTRUMENTS[name].program, p, 0.05 + i * step, step) for i, p in enumerate(pitches)]
    samples = font.render(notes, seconds=len(notes) * step + 0.2)
    ends = {"getting louder": (-range_db, 0), "getting softer": (0, -range_db), "staying the same": (0, 0)}[
        label
    ]
    canvas = Canvas()
    canvas.add(samples * 10 ** (np.linspace(*ends, len(samples)) / 20), at=0.0)
    canvas.mark_all("type", "music")
    canvas.mark_all("dynamics", label)
    return canvas.finish(rng, snr_db=40.0)


def higher(draw: Draw) -> Draft:
    """Which of two notes is higher; the lever is the interval in semitones."""
    options, gold = draw.deal(HIGHER)
    interval = draw.lever(12, 7, 3)
    name = draw.pick(draw.pools.instruments)
    move = {"the first note": -interval, "the second note": interval, "both are the same": 0}[options[gold]]
    question, wordings = draw.word_question(HIGH)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=HIGHER,
        build=partial(_interval, name, move, options[gold]),
        rationale="I compare the pitches of the two notes.",
        truth={"type": "music", "caption": f"two notes on {a(name)}", "content": [name]},
    )  # fmt: skip


def _interval(name: str, move: int, label: str, rng: np.random.Generator) -> Scene:
    first = int(rng.integers(56, 68))
    notes = [_note(font.INSTRUMENTS[name].program, p, 0.1 + i * 0.9, 0.8)
             for i, p in enumerate(_fit(name, [first, first + move]))]  # fmt: skip
    canvas = _canvas(notes, 2.3)
    for note in notes:
        canvas.mark("pitch", pitch_label(note.pitch), note.start, note.start + 0.85)
    canvas.mark_all("higher", label)
    return canvas.finish(rng, snr_db=35.0)


def register(draw: Draw) -> Draft:
    """Low, middle or high; the lever is the distance of the registers."""
    options, gold = draw.deal(tuple(REGISTERS))
    wide = draw.lever(1.0, 0.75, 0.5)
    centre = 62 + (REGISTERS[options[gold]] - 62) * wide + draw.uniform((-2, 2))
    name = draw.pick([n for n in draw.pools.instruments if font.INSTRUMENTS[n].family in ("keyboard", "guitar")]
                     or draw.pools.instruments)  # fmt: skip
    question, wordings = draw.word_question(REGISTER)
    return Draft(
        question=question, wordings=wordings, options=options, gold=gold, pool=tuple(REGISTERS),
        build=partial(_placed, name, centre, options[gold]),
        rationale="I listen to how deep or bright the notes are.",
        truth={"type": "music", "caption": f"{a(name)} in the {options[gold]} register", "content": [name]},
    )  # fmt: skip


def _placed(name: str, centre: float, label: str, rng: np.random.Generator) -> Scene:
    pitches = [round(centre + p - 60) for p in _melody(np.random.default_rng(int(rng.integers(1 << 30))), 5)]
    pitches = [int(np.clip(p, centre - 6, centre + 6)) for p in pitches]
    notes = [_note(font.INSTRUMENTS[name].program, p, 0.05 + i * 0.45, 0.45) for i, p in enumerate(pitches)]
    canvas = _canvas(notes, 2.8)
    canvas.mark_all("register", label)
    return canvas.finish(rng, snr_db=35.0)


def pitch_label(pitch: int) -> str:
    """Pitch height as a digit: 1 up to MIDI 45, one more for every five semitones, 9 from 81 on."""
    return str(int(np.clip(1 + (pitch - 41) // 5, 1, 9)))


def a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


TASKS = {
    "Instrument": (instrument, "Perception"),
    "Instrument order": (players, "Reasoning"),
    "Instrument family": (family, "Reasoning"),
    "Number of instruments": (ensemble, "Reasoning"),
    "Melodic contour": (contour, "Perception"),
    "Note count": (note_count, "Perception"),
    "Tempo": (tempo, "Perception"),
    "Dynamics": (dynamics, "Perception"),
    "Higher note": (higher, "Perception"),
    "Register": (register, "Perception"),
}
NOVEL = ("Instrument", "Instrument order")
