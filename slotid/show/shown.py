"""What an identity code lets a person look at, in one checked shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.types import IdentityCode


@dataclass(frozen=True)
class Shown:
    """The routing of one clip. K refinements, S slots, T frames that were read, h x w places on the face."""

    plans: np.ndarray  # (K, S, T, h, w) float32, transport mass, at the end of each refinement
    gates: np.ndarray  # (S,) 0 to 1
    mass: np.ndarray  # (S,) share of the clip's mass, sums to 1
    forming: np.ndarray  # (K * n, S, h, w) the plan after each of n Sinkhorn iterations of each refinement, summed over time
    errors: np.ndarray  # (K, n) its marginal error
    anchor: int  # index into the T frames
    seconds: np.ndarray  # (T,)
    crops: np.ndarray  # (T, C, C, 3) uint8
    names: tuple[str, ...]  # (S,) what each slot was trained towards
    heard: tuple[int, ...] = ()  # slots whose mass only weighs moments; of these they read how the whole face moves
    moves: Mapping[str, np.ndarray] = field(default_factory=dict)  # (T, 1 or 2) what they heard, see ``moves.move_lines``

    @property
    def plan(self) -> np.ndarray:
        """The final plan (S, T, h, w)."""
        return self.plans[-1]


def shown_of(code: IdentityCode) -> Shown | None:
    """The part of a code that can be looked at; None for a method that routes nothing, or a code saved without it."""
    if not {"plans", "forming", "crops"} <= set(code.shown):
        return None
    s = code.shown
    plans = np.asarray(s["plans"], np.float32)
    if plans.ndim != 5:
        raise SlotIDError(
            f"The code's routing has shape {plans.shape}; (iterations, slots, frames, height, width) was expected. Read the clip again."
        )
    count = plans.shape[1]
    frames = [int(index) for index in s["frames"]]
    anchor = int(s["anchor_frame"])
    names = tuple(str(name) for name in s.get("slot_names", ())) or tuple(f"slot {number + 1}" for number in range(count))
    return Shown(
        plans=plans,
        gates=np.asarray(s["gates"], np.float32),
        mass=np.asarray(s["mass"], np.float32),
        forming=np.asarray(s["forming"], np.float32).reshape(-1, count, *plans.shape[-2:]),
        errors=np.asarray(s["forming_error"], np.float32),
        anchor=frames.index(anchor) if anchor in frames else 0,
        seconds=np.asarray(s["seconds"], np.float64),
        crops=np.asarray(s["crops"], np.uint8),
        names=names,
        heard=tuple(int(slot) for slot in s.get("heard", ())),
        moves=_moves(s),
    )


def _moves(shown: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The columns of ``moves`` by name, as many to each as it has sides."""
    sides, start, found = shown.get("move_sides", {}), 0, {}
    for name, count in sides.items():
        found[str(name)] = np.asarray(shown["moves"], np.float32)[:, start : start + int(count)]
        start += int(count)
    return found


def write_maps(code: IdentityCode, folder: Path) -> list[Path]:
    """Everything worth seeing of a code as files in ``folder`` (made if missing): returns their paths.

    ``slot1_face_shape.webp``... heat-map films,
    ``time_map.svg``, ``moves.svg`` where habits are heard, ``gates.svg``, ``error.svg``, ``slots.png`` (all slots on the anchor).
    """
    from PIL import Image

    from slotid.show.gates import gate_bars
    from slotid.show.moves import move_lines
    from slotid.show.paint import alone, webp
    from slotid.show.routing import error_curve, heat_film, still, time_map

    shown = shown_of(code)
    if shown is None:
        raise SlotIDError(f"This code of method '{code.method}' holds no pictures of its routing; maps need a clip, not a saved code.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SlotIDError(f"The maps' folder {folder} cannot be made ({error.strerror}): choose another with --maps.") from error
    written: list[Path] = []

    def keep(name: str, data: bytes | str) -> None:
        path = folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        written.append(path)

    for slot, name in enumerate(shown.names):
        film = heat_film(shown.crops, shown.plan[slot], slot, 192)
        keep(f"slot{slot + 1}_{_plain(name)}.webp", webp(film, shown.seconds))
    keep("time_map.svg", alone(time_map(shown.plan, shown.seconds, shown.crops, shown.names)))
    if shown.moves:
        keep("moves.svg", alone(move_lines(shown.moves, shown.seconds)))
    keep("gates.svg", alone(gate_bars(shown.gates, shown.mass, shown.names)))
    keep("error.svg", alone(error_curve(shown.errors)))
    sheet = np.concatenate([still(shown.crops, plan, slot, shown.anchor, 192) for slot, plan in enumerate(shown.plan)], axis=1)
    Image.fromarray(sheet).save(folder / "slots.png")
    return [*written, folder / "slots.png"]


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_").replace("__", "_")
