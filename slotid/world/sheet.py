"""Pictures to judge the world by: a contact sheet of people, film strips of an act."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from slotid.world.performance import Script
from slotid.world.take import Take, direct, film

if TYPE_CHECKING:
    from PIL.Image import Image


def contact_sheet(seeds: Iterable[int], size: int = 160, kit: str | None = None, columns: int = 8) -> Image:
    """One picture of each person, each in an own scene, from the middle of an own act."""
    from slotid.world.kit import load_kit
    from slotid.world.render import Renderer

    model, pictures = load_kit(kit), []
    for seed in seeds:
        take = direct(seed, 0, expr_names=model.expr_names)
        renderer = Renderer(model, take.person.looks, take.scene, size)
        blink = [name.startswith("eyeBlink") for name in model.expr_names]
        pictures.append(renderer.render(take.motion, _liveliest(take, np.array(blink))))
    return _grid(pictures, columns)


def film_strips(seeds: Iterable[int], scripts: Iterable[Script], size: int = 128, kit: str | None = None, shown: int = 11) -> Image:
    """A row for each person and script: ``shown`` frames evenly out of 33."""
    from slotid.world.kit import load_kit

    model, pictures = load_kit(kit), []
    for script, seed in itertools.product(scripts, seeds):
        take = direct(seed, 0, script=script, expr_names=model.expr_names)
        frames, _ = film(take, model, size)
        pictures += list(frames[np.linspace(0, len(frames) - 1, shown).round().astype(int)])
    return _grid(pictures, shown)


def _liveliest(take: Take, blink: np.ndarray) -> int:
    """The frame farthest from the first one, in expression and pose: the act, not the rest before it, and not a chance blink."""
    expressions, head = take.motion.expressions, take.motion.head
    far = np.abs(expressions - expressions[:1])[:, ~blink].sum(axis=1) + np.abs(head - head[:1]).sum(axis=1) / 30
    shut = expressions[:, blink].max(axis=1, initial=0.0)
    meant = {"wink", "close_eyes"} & set(take.script.acts)
    return int((far + 2 * shut if meant else far - 3 * shut).argmax())


def _grid(pictures: list[np.ndarray], columns: int) -> Image:
    from PIL import Image

    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape[:2]
    sheet = np.full((rows * height, min(columns, len(pictures)) * width, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = divmod(number, columns)
        sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = picture
    return Image.fromarray(sheet)
