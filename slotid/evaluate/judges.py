"""The judges on disk and in use. Their own quality, on people they were not trained on, is in their files and in every report."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.evaluate.curves import Curves
    from slotid.evaluate.networks import CurveNet, LooksNet, SceneNet

FORMAT = "slotid-judge-1"
HOME = Path(__file__).resolve().parents[2] / "assets" / "judges"
NAMES = ("looks", "habits", "facts")
BARS = {"looks": ("auc", 0.99), "habits": ("auc", 0.85), "facts": ("acts", 0.95)}  # what a judge has to reach on held-out people
LEAST_GRADED = 30  # held-out people (films, for acts) below which a grade proves little
MOST_BYTES = 12_000_000
HABIT_WIDTH = 48  # of the vector that tells how somebody moves


@dataclass(frozen=True)
class Judges:
    """Three judges and the real films that they are calibrated on."""

    looks_net: LooksNet
    habits_net: CurveNet
    acts_net: CurveNet
    scene_net: SceneNet
    acts_names: tuple[str, ...]
    scene_names: dict[str, tuple[str, ...]]  # fact to its values, in the order of the logits
    scales: dict[str, tuple[float, float]]  # "looks", "habits": similarity of the mean impostor, of another clip of the same person
    real_mean: np.ndarray  # (F,) of the frame features of real films
    real_cov: np.ndarray  # (F, F)
    real: dict[str, tuple[float, float]]  # 5th to 95th percentile of real films: strangeness, jitter, flicker
    quality: dict[str, dict[str, Any]]  # judge to what was measured on held-out people
    fingerprint: str

    def looks(self, crops: np.ndarray) -> np.ndarray:
        """Face crops (T, C, C, 3) uint8, cut by ``face.align``, to (T, D) float32 unit vectors."""
        return self._batches(self.looks_net, crops)

    def _batches(self, call: Any, crops: np.ndarray) -> np.ndarray:
        import torch

        from slotid.evaluate.networks import FACE_PIXELS, pictures

        with torch.no_grad():
            parts = [call(pictures(crops[k : k + 64], FACE_PIXELS)) for k in range(0, len(crops), 64)]
        return torch.cat(parts).numpy()

    def habits(self, curves: Curves | None) -> np.ndarray:
        """(D,) float32, a unit vector, shorter where the film shows no habits; zeros without curves. The resting face is taken away."""
        from slotid.evaluate.curves import centred
        from slotid.evaluate.networks import in_ball

        size = self.habits_net.head[-1].out_features
        if curves is None:
            return np.zeros(size, np.float32)
        return in_ball(_through(self.habits_net, centred(curves)))[0].numpy()

    def acts(self, curves: Curves | None) -> dict[str, float]:
        """Probability of each act; empty without curves."""
        from slotid.evaluate.curves import centred

        if curves is None:
            return {}
        chances = _through(self.acts_net, centred(curves))[0].softmax(0)
        return dict(zip(self.acts_names, chances.tolist(), strict=True))

    def scene(self, frames: np.ndarray) -> dict[str, str]:
        """Whole frames (T, H, W, 3) uint8 to the likeliest value of each fact, from the mean of the frames' log probabilities."""
        import torch

        from slotid.evaluate.networks import FRAME_PIXELS, pictures

        with torch.no_grad():
            found = self.scene_net(pictures(frames, FRAME_PIXELS))
        return {name: self.scene_names[name][int(logits.log_softmax(1).mean(0).argmax())] for name, logits in found.items()}

    def features(self, frames: np.ndarray, crops: np.ndarray) -> np.ndarray:
        """(T, F) frame features: the scene judge's penultimate layer on frames, the looks judge's on face crops (T, C, C, 3)."""
        import torch

        from slotid.evaluate.networks import FRAME_PIXELS, pictures

        with torch.no_grad():
            whole = self.scene_net.features(pictures(frames, FRAME_PIXELS)).numpy()
        return np.concatenate([whole, self._batches(self.looks_net.raw, crops)], axis=1)


def _through(net: CurveNet, curves: Curves) -> Any:
    import torch

    with torch.no_grad():
        return net(torch.from_numpy(curves.values)[None], torch.from_numpy(np.asarray(curves.seen))[None])


def build(facts: dict[str, tuple[str, ...]], acts: tuple[str, ...]) -> dict[str, Any]:
    """Fresh networks by file name and part: {"looks": {"net"}, "habits": {"net"}, "facts": {"acts", "scene"}}."""
    from slotid.evaluate.curves import CHANNELS
    from slotid.evaluate.networks import CurveNet, LooksNet, SceneNet

    return {
        "looks": {"net": LooksNet()},
        "habits": {"net": CurveNet(len(CHANNELS), HABIT_WIDTH)},
        "facts": {"acts": CurveNet(len(CHANNELS), len(acts)), "scene": SceneNet({k: len(v) for k, v in facts.items()})},
    }


def world_facts() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The acts, and the values of the other facts, that the world knows; clothing is told as colour and garment."""
    from slotid.world.performance import ACTS
    from slotid.world.scene import BACKGROUNDS, COLOURS, FRAMINGS, GARMENTS, LIGHTS

    return ACTS, {"light": LIGHTS, "background": BACKGROUNDS, "colour": COLOURS, "garment": GARMENTS, "framing": FRAMINGS}


def save_judge(
    folder: str | Path, name: str, parts: dict[str, Any], about: dict[str, Any], arrays: dict[str, np.ndarray] | None = None
) -> None:
    """Writes NAME.safetensors (float16) and NAME.json. ``parts``: networks by part; ``about``: scale, quality and how it was trained."""
    import torch
    from safetensors.torch import save_file

    from slotid.identity.weights import fingerprint

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{part}.{key}": value.detach().half().contiguous() for part, net in parts.items() for key, value in net.state_dict().items()
    }
    tensors |= {f"array.{key}": torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)) for key, value in (arrays or {}).items()}
    marks = {part: fingerprint(net.half().float()) for part, net in parts.items()}
    temporary = folder / f"{name}.part"
    save_file(tensors, temporary)
    temporary.chmod(0o644)  # safetensors writes for the owner alone; judges hold nobody
    os.replace(temporary, folder / f"{name}.safetensors")
    acts, facts = world_facts()
    note = {"format": FORMAT, "judge": name, "weights": marks, "acts": acts, "facts": facts, **about}
    (folder / f"{name}.json").write_text(json.dumps(note, indent=1) + "\n")


def judges_missing(folder: str | Path | None = None) -> str | None:
    """None when all judges are there, else a sentence that says what is missing and how to make it."""
    folder = Path(folder or HOME)
    missing = [name for name in NAMES if not ((folder / f"{name}.json").is_file() and (folder / f"{name}.safetensors").is_file())]
    if not missing:
        return None
    commands = " and ".join(f"`python -m slotid train judge_{name}`" for name in missing)
    return f"no judge for {', '.join(missing)} in {folder}; make it with {commands}, or name their folder with --judges."


def read_note(folder: str | Path, name: str) -> dict[str, Any]:
    """The JSON beside a judge's weights. Raises SlotIDError when it is no judge of this format."""
    path = Path(folder) / f"{name}.json"
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SlotIDError(f"{path} cannot be read ({error}); train the judge again with `python -m slotid train judge_{name}`.") from error
    if note.get("format") != FORMAT or note.get("judge") != name:
        raise SlotIDError(f"{path} is not a {name} judge of format {FORMAT}; train it with `python -m slotid train judge_{name}`.")
    return note


def load_judges(folder: str | Path | None = None) -> Judges:
    """All judges of a folder (None: those that come with the program). Raises SlotIDError when one is missing or of another world."""
    from slotid.identity.weights import fill, read_tensors

    folder = Path(folder or HOME)
    lacking = judges_missing(folder)
    if lacking:
        raise SlotIDError(lacking)
    acts, facts = world_facts()
    nets, notes, arrays = build(facts, acts), {}, {}
    for name, parts in nets.items():
        note = notes[name] = read_note(folder, name)
        if tuple(note["acts"]) != acts or {k: tuple(v) for k, v in note["facts"].items()} != facts:
            raise SlotIDError(f"the {name} judge in {folder} knows other acts or facts than this world; train it again.")
        path = folder / f"{name}.safetensors"
        tensors = read_tensors(path)
        for part, net in parts.items():
            fill(net, {k.partition(".")[2]: v.float() for k, v in tensors.items() if k.startswith(part + ".")}, path)
            net.eval().requires_grad_(False)
        arrays |= {k.partition(".")[2]: v.numpy().astype(np.float64) for k, v in tensors.items() if k.startswith("array.")}
    lacking_real = [key for key in ("real_mean", "real_cov") if key not in arrays]
    if lacking_real or "real" not in notes["facts"]:
        raise SlotIDError(
            f"the facts judge in {folder} was trained without real films to compare with; train judge_facts after judge_looks."
        )
    if notes["facts"].get("looks_weights") != notes["looks"]["weights"]["net"]:
        raise SlotIDError(
            f"the facts judge in {folder} holds features of another looks judge; run `python -m slotid train judge_facts` again."
        )
    return Judges(
        looks_net=nets["looks"]["net"],
        habits_net=nets["habits"]["net"],
        acts_net=nets["facts"]["acts"],
        scene_net=nets["facts"]["scene"],
        acts_names=acts,
        scene_names=facts,
        scales={name: (notes[name]["scale"]["impostor"], notes[name]["scale"]["same"]) for name in ("looks", "habits")},
        real_mean=arrays["real_mean"],
        real_cov=arrays["real_cov"],
        real={name: tuple(pair) for name, pair in notes["facts"]["real"].items()},
        quality={name: note["quality"] for name, note in notes.items()},
        fingerprint="-".join([*(mark for note in notes.values() for mark in note["weights"].values()), _mark(arrays)]),
    )


def _mark(arrays: dict[str, np.ndarray]) -> str:
    return f"{zlib.crc32(b''.join(arrays[name].tobytes() for name in sorted(arrays))):08x}"


def load_looks(folder: str | Path | None = None) -> tuple[LooksNet, str]:
    """The looks judge alone and its fingerprint. Raises SlotIDError when it is not there."""
    from slotid.evaluate.networks import LooksNet
    from slotid.identity.weights import fill, read_tensors

    folder = Path(folder or HOME)
    if not (folder / "looks.safetensors").is_file():
        raise SlotIDError(f"there is no looks judge in {folder}; run `python -m slotid train judge_looks` first.")
    note, net = read_note(folder, "looks"), LooksNet()
    path = folder / "looks.safetensors"
    fill(net, {k.partition(".")[2]: v.float() for k, v in read_tensors(path).items() if k.startswith("net.")}, path)
    return net.eval().requires_grad_(False), note["weights"]["net"]


def below_bars(quality: dict[str, dict[str, Any]]) -> list[str]:
    """One sentence for each judge that does not reach its bar on held-out people, or was graded on too few; [] when all is well."""
    found = []
    for name, (what, bar) in BARS.items():
        own = quality.get(name, {})
        value, graded = own.get(what), own.get("act_films" if name == "facts" else "people", 0)
        if value is None or value < bar:
            shown = "nothing measured" if value is None else f"{value:.3f}"
            found.append(f"the {name} judge reaches {what} {shown} on held-out people; {bar} is wanted: read its column with care.")
        elif graded < LEAST_GRADED:
            found.append(f"the {name} judge was graded on {graded} held-out clips; {LEAST_GRADED} are wanted: train it with more people.")
    return found
