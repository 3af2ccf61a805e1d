"""The tiny VAE's encoder in closed form: principal components of space, poured into AutoencoderKLWan's own layers.

The best linear code of 16x16 pixel blocks is known without training (Hotelling 1933). Gradient descent through Wan's normalised heads
needs tens of thousands of steps to find something as good, so the encoder is *solved*, layer by layer, from a few hundred frames, and
only the decoder is trained. Latents are then ordered by importance, nearly Gaussian, and the same for everyone who solves on the same
frames. Every frame is a still: components of several frames of a turning head were tried and are ghosts (LOG.md, third training).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.types import SlotIDError


def _components(rows: Tensor, count: int) -> Tensor:
    """(count, D) leading principal directions of (N, D) rows, not centred: the mean is a component like any other."""
    gram = rows.double().T @ rows.double()
    _, vectors = torch.linalg.eigh(gram)
    return vectors.flip(1).T[:count].float()


def _solve(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares with a constant: weights (out, in), bias (out,)."""
    x = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    gram = x.T @ x
    gram += 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
    solved = torch.linalg.solve(gram, x.T @ targets.double()).T.float()
    return solved[:, :-1].contiguous(), solved[:, -1].contiguous()


def _rows(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B T H W, C)"""
    return x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1])


def _blocks(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B T H/2 W/2, 4 C): each 2x2 group of cells as one row, channels first."""
    b, c, t, h, w = x.shape
    return x.reshape(b, c, t, h // 2, 2, w // 2, 2).permute(0, 2, 3, 5, 1, 4, 6).reshape(-1, c * 4)


def _pass_through(conv: nn.Module) -> None:
    """A convolution that copies its input's channels and leaves its further outputs at zero."""
    if isinstance(conv, nn.Identity):
        return
    conv.weight.zero_()
    conv.bias.zero_()
    n = min(conv.in_channels, conv.out_channels)
    conv.weight[:n, :n, -1, conv.kernel_size[1] // 2, conv.kernel_size[2] // 2] = torch.eye(n)


def _solve_space(block: nn.Module, rows_of: Tensor) -> None:
    """The strided convolution: principal components of 2x2 groups of cells, less what the block's average shortcut adds."""
    strided = block.downsampler.resample[1]
    channels = rows_of.shape[1]
    wanted = min(strided.out_channels, channels * 4)
    strided.weight.zero_()
    strided.bias.zero_()
    # halved, so that the mean colour keeps its size and stays far below the head's offset
    basis = _components(_blocks(rows_of), wanted) / 2
    strided.weight[:wanted, :channels, :2, :2] = basis.reshape(wanted, channels, 2, 2)
    probe = rows_of[:128]
    matrix, _ = _solve(_blocks(probe), _rows(block.avg_shortcut(probe)))
    strided.weight[:, :channels, :2, :2] -= matrix.reshape(-1, channels, 2, 2)


@torch.no_grad()
def solve_encoder(vae: nn.Module, stills: Tensor) -> float:
    """Sets the encoder's weights in place; call on a fresh ``vae.build_vae``.

    Args:
        stills: (N, 3, 1, H, W) in [-1, 1]; some hundreds, as varied as the world is.
    Returns: PSNR in dB of the best *linear* decoder of single latent cells.
    """
    if stills.ndim != 5 or stills.shape[2] != 1:
        raise SlotIDError(f"Stills of shape {tuple(stills.shape)} were given; expected (N, 3, 1, H, W).")
    from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

    encoder, channels = vae.encoder, vae.config.z_dim
    x = patchify(stills, vae.config.patch_size)
    _pass_through(encoder.conv_in)
    for block in encoder.down_blocks[:2]:
        for resnet in block.resnets:
            _pass_through(resnet.conv_shortcut)
        _solve_space(block, x[torch.randperm(len(x))[:1000]])
        x = torch.cat([block(part) for part in x.split(256)])
    for resnet in encoder.down_blocks[2].resnets:
        _pass_through(resnet.conv_shortcut)
    headless = F.silu(encoder.norm_out(encoder.mid_block(encoder.down_blocks[2](x[:: max(1, len(x) // 600)]))))
    spread, centre = torch.std_mean(_rows(headless)[:, :channels], dim=0)
    spread = spread.clamp_min(1e-4)
    encoder.conv_out.weight.zero_()
    encoder.conv_out.bias.zero_()
    encoder.conv_out.weight[torch.arange(channels), torch.arange(channels), -1, 1, 1] = 1 / spread
    encoder.conv_out.bias[:channels] = -centre / spread
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:channels, :channels, 0, 0, 0] = torch.eye(channels)
    vae.quant_conv.bias[:channels] = 0
    vae.quant_conv.bias[channels:] = -6  # deterministic but for a trace: the decoder's training adds its own noise
    return _linear_psnr(vae, stills)


@torch.no_grad()
def solve_decoder(vae: nn.Module, stills: Tensor) -> float:
    """Starts the decoder of a solved VAE as the best linear reading of interpolated latents; what is left for training is detail.

    Wan's decoder enlarges by copying cells, so a copied cell does not know its place. Four copies of the latent travel up: untouched,
    smoothed along rows, along columns, along both. Their differences tell where in a cell one is, and a least-squares map reads pixels.

    Args:
        stills: (N, 3, 1, H, W) in [-1, 1].
    Returns: PSNR in dB on the given stills.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

    decoder, channels = vae.decoder, vae.config.z_dim
    top, middle, last = decoder.up_blocks
    vae.post_quant_conv.weight.zero_()
    vae.post_quant_conv.bias.zero_()
    vae.post_quant_conv.weight[:, :, 0, 0, 0] = torch.eye(channels)
    decoder.conv_in.weight.zero_()
    decoder.conv_in.bias.zero_()
    for copy in range(decoder.conv_in.out_channels // channels):
        decoder.conv_in.weight[copy * channels : (copy + 1) * channels, :, -1, 1, 1] = torch.eye(channels)
    smooth, delta = torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.0, 1.0, 0.0])
    kernels = (torch.outer(delta, delta), torch.outer(delta, smooth), torch.outer(smooth, delta), torch.outer(smooth, smooth))
    for block in (top, middle):
        for resnet in block.resnets:
            _pass_through(resnet.conv_shortcut)
        conv = block.upsampler.resample[1]
        conv.weight.zero_()
        conv.bias.zero_()
        for channel in range(conv.out_channels):  # the block's shortcut already adds the plain copy
            conv.weight[channel, channel] = kernels[channel // channels % 4] - kernels[0]
    latents = torch.cat([vae._encode(part).chunk(2, 1)[0] for part in stills.split(32)])
    features = []
    for part in latents.split(32):
        x = decoder.mid_block(decoder.conv_in(part))
        for block in (top, middle):
            trunk = x
            for resnet in block.resnets:
                trunk = resnet(trunk)
            x = block.upsampler(trunk) + block.avg_shortcut(x, first_chunk=True)
        features.append(x)
    targets = patchify(stills, vae.config.patch_size)
    rows, wanted = _rows(torch.cat(features)), _rows(targets)
    pick = torch.randperm(len(rows))[:60000]
    weight, bias = _solve(rows[pick], wanted[pick])
    shortcut = last.resnets[0].conv_shortcut
    outputs = wanted.shape[1]
    shortcut.weight.zero_()
    shortcut.bias.zero_()
    shortcut.weight[:outputs, :, 0, 0, 0], shortcut.bias[:outputs] = weight, bias
    for resnet in last.resnets[1:]:
        _pass_through(resnet.conv_shortcut)
    # the head divides by the pixel's length: unused channels hold that length constant, used ones are lifted to where SiLU is straight
    head, width = decoder.conv_out, decoder.conv_out.in_channels
    lift, anchor = 16.0, 160.0
    last.resnets[-1].conv2.bias.fill_(anchor)
    last.resnets[-1].conv2.bias[:outputs] = lift
    length = (outputs * lift**2 + (width - outputs) * anchor**2) ** 0.5
    gain = 4.0 * length / (lift * width**0.5)
    decoder.norm_out.gamma.fill_(gain)
    decoder.norm_out.gamma[outputs:] = 0  # their own large values must not reach the last convolution, where they drown training in noise
    head.weight.zero_()
    head.weight[torch.arange(outputs), torch.arange(outputs), -1, 1, 1] = lift / 4.0
    head.bias.fill_(-lift * float(torch.sigmoid(torch.tensor(4.0))))
    decoded = torch.cat([vae._decode(part).sample for part in latents.split(32)])
    return float(-10 * torch.log10(((decoded - stills) / 2).square().mean()))


def _linear_psnr(vae: nn.Module, stills: Tensor) -> float:
    side = 2 ** (len(vae.encoder.down_blocks) - 1) * vae.config.patch_size
    latents = torch.cat([vae._encode(part).chunk(2, 1)[0] for part in stills.split(16)])
    n, _, _, height, width = stills.shape
    cells = stills.reshape(n, 3, 1, height // side, side, width // side, side).permute(0, 3, 5, 1, 2, 4, 6)
    targets, rows = cells.reshape(-1, 3 * side * side), _rows(latents)
    pick = torch.randperm(len(rows))[:40000]
    weight, bias = _solve(rows[pick], targets[pick])
    error = rows[pick] @ weight.T + bias - targets[pick]
    return float(-10 * torch.log10((error / 2).square().mean()))
