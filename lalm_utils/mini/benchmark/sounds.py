"""The everyday sounds of the embedded benchmark: which there are, what is known about them, how they sound.

`event` and `texture` render one at a common loudness, deterministically from the generator passed. Classes of
`IDK_SOUNDS` and `TEST_SOUNDS` never occur in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lalm_utils.mini.benchmark import animals_people, objects, samples, textures
from lalm_utils.mini.benchmark.scene import RATE, active_rms

LOUDNESS = 0.1  # active RMS of everything rendered
PEAK = 0.95
SHORTEST, LONGEST = 0.15, 1.2  # seconds of an event
FADE = 0.01  # seconds
TAIL_DB = -45.0  # what lies further below an event's peak is no longer part of it


@dataclass(frozen=True, kw_only=True)
class SoundClass:
    """One class of sounds.

    `kind` is "event" (0.15-1.2 s with a distinct onset) or "texture" (steady, of any length). `fact` answers
    second hops: "made_by" and "place" for every sound, from vocabularies that classes share.
    """

    label: str
    kind: str
    family: str
    fact: Mapping[str, str]
    make: Callable[..., np.ndarray] = field(repr=False, compare=False)


def _any_of(*makers: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """One of several ways to make the same sound, a random one each call."""
    return lambda *arguments: makers[int(arguments[-1].integers(len(makers)))](*arguments)


def _sound(kind: str, label: str, family: str, made_by: str, place: str, make: Callable) -> SoundClass:
    return SoundClass(
        label=label, kind=kind, family=family, fact={"made_by": made_by, "place": place}, make=make
    )


_ROWS = {
    "train": (
        ("event", "dog bark", "animal", "an animal", "a home with pets", animals_people.dog_bark),
        ("event", "cat meow", "animal", "an animal", "a home with pets", animals_people.cat_meow),
        ("event", "rooster crow", "animal", "an animal", "a farm", animals_people.rooster_crow),
        ("event", "frog croak", "animal", "an animal", "a pond", animals_people.frog_croak),
        ("event", "bird chirp", "animal", "an animal", "a forest", animals_people.bird_chirp),
        ("event", "cough", "human", "a person", "a doctor's office", animals_people.cough),
        ("event", "footstep", "human", "a person", "a staircase", animals_people.footstep),
        ("event", "door knock", "human", "a person", "a front door", animals_people.door_knock),
        ("event", "whistle", "human", "a person", "a sports field", animals_people.whistle),
        ("event", "bell", "impact", "a piece of metal", "a church", objects.bell),
        ("event", "glass break", "impact", "a glass object", "a kitchen", objects.glass_break),
        ("event", "clock tick", "household", "a small mechanism", "a watchmaker's shop", objects.clock_tick),
        ("event", "camera click", "household", "a small mechanism", "a photo studio", animals_people.camera_click),
        ("event", "water drop", "household", "a body of water", "a bathroom", objects.water_drop),
        ("event", "car horn", "vehicle", "a vehicle", "a busy street", objects.car_horn),
        ("event", "alarm beep", "electronic", "an electronic device", "a bedroom", objects.alarm_beep),
        ("event", "telephone ring", "electronic", "an electronic device", "an office", objects.telephone_ring),
        ("event", "laser zap", "electronic", "an electronic device", "a video arcade", objects.laser_zap),
        ("event", "gunshot", "weapon", "a weapon", "a battlefield", objects.gunshot),
        ("event", "explosion", "weapon", "a weapon", "a battlefield", _any_of(objects.explosion, samples.boom)),
        ("event", "sword swing", "weapon", "a weapon", "a battlefield", samples.swing),
        ("texture", "rain", "weather", "the weather", "a storm", textures.rain),
        ("texture", "wind", "weather", "the weather", "a storm", textures.wind),
        ("texture", "fire", "nature", "burning wood", "a campsite", textures.fire),
        ("texture", "running water", "nature", "a body of water", "a river bank", textures.running_water),
        ("texture", "sea waves", "nature", "a body of water", "a beach", samples.sea_waves),
        ("texture", "crickets", "animal", "an animal", "a meadow at night", textures.crickets),
        ("texture", "engine noise", "vehicle", "a vehicle", "a busy street", textures.engine_noise),
        ("texture", "sirens", "alarm", "a vehicle", "a busy street", textures.sirens),
        ("texture", "vacuum cleaning", "household", "an electric motor", "a carpeted room", textures.vacuum_cleaning),
        ("texture", "applause", "human", "a person", "a theatre", samples.applause),
    ),
    "idk": (
        ("event", "cow moo", "animal", "an animal", "a farm", animals_people.cow_moo),
        ("event", "owl hoot", "animal", "an animal", "a forest", animals_people.owl_hoot),
        ("event", "ship horn", "vehicle", "a vehicle", "a harbour", objects.ship_horn),
        ("event", "coin drop", "impact", "a piece of metal", "a shop", animals_people.coin_drop),
        ("event", "zipper", "household", "a small mechanism", "a changing room", animals_people.zipper),
        ("event", "punch", "human", "a person", "a boxing ring", samples.punch),
        ("texture", "bees", "animal", "an animal", "a flower garden", textures.bees),
        ("texture", "sawing", "tool", "a hand tool", "a workshop", textures.sawing),
    ),
    "test": (
        ("event", "sheep bleat", "animal", "an animal", "a farm", animals_people.sheep_bleat),
        ("event", "duck quack", "animal", "an animal", "a pond", animals_people.duck_quack),
        ("event", "heartbeat", "human", "a person", "a doctor's office", animals_people.heartbeat),
        ("event", "snore", "human", "a person", "a bedroom", animals_people.snore),
        ("event", "car door", "vehicle", "a vehicle", "a car park", samples.car_door),
        ("event", "drill", "tool", "an electric motor", "a workshop", objects.drill),
        ("texture", "train wheels", "vehicle", "a vehicle", "a railway line", textures.train_wheels),
        ("texture", "helicopter blades", "vehicle", "a vehicle", "an airfield", samples.helicopter),
    ),
}  # fmt: skip
SOUNDS: Mapping[str, SoundClass] = {row[1]: _sound(*row) for rows in _ROWS.values() for row in rows}
TRAIN_SOUNDS, IDK_SOUNDS, TEST_SOUNDS = (
    tuple(row[1] for row in _ROWS[group]) for group in ("train", "idk", "test")
)


def event(label: str, rng: np.random.Generator) -> np.ndarray:
    """One occurrence of an event: float32 (n,), 16 kHz, 0.15-1.2 s, active RMS 0.1, peak at most 0.95."""
    samples = _trim(np.asarray(_find(label, "event").make(rng), dtype=np.float64))
    return _level(_fade(samples, attack=0.0))


def texture(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """`seconds` of a texture: float32 (round(seconds * 16000),), active RMS 0.1, peak at most 0.95."""
    sound = _find(label, "texture")
    if not 0.1 <= seconds <= 60:
        raise ValueError(f"{label}: a length of {seconds!r} s is outside 0.1..60; choose a value inside")
    return _level(_fade(np.asarray(sound.make(seconds, rng), dtype=np.float64), attack=FADE))


def _find(label: str, kind: str) -> SoundClass:
    choices = [sound.label for sound in SOUNDS.values() if sound.kind == kind]
    if label not in choices:
        raise ValueError(f"no {kind} called {label!r}; choose one of {', '.join(choices)}")
    return SOUNDS[label]


def _trim(samples: np.ndarray) -> np.ndarray:
    """From the onset to where the sound has died away, within the bounds of an event."""
    level = np.abs(samples)
    audible = np.flatnonzero(level > level.max() * 10 ** (TAIL_DB / 20))
    samples = samples[audible[0] : audible[-1] + 1][: int(LONGEST * RATE)]
    return np.pad(samples, (0, max(0, round(SHORTEST * RATE) - len(samples))))


def _fade(samples: np.ndarray, *, attack: float) -> np.ndarray:
    """Without clicks at the ends; an event keeps its onset."""
    samples = samples.copy()
    count = min(round(FADE * RATE), len(samples) // 2)
    samples[-count:] *= np.linspace(1, 0, count)
    if attack:
        samples[:count] *= np.linspace(0, 1, count)
    return samples


def _level(samples: np.ndarray) -> np.ndarray:
    """At the common loudness; rare peaks beyond PEAK are bent down softly rather than the whole made quieter."""
    for _ in range(3):
        samples = samples * (LOUDNESS / active_rms(samples))
        if np.abs(samples).max() <= PEAK:
            break
        samples = PEAK * np.tanh(samples / PEAK)
    return np.clip(samples, -PEAK, PEAK).astype(np.float32)
