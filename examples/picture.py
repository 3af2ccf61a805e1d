"""Draws the README's pictures of the examples:  python examples/picture.py

docs/films.webp: each example's reference beside its film. docs/slots.png: what each slot looked at in the
clip of `beard`.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from slotid.clip import read_clip  # noqa: E402

SIDE, GAP, SHOWN = 128, 12, 6  # pixels of a picture, white pixels between clip and film, frames of each film


def small(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (SIDE, SIDE, 3)."""
    if frame.shape[:2] == (SIDE, SIDE):
        return frame
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def row(folder: Path) -> np.ndarray:
    """Two frames of the reference, a gap, six of the film from its first to its last, whatever they show."""
    film, reference = read_clip(folder / "film.mp4").frames, read_clip(folder / "reference.mp4").frames
    seen = [small(reference[k]) for k in (len(reference) // 5, len(reference) * 3 // 5)]
    made = [small(film[k]) for k in np.linspace(0, len(film) - 1, SHOWN).round().astype(int)]
    return np.concatenate([*seen, np.full((SIDE, GAP, 3), 255, np.uint8), *made], 1)


def main() -> None:
    """Both pictures; says which examples have no film yet."""
    folders = sorted(path.parent for path in HERE.glob("*/reference.mp4"))
    made = [folder for folder in folders if (folder / "film.mp4").is_file()]
    for folder in sorted(set(folders) - set(made)):
        print(f"{folder.name} has no film: python examples/make.py films {folder.name}", file=sys.stderr)
    if not made:
        raise SystemExit("slotid: no example has a film; make them first: python examples/make.py films")
    docs = HERE.parent / "docs"
    Image.fromarray(np.concatenate([row(folder) for folder in made], 0)).save(docs / "films.webp", quality=88)
    print(docs / "films.webp")
    maps = HERE / "beard" / "maps" / "slots.png"
    if maps.is_file():
        print(shutil.copyfile(maps, docs / "slots.png"))


if __name__ == "__main__":
    main()
