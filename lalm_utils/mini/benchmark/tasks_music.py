"""Questions on music, rendered from the General MIDI font. Shape as in tasks_sound.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from lalm_utils.mini.benchmark import font
from lalm_utils.mini.benchmark.sampling import SamplingContext, with_article
from lalm_utils.mini.benchmark.scene import Mixer, QuestionSpec, Scene
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


def _mixer(notes: list[font.Note], seconds: float) -> Mixer:
    mixer = Mixer("music")
    mixer.add(font.render(notes, seconds=seconds), at=0.0)
    return mixer


def _solo(name: str, snr: float, rng: np.random.Generator) -> Scene:
    """Four to six notes of one instrument."""
    program, step = font.INSTRUMENTS[name].program, float(rng.uniform(0.35, 0.6))
    pitches = _fit(name, _melody(rng, int(rng.integers(4, 7))))
    notes = [_note(program, p, 0.05 + i * step, step, rng.integers(75, 115)) for i, p in enumerate(pitches)]
    mixer = _mixer(notes, len(pitches) * step + 0.5)
    mixer.annotate_all("content", name)
    return mixer.finish(rng, snr_db=snr)


def _named(context: SamplingContext, options, gold, name, wordings, pool, rationale) -> QuestionSpec:
    snr = context.uniform(context.difficulty((25, 40), (8, 16), (-2, 5)))
    return context.question(
        wordings, options, gold, pool=tuple(pool),
        build=partial(_solo, name, snr),
        rationale=rationale,
        type="music", caption=f"{with_article(name)} plays a short melody", content=[name],
    )  # fmt: skip


def instrument(context: SamplingContext) -> QuestionSpec:
    """Which instrument plays; difficulty: the noise."""
    names = context.pools.instruments
    options, gold = context.choose_answer(context.sample(names, 4))
    family = FAMILIES[font.INSTRUMENTS[options[gold]].family]
    return _named(
        context, options, gold, options[gold], INSTRUMENT, names, f"The timbre is one of the {family}."
    )


def family(context: SamplingContext) -> QuestionSpec:
    """Two hops: hear the instrument, then know its family. The family is chosen first."""
    by_family: dict[str, list[str]] = {}
    for name in context.pools.instruments:
        by_family.setdefault(FAMILIES[font.INSTRUMENTS[name].family], []).append(name)
    options, gold = context.choose_answer(context.sample(sorted(by_family), 4))
    name = context.pick(by_family[options[gold]])
    return _named(context, options, gold, name, FAMILY, sorted(by_family), f"I hear {with_article(name)}.")


def players(context: SamplingContext) -> QuestionSpec:
    """Which instrument is the n-th; difficulty: the number of players."""
    size = context.difficulty(2, 3, 4)
    options, gold, names, position = context.nth_in_sequence(context.pools.instruments, size)
    return context.question(
        PLAYERS, options, gold, slots={"nth": ORDINALS[position]},
        build=partial(_relay, tuple(names)),
        rationale=f"I hear {in_order(names)}.",
        type="music", caption=in_order(names), content=names,
    )  # fmt: skip


def _relay(names: tuple[str, ...], rng: np.random.Generator) -> Scene:
    """Each instrument plays two or three notes in turn."""
    notes, annotations, at, step = [], [], 0.05, 0.42 if len(names) < 4 else 0.33
    for name in names:
        pitches = _fit(name, _melody(rng, int(rng.integers(2, 4))))
        start = at
        for pitch in pitches:
            notes.append(_note(font.INSTRUMENTS[name].program, pitch, at, step))
            at += step
        annotations.append((name, start, at))
        at += 0.15
    mixer = _mixer(notes, min(at + 0.3, 6.0))
    for name, start, end in annotations:
        mixer.annotate("content", name, start, end)
    return mixer.finish(rng, snr_db=35.0)


def ensemble(context: SamplingContext) -> QuestionSpec:
    """How many different instruments; they enter one by one (easy), overlapping (medium) or together (hard)."""
    options, gold = context.number_window(1, 4)
    names = context.sample(context.pools.instruments, int(options[gold]))
    return context.question(
        ENSEMBLE, options, gold,
        build=partial(_entries, tuple(names), context.difficulty(1.0, 0.5, 0.0)),
        rationale="I hear " + ", ".join(with_article(name) for name in names) + ".",
        type="music", caption=" and ".join(with_article(name) for name in names), content=names,
    )  # fmt: skip


def _entries(names: tuple[str, ...], stagger: float, rng: np.random.Generator) -> Scene:
    notes, step, annotations = [], 0.45, []
    for i, name in enumerate(names):
        start = 0.05 + i * 3 * step * stagger
        for j, pitch in enumerate(_fit(name, _melody(rng, 3))):
            notes.append(_note(font.INSTRUMENTS[name].program, pitch, start + j * step, step))
        annotations.append((name, str(i + 1), start, start + 3 * step))
    mixer = _mixer(notes, min(max(end for *_, end in annotations) + 0.3, 6.0))
    for name, number, start, end in annotations:
        mixer.annotate("content", name, start, end)
        if stagger >= 1.0:
            mixer.annotate("number", number, start, end)
    return mixer.finish(rng, snr_db=35.0)


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


def contour(context: SamplingContext) -> QuestionSpec:
    """The shape of a melody; difficulty: the step in semitones."""
    options, gold = context.choose_answer(CONTOURS)
    step = context.difficulty(4, 3, 1)
    name = context.pick(context.pools.instruments)
    return context.question(
        CONTOUR, options, gold, pool=CONTOURS,
        build=partial(_line, name, options[gold], step),
        rationale="I follow the pitch from note to note.",
        type="music", caption=f"{with_article(name)} plays a {options[gold]} melody", content=[name],
    )  # fmt: skip


def line_pitches(name: str, shape: str, step: int) -> list[int]:
    """The five MIDI pitches of a melody of this shape."""
    return _fit(name, _shape(shape, 5, step))


def _line(name: str, shape: str, step: int, rng: np.random.Generator) -> Scene:
    pitches, seconds = line_pitches(name, shape, step), float(rng.uniform(0.4, 0.6))
    program = font.INSTRUMENTS[name].program
    notes = [_note(program, p, 0.05 + i * seconds, seconds) for i, p in enumerate(pitches)]
    mixer = _mixer(notes, len(notes) * seconds + 0.4)
    for note in notes:
        mixer.annotate("pitch", pitch_label(note.pitch), note.start, note.start + seconds)
    mixer.annotate_all("contour", shape)
    return mixer.finish(rng, snr_db=35.0)


def note_count(context: SamplingContext) -> QuestionSpec:
    """How many notes; difficulty: their number and pace."""
    high = context.difficulty(5, 7, 10)
    options, gold = context.number_window(1, high)
    name, times = context.pick(context.pools.instruments), int(options[gold])
    return context.question(
        NOTES, options, gold, pool=tuple(map(str, range(1, high + 1))),
        build=partial(_counted, name, times, context.difficulty(0.6, 0.42, 0.28)),
        rationale="I count: " + ", ".join(str(i + 1) for i in range(times)) + ".",
        type="music", caption=f"{with_article(name)} plays {times} notes", content=[name],
    )  # fmt: skip


def _counted(name: str, times: int, step: float, rng: np.random.Generator) -> Scene:
    pitches = _fit(name, [60 + int(i) for i in np.cumsum(rng.choice([-4, -3, 3, 4, 5], times))])
    program = font.INSTRUMENTS[name].program
    notes = [_note(program, p, 0.1 + i * step, step * 0.7) for i, p in enumerate(pitches)]
    mixer = _mixer(notes, min(times * step + 0.5, 6.0))
    for i, note in enumerate(notes):
        mixer.annotate("number", str(i + 1), note.start, note.start + step)
    return mixer.finish(rng, snr_db=35.0)


def tempo(context: SamplingContext) -> QuestionSpec:
    """How fast a drum beat is; difficulty: how far the tempo strays from its class."""
    options, gold = context.choose_answer(tuple(TEMPI))
    stray = context.difficulty(0.03, 0.12, 0.2)
    beats = TEMPI[options[gold]] * (1 + context.uniform((-stray, stray)))
    name = context.pick(context.pools.instruments)
    return context.question(
        TEMPO, options, gold, pool=tuple(TEMPI),
        build=partial(_beat, name, beats, options[gold]),
        rationale="I listen to how closely the beats follow each other.",
        type="music", caption=f"{with_article(name)} over a {options[gold]} drum beat", content=[name],
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
    mixer = _mixer(notes, seconds)
    mixer.annotate_all("tempo", label)
    return mixer.finish(rng, snr_db=35.0)


def dynamics(context: SamplingContext) -> QuestionSpec:
    """How loudness changes over a phrase; difficulty: the range in dB."""
    options, gold = context.choose_answer(DYNAMICS)
    name = context.pick(context.pools.instruments)
    return context.question(
        DYNAMIC, options, gold, pool=DYNAMICS,
        build=partial(_swelling, name, options[gold], context.difficulty(26.0, 15.0, 8.0)),
        rationale="I compare the loudness of the notes from first to last.",
        type="music", caption=f"{with_article(name)} plays, {options[gold]}", content=[name],
    )  # fmt: skip


def _swelling(name: str, label: str, range_db: float, rng: np.random.Generator) -> Scene:
    pitches, step = _fit(name, _melody(rng, 7)), 0.45
    notes = [_note(font.INSTRUMENTS[name].program, p, 0.05 + i * step, step) for i, p in enumerate(pitches)]
    samples = font.render(notes, seconds=len(notes) * step + 0.2)
    ends = {"getting louder": (-range_db, 0), "getting softer": (0, -range_db), "staying the same": (0, 0)}[
        label
    ]
    mixer = Mixer("music")
    mixer.add(samples * 10 ** (np.linspace(*ends, len(samples)) / 20), at=0.0)
    mixer.annotate_all("dynamics", label)
    return mixer.finish(rng, snr_db=40.0)


def higher(context: SamplingContext) -> QuestionSpec:
    """Which of two notes is higher; difficulty: the interval in semitones."""
    options, gold = context.choose_answer(HIGHER)
    interval = context.difficulty(12, 7, 3)
    name = context.pick(context.pools.instruments)
    move = {"the first note": -interval, "the second note": interval, "both are the same": 0}[options[gold]]
    return context.question(
        HIGH, options, gold, pool=HIGHER,
        build=partial(_interval, name, move, options[gold]),
        rationale="I compare the pitches of the two notes.",
        type="music", caption=f"two notes on {with_article(name)}", content=[name],
    )  # fmt: skip


def note_pair(name: str, move: int, rng: np.random.Generator) -> list[int]:
    """The MIDI pitches of two notes, the second `move` semitones above the first."""
    first = int(rng.integers(56, 68))
    return _fit(name, [first, first + move])


def _interval(name: str, move: int, label: str, rng: np.random.Generator) -> Scene:
    notes = [_note(font.INSTRUMENTS[name].program, p, 0.1 + i * 0.9, 0.8)
             for i, p in enumerate(note_pair(name, move, rng))]  # fmt: skip
    mixer = _mixer(notes, 2.3)
    for note in notes:
        mixer.annotate("pitch", pitch_label(note.pitch), note.start, note.start + 0.85)
    mixer.annotate_all("higher", label)
    return mixer.finish(rng, snr_db=35.0)


def register(context: SamplingContext) -> QuestionSpec:
    """Low, middle or high; difficulty: the distance of the registers."""
    options, gold = context.choose_answer(tuple(REGISTERS))
    wide = context.difficulty(1.0, 0.75, 0.5)
    centre = 62 + (REGISTERS[options[gold]] - 62) * wide + context.uniform((-2, 2))
    name = context.pick([n for n in context.pools.instruments if font.INSTRUMENTS[n].family in ("keyboard", "guitar")]
                     or context.pools.instruments)  # fmt: skip
    return context.question(
        REGISTER, options, gold, pool=tuple(REGISTERS),
        build=partial(_placed, name, centre, options[gold]),
        rationale="I listen to how deep or bright the notes are.",
        type="music", caption=f"{with_article(name)} in the {options[gold]} register", content=[name],
    )  # fmt: skip


def _placed(name: str, centre: float, label: str, rng: np.random.Generator) -> Scene:
    pitches = [round(centre + p - 60) for p in _melody(np.random.default_rng(int(rng.integers(1 << 30))), 5)]
    pitches = [int(np.clip(p, centre - 6, centre + 6)) for p in pitches]
    notes = [_note(font.INSTRUMENTS[name].program, p, 0.05 + i * 0.45, 0.45) for i, p in enumerate(pitches)]
    mixer = _mixer(notes, 2.8)
    mixer.annotate_all("register", label)
    return mixer.finish(rng, snr_db=35.0)


def pitch_label(pitch: int) -> str:
    """Pitch height as a digit: 1 up to MIDI 45, one more for every five semitones, 9 from 81 on."""
    return str(int(np.clip(1 + (pitch - 41) // 5, 1, 9)))


def in_order(names: Sequence[str]) -> str:
    return ", then ".join(with_article(name) for name in names)


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
