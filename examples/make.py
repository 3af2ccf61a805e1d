"""Makes the examples: reference clips of people of the test split (needs the head kit), then films of them (needs assets/tiny).

python examples/make.py references     # examples/NAME/reference.mp4 and prompt.txt
python examples/make.py films          # examples/NAME/film.mp4, film.gif and maps/
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

# name: (person of the world's test split, clip number, what the film shall show, seed)
EXAMPLES = {
    "beard": (2_000_109, 0, "a person smiles in a garden", 1),
    "long_dark_hair": (2_000_107, 0, "a person talks in front of a blue wall", 2),
    "grey_hair_glasses": (2_000_114, 0, "a person laughs, with a bookshelf behind", 3),
    "afro": (2_000_103, 0, "somebody nods, warm light", 4),
    "fair_long_hair": (2_000_112, 0, "a person turns the head, at the beach", 5),
}


def references() -> None:
    """Four seconds of each person in the style of somebody who introduces himself to a camera."""
    from slotid.clip import write_clip
    from slotid.world.kit import load_kit
    from slotid.world.take import direct, film

    kit = load_kit()
    for name, (person, clip, prompt, _) in EXAMPLES.items():
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        take = direct(person, clip, frames=48, fps=12.0, reference=True, defects=0.0, expr_names=kit.expr_names)
        frames, _points = film(take, kit, 256)
        write_clip(folder / "reference.mp4", frames, {"rendered": True, "person": person, "caption": take.caption}, fps=12.0)
        (folder / "prompt.txt").write_text(prompt + "\n")
        print(folder / "reference.mp4")


def films() -> None:
    """A film of each person, through the command line."""
    from slotid.cli.main import main

    for name, (_, _, prompt, seed) in EXAMPLES.items():
        folder = HERE / name
        arguments = ["--reference", str(folder / "reference.mp4"), "--prompt", prompt, "--seed", str(seed)]
        code = main(["generate", *arguments, "--out", str(folder / "film.mp4"), "--maps", str(folder / "maps")])
        if code:
            raise SystemExit(code)


if __name__ == "__main__":
    if sys.argv[1:] not in (["references"], ["films"]):
        raise SystemExit(__doc__)
    globals()[sys.argv[1]]()
