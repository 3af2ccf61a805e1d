"""Identity codes on disk: one safetensors file with its metadata. Biometric: written only when asked, readable by the owner alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slotid.types import IdentityCode, SlotIDError

FORMAT = "slotid-code-1"


def save_code(code: IdentityCode, path: str | Path, pictures: bool = False) -> Path:
    """Write a code atomically. The small face pictures in ``shown`` are left out unless ``pictures``.

    Raises:
        SlotIDError: the folder does not exist.
    """
    import numpy as np
    import torch
    from safetensors.torch import save

    path = Path(path)
    if not path.parent.is_dir():
        raise SlotIDError(f"The folder {path.parent} for the identity code does not exist; make it first or choose another.")
    tensors = {f"tensor/{k}": v.detach().cpu().contiguous().clone() for k, v in code.tensors.items()}
    plain: dict[str, Any] = {}
    for key, value in code.shown.items():
        if isinstance(value, np.ndarray):
            if key != "crops" or pictures:
                tensors[f"shown/{key}"] = torch.from_numpy(np.array(value))
        else:
            plain[key] = value
    metadata = {
        "format": FORMAT,
        "method": code.method,
        "version": str(code.version),
        "meta": json.dumps(dict(code.meta)),
        "shown": json.dumps(plain),
    }
    part = path.with_name(path.name + ".part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(save(tensors, metadata))
        os.replace(part, path)
    except OSError as error:
        raise SlotIDError(f"The identity code could not be written to {path} ({error.strerror}); choose another place.") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def load_code(path: str | Path, method: str | None = None, version: int | None = None) -> IdentityCode:
    """Read a code.

    Args:
        method, version: what the caller can use; a code of another is refused by name. None accepts any.

    Raises:
        SlotIDError: missing, not a code, or another method's.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise SlotIDError(f"There is no identity code at {path}; make one with `python -m slotid encode`.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except (SafetensorError, OSError) as error:
        raise SlotIDError(
            f"{path} is not an identity code (not readable as safetensors); make one with `python -m slotid encode`."
        ) from error
    if metadata.get("format") != FORMAT:
        raise SlotIDError(f"{path} is a safetensors file but not an identity code; make one with `python -m slotid encode`.")
    try:
        made_by, made_version = metadata["method"], int(metadata["version"])
        meta, plain = json.loads(metadata["meta"]), json.loads(metadata["shown"])
    except (KeyError, ValueError) as error:
        raise SlotIDError(f"The identity code {path} is damaged (bad metadata: {error}); make it again.") from error
    check_code(made_by, made_version, method, version)
    shown: Mapping[str, Any] = plain | {k.partition("/")[2]: v.numpy() for k, v in tensors.items() if k.startswith("shown/")}
    kept = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith("tensor/")}
    return IdentityCode(made_by, made_version, kept, shown, meta)


def check_code(made_by: str, made_version: int, method: str | None, version: int | None) -> None:
    """Refuse, by name, a code of another method or version."""
    if (method is not None and made_by != method) or (version is not None and made_version != version):
        wanted = f"'{method or made_by}'" + (f" version {version}" if version is not None else "")
        raise SlotIDError(
            f"The identity code was made by method '{made_by}' version {made_version}; expected {wanted}. "
            "Make a new code from the reference clip, or choose that method."
        )
