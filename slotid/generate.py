"""Request -> Result: the one place where clip, face, identity and backbone meet. The page, the command line and the evaluation call it."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotid import __version__
from slotid.pixels import in_bytes
from slotid.types import Clip, Conditioning, FaceTrack, IdentityCode, Request, Result, SlotIDError, Step, Stream

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor

    from slotid.backbone.backbone import Backbone
    from slotid.identity.method import Method


@dataclass(frozen=True)
class Studio:
    """A backbone and a method, loaded. Holds nothing of anybody; may serve many requests."""

    backbone: Backbone
    method: Method
    # streams that can share a forward do; False halves the memory of the guidance
    together: bool = True


def open_studio(
    backbone: str | Path = "tiny",
    method: str = "slots",
    device: str | None = None,
    adapter: str | Path | None = None,
    memory: str = "auto",
    share: Backbone | None = None,
) -> Studio:
    """Load a backbone and a method with its weights.

    Args:
        backbone: a name of ``backbone.registry.BACKBONES``, a fetched repository, or the folder of a diffusers Wan pipeline. method: a
            name of ``identity.registry.METHODS``.
        device: "cpu", "cuda", ...; None takes the accelerator when there is one.
        adapter: folder or fetched repository of the method's weights; None means ``identity/<method>`` inside the backbone's folder.
        memory: how a Wan pipeline shares the accelerator, "auto" or a profile of ``backbone.memory.PROFILES``.
        share: the same backbone, opened already for another method; ``device`` and ``memory`` are then its own.

    Raises:
        SlotIDError: unknown backbone or method, no weights, or weights of another backbone.
    """
    import torch

    from slotid.backbone.hub import locate_adapter
    from slotid.backbone.registry import backbone_folder, open_backbone
    from slotid.identity.registry import method_class

    kind, home = method_class(method), backbone_folder(backbone)
    device = share.device if share else device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder, opened = None, None
    if kind.trained:  # before the backbone: a missing file shows at once
        folder = home / "identity" / method if adapter is None else locate_adapter(adapter)
        opened = kind.from_pretrained(folder)
        if getattr(opened.config, "features", "vae") != "vae":
            from slotid.identity.vision import open_vision

            opened.extractor = open_vision(opened.config, device)
    elif adapter is not None:
        raise SlotIDError(f"Method '{method}' has no weights of its own, but the adapter {adapter} was given; leave it out.")
    frozen = share or open_backbone("tiny" if str(backbone) == "tiny" else home, memory, device).to(device)
    missing = [field for field in kind.asks if field not in frozen.supported]
    if missing:
        hint = "wan2.1-vace-1.3b" if "residual" in missing else "tiny"
        raise SlotIDError(
            f"Method '{method}' needs '{', '.join(missing)}', which backbone '{frozen.spec.name}' cannot do; "
            f"open it with a backbone that can, such as {hint}."
        )
    if opened is None:
        made = kind()
        if hasattr(made, "routing"):
            made.routing = embedded_routing
        return Studio(frozen, made)
    adopt_weights(frozen, opened, folder)
    return Studio(frozen, opened.to(device))


@functools.lru_cache(maxsize=1)
def _embedded() -> Studio | None:
    try:
        return open_studio("tiny", "slots", "cpu")
    except SlotIDError:  # a clone without its weights
        return None


def embedded_routing(face: FaceTrack) -> IdentityCode | None:
    """A face as the embedded Slot-ID reads it, for methods that only want to know what its slots looked at; None without its weights."""
    studio = _embedded()
    return None if studio is None else studio.method.remember(face, studio.backbone.to_latent)


def adopt_weights(backbone: Backbone, method: Method, folder: str | Path) -> None:
    """Give the backbone the LoRA that was trained with ``method`` (from its folder), after checking that they belong together."""
    from slotid.backbone.backbone import LoraPlan
    from slotid.identity.weights import fill, read_about, read_tensors

    about, spec = read_about(folder, method.name, method.version), backbone.spec
    if (about["backbone"], about["text_width"]) != (spec.name, spec.text_width):
        raise SlotIDError(
            f"The identity weights in {folder} were trained for backbone '{about['backbone']}' (text width {about['text_width']}); "
            f"this is '{spec.name}' (text width {spec.text_width}). Use weights trained for it."
        )
    if about["lora"] is not None:
        plan = LoraPlan(**{k: tuple(v) if isinstance(v, list) else v for k, v in about["lora"].items()})
        lora = backbone.adopt(plan)
        path = Path(folder) / "lora.safetensors"
        fill(lora, read_tensors(path), path)
        lora.requires_grad_(False).to(backbone.device)


def resolve(studio: Studio, request: Request) -> Request:
    """The request with every None replaced by the backbone's default, and every value checked.

    Raises:
        SlotIDError: an empty or too long prompt, or a number out of its range.
    """
    spec = studio.backbone.spec
    if not isinstance(request.prompt, str) or not request.prompt.strip():
        raise SlotIDError("The prompt is empty; describe the scene in a sentence, such as 'a person smiles in a park'.")
    if len(request.prompt) > spec.max_prompt_chars:
        raise SlotIDError(f"The prompt has {len(request.prompt)} characters; at most {spec.max_prompt_chars} are read. Shorten it.")
    if request.reference is not None and not isinstance(request.reference, Clip | FaceTrack | IdentityCode):
        raise SlotIDError(f"The reference is a {type(request.reference).__name__}; expected a Clip, a FaceTrack or an IdentityCode.")
    filled = replace(
        request,
        steps=spec.steps if request.steps is None else request.steps,
        text_guidance=spec.text_guidance if request.text_guidance is None else request.text_guidance,
        identity_guidance=spec.identity_guidance if request.identity_guidance is None else request.identity_guidance,
    )
    _within("strength", filled.strength, 0, 2)
    _within("text guidance", filled.text_guidance, 1, 10)
    _within("identity guidance", filled.identity_guidance, 1, 10)
    for name, value, low, high in (
        ("number of steps", filled.steps, 1, 100),
        ("seed", filled.seed, 0, 2**63 - 1),
        ("preview interval", filled.preview_every, 0, 100),
    ):
        if isinstance(value, bool) or not isinstance(value, int):
            raise SlotIDError(f"The {name} is {value!r}; expected a whole number. Give one from {low} to {high}.")
        _within(name, value, low, high)
    for gain in filled.slot_gain or ():
        _within("slot gain", gain, 0, 2)
    return replace(filled, seconds=spec.legal_frames(filled.seconds) / spec.fps)


def _within(name: str, value: float, low: float, high: float) -> None:
    try:
        good = low <= float(value) <= high  # False for NaN
    except (TypeError, ValueError):
        good = False
    if not good:
        raise SlotIDError(f"The {name} is {value}; expected {low} to {high}. Choose a value in between.")


def prompt_notices(backbone: Backbone, prompt: str) -> tuple[str, ...]:
    """What a person should know before this backbone reads the prompt: a cut end, words it has never seen."""
    notices = []
    spec = backbone.spec
    if backbone.tokens_in(prompt) > spec.text_length:
        notices.append(f"The prompt is longer than '{spec.name}' reads ({spec.text_length} tokens); its end is ignored.")
    unknown = backbone.unknown_words(prompt) if spec.whole_words else []
    if unknown:
        notices.append(f"'{spec.name}' has never seen these words and may ignore them: {', '.join(unknown[:8])}.")
    return tuple(notices)


def generate(studio: Studio, request: Request) -> Iterator[Step | Result]:
    """Make the film. Yields a ``Step`` before each stage and after each denoising step; the last item is the ``Result``.

    Closing the generator stops the work; nothing is written anywhere. The same request gives the same film on the same machine.

    Raises:
        SlotIDError: as ``resolve``, and what reading the face or the code may raise.
    """
    import torch

    from slotid import flow
    from slotid.guidance import with_attention, with_plan

    backbone, method, spec = studio.backbone, studio.method, studio.backbone.spec
    asked, request = request, resolve(studio, request)
    clock = _Clock()
    face = request.reference if isinstance(request.reference, FaceTrack) else None
    code = request.reference if isinstance(request.reference, IdentityCode) else None
    if isinstance(request.reference, Clip):
        from slotid.face.track import track_face

        yield Step("face", 0, 1, None)
        with clock("face"):
            face = track_face(request.reference, crop_size=method.crop_pixels)
    if face is not None:
        yield Step("remember", 0, 1, None)
        with clock("remember"):
            code = method.remember(face, backbone.to_latent)
    frames = spec.legal_frames(request.seconds)
    grid = spec.grid(frames)
    wants = request.strength > 0 and code is not None
    given = method.condition(code, grid, request.strength, request.slot_gain) if wants else Conditioning()
    streams = method.streams(request, request.text_guidance, request.identity_guidance)
    late = streams  # of the low-noise expert, where there is one
    if spec.text_guidance_low is not None and asked.text_guidance is None:
        late = method.streams(request, spec.text_guidance_low, request.identity_guidance)

    yield Step("read", 0, 1, None)
    with clock("read"), torch.no_grad():
        notices = prompt_notices(backbone, request.prompt)
        empty, text = backbone.read(["", request.prompt]).split(1)

    seeded = torch.Generator().manual_seed(request.seed)
    lead = backbone.lead(given)  # latent frames that references take before the film
    x = torch.randn((1, spec.channels, lead + grid[0], *grid[1:]), generator=seeded)
    x = spec.placed(x).to(backbone.device)
    path = flow.times(request.steps, spec.shift)
    forwards = _Forwards(studio, empty, text, given, seeded)
    boundary = -1.0 if spec.boundary is None else spec.boundary

    def streams_at(t: float) -> list[Stream]:
        asked = streams if t >= boundary else late
        return with_attention(with_plan(asked, spec.plan_guidance, t), spec.attention_guidance, t)

    walk = flow.walk(
        x,
        lambda x, t: forwards.guided(streams_at(t), x, t),
        path,
        refine=lambda x0, t: method.refine(x0, backbone.to_pixels, t),
    )
    yield Step("denoise", 0, request.steps, None)
    last_decode = None
    for _ in range(request.steps):
        with clock("denoise"):
            done, x, x0 = next(walk)
        preview = None
        if request.preview_every and done % request.preview_every == 0 and done < request.steps:
            with clock("previews"):
                preview = _to_frames(
                    backbone, x0[:, :, lead : lead + 2]
                )  # the film's beginning: a full decode would cost as much as steps do
            last_decode = clock.last * grid[0] / min(2, grid[0])
        left = clock.total["denoise"] / done * (request.steps - done) + (last_decode or 0.0)
        yield Step("denoise", done, request.steps, left, preview)

    yield Step("decode", 0, 1, last_decode)
    with clock("decode"):
        pictures = _to_frames(backbone, x[:, :, lead:])[:frames]
    import numpy as np

    film = Clip(pictures, np.arange(len(pictures)) / spec.fps, None, notices)
    likeness = None
    if request.likeness and face is not None:
        yield Step("likeness", 0, 1, None)
        with clock("likeness"):
            likeness = _likeness(face, film)
    yield Result(film, face, code, request, likeness, clock.total, _settings(studio, request, frames))


class _Forwards:
    """The forwards of one film. Texts and conditioning stay the same objects, so that their keys and values are computed once."""

    def __init__(self, studio: Studio, empty: Tensor, text: Tensor, given: Conditioning, seeded: Generator) -> None:
        self.studio, self.given, self.plain, self.seeded = studio, given, Conditioning(), seeded
        self.texts: dict[tuple[bool, ...], Tensor] = {(False,): empty, (True,): text}
        self.caches: dict[tuple[bool, tuple[bool, ...]], dict] = {}

    def guided(self, streams: list[Stream], x: Tensor, t: float) -> Tensor:
        """The guided velocity of ``x`` (1, C, T', h, w) at ``t``, float32."""
        from slotid.guidance import guided

        return guided(streams, lambda group: self._group(group, x, t))

    def _group(self, group: list[Stream], x: Tensor, t: float) -> list[Tensor]:
        import torch

        from slotid import flow

        identity, spec = group[0].identity, self.studio.backbone.spec
        shared = spec.noise_shared
        whole = [stream for stream in group if stream.attentive]
        seen = [x if stream.planned else flow.unplanned(x, shared, self.seeded) for stream in whole]
        backbone, block = self.studio.backbone, spec.attention_block
        with backbone.begun(block) if len(whole) < len(group) else nullcontext([]) as kept:
            if self.studio.together:
                found = list(self._velocity(torch.cat(seen), t, identity, tuple(stream.text for stream in whole)).split(1))
            else:
                found = [self._velocity(one, t, identity, (stream.text,)) for one, stream in zip(seen, whole, strict=True)]
        # those that went together have another cache than the perturbed stream, which then needs all blocks
        starts = {s.text: start for s, start in zip(whole, kept) if s.planned and len(start) == 1}  # noqa: B905 (perhaps none were kept)
        answers = dict(zip(whole, found, strict=True))
        for stream in group:
            if not stream.attentive:
                with backbone.perturbed(block, starts.get(stream.text)):
                    answers[stream] = self._velocity(x, t, identity, (stream.text,))
        plan = {stream.text: answers[stream][:, :shared] for stream in whole if stream.planned}
        # who does not see the plan, or sees it through perturbed attention, says nothing of it: there, such streams and the told are one
        return [
            answers[stream] if stream.planned and stream.attentive else torch.cat([plan[stream.text], answers[stream][:, shared:]], 1)
            for stream in group
        ]

    def _velocity(self, x: Tensor, t: float, identity: bool, which: tuple[bool, ...]) -> Tensor:
        import torch

        if which not in self.texts:
            self.texts[which] = torch.cat([self.texts[(told,)] for told in which])
        cache = self.caches.setdefault((identity, which), {})
        with torch.no_grad():  # weighted in float32: guidance multiplies the rounding of bfloat16
            return self.studio.backbone.velocity(x, t, self.texts[which], self.given if identity else self.plain, cache).float()


def _to_frames(backbone: Backbone, latent: Tensor) -> np.ndarray:
    """(1, C, T', h, w) -> (T, H, W, 3) uint8."""
    import torch

    with torch.no_grad():
        return in_bytes(backbone.to_pixels(backbone.finished(latent))[0].transpose(0, 1))


def _likeness(face: FaceTrack, film: Clip) -> np.ndarray:
    """(T,) likeness of each frame of the film to the reference; all NaN when no face is found in it."""
    import numpy as np

    from slotid.face.likeness import likeness
    from slotid.face.track import track_face

    try:
        seen = track_face(film)
    except SlotIDError:  # a film without a face is a result, not an error
        return np.full(len(film.frames), np.nan)
    return likeness(face, seen)


def _settings(studio: Studio, request: Request, frames: int) -> dict[str, Any]:
    spec, placed = studio.backbone.spec, studio.backbone.placement
    return {
        **({"memory": placed.profile} if placed else {}),
        "prompt": request.prompt,
        "seed": request.seed,
        "steps": request.steps,
        "strength": request.strength if request.reference is not None else 0.0,
        "text_guidance": request.text_guidance,
        "identity_guidance": request.identity_guidance,
        "slot_gain": list(request.slot_gain) if request.slot_gain is not None else None,
        "seconds": round(frames / spec.fps, 4),
        "frames": frames,
        "fps": spec.fps,
        "size": list(spec.size),
        "method": studio.method.name,
        "backbone": spec.name,
        "version": __version__,
    }


class _Clock:
    """Seconds per stage, the caller's own time between steps not counted."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self.last = 0.0

    @contextmanager
    def __call__(self, stage: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.last = time.perf_counter() - start
            self.total[stage] = self.total.get(stage, 0.0) + self.last
