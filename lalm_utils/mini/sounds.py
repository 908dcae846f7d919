"""The benchmark's sounds: their labels, what is known of them, and their rendering at one level.

Facts answer the two-hop questions; their values come from small shared vocabularies, so that another sound's
fact is a fair distractor. Synthesised sounds come from `dsp`, General MIDI effects from the font.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lalm_utils.mini import dsp
from lalm_utils.mini.samples import RECORDED, recorded
from lalm_utils.mini.scene import active_rms

ACTIVE_RMS, PEAK = 0.1, 0.95


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A class of sounds: an "event" has an onset and lasts 0.1 to 1.3 s, a "texture" goes on for any time."""

    label: str
    kind: str
    made_by: str
    place: str

    @property
    def fact(self) -> Mapping[str, str]:
        return {"made_by": self.made_by, "place": self.place}


_TABLE = (
    # label, kind, made by, place, synthesiser
    ("dog bark", "event", "an animal", "a yard", dsp.dog_bark),
    ("cat meow", "event", "an animal", "a living room", dsp.cat_meow),
    ("rooster", "event", "an animal", "a farm", dsp.rooster),
    ("frog", "event", "an animal", "a pond", dsp.frog),
    ("cow", "event", "an animal", "a farm", dsp.cow),
    ("bird chirp", "event", "an animal", "a forest", dsp.bird_chirp),
    ("bell", "event", "a metal object", "a church", dsp.bell),
    ("door knock", "event", "a person", "a living room", dsp.door_knock),
    ("clock tick", "event", "a machine", "a living room", dsp.clock_tick),
    ("water drop", "event", "water", "a bathroom", dsp.water_drop),
    ("car horn", "event", "a vehicle", "a street", dsp.car_horn),
    ("whistle", "event", "a person", "a sports field", dsp.whistle),
    ("footsteps", "event", "a person", "a street", dsp.footsteps),
    ("alarm beep", "event", "a machine", "a bedroom", dsp.alarm_beep),
    ("phone ring", "event", "a machine", "an office", dsp.phone_ring),
    ("glass break", "event", "a glass object", "a kitchen", dsp.glass_break),
    ("hand saw", "event", "a tool", "a workshop", dsp.hand_saw),
    ("drill", "event", "a tool", "a workshop", dsp.drill),
    ("cough", "event", "a person", "a hospital", dsp.cough),
    ("explosion", "event", "a weapon", "a battlefield", None),
    ("rain", "texture", "the weather", "outdoors", dsp.rain),
    ("wind", "texture", "the weather", "a mountain top", dsp.wind),
    ("engine", "texture", "a vehicle", "a street", dsp.engine),
    ("siren", "texture", "a vehicle", "a street", dsp.siren),
    ("crickets", "texture", "an animal", "a meadow", dsp.crickets),
    ("vacuum cleaner", "texture", "a machine", "a living room", dsp.vacuum),
    ("sea waves", "texture", "water", "a beach", dsp.waves),
    ("helicopter", "texture", "a vehicle", "an airport", dsp.helicopter),
    ("applause", "texture", "a person", "a theatre", dsp.applause),
    # novel in idk
    ("sheep", "event", "an animal", "a farm", dsp.sheep),
    ("train horn", "event", "a vehicle", "a railway station", dsp.train_horn),
    ("coin", "event", "a metal object", "a shop", dsp.coin),
    ("camera click", "event", "a machine", "a studio", dsp.camera_click),
    ("snore", "event", "a person", "a bedroom", dsp.snore),
    ("punch", "event", "a person", "a boxing ring", None),
    ("bees", "texture", "an animal", "a meadow", dsp.bees),
    # novel in test
    ("owl", "event", "an animal", "a forest", dsp.owl),
    ("duck", "event", "an animal", "a pond", dsp.duck),
    ("gunshot", "event", "a weapon", "a battlefield", dsp.gunshot),
    ("zipper", "event", "a metal object", "a bedroom", dsp.zipper),
    ("heartbeat", "event", "a person", "a hospital", dsp.heartbeat),
    ("car door", "event", "a vehicle", "a street", None),
    ("fire", "texture", "fire", "a camp site", dsp.fire),
)
SOUNDS = {
    label: Sound(label=label, kind=kind, made_by=maker, place=place) for label, kind, maker, place, _ in _TABLE
}
_MAKE = {label: make for label, _, _, _, make in _TABLE}
_LABELS = tuple(SOUNDS)
TRAIN_SOUNDS = _LABELS[: _LABELS.index("sheep")]
IDK_SOUNDS = _LABELS[_LABELS.index("sheep") : _LABELS.index("owl")]
TEST_SOUNDS = _LABELS[_LABELS.index("owl") :]


def event(label: str, rng: np.random.Generator) -> np.ndarray:
    """One rendering (n,) float32 of an event at ACTIVE_RMS, 0.1 to 1.3 s. ValueError if `label` is no event."""
    _demand(label, "event")
    return _levelled(recorded(label, rng) if label in RECORDED else _MAKE[label](rng))


def texture(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """`seconds` of a texture (n,) float32 at ACTIVE_RMS. ValueError if `label` is no texture."""
    _demand(label, "texture")
    return _levelled(_MAKE[label](rng, seconds))


def _demand(label: str, kind: str) -> None:
    if label not in SOUNDS or SOUNDS[label].kind != kind:
        known = ", ".join(s.label for s in SOUNDS.values() if s.kind == kind)
        raise ValueError(f"no {kind} {label!r}; the {kind}s are: {known}")


def _levelled(samples: np.ndarray) -> np.ndarray:
    samples = dsp.smoothed(samples)
    samples = samples * (ACTIVE_RMS / active_rms(samples))
    peak = float(np.max(np.abs(samples)))
    return (samples * min(1.0, PEAK / peak)).astype(np.float32)
