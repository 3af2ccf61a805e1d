"""Wan 2.1 VACE (arXiv 2503.07598): reference images enter as extra latent frames and as residuals from control blocks.

What the control blocks read is made by diffusers' own ``WanVACEPipeline``, so that the public weights see what they were trained on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slotid.backbone.layers import ReferenceImages
from slotid.backbone.wan_driver import NOTHING, SUPPORTED, WanBackbone
from slotid.types import Conditioning, SlotIDError


class WanVACEBackbone(WanBackbone):
    """Without reference images it is the Wan transformer inside, stock and without control blocks."""

    supported = (*SUPPORTED, "residual")

    def lead(self, given: Conditioning) -> int:
        """Latent frames that the reference images take before the film; they are dreamt along and cut off."""
        return 0 if given.residual is None else len(given.residual.images)

    def controls(self, asked: ReferenceImages) -> Tensor:
        """(1, vace_in_channels, n + T', h, w): reference latents before a film that is all to be made, with their masks."""
        from diffusers import WanVACEPipeline
        from PIL import Image

        pipeline = WanVACEPipeline(
            tokenizer=self.tokenizer, text_encoder=self.text_encoder, vae=self.vae, scheduler=self.scheduler, transformer=self.transformer
        )
        t, h, w = asked.grid
        frames, height, width = (t - 1) * self.spec.time + 1, h * self.spec.space, w * self.spec.space
        pictures = [Image.fromarray(picture) for picture in asked.images]
        device = self._on(self.vae)
        with self._lock, torch.no_grad():
            self._need("vae")
            video, mask, images = pipeline.preprocess_conditions(None, None, pictures, 1, height, width, frames, torch.float32, device)
            latents = pipeline.prepare_video_latents(video, mask, images, None, device)
            masks = pipeline.prepare_masks(mask, [[]])
            # the pipeline's own padding is cut short where there are more references than latent frames
            masks = torch.cat([masks.new_zeros(*masks.shape[:2], len(pictures), *masks.shape[3:]), masks], dim=2)
            return torch.cat([latents, masks], dim=1)

    def velocity(self, x: Tensor, t: Tensor | float, text: Tensor, given: Conditioning = NOTHING, cache: dict | None = None) -> Tensor:
        """As ``WanBackbone.velocity``; with reference images ``x`` is (B, C, n + T', h, w) and the library's whole forward runs."""
        asked = given.residual
        if asked is None:
            return super().velocity(x, t, text, given, cache)
        if not isinstance(asked, ReferenceImages):
            raise SlotIDError(
                f"Backbone '{self.spec.name}' takes reference images as residual, not a {type(asked).__name__}; use method exemplars."
            )
        if self.placement and not self.placement.whole:
            raise SlotIDError(f"VACE needs its whole transformer at hand, not memory profile '{self.placement.profile}'; choose 'model'.")
        cache = {} if cache is None else cache
        if cache.get("asked") is not asked:  # encoding the references costs as much as steps do: once per film
            cache.clear()
            cache.update(asked=asked, controls=self.controls(asked))
        with self._lock, self._bent(given.lora):
            self._need("transformer")
            net = self.transformer
            x, text = x.to(self.device, net.dtype), text.to(self.device, net.dtype)
            control = cache["controls"].to(x).expand(len(x), -1, -1, -1, -1)
            if control.shape[2] != x.shape[2]:
                raise SlotIDError(
                    f"{control.shape[2]} latent frames of control were made for {x.shape[2]} of film; encode the references again."
                )
            scale = x.new_full((len(net.config.vace_layers),), asked.scale)
            times = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x))
            told = net(x, times * 1000.0, text, control_hidden_states=control, control_hidden_states_scale=scale, return_dict=False)[0]
            return self._as_velocity(told, x, times)
