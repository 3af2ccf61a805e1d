"""Draws what each slot follows and what its absence changes:  python examples/slots_page.py

docs/slots/NAME.webp and docs/slots.md, from the reference clips in examples/ and the weights in assets/tiny. For each person the first
row is the clip and the film of all slots; every further row is one slot: where it looked in six moments of the clip, then the film from
the same noise without it, and how far that film moved from the first (mean difference of pixels, 0 to 255).
"""

import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from slotid.clip import read_clip  # noqa: E402
from slotid.face.track import track_face  # noqa: E402
from slotid.generate import generate, open_studio  # noqa: E402
from slotid.show.routing import heat_film  # noqa: E402
from slotid.types import Request, Result  # noqa: E402

PEOPLE = {"beard": "a person smiles in a garden", "long_dark_hair": "a person talks in front of a blue wall"}
SIDE, MOMENTS, LABEL, GAP = 96, 6, 150, 10


def film_of(studio, request: Request) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    return next(item for item in generate(studio, request) if isinstance(item, Result)).clip.frames


def row(label: str, left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    """One row of the picture: a label, pictures of the clip, pictures of a film."""
    sheet = Image.new("RGB", (LABEL, SIDE), "white")
    ImageDraw.Draw(sheet).multiline_text((8, SIDE // 2 - 14), label, fill="black", font_size=12)
    small = [np.asarray(Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for p in (*left, *right)]
    return np.concatenate([np.asarray(sheet), *small[: len(left)], np.full((SIDE, GAP, 3), 255, np.uint8), *small[len(left) :]], 1)


def page(studio, name: str, prompt: str) -> tuple[np.ndarray, list[float]]:
    """The picture of one person, and the change that each slot's removal makes."""
    track = track_face(read_clip(HERE / name / "reference.mp4"), crop_size=studio.method.crop_pixels)
    code = studio.method.remember(track, studio.backbone.to_latent)
    plans, crops, names = np.asarray(code.shown["plans"][-1], np.float32), code.shown["crops"], code.shown["slot_names"]
    moments = np.linspace(0, len(crops) - 1, MOMENTS).round().astype(int)
    whole = Request(prompt, code, seed=1, preview_every=0, likeness=False)
    first = film_of(studio, whole)
    shown = np.linspace(2, len(first) - 1, MOMENTS).round().astype(int)
    asked = "\n".join(["the clip; the film:", *textwrap.wrap(prompt, 20)])
    rows, moved = [row(asked, [crops[k] for k in moments], [first[k] for k in shown])], []
    for slot, title in enumerate(names):
        heat = heat_film(crops, plans[slot], slot)
        without = film_of(studio, replace(whole, slot_gain=tuple(0.0 if k == slot else 1.0 for k in range(len(names)))))
        moved.append(float(np.abs(without.astype(np.float32) - first).mean()))
        rows.append(row(f"{title}\n  film without it\n  moved {moved[-1]:.1f}", [heat[k] for k in moments], [without[k] for k in shown]))
    return np.concatenate(rows, 0), moved


def main() -> None:
    """All people; writes the page."""
    studio = open_studio()
    docs = HERE.parent / "docs"
    (docs / "slots").mkdir(exist_ok=True)
    lines = ["# What each slot follows", "", "`python examples/slots_page.py` draws this page with the embedded weights.", ""]
    lines += [
        "Left: the clip, and where each slot looked (its colour, laid over a grey face). Right: the film of all slots, and one from the"
    ]
    lines += ["same noise without that slot. *Moved* is the mean difference of pixels between the two, of 255.", ""]
    for name, prompt in PEOPLE.items():
        picture, moved = page(studio, name, prompt)
        Image.fromarray(picture).save(docs / "slots" / f"{name}.webp", quality=86)
        names = studio.method.config.slot_names
        lines += [f"## {name.replace('_', ' ')}: {prompt}", "", f"![{name}](slots/{name}.webp)", ""]
        lines += ["| slot | its removal moves the film by |", "| --- | --- |"]
        lines += [f"| {title} | {value:.1f} |" for title, value in zip(names, moved, strict=False)] + [""]
        print(docs / "slots" / f"{name}.webp")
    (docs / "slots.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
