"""Any diffusers Wan text-to-video pipeline as a Backbone: the library's classes, unpatched, driven through their public parts."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slotid.backbone.backbone import LoraPlan, Spec
from slotid.backbone.cross import belongs, remembering
from slotid.backbone.layers import Reference, block_with_reference, grid_positions, keys_values, put_before, refuse_unknown, rotary
from slotid.backbone.perturb import PerturbedAttention
from slotid.backbone.stills import StillConvs, frame_by_frame
from slotid.types import Conditioning, SlotIDError

ADAPTER = "slotid"
NOTHING = Conditioning()  # asks for nothing: the library's own forward
SUPPORTED = ("context", "reference", "patch")
LEAST_TIME = 0.05  # below it the velocity of a clean-sample prediction is not divided by the time any further: noise there is invisible


def _folded(film: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B T, C, 1, H, W)"""
    return film.transpose(1, 2).flatten(0, 1)[:, :, None]


def _unfolded(frames: Tensor, count: int) -> Tensor:
    """The inverse of ``_folded`` for films of ``count`` frames."""
    return frames[:, :, 0].unflatten(0, (-1, count)).transpose(1, 2)


class LoraWeights(nn.Module):
    """Only the new weights of an adopted backbone, shared with it. Keys are those of the transformer without peft's wrapping."""

    def __init__(self, layers: dict[str, nn.Module], plan: LoraPlan):
        super().__init__()
        self.plan = plan
        self.weights = nn.ParameterDict()
        for path, layer in layers.items():
            self.weights[f"{path}.lora_A".replace(".", "/")] = layer.lora_A[ADAPTER].weight
            self.weights[f"{path}.lora_B".replace(".", "/")] = layer.lora_B[ADAPTER].weight


class WanBackbone(PerturbedAttention):
    """See ``backbone.Backbone``. Everything is frozen and in eval mode on construction; ``adopt`` adds the only trainable weights."""

    supported = SUPPORTED

    def __init__(self, transformer, vae, text_encoder, tokenizer, scheduler, spec: Spec, transformer_2=None, refiner=None):
        """``transformer_2``: the low-noise expert of Wan 2.2 A14B, which takes over below ``spec.boundary``. ``refiner``: a
        ``refiner.MotionRefiner`` for the end of sampling."""
        for net in (transformer, transformer_2):
            if net is None:
                continue
            picture = getattr(net.config, "image_dim", None) is not None or getattr(net.config, "added_kv_proj_dim", None) is not None
            if picture or net.config.in_channels != vae.config.z_dim:
                # Wan's attention takes all but the last 512 context tokens for image tokens there: identity tokens would go wrong silently
                raise SlotIDError(
                    f"Backbone '{spec.name}' is an image-to-video checkpoint, in which tokens before the text mean an image; "
                    "give a text-to-video checkpoint."
                )
        if (transformer_2 is None) != (spec.boundary is None):
            raise SlotIDError(
                f"Backbone '{spec.name}' needs a second expert and the time at which it takes over, or neither; fetch it again."
            )
        self.transformer, self.vae, self.text_encoder, self.transformer_2 = transformer, vae, text_encoder, transformer_2
        self.tokenizer, self.scheduler, self.spec, self.refiner = tokenizer, scheduler, spec, refiner
        self.placement = None  # a memory profile, see place.py; None: all parts stay where they are
        self._lora: dict[str, nn.Module] = {}
        self._lock = threading.RLock()  # LoRA scales are state inside shared modules: two films at once must not mix theirs
        for part in self.parts().values():
            part.requires_grad_(False).eval()

    def parts(self) -> dict[str, nn.Module]:
        """The networks by the name of their folder."""
        found = {"transformer": self.transformer, "transformer_2": self.transformer_2, "vae": self.vae, "text_encoder": self.text_encoder}
        found["refiner"] = self.refiner
        return {name: part for name, part in found.items() if part is not None}

    @property
    def device(self) -> torch.device:
        """Where the transformer computes."""
        return self.placement.device if self.placement else self.transformer.patch_embedding.weight.device

    @property
    def adopted(self) -> bool:
        """True once LoRA has been added."""
        return bool(self._lora)

    def to(self, device: str | torch.device) -> WanBackbone:
        """Move all parts; returns itself. Where a memory profile places them it stays in charge and only its own device is accepted."""
        if self.placement:
            self.placement.check(device)
            return self
        for part in self.parts().values():
            part.to(device)
        return self

    def lead(self, given: Conditioning) -> int:
        """Latent frames that ``given`` puts before the film and that are cut off again; 0 but for VACE."""
        return 0

    def _need(self, name: str) -> None:
        """Bring a part to where it computes, when a memory profile says so."""
        if self.placement:
            self.placement.need(name)

    def _on(self, part: nn.Module) -> torch.device:
        return self.placement.device if self.placement else next(part.parameters()).device

    def parameters_count(self) -> dict[str, int]:
        """Number of weights per part."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self.parts().items()}

    # --- once per request ---------------------------------------------------------------------------------------

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings (B, text_length, text_width), zeros beyond the last real token, as diffusers' Wan pipeline makes them."""
        return self.embed(*self.tokens(prompts))

    def tokens(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask of what is real among them, (B, text_length) int64 each, on the CPU."""
        cleaned = [re.sub(r"\s+", " ", html.unescape(html.unescape(p))).strip() for p in prompts]
        length = self.spec.text_length
        ids = self.tokenizer(
            cleaned, padding="max_length", max_length=length, truncation=True, add_special_tokens=True,
            return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        return ids.input_ids, ids.attention_mask

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``read`` of what ``tokens`` gave."""
        self._need("text_encoder")
        mask = mask.to(self._on(self.text_encoder))
        states = self.text_encoder(ids.to(mask.device), mask).last_hidden_state
        return (states * mask[..., None].to(states)).to(self.device, self.transformer.dtype)

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of the prompt that the tokenizer does not hold whole; meaningful where ``spec.whole_words``."""
        words = dict.fromkeys(re.findall(r"[^\W_]+", prompt.lower()))
        return [word for word in words if len(self.tokenizer.tokenize(word)) > 1]

    def tokens_in(self, prompt: str) -> int:
        """Tokens the prompt takes, the end mark included; more than ``spec.text_length`` are cut."""
        return len(self.tokenizer(prompt, add_special_tokens=True).input_ids)

    def to_latent(self, video: Tensor) -> Tensor:
        """(B, 3, T, H, W) in [-1, 1], T = 4k+1 -> normalised latent (B, C, T', h, w), the mean of the posterior."""
        frames, space = video.shape[2], self.spec.space
        if (frames - 1) % self.spec.time or video.shape[3] % space or video.shape[4] % space:
            raise SlotIDError(
                f"A video of {frames} frames of {video.shape[4]}x{video.shape[3]} was given to backbone '{self.spec.name}'; "
                f"it reads {self.spec.time}k+1 frames with sides divisible by {space}. Cut and resize it first."
            )
        with self._lock:  # the VAE keeps its causal cache in itself
            self._need("vae")
            video = video.to(self._on(self.vae), self.vae.dtype)
            if frame_by_frame(self.vae):
                with StillConvs(self.vae):
                    latent = _unfolded(self.vae.encode(_folded(video)).latent_dist.mode(), frames)
            else:
                latent = self.vae.encode(video).latent_dist.mode()
        mean, std = self._normal(latent)
        return (latent - mean) / std

    def to_pixels(self, latent: Tensor) -> Tensor:
        """Normalised latent (B, C, T', h, w) -> (B, 3, T, H, W) in [-1, 1], T = 4 (T' - 1) + 1."""
        latent = latent.to(self._on(self.vae), self.vae.dtype)
        mean, std = self._normal(latent)
        with self._lock:
            self._need("vae")
            if frame_by_frame(self.vae):
                with StillConvs(self.vae):
                    return _unfolded(self.vae.decode(_folded(latent * std + mean)).sample, latent.shape[2])
            return self.vae.decode(latent * std + mean).sample

    @torch.no_grad()
    def refined(self, film: Tensor) -> Tensor:
        """A sampled film (B, C, T', h, w), normalised, in which what its plan says and its picture lacks is drawn, where there is a
        refiner."""
        return film if self.refiner is None else self.refiner.refined(film)

    def finished(self, film: Tensor) -> Tensor:
        """A sampled film (B, C, T', h, w), normalised, as it is decoded: ``refined``, then ``flow.finished``."""
        return self.spec.finished(self.refined(film))

    def _normal(self, like: Tensor) -> list[Tensor]:
        values = (self.vae.config.latents_mean, self.vae.config.latents_std)
        return [torch.tensor(v, dtype=like.dtype, device=like.device).view(1, -1, 1, 1, 1) for v in values]

    # --- once per step ------------------------------------------------------------------------------------------

    def expert(self, t: float | Tensor) -> tuple[str, nn.Module]:
        """Which transformer serves time(s) ``t``, all on one side of the boundary, and the name of its folder."""
        if self.transformer_2 is not None and float(torch.as_tensor(t).max()) < self.spec.boundary:
            return "transformer_2", self.transformer_2
        return "transformer", self.transformer

    def velocity(
        self,
        x: Tensor,
        t: Tensor | float,
        text: Tensor,
        given: Conditioning = NOTHING,
        cache: dict | None = None,
    ) -> Tensor:
        """Predicted velocity (noise minus clean), shape of ``x``.

        Args:
            x: (B, C, T', h, w) noisy latent. t: in [0, 1], 1 is noise, one value or (B,).
            text: (B, L, text_width) from ``read``. given: what the method asks; empty equals the stock forward, bitwise.
            cache: a dict that the caller keeps for one film: the context's keys and values are computed once. It is emptied
                when ``text`` or ``given`` is another object than before. None computes them anew (training).
        """
        refuse_unknown(given, self.supported, self.spec.name)
        times = torch.as_tensor(t, dtype=torch.float32, device=self.device).expand(x.shape[0])
        if self.transformer_2 is not None:
            early = times >= self.spec.boundary
            if early.any() and not early.all():
                return self._by_expert(x, times, text, given, early)
        name, net = self.expert(times)
        with self._lock, self._bent(given.lora), torch.set_grad_enabled(torch.is_grad_enabled() and cache is None):
            self._need(name)
            belongs(cache, text, given)
            x = x.to(self.device, net.dtype)
            return self._as_velocity(self._forward(net, name, x, times * 1000.0, text, given, cache), x, times)

    def _as_velocity(self, told: Tensor, x: Tensor, times: Tensor) -> Tensor:
        """What the transformer told of ``x`` at ``times`` (B,), as a velocity."""
        if self.spec.predicts == "velocity":
            return told
        return ((x.float() - told.float()) / times.clamp_min(LEAST_TIME).view(-1, 1, 1, 1, 1)).to(x)

    def _by_expert(self, x: Tensor, times: Tensor, text: Tensor, given: Conditioning, early: Tensor) -> Tensor:
        """A training batch whose times lie on both sides of the boundary: each expert its samples, put back in order."""
        if given.reference is not None:
            raise SlotIDError("A batch with times of both experts and clean references was given; give one expert's times at a time.")
        order, parts = [], []
        for side in (early, ~early):
            rows = side.nonzero()[:, 0]

            def of(value: Tensor | None, rows: Tensor = rows) -> Tensor | None:
                return value[rows.to(value.device)] if value is not None and value.shape[0] == x.shape[0] else value

            asked = replace(given, context=of(given.context), patch=of(given.patch))
            parts.append(self.velocity(of(x), times[rows], of(text), asked))
            order.append(rows)
        return torch.cat(parts)[torch.cat(order).argsort()]

    def _forward(self, net, name: str, x: Tensor, steps: Tensor, text: Tensor, given: Conditioning, cache: dict | None) -> Tensor:
        rope = net.rope(x)
        hidden = net.patch_embedding(x)
        grid = tuple(hidden.shape[2:])
        hidden = hidden.flatten(2).transpose(1, 2).contiguous()
        if given.patch is not None:
            hidden = hidden + given.patch.to(hidden)
        with remembering(net, cache, name) as filled:
            # a filled cache holds the keys and values of the context: one token stands in for it and is not looked at
            context = text.new_zeros(len(x), 1, text.shape[-1]) if filled else put_before(given.context, text)
            time, modulation, context, _ = net.condition_embedder(steps, context.to(hidden), None, timestep_seq_len=None)
            modulation = modulation.unflatten(1, (6, -1))
            if given.reference is None:
                hidden = self._blocks(net, hidden, context, modulation, rope, given.lora)
            else:
                hidden = self._through_blocks(net, hidden, context, modulation, rope, grid, given.reference)
        shift, scale = (net.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
        hidden = net.proj_out((net.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden))
        hidden = hidden.unflatten(2, (*net.config.patch_size, -1)).unflatten(1, grid)
        # B T H W pt ph pw C -> B C (T pt) (H ph) (W pw)
        return hidden.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _blocks(self, net, hidden: Tensor, context: Tensor, modulation: Tensor, rope, lora: float) -> Tensor:
        stack = self.placement.stack(net) if self.placement else None
        if stack is not None:
            return stack(hidden, context, modulation, rope)
        if torch.is_grad_enabled() and net.gradient_checkpointing:
            for block in net.blocks:
                hidden = checkpoint(self._again, block, lora, hidden, context, modulation, rope, use_reentrant=False)
            return hidden
        for block in net.blocks:
            hidden = block(hidden, context, modulation, rope)
        return hidden

    def _again(self, block, lora: float, *inputs) -> Tensor:
        """A block, also when backward runs it again after ``velocity`` has ended: LoRA must then be as it was."""
        with self._bent(lora, [m for m in block.modules() if hasattr(m, "lora_A")]):
            return block(*inputs)

    def save_memory(self) -> None:
        """Gradient checkpointing: training keeps one tensor per block and computes the rest again in backward."""
        for net in (self.transformer, self.transformer_2):
            if net is not None:
                net.enable_gradient_checkpointing()

    def _through_blocks(self, net, hidden, context, modulation, rope, grid, reference: Reference) -> Tensor:
        if self.placement and not self.placement.whole:
            raise SlotIDError(
                f"Clean references need the whole transformer at hand, not memory profile '{self.placement.profile}'; choose 'model'."
            )
        latents = reference.latents.to(hidden).expand(hidden.shape[0], -1, -1, -1, -1)
        clean = net.patch_embedding(latents)
        positions = grid_positions(tuple(clean.shape[2:]), reference.offset)
        clean_rope = tuple(v.to(hidden.device) for v in rotary(positions, net.config.attention_head_dim))
        clean = clean.flatten(2).transpose(1, 2).contiguous()
        zero = torch.zeros(hidden.shape[0], device=hidden.device)
        _, at_zero, _, _ = net.condition_embedder(zero, context.new_zeros(hidden.shape[0], 1, net.config.text_dim), None)
        at_zero = at_zero.unflatten(1, (6, -1))  # references are clean: their time is 0
        if reference.see == "itself":
            for block in net.blocks:
                seen = keys_values(block, clean, at_zero, clean_rope)
                hidden = block_with_reference(block, hidden, context, modulation, rope, seen)
                clean = block(clean, context, at_zero, clean_rope)
            return hidden
        if reference.see != "all":
            raise SlotIDError(f"A reference that sees '{reference.see}' was given; it can see 'itself' or 'all'.")
        count = hidden.shape[1]
        per_token = torch.cat([modulation[:, None].expand(-1, count, -1, -1), at_zero[:, None].expand(-1, clean.shape[1], -1, -1)], dim=1)
        joint = torch.cat([hidden, clean], dim=1)
        joint_rope = tuple(torch.cat([a.to(b), b], dim=1) for a, b in zip(rope, clean_rope, strict=True))
        for block in net.blocks:
            joint = block(joint, context, per_token, joint_rope)
        return joint[:, :count]

    # --- LoRA -----------------------------------------------------------------------------------------------------

    def adopt(self, plan: LoraPlan) -> LoraWeights:
        """LoRA (peft) on the plan's projections of every block; returns the new weights only. Adopting again starts afresh."""
        from peft import LoraConfig, inject_adapter_in_model

        block = {"cross": "attn2", "self": "attn1"}.get(plan.attention)
        if block is None:
            raise SlotIDError(f"LoRA on '{plan.attention}' attention was asked for; choose 'cross' or 'self'.")
        if self.placement:
            self.placement.before_change()
        experts = [net for net in (self.transformer, self.transformer_2) if net is not None]
        for layer in self._lora.values():
            layer.delete_adapter(ADAPTER)
        names = "|".join(re.escape(name) for name in plan.projections)
        config = LoraConfig(
            r=plan.rank, lora_alpha=plan.rank if plan.alpha is None else plan.alpha, target_modules=rf"blocks\.\d+\.{block}\.({names})"
        )
        found: dict[str, nn.Module] = {}
        for number, net in enumerate(experts):
            if self._lora:
                del net.peft_config  # peft warns of a second adapter otherwise
            inject_adapter_in_model(config, net, adapter_name=ADAPTER)
            mine = {name: m for name, m in net.named_modules() if hasattr(m, "lora_A") and ADAPTER in m.lora_A}
            found |= {f"expert2.{name}" if number else name: m for name, m in mine.items()}
        for layer in found.values():
            for weights in (layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]):
                if weights.weight.dtype.itemsize == 1:  # peft follows the frozen weight, also into 8 bits
                    weights.to(torch.float32)
        self._lora = found
        return LoraWeights(found, plan)

    @contextmanager
    def _bent(self, scale: float, layers: Sequence[nn.Module] | None = None):
        """LoRA at ``scale`` inside, in all layers or some; at 0 they call their frozen layer alone, so nothing is left of it."""
        layers = list(self._lora.values()) if layers is None else layers
        if scale:
            if not layers:
                raise SlotIDError("The conditioning asks for LoRA, but the backbone has adopted none; open it with its identity weights.")
            for layer in layers:
                layer.set_scale(ADAPTER, float(scale))
            yield
            return
        weights = [w for layer in layers for w in (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight)]
        trained = [w.requires_grad for w in weights]
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)
            for weight, flag in zip(weights, trained, strict=True):  # peft's switch also touches requires_grad
                weight.requires_grad_(flag)
