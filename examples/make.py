"""Makes the examples. Each part can be made alone and again; what is there and still right is left as it is.

python examples/make.py references [NAME ...]   # examples/NAME/reference.mp4 (needs the head kit); only those that are missing
python examples/make.py films [NAME ...]        # examples/NAME/film.mp4 and maps/ with the weights in assets/tiny; always anew

The people are of the world's test split, which no training sees; seeds are fixed here, so no film is picked from several.
"""

import json
import shutil
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


def references(names: list[str]) -> None:
    """Four seconds of each person in the style of somebody who introduces himself to a camera."""
    missing = [name for name in names if not (HERE / name / "reference.mp4").is_file()]
    if not missing:
        print("every reference is there; delete one to have it made anew")
        return
    from slotid.clip import write_clip
    from slotid.world.kit import load_kit
    from slotid.world.take import direct, film

    kit = load_kit()
    for name in missing:
        person, clip, _, _ = EXAMPLES[name]
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        take = direct(person, clip, frames=48, fps=12.0, reference=True, defects=0.0, expr_names=kit.expr_names)
        frames, _points = film(take, kit, 256)
        write_clip(folder / "reference.mp4", frames, {"rendered": True, "person": person, "caption": take.caption}, fps=12.0)
        print(folder / "reference.mp4")


def films(names: list[str]) -> None:
    """A film of each person, through the command line as anybody would make it; says how like the person each film is."""
    from slotid.cli.main import main as slotid
    from slotid.clip import read_settings

    for name in names:
        _, _, prompt, seed = EXAMPLES[name]
        folder = HERE / name
        shutil.rmtree(folder / "maps", ignore_errors=True)  # names of slots may have changed: nothing old may stay beside the new
        (folder / "prompt.txt").write_text(prompt + "\n", encoding="utf-8")
        words = ["generate", "--reference", str(folder / "reference.mp4"), "--prompt", prompt, "--seed", str(seed)]
        words += ["--out", str(folder / "film.mp4"), "--maps", str(folder / "maps")]
        code = slotid(words)
        if code:  # its one line was said already
            raise SystemExit(code)
        kept = read_settings(folder / "film.mp4")
        print(json.dumps({"example": name, **{k: kept[k] for k in ("prompt", "seed", "steps", "backbone", "method")}}), file=sys.stderr)


def main(words: list[str]) -> None:
    """Runs one of the two; names limit it to those examples."""
    parts = {"references": references, "films": films}
    names = words[1:] or list(EXAMPLES)
    if not words or words[0] not in parts or set(names) - set(EXAMPLES):
        raise SystemExit(f"{__doc__}\nexamples: {', '.join(EXAMPLES)}")
    from slotid.types import SlotIDError

    try:
        parts[words[0]](names)
    except SlotIDError as error:
        raise SystemExit(f"slotid: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
