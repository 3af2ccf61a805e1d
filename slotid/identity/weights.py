"""A method's weights on disk: config.json, model.safetensors and, where it bends the backbone, lora.safetensors. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from torch import Tensor, nn

from slotid import __version__
from slotid.types import SlotIDError

SHARED = "shared.safetensors"  # beside the folders of methods: tensors that several of them hold


def fingerprint(module: nn.Module) -> str:
    """Twelve hex digits of the weights (as float32): codes of differently trained weights are not exchangeable."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def save_weights(
    module: nn.Module, folder: str | Path, about: dict, lora: nn.Module | None = None, lora_plan: dict | None = None, half: bool = False
) -> None:
    """Write a method's folder. ``about``: method, version, backbone, text width, feature extractor and the method's settings.

    ``half``: as float16, half the size. The weights in memory are then rounded too, so that codes made before and after agree.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for part in (module, lora):
        if half and part is not None:
            part.load_state_dict({k: v.half().to(v) for k, v in part.state_dict().items()})
    _write(module, folder / "model.safetensors", half)
    if lora is not None:
        _write(lora, folder / "lora.safetensors", half)
    else:
        (folder / "lora.safetensors").unlink(missing_ok=True)  # weights of an earlier save would be taken for ours
    config = {**about, "slotid": __version__, "weights": fingerprint(module), "lora": lora_plan if lora is not None else None}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _write(module: nn.Module, path: Path, half: bool) -> None:
    kept = {k: v.detach().float().cpu().contiguous() for k, v in module.state_dict().items()}
    _replace({k: v.half() for k, v in kept.items()} if half else kept, path)


def _replace(tensors: dict[str, Tensor], path: Path) -> None:
    """Whole or not at all; the tensors may still be read from the file that they replace."""
    from safetensors.torch import save_file

    part = path.with_suffix(".part")
    save_file(tensors, part)
    os.replace(part, path)


def read_about(folder: str | Path, method: str, version: int) -> dict:
    """The config of a method's folder, refused by name when it is another method's or version's.

    Raises:
        SlotIDError: nothing there, unreadable, another method or version.
    """
    path = Path(folder) / "config.json"
    if not path.is_file() or not (Path(folder) / "model.safetensors").is_file():
        raise SlotIDError(f"No identity weights were found in {folder}; train them with `python -m slotid train`, or name their folder.")
    try:
        about = json.loads(path.read_text())
    except ValueError as error:
        raise SlotIDError(f"{path} is not readable as JSON ({error}); write the identity weights again.") from error
    if about.get("method") != method or about.get("version") != version:
        raise SlotIDError(
            f"The weights in {folder} belong to method '{about.get('method')}' version {about.get('version')}; "
            f"expected '{method}' version {version}. Name the folder of that method."
        )
    return about


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """All of a method's tensors, those that it shares with others beside it (``share``) too."""
    folder = Path(folder)
    tensors = read_tensors(folder / "model.safetensors")
    if json.loads((folder / "config.json").read_text()).get("shared"):
        common = folder.parent / SHARED
        if not common.is_file():
            raise SlotIDError(f"{folder} shares weights with its neighbours, but {common} is not there; copy that file too.")
        tensors |= read_tensors(common)
    return tensors


def share(folders: list[Path], start: str | tuple[str, ...]) -> None:
    """Takes the tensors whose names begin with ``start``, or with one of several, out of the methods in ``folders``, which lie side by
    side, and keeps them once, in ``SHARED`` beside them.

    Raises:
        SlotIDError: the folders lie in several places, or the tensors are not the same in all of them.
    """
    import torch

    homes = {folder.parent for folder in folders}
    if len(homes) != 1:
        raise SlotIDError(f"Methods that share weights lie side by side; got folders in {', '.join(sorted(map(str, homes)))}.")
    found = {folder: read_weights(folder) for folder in folders}
    parts = [{name: value for name, value in tensors.items() if name.startswith(start)} for tensors in found.values()]
    for part in parts[1:]:
        if part.keys() != parts[0].keys() or any(not torch.equal(value, parts[0][name]) for name, value in part.items()):
            raise SlotIDError(f"'{start}' differs between {', '.join(folder.name for folder in folders)}; train them with the same.")
    kept = {
        folder / "model.safetensors": {k: v for k, v in tensors.items() if not k.startswith(start)} for folder, tensors in found.items()
    }
    for path, tensors in {homes.pop() / SHARED: parts[0], **kept}.items():
        _replace(tensors, path)
    for folder in folders:
        about = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**about, "shared": True}, indent=2) + "\n")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise SlotIDError(f"{path} cannot be read as safetensors ({error}); write or fetch the file again.") from error


def fill(module: nn.Module, tensors: dict[str, Tensor], source: str | Path) -> None:
    """Put all tensors into a module; names and shapes must agree exactly."""
    own = module.state_dict()
    wrong = [k for k in set(own) | set(tensors) if k not in own or k not in tensors or own[k].shape != tensors[k].shape]
    if wrong:
        raise SlotIDError(
            f"The weights in {source} do not fit ({sorted(wrong)[0]} and {len(wrong) - 1} more differ); use the version that made them."
        )
    module.load_state_dict(tensors, strict=True)
