"""What a person takes along from scene to scene: skin, its paint, and hair that waits for clothes to fall on. Made once a person."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from slotid.world import raster
from slotid.world.barber import Planted, plant
from slotid.world.kit import Kit
from slotid.world.looks import Looks
from slotid.world.paint import paint_skin
from slotid.world.rig import rig_of

KEPT = 3  # people remembered: takes of one person are filmed one after the other


@dataclass(frozen=True, eq=False)
class Body:
    """Shared between renderers, so nobody writes into it."""

    skin: np.ndarray  # (V, 3) float32 cm at rest
    texture: np.ndarray  # (2, R, R, 4) float32 from ``paint_skin``
    hair: Planted


class _Told:
    """Looks as a key: equal when every number is."""

    def __init__(self, looks: Looks):
        self.looks = looks
        values = (getattr(looks, field.name) for field in fields(looks))
        self.key = tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in values)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Told) and self.key == other.key


def body_of(kit: Kit, looks: Looks, size: int) -> Body:
    """The body for films of ``size`` px: finer paint and hair for larger films. The last few people are kept."""
    return _made(kit, _Told(looks), 336 if size <= 160 else 640 if size <= 288 else 1024, size > 200)


@lru_cache(maxsize=KEPT)
def _made(kit: Kit, told: _Told, texels: int, fine: bool) -> Body:
    rig, looks = rig_of(kit), told.looks
    skin = rig.vertices(looks.shape)
    normals = np.empty_like(skin)
    raster.vertex_normals(skin, rig.faces, normals)
    return Body(skin, paint_skin(kit, looks, texels), plant(rig, looks, skin, normals, fine))
