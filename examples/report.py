"""Puts an evaluation beside the weights it is of:  python examples/report.py OUT

OUT is the folder given to ``slotid evaluate --out``. Writes assets/tiny/report.json and REPORT.md, their pictures as docs/report/*.webp.
"""

import re
import shutil
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ASSETS, PICTURES = HERE.parent / "assets" / "tiny", HERE.parent / "docs" / "report"


def main(words: list[str]) -> None:
    """Copies the report; old pictures go."""
    source = Path(words[0]) if len(words) == 1 else None
    if source is None or not (source / "report.json").is_file():
        raise SystemExit(f"{__doc__}\nslotid: no report.json in {words or 'nothing'}; run `python -m slotid evaluate --out OUT` first.")
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    text = (source / "report.md").read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([\w.-]+\.png)\)", text):
        Image.open(source / name).convert("RGB").save(PICTURES / f"{Path(name).stem}.webp", quality=84, method=6)
        text = text.replace(f"({name})", f"(../../docs/report/{Path(name).stem}.webp)")
    (ASSETS / "REPORT.md").write_text(text, encoding="utf-8")
    shutil.copyfile(source / "report.json", ASSETS / "report.json")
    print(ASSETS / "REPORT.md")


if __name__ == "__main__":
    main(sys.argv[1:])
