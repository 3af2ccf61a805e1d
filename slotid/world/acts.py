"""The acts, each one function that adds its curves to a stage, and what a living face does all the time.

Curves are functions of true time, so any frame rate samples the same performance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from slotid.world.habits import Habits

_LOOK = 30.0  # degrees of gaze at which an eyeLook* expression is full


def ease(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, a smooth step between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def swell(t: np.ndarray, start: float, onset: float, hold: float, release: float) -> np.ndarray:
    """Up in ``onset`` seconds, there for ``hold``, down in ``release``; the top gives way a little, as held muscles do."""
    up, down = ease((t - start) / onset), ease((t - start - onset - hold) / release)
    sag = 1 - 0.10 * np.clip((t - start - onset) / max(hold, 1e-3), 0, 1)
    return up * (1 - down) * sag


def bump(t: np.ndarray, centre: float, half: float) -> np.ndarray:
    """A raised cosine of half width ``half``."""
    x = np.clip((t - centre) / half, -1, 1)
    return 0.5 * (1 + np.cos(np.pi * x))


class Stage:
    """Time, the person and the curves so far. ``finish`` adds what is always there and returns curves, head and gaze."""

    def __init__(self, t: np.ndarray, length: float, habits: Habits, rng: np.random.Generator, always_rng: np.random.Generator):
        self.length = length  # seconds
        self.t, self.habits, self.rng, self.always_rng = t, habits, rng, always_rng
        self.curves: dict[str, np.ndarray] = {}
        self.turn = np.zeros((len(t), 3))  # head of the acts, degrees
        self.gaze = np.zeros((len(t), 2))  # gaze of the acts, degrees
        self.lids: list[tuple[str, np.ndarray]] = []  # closed lids win over each other, they do not add
        self.awake = np.ones(len(t))  # 0 where an act moves the lids itself, so that no blink disturbs it
        self.speech = np.zeros(len(t))  # 1 while talking

    def vary(self, spread: float = 0.12, rng: np.random.Generator | None = None) -> float:
        """A factor about 1: nobody does a thing twice the same."""
        return float(np.exp(np.clip((rng or self.rng).normal(0, spread), -2 * spread, 2 * spread)))

    def add(self, name: str, curve: np.ndarray) -> None:
        """Adds to one expression."""
        self.curves[name] = self.curves.get(name, 0.0) + curve

    def pair(self, name: str, curve: np.ndarray, side: float = 0.0) -> None:
        """Adds to the left and right of an expression; ``side`` 1 keeps the left full and takes half from the right, -1 the reverse."""
        self.add(name + "_L", curve * min(1.0, 1 + 0.5 * side))
        self.add(name + "_R", curve * min(1.0, 1 - 0.5 * side))

    def finish(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """(curves by name, head (T, 3), gaze (T, 2)) with blinks, brows at rest, sway, tilt and wandering eyes added."""
        head = self._carriage()
        self._rest()
        lids = self._blinks()
        gaze = self._eyes(head)
        closed = np.maximum(lids["_L"], lids["_R"])
        for side in ("_L", "_R"):
            self.curves["eyeBlink" + side] = lids[side]
            # the lower lid must not be pushed through the upper one
            self.curves["eyeSquint" + side] = self.curves.get("eyeSquint" + side, 0.0) * (1 - 0.7 * lids[side])
            self.curves["eyeWide" + side] = self.curves.get("eyeWide" + side, 0.0) * (1 - lids[side])
        yaw, pitch = gaze[:, 0] / _LOOK, gaze[:, 1] / _LOOK
        opened = 1 - closed
        self.add("eyeLookOut_L", np.clip(yaw, 0, 1))
        self.add("eyeLookIn_R", np.clip(yaw, 0, 1))
        self.add("eyeLookIn_L", np.clip(-yaw, 0, 1))
        self.add("eyeLookOut_R", np.clip(-yaw, 0, 1))
        self.pair("eyeLookUp", np.clip(pitch, 0, 1) * opened)
        self.pair("eyeLookDown", np.clip(-pitch, 0, 1) * opened)
        self.curves["jawOpen"] = np.minimum(self.curves.get("jawOpen", np.zeros(len(self.t))), 0.7)
        return self.curves, head, gaze

    def _carriage(self) -> np.ndarray:
        """Head: resting tilt and chin, sway and nod that never stop, a slow drift of each performance, and the acts."""
        h, t, rng = self.habits, self.t, self.always_rng
        sway_turn = 2 * np.pi * (h.sway_rate * self.vary(0.05, rng) * t + rng.random())
        nod_turn = 2 * np.pi * (h.nod_rate * self.vary(0.05, rng) * t + rng.random())
        sway, nod = h.sway_size * self.vary(rng=rng), h.nod_size * self.vary(rng=rng)
        from_yaw, to_yaw = rng.normal(0, 3.0, 2)
        drift = from_yaw + (to_yaw - from_yaw) * ease(t / self.length)
        calm = 1 - 0.8 * np.clip(np.abs(self.turn[:, 0]) / 40, 0, 1)  # somebody in profile does not also swing
        yaw = drift + calm * sway * (np.sin(sway_turn) + 0.2 * np.sin(2.3 * sway_turn + 1))
        pitch = h.chin + rng.normal(0, 0.7) + calm * nod * (1 + 0.5 * self.speech) * (np.sin(nod_turn) + 0.2 * np.sin(1.7 * nod_turn + 2))
        roll = h.tilt + rng.normal(0, 0.8) + calm * 0.6 * h.sway_roll * sway * np.sin(sway_turn - 0.7)
        return np.stack([yaw, pitch, roll], axis=1) + self.turn

    def _rest(self) -> None:
        h, one = self.habits, np.ones(len(self.t))
        rest, side = h.brow_rest, h.brow_side
        self.pair("browInnerUp", 0.30 * max(rest, 0) * one)
        self.pair("browOuterUp", 0.35 * max(rest, 0) * one)
        self.pair("browDown", 0.45 * max(-rest, 0) * one)
        high, low = ("_L", "_R") if side > 0 else ("_R", "_L")
        self.add("browOuterUp" + high, 0.35 * abs(side) * one)
        self.add("browDown" + low, 0.20 * abs(side) * one)
        self.pair("mouthSmile", 0.07 * one)  # the kit's face at rest looks glum

    def _blinks(self) -> dict[str, np.ndarray]:
        h, t, rng = self.habits, self.t, self.always_rng
        both = np.zeros(len(t))
        gap = 1 / h.blink_rate
        at = rng.uniform(0.05, min(gap, 1.8))
        while at < self.length + 0.1:
            length = h.blink_length * self.vary(0.08, rng)
            both = np.maximum(both, swell(t, at, 0.35 * length, 0.15 * length, 0.5 * length) / 0.95)
            at += length + gap * rng.uniform(0.7, 1.3)
        both = np.clip(both, 0, 1) * self.awake
        lids = {"_L": both, "_R": both}
        for side, curve in self.lids:
            lids[side] = np.maximum(lids[side], curve)
        return lids

    def _eyes(self, head: np.ndarray) -> np.ndarray:
        """Eyes stay on the camera while the head sways, leave it with the acts, and jump a little between fixations."""
        t, rng = self.t, self.always_rng
        loose = head - self.turn
        hold = rng.uniform(0.75, 1.0)
        small = 1 - np.clip(np.abs(self.turn[:, 0]) / 25, 0, 1)
        gaze = np.stack([-hold * (loose[:, 0] + small * self.turn[:, 0]), -hold * (loose[:, 1] + small * self.turn[:, 1])], axis=1)
        free = (np.abs(self.gaze).max(axis=1) < 1)[:, None]
        gaze = np.where(free, gaze, 0.3 * gaze) + self.gaze
        at = 0.0
        while at < self.length:
            gaze += rng.normal(0, 1.3, 2) * (t >= at)[:, None] * (t < at + 1.2)[:, None]
            at += rng.uniform(0.35, 1.3)
        return np.clip(gaze, -28, 28)


def _pace(stage: Stage, base_on: float = 0.30, base_off: float = 0.40) -> tuple[float, float]:
    """Onset and release of an act that is no smile: between everybody's and this person's own."""
    h = stage.habits
    on = base_on**0.5 * h.smile_onset**0.5 * stage.vary(0.1)
    return on, base_off**0.5 * h.smile_release**0.5 * stage.vary(0.1)


def _stay_neutral(stage: Stage, start: float, end: float) -> None:
    """Nothing but what is always there."""


def _smile(stage: Stage, start: float, end: float, top: float = 1.0) -> np.ndarray:
    """Corners, cheeks, dimples, eyes and brows in this person's mix, pace and lopsidedness; returns the mean envelope."""
    h, t = stage.habits, stage.t
    onset, release = h.smile_onset * stage.vary(0.08), h.smile_release * stage.vary(0.08)
    hold = float(np.clip(end - start - onset - release - 0.15, 0.25, 1.5))
    peak = top * h.smile_peak * stage.vary(0.06)
    late = max(h.smile_lag, 0), max(-h.smile_lag, 0)
    left, right = (swell(t, start + by, onset, hold, release) * peak for by in late)
    left, right = left * min(1.0, 1 + 0.5 * h.smile_side), right * min(1.0, 1 - 0.5 * h.smile_side)
    teeth = h.smile_teeth
    for side, curve in (("_L", left), ("_R", right)):
        stage.add("mouthSmile" + side, curve)
        stage.add("cheekSquint" + side, 0.9 * h.smile_cheek * curve)
        stage.add("mouthDimple" + side, 0.7 * h.smile_dimple * curve)
        stage.add("mouthStretch" + side, 0.45 * h.smile_stretch * curve)
        stage.add("mouthUpperUp" + side, 0.50 * teeth * curve)
        stage.add("mouthLowerDown" + side, 0.55 * teeth * curve)
    whole = (left + right) / 2
    stage.pair("eyeSquint", 0.9 * h.smile_squint * whole)
    stage.add("jawOpen", 0.10 * teeth * whole)
    stage.pair("browOuterUp", 0.6 * max(h.smile_brow, 0) * whole)
    stage.pair("browInnerUp", 0.4 * max(h.smile_brow, 0) * whole)
    stage.pair("browDown", 0.6 * max(-h.smile_brow, 0) * whole)
    stage.turn[:, 2] += h.smile_lean * whole / max(peak, 0.1)
    return whole / max(peak, 0.1)


def _laugh(stage: Stage, start: float, end: float) -> None:
    """A smile at its top, the mouth open and shaken three to five times a second, the head back."""
    h, t = stage.habits, stage.t
    whole = _smile(stage, start, end, top=min(1.0, 0.25 + h.smile_peak) / h.smile_peak)
    beat = 0.5 + 0.5 * np.sin(2 * np.pi * (2.2 + 0.55 * h.talk_rate) * stage.vary(0.06) * (t - start))
    stage.add("jawOpen", whole * (0.20 + 0.35 * h.talk_jaw + 0.16 * beat))
    stage.pair("mouthUpperUp", whole * 0.25)
    stage.pair("mouthLowerDown", whole * 0.25)
    stage.pair("eyeSquint", whole * 0.25)
    stage.turn[:, 1] += whole * (5.5 * stage.vary() + 2.2 * beat)


_VOWELS = {  # shares of the person's jaw amplitude, and lips
    "a": (1.0, {"mouthLowerDown": 0.30, "mouthUpperUp": 0.15}),
    "e": (0.6, {"mouthStretch": 0.35, "mouthSmile": 0.15, "mouthUpperUp": 0.15}),
    "i": (0.35, {"mouthStretch": 0.45, "mouthSmile": 0.20}),
    "o": (0.7, {"mouthFunnel": 0.55}),
    "u": (0.35, {"mouthPucker": 0.60, "mouthFunnel": 0.20}),
}


def _talk(stage: Stage, start: float, end: float) -> None:
    """Syllables at this person's rate, each a vowel's mouth that opens and closes, some begun with closed lips; brows mark the stress."""
    h, t, rng = stage.habits, stage.t, stage.rng
    rate, odds = h.talk_rate * stage.vary(0.05), np.array([1.0, 0.8, 0.6, 0.3 + 0.9 * h.talk_rounding, 0.2 + 0.7 * h.talk_rounding])
    at, phrase_end, count, until = start, start + h.talk_phrase * stage.vary(0.1), 0, min(end, stage.length + 0.2)
    while at < until - 0.15:
        step = stage.vary(0.10) / rate
        centre, half = at + 0.5 * step, 0.72 * step
        stressed = count % 3 == 0
        size = stage.vary(0.10) * (1.15 if stressed else 0.92)
        wave = size * bump(t, centre, half)
        jaw, lips = _VOWELS[str(rng.choice(list(_VOWELS), p=odds / odds.sum()))]
        stage.add("jawOpen", wave * jaw * h.talk_jaw)
        for name, weight in lips.items():
            if name.startswith(("mouthFunnel", "mouthPucker")):
                stage.add(name, wave * weight * (0.45 + 0.75 * h.talk_rounding))
            else:
                stage.pair(name, wave * weight * 0.8, 0.8 * h.talk_side)
        stage.add("mouthFunnel", wave * 0.35 * h.talk_rounding)
        stage.pair("mouthStretch", wave * 0.45 * h.talk_spread, 0.8 * h.talk_side)
        stage.pair("mouthUpperUp", wave * 0.50 * h.talk_upper, h.talk_side)
        stage.pair("mouthLowerDown", wave * 0.55 * h.talk_lower, h.talk_side)
        stage.add("mouthLeft" if h.talk_side > 0 else "mouthRight", wave * 0.35 * abs(h.talk_side))
        if rng.random() < 0.3:
            shut = bump(t, at, 0.35 * step)
            stage.pair("mouthPress", 0.35 * shut)
            stage.add("mouthRollLower", 0.20 * shut)
            stage.add("mouthRollUpper", 0.15 * shut)
        if stressed:
            stage.pair("browOuterUp", 0.75 * h.brow_beat * bump(t, centre, max(half, 0.18)), 0.5 * h.brow_side)
            stage.pair("browInnerUp", 0.55 * h.brow_beat * bump(t, centre, max(half, 0.18)))
            stage.turn[:, 1] -= 0.5 * h.nod_size * bump(t, centre, max(half, 0.2))
        at, count = at + step, count + 1
        if at > phrase_end:
            at += rng.uniform(0.25, 0.40)
            phrase_end = at + h.talk_phrase * stage.vary(0.1)
    stage.speech = np.maximum(stage.speech, ((t > start) & (t < end)).astype(float))


def _held(stage: Stage, start: float, end: float, longest: float = 1.4) -> np.ndarray:
    on, off = _pace(stage)
    return swell(stage.t, start, on, float(np.clip(end - start - on - off - 0.15, 0.3, longest)), off)


def _frown(stage: Stage, start: float, end: float) -> None:
    h, whole = stage.habits, _held(stage, start, end)
    stage.pair("browDown", 0.95 * whole, 0.5 * h.brow_side)
    stage.pair("mouthFrown", 0.9 * whole, 0.5 * h.smile_side)
    stage.add("mouthShrugLower", 0.35 * whole)
    stage.pair("eyeSquint", (0.15 + 0.3 * h.smile_squint) * whole)
    stage.pair("noseSneer", 0.25 * whole)
    stage.turn[:, 1] -= 3 * whole


def _be_surprised(stage: Stage, start: float, end: float) -> None:
    h, whole = stage.habits, _held(stage, start, end)
    stage.pair("browInnerUp", 0.9 * whole)
    stage.pair("browOuterUp", 0.9 * whole, 0.6 * h.brow_side)
    stage.pair("eyeWide", 0.95 * whole)
    stage.add("jawOpen", (0.22 + 0.35 * h.talk_jaw) * whole)
    stage.add("mouthFunnel", (0.1 + 0.25 * h.talk_rounding) * whole)
    stage.turn[:, 1] += 3 * whole


def _raise_brows(stage: Stage, start: float, end: float) -> None:
    h, whole = stage.habits, _held(stage, start, end, 0.9)
    stage.pair("browInnerUp", 0.8 * whole)
    stage.pair("browOuterUp", 1.0 * whole, h.brow_side)
    stage.pair("eyeWide", 0.35 * whole)


def _wink(stage: Stage, start: float, end: float) -> None:
    """The eye of the side that smiles more closes, the cheek and the mouth corner help."""
    h, t = stage.habits, stage.t
    side, at = ("_L" if h.smile_side > 0 else "_R"), start + 0.1
    length = 0.45 + h.blink_length
    whole = swell(t, at, 0.3 * length, 0.35 * length, 0.35 * length)
    if end - start > 2.2:
        whole = whole + swell(t, at + length + 0.45, 0.3 * length, 0.35 * length, 0.35 * length)
    stage.lids.append((side, np.clip(whole * 1.05, 0, 1)))
    stage.awake *= (t < at - 0.1) | (t > end - 0.2)
    stage.add("cheekSquint" + side, 0.6 * whole)
    stage.add("mouthSmile" + side, (0.25 + 0.3 * h.smile_peak) * whole)
    stage.add("browDown" + side, 0.3 * whole)


def _close_eyes(stage: Stage, start: float, end: float) -> None:
    whole = np.clip(swell(stage.t, start, 0.25, float(np.clip(end - start - 0.9, 0.5, 1.5)), 0.3) * 1.1, 0, 1)
    stage.lids += [("_L", whole), ("_R", whole)]
    stage.awake *= (stage.t < start - 0.2) | (stage.t > end)


def _away(stage: Stage, start: float, end: float, yaw: float, pitch: float) -> None:
    """Eyes first, then the head, towards (yaw, pitch); then back."""
    on, off = 0.35 * stage.vary(), 0.4 * stage.vary()
    hold = float(np.clip(end - start - on - off - 0.3, 0.4, 1.5))
    eyes = swell(stage.t, start, 0.15, hold + on, 0.25)
    head = swell(stage.t, start + 0.08, on, hold, off)
    size = stage.vary()
    stage.gaze += eyes[:, None] * size * np.array([[20.0 * yaw, 18.0 * pitch]])
    stage.turn[:, 0] += head * size * 17.0 * yaw
    stage.turn[:, 1] += head * size * 11.0 * pitch


def _nod(stage: Stage, start: float, end: float) -> None:
    h, t = stage.habits, stage.t
    rate, size = 1.1 + 0.6 * h.nod_rate, 8.0 + 1.6 * h.nod_size
    window = swell(t, start, 0.15, max(end - start - 0.5, 0.6), 0.3)
    phase = 2 * np.pi * rate * stage.vary(0.05) * (t - start)
    stage.turn[:, 1] -= window * size * stage.vary() * (0.4 + np.sin(phase - 0.41))  # farther down than up


def _shake_head(stage: Stage, start: float, end: float) -> None:
    h, t = stage.habits, stage.t
    rate, size = 1.0 + 0.8 * h.sway_rate, 12.0 + 1.2 * h.sway_size
    way = stage.rng.choice([-1, 1])
    window = swell(t, start, 0.15, max(end - start - 0.5, 0.6), 0.3)
    stage.turn[:, 0] += way * window * size * stage.vary() * np.sin(2 * np.pi * rate * stage.vary(0.05) * (t - start))


def _tilt(stage: Stage, start: float, end: float) -> None:
    on, off = 1.4 * _pace(stage)[0], 0.4 * stage.vary()
    way = stage.rng.choice([-1, 1])
    whole = swell(stage.t, start, on, float(np.clip(end - start - on - off - 0.2, 0.4, 1.6)), off)
    stage.turn[:, 2] += way * 15.0 * stage.vary() * whole


def _turned(stage: Stage, start: float, end: float, degrees: float) -> None:
    """Turns and stays; comes back only where there is time for it."""
    on = degrees / 75.0 * stage.vary()
    way = stage.rng.choice([-1, 1])
    back = ease((stage.t - (end - 0.7)) / 0.6) if end - start - on > 2.2 or end < stage.length - 0.2 else 0.0
    whole = ease((stage.t - start) / on) * (1 - back)
    stage.turn[:, 0] += way * degrees * whole
    stage.turn[:, 2] -= way * 2.0 * whole
    stage.gaze[:, 0] += way * 8.0 * swell(stage.t, start - 0.1, 0.12, on * 0.6, 0.3)


ACT_PLAYERS: dict[str, Callable[[Stage, float, float], object]] = {
    "stay_neutral": _stay_neutral,
    "smile": _smile,
    "laugh": _laugh,
    "talk": _talk,
    "frown": _frown,
    "be_surprised": _be_surprised,
    "raise_brows": _raise_brows,
    "wink": _wink,
    "close_eyes": _close_eyes,
    # left and right as a viewer says them: towards the picture's left is negative yaw
    "look_left": lambda stage, start, end: _away(stage, start, end, -1.0, 0.0),
    "look_right": lambda stage, start, end: _away(stage, start, end, 1.0, 0.0),
    "look_up": lambda stage, start, end: _away(stage, start, end, 0.0, 1.0),
    "look_down": lambda stage, start, end: _away(stage, start, end, 0.0, -1.0),
    "nod": _nod,
    "shake_head": _shake_head,
    "tilt": _tilt,
    "turn_half": lambda stage, start, end: _turned(stage, start, end, stage.rng.uniform(38, 48)),
    "turn_profile": lambda stage, start, end: _turned(stage, start, end, stage.rng.uniform(70, 82)),
}
