"""Any diffusers Wan text-to-video pipeline as a Backbone: the library's classes, unpatched, driven through their public parts."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from slotid.backbone.backbone import LoraPlan, Spec
from slotid.backbone.layers import Reference, block_with_reference, grid_positions, keys_values, put_before, refuse_unknown, rotary
from slotid.types import Conditioning, SlotIDError

ADAPTER = "slotid"
SUPPORTED = ("context", "reference", "patch")


class LoraWeights(nn.Module):
    """Only the new weights of an adopted backbone, shared with it. Keys are those of the transformer without peft's wrapping."""

    def __init__(self, layers: dict[str, nn.Module], plan: LoraPlan):
        super().__init__()
        self.plan = plan
        self.weights = nn.ParameterDict()
        for path, layer in layers.items():
            self.weights[f"{path}.lora_A".replace(".", "/")] = layer.lora_A[ADAPTER].weight
            self.weights[f"{path}.lora_B".replace(".", "/")] = layer.lora_B[ADAPTER].weight


class WanBackbone:
    """See ``backbone.Backbone``. Everything is frozen and in eval mode on construction; ``adopt`` adds the only trainable weights."""

    def __init__(self, transformer, vae, text_encoder, tokenizer, scheduler, spec: Spec):
        if getattr(transformer.config, "image_dim", None) is not None or transformer.config.in_channels != vae.config.z_dim:
            # Wan's attention takes all but the last 512 context tokens for image tokens there: identity tokens would go wrong silently
            raise SlotIDError(
                f"Backbone '{spec.name}' is an image-to-video checkpoint, in which tokens before the text mean an image; "
                "give a text-to-video checkpoint."
            )
        self.transformer, self.vae, self.text_encoder = transformer, vae, text_encoder
        self.tokenizer, self.scheduler, self.spec = tokenizer, scheduler, spec
        self._lora: dict[str, nn.Module] = {}
        self._lock = threading.RLock()  # LoRA scales are state inside shared modules: two films at once must not mix theirs
        for part in (transformer, vae, text_encoder):
            part.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.transformer.patch_embedding.weight.device

    @property
    def adopted(self) -> bool:
        """True once LoRA has been added."""
        return bool(self._lora)

    def to(self, device: str | torch.device) -> WanBackbone:
        """Move all parts; returns itself."""
        for part in (self.transformer, self.vae, self.text_encoder):
            part.to(device)
        return self

    def parameters_count(self) -> dict[str, int]:
        """Number of weights per part."""
        parts = {"transformer": self.transformer, "vae": self.vae, "text_encoder": self.text_encoder}
        return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}

    # --- once per request ---------------------------------------------------------------------------------------

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings (B, text_length, text_width), zeros beyond the last real token, as diffusers' Wan pipeline makes them."""
        cleaned = [re.sub(r"\s+", " ", html.unescape(html.unescape(p))).strip() for p in prompts]
        length = self.spec.text_length
        ids = self.tokenizer(
            cleaned, padding="max_length", max_length=length, truncation=True, add_special_tokens=True,
            return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        mask = ids.attention_mask.to(self.text_encoder.device)
        states = self.text_encoder(ids.input_ids.to(mask.device), mask).last_hidden_state
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
            latent = self.vae.encode(video.to(self.vae.device, self.vae.dtype)).latent_dist.mode()
        mean, std = self._normal(latent)
        return (latent - mean) / std

    def to_pixels(self, latent: Tensor) -> Tensor:
        """Normalised latent (B, C, T', h, w) -> (B, 3, T, H, W) in [-1, 1], T = 4 (T' - 1) + 1."""
        latent = latent.to(self.vae.device, self.vae.dtype)
        mean, std = self._normal(latent)
        with self._lock:
            return self.vae.decode(latent * std + mean).sample

    def _normal(self, like: Tensor) -> list[Tensor]:
        values = (self.vae.config.latents_mean, self.vae.config.latents_std)
        return [torch.tensor(v, dtype=like.dtype, device=like.device).view(1, -1, 1, 1, 1) for v in values]

    # --- once per step ------------------------------------------------------------------------------------------

    def velocity(self, x: Tensor, t: Tensor | float, text: Tensor, given: Conditioning = Conditioning()) -> Tensor:  # noqa: B008
        """Predicted velocity (noise minus clean), shape of ``x``.

        Args:
            x: (B, C, T', h, w) noisy latent. t: in [0, 1], 1 is noise, one value or (B,).
            text: (B, L, text_width) from ``read``. given: what the method asks; empty equals the stock forward, bitwise.
        """
        refuse_unknown(given, SUPPORTED, self.spec.name)
        net = self.transformer
        x = x.to(self.device, net.dtype)
        steps = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(x.shape[0]) * 1000.0
        with self._lock, self._bent(given.lora):
            rope = net.rope(x)
            hidden = net.patch_embedding(x)
            grid = tuple(hidden.shape[2:])
            hidden = hidden.flatten(2).transpose(1, 2).contiguous()
            if given.patch is not None:
                hidden = hidden + given.patch.to(hidden)
            context = put_before(given.context, text.to(hidden))
            time, modulation, context, _ = net.condition_embedder(steps, context, None, timestep_seq_len=None)
            modulation = modulation.unflatten(1, (6, -1))
            if given.reference is None:
                for block in net.blocks:
                    hidden = block(hidden, context, modulation, rope)
            else:
                hidden = self._through_blocks(hidden, context, modulation, rope, grid, given.reference)
            shift, scale = (net.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
            hidden = net.proj_out((net.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden))
        hidden = hidden.unflatten(2, (*net.config.patch_size, -1)).unflatten(1, grid)
        # B T H W pt ph pw C -> B C (T pt) (H ph) (W pw)
        return hidden.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _through_blocks(self, hidden, context, modulation, rope, grid, reference: Reference) -> Tensor:
        net = self.transformer
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
        for layer in self._lora.values():
            layer.delete_adapter(ADAPTER)
        if self._lora:
            del self.transformer.peft_config  # peft warns of a second adapter otherwise
        names = "|".join(re.escape(name) for name in plan.projections)
        config = LoraConfig(
            r=plan.rank, lora_alpha=plan.rank if plan.alpha is None else plan.alpha, target_modules=rf"blocks\.\d+\.{block}\.({names})"
        )
        inject_adapter_in_model(config, self.transformer, adapter_name=ADAPTER)
        found = {name: m for name, m in self.transformer.named_modules() if hasattr(m, "lora_A") and ADAPTER in m.lora_A}
        self._lora = found
        return LoraWeights(found, plan)

    @contextmanager
    def _bent(self, scale: float):
        """LoRA at ``scale`` inside; at 0 the wrapped layers call their frozen layer alone, so nothing is left of it."""
        layers = self._lora.values()
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
