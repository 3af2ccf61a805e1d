"""Memory profiles: what each checkpoint needs under each, which one fits, and the table of both. Computed from the configs (``weigh``)."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotid.backbone.backbone import Spec
from slotid.types import SlotIDError

GIB = 2**30
OVERHEAD = 0.8  # GiB that CUDA, its libraries and gaps in the allocator take beside the tensors
MARGIN = 0.95  # share of what is free that may be planned with


@dataclass(frozen=True)
class Profile:
    """``moves``: "none" all parts stay on the accelerator; "parts" one part at a time; "blocks" the transformer block by block, the
    next one fetched ahead on a stream of its own; "layers" every layer by itself. ``bits`` of the transformer's stored weights (8: float8,
    widened layer by layer). ``tiling``: the VAE works on tiles."""

    name: str
    moves: str
    bits: int = 16
    tiling: bool = False
    says: str = ""


PROFILES = {
    profile.name: profile
    for profile in (  # fastest first: the first that fits is chosen
        Profile("full", "none", says="everything on the card"),
        Profile("full-8bit", "none", 8, True, "everything on the card, weights in 8 bits, VAE in tiles"),
        Profile("model", "parts", says="one network at a time"),
        Profile("model-tiled", "parts", tiling=True, says="one network at a time, VAE in tiles"),
        Profile("model-8bit", "parts", 8, True, "one network at a time, weights in 8 bits, VAE in tiles"),
        Profile("group", "blocks", tiling=True, says="the transformer block by block, the next one on its way, VAE in tiles"),
        Profile("sequential", "layers", tiling=True, says="layer by layer, VAE in tiles: slow, but it fits almost anywhere"),
    )
}


@dataclass(frozen=True)
class Need:
    """GiB at the peak."""

    vram: float
    ram: float


def estimate(
    transformer: dict[str, Any], vae: dict[str, Any], text: dict[str, Any], spec: Spec, experts: int = 1, streams: int = 2
) -> dict[str, Need]:
    """Peak memory under every profile, for a film of the spec's size and length.

    Args:
        transformer, vae, text: config dictionaries. experts: transformers of that size. streams: of guidance that share a forward.

    Returns: by profile's name; VACE's forward runs whole, so that it has no profiles that move blocks or layers.
    """
    key = json.dumps(
        [transformer, vae, text, [*spec.grid(spec.frames), *spec.size], spec.frames, spec.text_length, streams], sort_keys=True
    )
    parts = _measured(key)
    net, words, pictures = parts["transformer"], parts["text_encoder"], parts["vae"]
    out = {}
    for profile in PROFILES.values():
        if "vace_layers" in transformer and profile.moves in ("blocks", "layers"):
            continue
        kept = 2 * net["all"] - (net["eight"] if profile.bits == 8 else 0)
        wide = 4 * pictures["all"]
        decode = pictures["tiled" if profile.tiling else "peak"]
        work = {"text": words["peak"], "net": net["peak"] + net["remembered"], "vae": decode}
        everything = experts * kept + 2 * words["all"] + wide
        if profile.moves == "none":
            vram, ram = everything + max(work.values()), max(2 * net["all"], 2 * words["all"])
        elif profile.moves == "parts":
            vram = max(2 * words["all"] + work["text"], kept + work["net"], wide + work["vae"])
            ram = everything
        elif profile.moves == "blocks":
            resident = wide + experts * 2 * net["rest"]
            vram = resident + max(2 * 2 * words["largest"] + work["text"], 2 * 2 * net["block"] + work["net"], work["vae"])
            ram = everything
        else:
            vram = max(2 * words["largest"] + work["text"], 2 * net["largest"] + work["net"], 4 * pictures["largest"] + work["vae"])
            ram = everything
        out[profile.name] = Need(vram / GIB + OVERHEAD, ram / GIB)
    return out


@functools.lru_cache(maxsize=16)
def _measured(key: str) -> dict[str, dict[str, int]]:
    transformer, vae, text, (t, h, w, height, width), frames, length, streams = json.loads(key)
    transformer["patch_size"] = tuple(transformer.get("patch_size", (1, 2, 2)))
    return {
        "transformer": _weigh_transformer(transformer, (t, h, w), length, streams),
        "text_encoder": _weigh_text(text, length),
        "vae": _weigh_vae(vae, t, frames, height, width),
    }


def _weigh_transformer(config: dict[str, Any], grid: tuple[int, int, int], length: int, streams: int) -> dict[str, int]:
    import torch
    from diffusers import WanTransformer3DModel, WanVACETransformer3DModel

    from slotid.backbone.weigh import peak_bytes, sizes_of

    vace = "vace_layers" in config
    kind = WanVACETransformer3DModel if vace else WanTransformer3DModel
    config = {k: v for k, v in config.items() if not k.startswith("_")}
    sizes = sizes_of(lambda: kind(**config))
    # without gradients the peak does not grow with the depth, but VACE keeps one residual per control block
    shallow = config | {"num_layers": 1} | ({"vace_layers": [0]} if vace else {})
    t, h, w = grid[0] + (4 if vace else 0), *grid[1:]
    tokens = t * h * w // (config["patch_size"][0] * config["patch_size"][1] * config["patch_size"][2])
    width = config["num_attention_heads"] * config["attention_head_dim"]
    times = torch.ones(streams)

    def run(net):
        x, text = torch.empty(streams, config["in_channels"], t, h, w), torch.empty(streams, length, config["text_dim"])
        extra = {"control_hidden_states": torch.empty(streams, config["vace_in_channels"], t, h, w)} if vace else {}
        return net(x, times, text, **extra, return_dict=False)

    peak = peak_bytes(lambda: kind(**shallow), run, torch.bfloat16)
    hints = 2 * streams * tokens * width * (len(config["vace_layers"]) - 1) if vace else 0
    remembered = 2 * 2 * streams * length * width * config["num_layers"]  # keys and values of the text, kept over the steps
    return sizes | {"peak": peak + hints, "remembered": 0 if vace else remembered}


def _weigh_text(config: dict[str, Any], length: int) -> dict[str, int]:
    import torch
    from transformers import UMT5Config, UMT5EncoderModel

    from slotid.backbone.weigh import peak_bytes, sizes_of

    config = {k: v for k, v in config.items() if not k.startswith("_") and k not in ("architectures", "dtype", "torch_dtype")}
    sizes = sizes_of(lambda: UMT5EncoderModel(UMT5Config(**config)))
    shallow = config | {"num_layers": 1}
    ids = torch.zeros(2, length, dtype=torch.long)
    peak = peak_bytes(lambda: UMT5EncoderModel(UMT5Config(**shallow)), lambda net: net(ids, torch.ones_like(ids)), torch.bfloat16)
    return sizes | {"peak": peak}


def _weigh_vae(config: dict[str, Any], t: int, frames: int, height: int, width: int) -> dict[str, int]:
    """The decoder's peak: three latent frames are traced, after which it repeats itself; the film itself grows with the frames."""
    import torch
    from diffusers import AutoencoderKLWan

    from slotid.backbone.weigh import peak_bytes, sizes_of

    config = {k: v for k, v in config.items() if not k.startswith("_")}
    sizes = sizes_of(lambda: AutoencoderKLWan(**config))
    space = config.get("scale_factor_spatial") or 8
    channels = config.get("out_channels", 3) // ((config.get("patch_size") or 1) ** 2)
    shown = min(t, 3)

    def decode(net, rows: int, columns: int):
        return net._decode(torch.empty(1, config.get("z_dim", 16), shown, rows, columns))

    rows, columns = height // space, width // space
    film = channels * height * width * 4
    rest = 2 * film * (frames - (shown - 1) * 4 - 1)  # appending to the film holds it twice
    peak = peak_bytes(lambda: AutoencoderKLWan(**config), lambda net: decode(net, rows, columns), torch.float32)
    side = 256 // space  # diffusers' default tile
    tile = peak_bytes(lambda: AutoencoderKLWan(**config), lambda net: decode(net, min(rows, side), min(columns, side)), torch.float32)
    # tiles overlap by a quarter and are kept until they are blended
    tiled = tile + 2 * film * frames * 2
    return sizes | {"peak": peak + rest, "tiled": min(tiled, peak + rest)}


def estimate_known(name: str, streams: int = 2) -> dict[str, Need]:
    """As ``estimate``, for a checkpoint known by name; nothing needs to be on disk."""
    from slotid.backbone.known import need_known

    known = need_known(name)
    return estimate(known.transformer, known.vae, known.text, known_spec(name), known.experts, streams)


def known_spec(name: str) -> Spec:
    """The spec of a checkpoint known by name, from its configs."""
    from slotid.backbone.known import need_known

    known = need_known(name)
    net, vae = known.transformer, known.vae
    return Spec(
        name=known.name, channels=vae["z_dim"], space=vae.get("scale_factor_spatial", 8), time=vae.get("scale_factor_temporal", 4),
        patch=net["patch_size"], text_width=net["text_dim"], text_length=512, width=net["num_attention_heads"] * net["attention_head_dim"],
        depth=net["num_layers"], boundary=0.875 if known.experts == 2 else None, **known.spec,
    )  # fmt: skip


def estimate_folder(folder: Path, spec: Spec, streams: int = 2) -> dict[str, Need]:
    """As ``estimate``, from the configs in a pipeline folder."""
    from slotid.backbone.hub import read_json

    configs = [read_json(folder / part / "config.json") for part in ("transformer", "vae", "text_encoder")]
    return estimate(*configs, spec, 2 if spec.boundary is not None else 1, streams)


@dataclass(frozen=True)
class Free:
    """GiB free now. ``vram`` None: no accelerator."""

    vram: float | None
    ram: float


def free_memory(device: str = "cuda") -> Free:
    """What this machine has left, for the process that asks."""
    import psutil
    import torch

    ram = psutil.virtual_memory().available / GIB
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        return Free(torch.cuda.mem_get_info(device)[0] / GIB, ram)
    return Free(None, ram)


def choose_profile(needs: dict[str, Need], free: Free, wanted: str = "auto", name: str = "the backbone") -> Profile:
    """The fastest profile that fits; a named one is taken as it is, when it fits.

    Without an accelerator everything computes in main memory, in 32 bits: only "full" makes sense there.

    Raises:
        SlotIDError: unknown profile; nothing fits, with the estimate and what would.
    """
    if wanted != "auto" and wanted not in PROFILES:
        raise SlotIDError(f"Unknown memory profile '{wanted}'; expected auto or one of {', '.join(PROFILES)}.")
    if wanted != "auto" and wanted not in needs:
        raise SlotIDError(f"'{name}' cannot work under memory profile '{wanted}'; it can under {', '.join(needs)}.")
    if free.vram is None:
        return PROFILES["full" if wanted == "auto" else wanted]
    fitting = [key for key, need in needs.items() if need.vram <= MARGIN * free.vram and need.ram <= MARGIN * free.ram]
    if wanted == "auto" and fitting:
        return PROFILES[fitting[0]]
    if wanted in fitting:
        return PROFILES[wanted]
    have = f"{free.vram:.1f} GiB of VRAM and {free.ram:.1f} GiB of RAM are free"
    if wanted != "auto":
        need = needs[wanted]
        advice = f"--memory {fitting[0]} would fit" if fitting else "no profile fits: take a smaller checkpoint, such as wan2.1-1.3b"
        raise SlotIDError(f"'{name}' with --memory {wanted} needs {need.vram:.1f} GiB of VRAM and {need.ram:.1f} of RAM; {have}. {advice}.")
    small = min(needs, key=lambda key: needs[key].vram)
    raise SlotIDError(
        f"'{name}' needs at least {needs[small].vram:.1f} GiB of VRAM and {needs[small].ram:.1f} of RAM (--memory {small}); {have}. "
        "Close other programs or take a smaller checkpoint, such as wan2.1-1.3b."
    )


def table(rows: dict[str, dict[str, Need]]) -> str:
    """A Markdown table: GiB of VRAM, and of RAM in brackets; a dash where a checkpoint cannot work under a profile."""
    head = "| checkpoint | " + " | ".join(PROFILES) + " |\n|---|" + "---|" * len(PROFILES)

    def cell(need: Need | None) -> str:
        return "-" if need is None else f"{need.vram:.1f} ({need.ram:.0f})"

    body = [f"| {name} | " + " | ".join(cell(needs.get(profile)) for profile in PROFILES) + " |" for name, needs in rows.items()]
    return "\n".join([head, *body])
