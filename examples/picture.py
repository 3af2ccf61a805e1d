"""Draws docs/films.webp: each example's reference beside its film.   python examples/picture.py"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from slotid.clip import read_clip  # noqa: E402


def main() -> None:
    """Two frames of the reference, a gap, six of the film, a row for each person."""
    rows = []
    for path in sorted(HERE.glob("*/film.mp4")):
        film, reference = read_clip(path).frames, read_clip(path.parent / "reference.mp4").frames
        small = [np.asarray(Image.fromarray(reference[k]).resize((128, 128), Image.Resampling.LANCZOS)) for k in (10, 30)]
        rows.append(np.concatenate([*small, np.full((128, 12, 3), 255, np.uint8), *(film[k] for k in (0, 5, 10, 15, 20, 24))], 1))
    Image.fromarray(np.concatenate(rows, 0)).save(HERE.parent / "docs" / "films.webp", quality=88)


if __name__ == "__main__":
    main()
