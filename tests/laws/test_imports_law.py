"""Law 11: imports flow one way, and `import slotid` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "slotid"
LOW = {"types", "", "_version"}
RULES = {  # part: what it may import of slotid, beside itself and the nouns
    "types": set(),
    "clip": {"clip_write"},
    "clip_write": {"clip"},
    "film": {"clip", "clip_write"},
    "flow": set(),
    "pixels": set(),
    "guidance": set(),
    "backbone/layers": set(),
    "backbone": {"backbone/layers", "flow"},
    "face": {"clip"},
    "identity": {"backbone/layers", "guidance", "flow", "pixels"},
    "generate": {"clip", "face", "identity", "backbone", "backbone/layers", "flow", "guidance", "pixels"},
}
BELOW = {"clip", "clip_write", "film", "flow", "pixels", "guidance", "backbone/layers", "backbone", "face", "identity", "generate"}
RULES |= {
    "show": BELOW,
    "world": BELOW,
    "train": BELOW | {"world"},
    "evaluate": BELOW | {"world"},
    "bench": BELOW,
    "page": BELOW | {"show", "cli", "world", "evaluate"},
    "cli": BELOW | {"show", "world", "train", "evaluate", "bench", "page"},
    "__main__": {"cli"},
}


def part_of(module: str) -> str:
    """'slotid.backbone.layers' -> 'backbone/layers', 'slotid.face.track' -> 'face'."""
    names = module.split(".")[1:]
    if names[:2] == ["backbone", "layers"]:
        return "backbone/layers"
    return names[0] if names else ""


def imports_of(path: Path) -> set[str]:
    """Every slotid module a file imports, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "slotid"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they go"
            if node.module == "slotid":
                found |= {f"slotid.{a.name}" for a in node.names if not a.name.startswith("__")}
            elif node.module and node.module.startswith("slotid."):
                found.add(node.module)
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_law_11_imports_flow_one_way(path):
    module = "slotid." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = part_of(module.removesuffix(".__init__"))
    assert own in RULES or own == "", f"{own} is a new part: say in this test and in the README where it stands"
    allowed = RULES.get(own, set()) | LOW | {own}
    for other in imports_of(path):
        assert part_of(other) in allowed, f"{path.relative_to(ROOT)} imports {other}: {own} stands below it"


def test_law_11_identity_registry_points_into_identity():
    from slotid.identity.registry import METHODS

    assert all(target.startswith("slotid.identity.") for target in METHODS.values())


def test_importing_slotid_is_light():
    code = (
        "import sys, time; t = time.process_time(); import slotid, slotid.types; s = time.process_time() - t;"
        "heavy = {'torch', 'diffusers', 'transformers', 'mediapipe', 'gradio', 'numba', 'matplotlib'} & set(sys.modules); print(s, *heavy)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent).stdout.split()
    assert float(out[0]) < 0.5 and out[1:] == []
