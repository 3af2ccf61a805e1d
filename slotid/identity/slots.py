"""Slot-ID (arXiv 2601.01352): identity slots read out of a clip by optimal transport, refined by a GRU, gated, put before the text.

The paper released no code; what it leaves open (counts, temperature, features, gate) is decided here and said in the comments.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.identity.codes import check_code
from slotid.identity.features import MOST_FRAMES, SPACE_WIDTH, cell_positions, feature_width, frame_tokens, pick_frames
from slotid.identity.method import Method, ToLatent
from slotid.identity.mixing import CellMixing, TimeMixing
from slotid.identity.movement import MOVES, Movement, fill_hidden
from slotid.identity.sinkhorn import marginal_error, sinkhorn
from slotid.identity.weights import fill, fingerprint, read_about, read_weights, save_weights
from slotid.types import Conditioning, FaceTrack, IdentityCode, Request, SlotIDError, Stream

HABIT_SLOTS = (5, 6, 7)  # by training; slots 0 to 4 hold looks
READERS = ("sinkhorn", "attention", "mean", "anchor")


@dataclass(frozen=True)
class SlotConfig:
    """Sizes and choices of the encoder. Saved beside the weights."""

    latent_channels: int = 24
    passed_over: int = 0  # channels of the backbone's latents before those, which its VAE leaves empty
    grid: int = 8  # cells of a crop's latent, both ways
    width: int = 192
    slots: int = 8
    anchors: int = 4
    text_width: int = 192
    iterations: int = 3  # of routing and refinement
    sinkhorn_iterations: int = 8
    tau: float = 0.15
    reader: str = "sinkhorn"  # how slots read: transport; softmax attention; the mean of all tokens; transport on the anchor frame alone
    ordered: bool = True  # False: no times, no changes, no mixing over time: the frames are a set
    cell_mixing: int = 2  # layers that mix over the cells of each frame, for clip and anchor alike
    mixing: int = 2  # layers that mix over time before the routing
    heads: int = 6
    gate_init: float = 0.1
    token_scale: float = 0.5  # RMS of a full identity token, near that of text tokens; learned from there
    crop: int = 128  # pixels of the crops given to the latent
    movement: bool = False  # True: habit slots hear what moves (movement.py) instead of reading cells
    features: str = "vae"  # what reads the crops: the backbone's VAE, or a vision model's repository@revision or folder (vision.py)
    slot_names: tuple[str, ...] = field(
        default=(
            "face shape",
            "shape detail",
            "skin",
            "hair",
            "brows, eyes, beard",
            "smile habit",
            "talk and blink habit",
            "nod and sway habit",
        )
    )

    def __post_init__(self):
        if self.reader not in READERS:
            raise SlotIDError(f"Unknown slot reader '{self.reader}'; expected one of {', '.join(READERS)}.")


@dataclass(frozen=True)
class Encoded:
    """What the encoder found, batched; gradients flow through all of it."""

    anchors: Tensor  # (B, A, D)
    slots: Tensor  # (B, S, D)
    gates: Tensor  # (B, S) in (0, 1)
    plans: list[Tensor]  # per iteration (B, S, T, h, w), each sums to 1 over all
    mass: Tensor  # (B, S) share of the clip's mass that each slot took in the last iteration, sums to 1
    marginal_error: list[Tensor]  # per iteration (B,)
    asked: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)  # per iteration cost (B, N, S), masses (B, N), (B, S)
    frames: Tensor | None = None  # (B, T, D) what is known of each frame before the routing, a mean over its cells
    curves: Tensor | None = None  # (B, T, CURVES) what moves, where habit slots hear (movement.py)


class SlotID(nn.Module, Method):
    """Slot-ID as a method. ``encode`` and ``tokens`` are used by training and by ``remember``/``condition`` alike."""

    name = "slots"
    reader = "sinkhorn"  # of the weights that are trained for it
    version = 1
    says = "identity slots read out of the whole clip: how the person looks and moves"
    trained = True
    asks = ("context",)

    def __init__(self, config: SlotConfig = SlotConfig()):  # noqa: B008
        super().__init__()
        self.config = c = config
        self.extractor: ToLatent | None = None  # set where ``config.features`` is a vision model; not saved with the weights
        d = c.width
        self.embed = nn.Linear(feature_width(c.latent_channels), d)
        self.cells = nn.ModuleList(CellMixing(d) for _ in range(c.cell_mixing))
        self.mixing = nn.ModuleList(TimeMixing(d, c.heads) for _ in range(c.mixing if c.ordered else 0))
        self.still = nn.Linear(c.latent_channels + SPACE_WIDTH, d)  # the anchor path sees one picture: no change, no time
        self.anchor_queries = nn.Parameter(torch.randn(c.anchors, d) * 0.5)
        self.anchor_reader = nn.MultiheadAttention(d, c.heads, batch_first=True)
        self.anchor_norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
        self.anchor_mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        # learned starts instead of random ones: slot s means the same for every person, so slots can be muted, swapped and named
        self.start = nn.Parameter(torch.randn(c.slots, d) * 0.5)
        self.token_norm, self.query_norm, self.mlp_norm = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.to_query, self.to_key = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.to_value = nn.Linear(d, d, bias=False)
        self.token_mass, self.slot_mass = nn.Linear(d, 1, bias=False), nn.Linear(d, 1, bias=False)
        self.refine_slot = nn.GRUCell(d, d)
        self.slot_mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.gate = nn.Sequential(nn.LayerNorm(2 * d), nn.Linear(2 * d, d), nn.GELU(), nn.Linear(d, 1))
        self.movement = Movement(d, len(HABIT_SLOTS)) if c.movement else None
        self.out_anchor, self.out_slot = (nn.Sequential(nn.LayerNorm(d), nn.Linear(d, c.text_width)) for _ in range(2))
        self.out_scale = nn.Parameter(torch.tensor([c.token_scale, c.token_scale]))
        for layer in (self.token_mass, self.slot_mass, self.gate[-1]):  # start: equal masses, every gate at gate_init
            nn.init.zeros_(layer.weight)
        nn.init.constant_(self.gate[-1].bias, math.log(c.gate_init / (1 - c.gate_init)))

    @property
    def ordered(self) -> bool:
        """Whether the order of the reference frames matters to the code."""
        return self.config.ordered

    # --- the method, batched --------------------------------------------------------------------------------------

    def encode(self, latents: Tensor, seconds: Tensor, seen: Tensor, anchor_index: Tensor, crops: Tensor | None = None) -> Encoded:
        """Read anchors and slots out of clips.

        Args:
            latents: (B, T, C, h, w) one normalised latent per face crop. seconds: (B, T) true times, increasing.
            seen: (B, T) bool, at least one per clip. anchor_index: (B,) the frame that stands for the face's still look.
            crops: (B, T, 3, S, S) the face crops in [-1, 1]; needed where ``config.movement``, else not read.
        """
        c = self.config
        b, t, channels, h, w = latents.shape
        if channels != c.passed_over + c.latent_channels:
            raise SlotIDError(
                f"Latents of {channels} channels were given; this encoder reads {c.passed_over + c.latent_channels}. Use its own backbone."
            )
        latents = latents[:, :, c.passed_over :].to(self.start.dtype)
        anchors = self._read_anchor(latents[torch.arange(b, device=latents.device), anchor_index])
        if c.reader == "anchor":  # the control with one picture: the same network, every other frame hidden
            seen = seen & (torch.arange(t, device=latents.device)[None] == anchor_index[:, None])
        x = self.embed(frame_tokens(latents, seconds, seen, c.ordered)).reshape(b, t, h, w, -1)
        for layer in self.cells:
            x = layer(x)
        for layer in self.mixing:
            x = layer(x, seconds, seen)
        frames = x.mean((2, 3))
        x = self.token_norm(x.reshape(b, t * h * w, -1))
        keys, values = F.normalize(self.to_key(x), dim=-1), self.to_value(x)
        visible = seen[:, :, None].expand(b, t, h * w).reshape(b, t * h * w)
        logits = self.token_mass(x)[..., 0].masked_fill(~visible, -torch.inf)
        a = torch.softmax(logits.float(), dim=1)  # hidden tokens: exactly 0
        slots = self.start.expand(b, -1, -1)
        plans, errors, asked = [], [], []
        for _ in range(c.iterations):
            query = self.query_norm(slots)
            share = torch.softmax(self.slot_mass(query)[..., 0].float(), dim=1)
            cost = 1 - torch.einsum("bnd,bsd->bns", keys, F.normalize(self.to_query(query), dim=-1))
            plan = self._plan(cost, a, share, visible)
            # divided by the slot's mass: a mean of what it took, whatever its size
            took = torch.einsum("bns,bnd->bsd", plan.to(values), values) / plan.sum(1).to(values)[..., None].clamp_min(1e-8)
            slots = self.refine_slot(took.reshape(-1, c.width), slots.reshape(-1, c.width)).reshape(b, c.slots, -1)
            slots = slots + self.slot_mlp(self.mlp_norm(slots))
            plans.append(plan.transpose(1, 2).reshape(b, c.slots, t, h, w))
            errors.append(marginal_error(plan, a, share))
            asked.append((cost, a, share))
        curves = None
        if self.movement is not None:  # what a face looks like, which x tells as well, must not be taken for a habit
            if crops is None:
                raise SlotIDError("Habit slots of this encoder hear what moves in the face crops; give `encode` the crops too.")
            curves = self.movement.curves(crops.to(self.start.dtype), seen)
            heard = self.movement.heard(self.movement.ear(curves, seconds, seen), plans[-1][:, list(HABIT_SLOTS)].sum((3, 4)))
            slots = torch.cat([slots[:, : HABIT_SLOTS[0]], heard.to(slots)], 1)
        return Encoded(anchors, slots, self.gates(slots, anchors), plans, plan.sum(1), errors, asked, frames, curves)

    def gates(self, slots: Tensor, anchors: Tensor) -> Tensor:
        """(B, S) in (0, 1): how much of each of slots (B, S, D) is worth adding to what the anchors (B, A, D) tell."""
        beside = anchors.mean(1, keepdim=True).expand_as(slots)
        return torch.sigmoid(self.gate(torch.cat([slots, beside], dim=-1))[..., 0])

    def _forming(self, e: Encoded, visible: Tensor) -> tuple[Tensor, Tensor]:
        """The plan of the first clip after each Sinkhorn iteration of each refinement, for the eye.

        Returns (K, n, S, h, w) summed over time, and its marginal error (K, n); n is 1 for a reader that solves nothing step by step.
        """
        c = self.config
        cells = e.plans[0].shape[-2:]
        steps = range(1, c.sinkhorn_iterations + 1) if c.reader in ("sinkhorn", "anchor") else (0,)
        maps, errors = [], []
        for cost, a, share in e.asked:
            for step in steps:
                plan = sinkhorn(cost, a, share, c.tau, step) if step else self._plan(cost, a, share, visible)
                maps.append(plan[0].T.unflatten(1, (-1, *cells)).sum(1))
                errors.append(marginal_error(plan, a, share)[0])
        shape = (len(e.asked), len(steps))
        return torch.stack(maps).unflatten(0, shape), torch.stack(errors).unflatten(0, shape)

    def _plan(self, cost: Tensor, a: Tensor, share: Tensor, visible: Tensor) -> Tensor:
        c = self.config
        if c.reader == "attention":  # each slot picks its tokens alone: nothing makes slots share the face out
            return torch.softmax((-cost.float() / c.tau).masked_fill(~visible[:, :, None], -torch.inf), dim=1) * share[:, None, :]
        if c.reader == "mean":
            return a[:, :, None] * share[:, None, :]
        return sinkhorn(cost, a, share, c.tau, c.sinkhorn_iterations)

    def _read_anchor(self, latent: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, A, D): a small resampler over the cells of one picture."""
        b, _, h, w = latent.shape
        where = cell_positions(h, w, latent.device).to(latent).expand(b, -1, -1)
        cells = self.still(torch.cat([latent.flatten(2).transpose(1, 2), where], dim=-1)).reshape(b, h, w, -1)
        for layer in self.cells:
            cells = layer(cells)
        cells = self.anchor_norms[0](cells.flatten(1, 2))
        query = self.anchor_queries.expand(b, -1, -1)
        anchors = query + self.anchor_reader(query, cells, cells, need_weights=False)[0]
        return anchors + self.anchor_mlp(self.anchor_norms[1](anchors))

    def tokens(self, encoded: Encoded, strength: float | Tensor = 1.0, slot_gain: Tensor | None = None) -> Tensor:
        """Identity tokens (B, A + S, text_width): anchors, then gate x strength x gain x slots; zeros mean a muted slot.

        ``strength``: one value or (B,), 0 to 2. ``slot_gain``: (S,) or (B, S), None for all ones.
        """
        gates = encoded.gates * torch.as_tensor(strength, dtype=encoded.gates.dtype, device=encoded.gates.device).reshape(-1, 1)
        if slot_gain is not None:
            gates = gates * torch.as_tensor(slot_gain, dtype=gates.dtype, device=gates.device)
        anchors = _unit(self.out_anchor(encoded.anchors)) * self.out_scale[0]
        slots = _unit(self.out_slot(encoded.slots)) * self.out_scale[1]
        return torch.cat([anchors, gates[..., None] * slots], dim=1)

    # --- the promise ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def remember(self, face: FaceTrack, to_latent: ToLatent) -> IdentityCode:
        """A person's code from a face track: at most 48 frames at at most 8 fps (``features.pick_frames``), each crop its own latent.

        Raises:
            SlotIDError: no frame shows the face.
        """
        from slotid.identity.reading import choose_anchor, crops_to_video, small_crops

        if not bool(face.seen.any()):
            raise SlotIDError("The face track has no frame in which the face is seen; give a clip that shows one face.")
        frames = sorted(pick_frames(face.seconds, face.seen, MOST_FRAMES), key=lambda i: float(face.seconds[i]))
        best = choose_anchor(face)
        if best not in frames:  # the anchor takes the place of the frame nearest in time
            nearest = min(range(len(frames)), key=lambda k: abs(float(face.seconds[frames[k]] - face.seconds[best])))
            frames[nearest] = best
        device = self.start.device
        to_latent = self.extractor or to_latent
        video = crops_to_video(face.crops[frames], self.config.crop).to(device)
        latents = torch.cat([to_latent(part) for part in video.split(8)])[:, :, 0].to(device).float()
        seconds = torch.as_tensor(face.seconds[frames], dtype=torch.float32, device=device)
        seen = torch.as_tensor(face.seen[frames], device=device)
        at = torch.tensor([frames.index(best)], device=device)
        e = self.encode(latents[None], seconds[None], seen[None], at, video[None, :, :, 0])
        visible = seen[None, :, None].expand(-1, -1, latents.shape[-2] * latents.shape[-1]).flatten(1)
        forming, forming_error = self._forming(e, visible)
        tensors = {"anchors": e.anchors[0], "slots": e.slots[0], "gates": e.gates[0]}
        shown = {
            "plans": torch.stack([p[0] for p in e.plans]).half().cpu().numpy(),  # (iterations, S, T, h, w)
            "gates": e.gates[0].float().cpu().numpy(),
            "mass": e.mass[0].float().cpu().numpy(),
            "marginal_error": torch.stack([m[0] for m in e.marginal_error]).float().cpu().numpy(),
            "forming": forming.half().cpu().numpy(),  # (iterations, Sinkhorn iterations, S, h, w), summed over time
            "forming_error": forming_error.float().cpu().numpy(),  # (iterations, Sinkhorn iterations)
            "anchor_frame": best,  # index into the face track
            "frames": frames,  # indices into the face track that were read
            "seconds": face.seconds[frames],
            "seen": face.seen[frames],
            "crops": small_crops(face.crops[frames], 64),  # (T, 64, 64, 3) uint8, for the eye only
            "slot_names": list(self.config.slot_names[: self.config.slots]),
            "heard": list(HABIT_SLOTS) if self.movement is not None else [],  # slots whose plan only weighs moments
        }
        if e.curves is not None:  # what they heard in them, for the eye; moments without a face on the line between their neighbours
            filled = fill_hidden(e.curves, seconds[None], seen[None])[0].float().cpu().numpy()
            shown["moves"] = filled.take([row for rows in MOVES.values() for row in rows], axis=1)  # (T, rows of MOVES one after the other)
            shown["move_sides"] = {name: len(rows) for name, rows in MOVES.items()}
        meta = {"frames": str(len(frames)), "reader": self.config.reader, "weights": self._fingerprint()}
        return IdentityCode(self.name, self.version, {k: v.float().cpu() for k, v in tensors.items()}, shown, meta)

    @torch.no_grad()
    def condition(self, code, grid=None, strength: float = 1.0, slot_gain=None) -> Conditioning:
        """Tokens before the text, and LoRA on cross-attention at min(strength, 1). Strength 0: nothing at all."""
        check_code(code.method, code.version, self.name, self.version)
        made_with = code.meta.get("weights")
        if made_with is not None and made_with != self._fingerprint():
            raise SlotIDError(
                f"The identity code was made with other weights of '{self.name}' ({made_with}, here {self._fingerprint()}); "
                "make a new code from the reference clip."
            )
        if slot_gain is not None and len(slot_gain) != self.config.slots:
            raise SlotIDError(f"{len(slot_gain)} slot gains were given for {self.config.slots} slots; give one per slot.")
        if strength == 0:
            return Conditioning()
        device = self.start.device
        t = {k: v.to(device)[None] for k, v in code.tensors.items()}
        e = Encoded(t["anchors"], t["slots"], t["gates"], [], t["gates"], [])
        gain = None if slot_gain is None else torch.tensor(slot_gain)
        return Conditioning(context=self.tokens(e, strength, gain), lora=min(float(strength), 1.0))

    def streams(self, request: Request, text_guidance: float, identity_guidance: float) -> list[Stream]:
        """Three streams; without a reference or at strength 0 the identity stream is gone."""
        from slotid.guidance import three_streams, two_streams

        if request.reference is None:
            return two_streams(text_guidance)
        return three_streams(text_guidance, identity_guidance, request.strength)

    def swapped(self, looks: IdentityCode, habits: IdentityCode, habit_slots: tuple[int, ...] = HABIT_SLOTS) -> IdentityCode:
        """The looks of one person with the habits of another: anchors and looks slots of ``looks``, ``habit_slots`` of ``habits``."""
        for code in (looks, habits):
            check_code(code.method, code.version, self.name, self.version)
        at = list(habit_slots)
        tensors = {k: v.clone() for k, v in looks.tensors.items()}
        for key in ("slots", "gates"):
            tensors[key][at] = habits.tensors[key][at]
        return replace(looks, tensors=tensors, shown={}, meta={**looks.meta, "habits": "another person's"})

    # --- weights ----------------------------------------------------------------------------------------------------

    def _fingerprint(self) -> str:
        versions = tuple(p._version for p in self.parameters())
        if getattr(self, "_print", (None,))[0] != versions:  # hashing takes milliseconds; only after a change of the weights
            self._print = (versions, fingerprint(self))
        return self._print[1]

    def save_pretrained(
        self, folder: str | Path, backbone: str = "tiny", lora: nn.Module | None = None, recipe: str | None = None, half: bool = False
    ) -> None:
        """Write config.json, model.safetensors and, when given, the backbone's LoRA (from ``Backbone.adopt``) as lora.safetensors.

        ``recipe``: name of the training recipe, for those who wonder later. ``half``: see ``weights.save_weights``.
        """
        about = {"method": self.name, "version": self.version, "backbone": backbone, "text_width": self.config.text_width}
        reads = f"vae of {backbone}" if self.config.features == "vae" else self.config.features
        about |= {"feature_extractor": f"{reads}, one latent per crop of {self.config.crop} px", "settings": asdict(self.config)}
        about |= {"recipe": recipe}
        save_weights(self, folder, about, lora, asdict(lora.plan) if lora is not None else None, half)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SlotID:
        """Read the encoder written by ``save_pretrained``; frozen, in eval mode. The LoRA is the backbone's part."""
        about = read_about(folder, cls.name, cls.version)
        try:
            config = SlotConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in about["settings"].items()})
        except (KeyError, TypeError) as error:
            raise SlotIDError(f"The settings in {folder}/config.json are not those of this version ({error}); update slotid.") from error
        method = cls(config)
        fill(method, read_weights(folder), folder)
        return method.requires_grad_(False).eval()

    def with_reader(self, reader: str) -> SlotID:
        """A copy with the same weights that reads otherwise (for ablations without training)."""
        other = SlotID(replace(self.config, reader=reader))
        other.load_state_dict(self.state_dict(), strict=True)
        return other.to(self.start.device)


def _unit(x: Tensor) -> Tensor:
    """Rows scaled to root mean square 1, so that an identity token has the size of a text token whatever the encoder does."""
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x)
