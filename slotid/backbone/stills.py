"""A VAE that leaves time alone, run as what it is: a codec of pictures.

A causal 3-D convolution on a single frame sees zeros in the past: only its last temporal tap works, and a 2-D convolution with exactly
that tap does the same. Where all other taps are zero, a film is its stills, and they can be coded side by side.
"""

from __future__ import annotations

import types

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def frame_by_frame(vae: nn.Module) -> bool:
    """True where every frame of a film is coded as if it were alone: no compression of time, and no look at the past."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    if getattr(vae.config, "scale_factor_temporal", 4) != 1:
        return False
    convs = [m for m in vae.modules() if isinstance(m, WanCausalConv3d) and m.kernel_size[0] > 1]
    return not any(bool(m.weight[:, :, :-1].any()) for m in convs)


class StillConvs:
    """Context in which one-frame batches run through 2-D convolutions, equal to the library's forward and three times cheaper. Clips
    must not be passed inside.

    Under autocast the two convolutions around the decoder's head stay in float32: their inputs ride on a large constant (see
    ``linear_start``), of which half precision would leave nothing but the constant.
    """

    def __init__(self, vae: nn.Module):
        self.vae = vae

    def __enter__(self) -> nn.Module:
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

        def forward(conv: nn.Conv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
            pad = conv._padding
            return F.conv2d(x[:, :, 0], conv.weight[:, :, -1], conv.bias, conv.stride[1:], (pad[2], pad[0])).unsqueeze(2)

        def exactly(conv: nn.Conv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
            with torch.autocast(x.device.type, enabled=False):
                return forward(conv, x.to(conv.weight.dtype))

        decoder = self.vae.decoder
        exact = (decoder.up_blocks[-1].resnets[-1].conv2, decoder.conv_out)
        self.convs = [m for m in self.vae.modules() if isinstance(m, WanCausalConv3d)]
        for conv in self.convs:
            conv.forward = types.MethodType(exactly if any(conv is m for m in exact) else forward, conv)
        return self.vae

    def __exit__(self, *_: object) -> None:
        for conv in self.convs:
            del conv.forward
