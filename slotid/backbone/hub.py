"""Folders from the hub: a name and a pinned revision become a folder on this machine, or one sentence that says what to do.

Only ``fetch`` uses the network, and only json, text and safetensors files are taken: nothing that could run code.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from slotid.backbone.known import Known, known_for, names
from slotid.types import SlotIDError

PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]  # .model is sentencepiece's vocabulary
ADAPTER_FILES = ("config.json", "model.safetensors")
OTHERS = {
    "WanImageToVideoPipeline": "an image-to-video checkpoint: tokens before the text mean a first picture there, not a person",
    "WanVideoToVideoPipeline": "a video-to-video pipeline, which needs a film to start from",
    "WanAnimatePipeline": "a character animation checkpoint, which needs a driving film",
}


def looks_like_repository(name: str) -> bool:
    """True for 'owner/name', also with @REVISION, when no such folder is here."""
    plain = str(name).partition("@")[0]
    return plain.count("/") == 1 and not plain.startswith((".", "/", "~")) and not Path(plain).exists() and all(plain.split("/"))


def locate(name: str | Path) -> Path:
    """The folder of a pipeline: a folder as given, or what was fetched of a known name or a repository. Never downloads.

    Raises:
        SlotIDError: not a folder with model_index.json; not fetched yet; unknown.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return check_layout(path)
    known = known_for(str(name))
    if known is None and not looks_like_repository(str(name)):
        raise SlotIDError(
            f"Unknown backbone '{name}'; known are tiny, {names()}. Give one of these, a repository owner/name, or the folder of a "
            "diffusers Wan pipeline."
        )
    repository, revision = _where(str(name), known)
    found = _cached(repository, revision)
    if found is None:
        size = f" (about {known.gib:.0f} GiB)" if known else ""
        raise SlotIDError(
            f"'{name}' is not on this machine yet; fetch it once with `python -m slotid fetch {name}`{size}, or give the folder of a copy."
        )
    return check_layout(found)


def fetch(name: str, token: str | None = None) -> Path:
    """Download a pipeline, a vision model or an adapter (or go on with a broken-off download) into the hub's cache; returns its folder.

    Raises:
        SlotIDError: no network, unknown or private repository, gated, unknown revision, disk full, wrong layout.
    """
    known = known_for(name)
    if known is None and not looks_like_repository(name):
        raise SlotIDError(f"'{name}' cannot be fetched; known are {names()}. Give one of these or a repository owner/name.")
    repository, revision = _where(name, known)
    room_for(known.gib if known else 0.0)
    folder = download(repository, revision, token)
    if known is None and not (folder / "model_index.json").is_file():  # no pipeline: a single network or an adapter
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise SlotIDError(f"{repository} has neither a diffusers pipeline nor one network in safetensors; it cannot be used here.")
        return folder
    return check_layout(folder)


def locate_adapter(name: str | Path) -> Path:
    """The folder of a trained method: a folder as given, or a repository owner/name[@revision] of safetensors.

    Raises:
        SlotIDError: nothing there, or not fetched yet.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        if not looks_like_repository(str(name)):
            raise SlotIDError(f"No adapter folder {name}; give a folder with {' and '.join(ADAPTER_FILES)}, or a repository owner/name.")
        repository, revision = _where(str(name), None)
        path = _cached(repository, revision)
        if path is None:
            raise SlotIDError(f"The adapter '{name}' is not on this machine yet; fetch it once with `python -m slotid fetch {name}`.")
    missing = [file for file in ADAPTER_FILES if not (path / file).is_file()]
    if missing:
        raise SlotIDError(
            f"{path} is no trained adapter ({', '.join(missing)} missing); give a folder written by `python -m slotid train`."
        )
    return path


def _where(name: str, known: Known | None) -> tuple[str, str | None]:
    if known is not None:
        return known.repository, known.revision
    repository, _, revision = name.partition("@")
    return repository, revision or None


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=PATTERNS, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def download(repository: str, revision: str | None, token: str | None) -> Path:
    """One repository's safe files at one revision, from the hub; every way in which that fails has its sentence."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=PATTERNS, token=token))
    except GatedRepoError as error:  # before its parent class
        raise SlotIDError(
            f"{repository} is gated: accept its terms on its page at huggingface.co, then `hf auth login`, and fetch it again."
        ) from error
    except RepositoryNotFoundError as error:
        raise SlotIDError(
            f"There is no repository {repository} (or it is private); check the name, or log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise SlotIDError(f"{repository} has no revision {revision}; leave @{revision} out to get its newest.") from error
    except HFValidationError as error:
        raise SlotIDError(
            f"'{repository}' is not a repository's name; expected owner/name, such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SlotIDError(
                f"The disk is full while fetching {repository} into {cache_folder()}; make room or set HF_HOME to a larger disk, "
                "then fetch again: what is there is kept."
            ) from error
        offline = isinstance(error, OfflineModeIsEnabled) or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        if offline:
            raise SlotIDError(f"{repository} cannot be fetched: HF_HUB_OFFLINE is set. Run again with HF_HUB_OFFLINE=0.") from error
        refused = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error  # the hub's client wraps an answer it got
        if not isinstance(refused, HfHubHTTPError):
            raise SlotIDError(
                f"The hub cannot be reached to fetch {repository}; check the network, or give the folder of a copy."
            ) from error
        raise SlotIDError(f"The hub refused {repository} ({str(refused).splitlines()[0][:120]}); try again later.") from error
    except Exception as error:  # the hub's HTTP library has errors of its own for a missing network
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise SlotIDError(f"The hub cannot be reached to fetch {repository}; check the network, or give the folder of a copy.") from error


def cache_folder() -> Path:
    """Where the hub keeps what it fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def room_for(gib: float) -> None:
    """Refuse a download that cannot fit, before hours of it."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < gib:
        raise SlotIDError(
            f"{gib:.0f} GiB are to be fetched but {cache_folder()} has {free:.0f} GiB free; make room or set HF_HOME to a larger disk."
        )


def read_json(path: Path) -> dict[str, Any]:
    """A config file, or the sentence that it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SlotIDError(f"{path} cannot be read as JSON ({error}); fetch the pipeline again.") from error
    if not isinstance(found, dict):
        raise SlotIDError(f"{path} holds no JSON object; fetch the pipeline again.")
    return found


def check_layout(folder: Path) -> Path:
    """The folder, when it is a complete text-to-video or VACE pipeline of safetensors in diffusers' layout.

    Raises:
        SlotIDError: another layout, another kind of pipeline, files missing, or weights that are pickles.
    """
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        if any(folder.glob("*.pth")) or (folder / "config.json").is_file():
            raise SlotIDError(f"{folder} is in Wan's original layout; give the repository whose name ends in -Diffusers.")
        raise SlotIDError(f"{folder} is no diffusers pipeline (model_index.json is missing); give the folder that holds it.")
    index = read_json(index_file)
    kind = index.get("_class_name")
    if kind not in ("WanPipeline", "WanVACEPipeline"):
        why = OTHERS.get(kind, f"a {kind}, not a Wan text-to-video pipeline")
        raise SlotIDError(f"{folder} holds {why}; give a text-to-video checkpoint: {names()}.")
    for part in ("transformer", "transformer_2", "vae", "text_encoder"):
        wanted = index.get(part)
        if wanted is None or wanted[0] is None:
            if part != "transformer_2":
                raise SlotIDError(f"{folder} lacks its {part}; fetch the whole pipeline.")
            continue
        _check_weights(folder / part)
    for part in ("tokenizer", "scheduler"):
        if not (folder / part).is_dir():
            raise SlotIDError(f"{folder} lacks its {part}; fetch the whole pipeline.")
    config = read_json(folder / "transformer" / "config.json")
    channels = read_json(folder / "vae" / "config.json").get("z_dim", 16)
    picture = config.get("image_dim") is not None or config.get("added_kv_proj_dim") is not None
    if picture or config.get("in_channels", 16) != channels:
        raise SlotIDError(
            f"{folder} holds {OTHERS['WanImageToVideoPipeline']} ({config.get('in_channels')} input channels for {channels} "
            f"of the latent); give a text-to-video checkpoint: {names()}."
        )
    return folder


def _check_weights(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise SlotIDError(f"{folder} has no config.json; fetch the whole pipeline.")
    if not any(folder.glob("*.safetensors")):
        pickles = [p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern)]
        if pickles:
            raise SlotIDError(f"{folder} holds only {pickles[0]}, a pickle that could run code; give a safetensors copy of it.")
        raise SlotIDError(f"{folder} holds no weights; the download was not finished: fetch it again.")
    for index in folder.glob("*.safetensors.index.json"):
        shards = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(name for name in shards if not (folder / name).is_file())
        if missing:
            raise SlotIDError(f"{folder} lacks {len(missing)} of {len(shards)} weight files ({missing[0]}); fetch it again.")
