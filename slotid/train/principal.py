"""The tiny VAE's encoder in closed form: principal components in space, then in time, poured into AutoencoderKLWan's own layers.

The best linear code of 16x16 pixel blocks is known without training (Hotelling 1933). Gradient descent through Wan's normalised heads
needs tens of thousands of steps to find something as good, so the encoder is *solved*, layer by layer, from a few hundred clips, and only
the decoder is trained. Latents are then ordered by importance, nearly Gaussian, and the same for everyone who solves on the same clips.

In a clip every latent frame after the first holds four frames: ``still_channels`` of its channels mean what they mean in a still (the
average over the four), the rest are the strongest components of what that average leaves out: motion.
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


def _frames(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B T, C, 1, H, W): every frame a still."""
    return x.permute(0, 2, 1, 3, 4).reshape(-1, x.shape[1], 1, *x.shape[3:])


def _pass_through(conv: nn.Module) -> None:
    """A convolution that copies its input's channels and leaves its further outputs at zero."""
    if isinstance(conv, nn.Identity):
        return
    conv.weight.zero_()
    conv.bias.zero_()
    n = min(conv.in_channels, conv.out_channels)
    conv.weight[:n, :n, -1, conv.kernel_size[1] // 2, conv.kernel_size[2] // 2] = torch.eye(n)


def _solve_space(block: nn.Module, rows_of: list[Tensor]) -> None:
    """The strided convolution: principal components of 2x2 groups of cells, less what the block's average shortcut adds."""
    strided = block.downsampler.resample[1]
    channels = rows_of[0].shape[1]
    wanted = min(strided.out_channels, channels * 4)
    strided.weight.zero_()
    strided.bias.zero_()
    # halved, so that the mean colour keeps its size and stays far below the head's offset
    basis = _components(torch.cat([_blocks(x) for x in rows_of]), wanted) / 2
    strided.weight[:wanted, :channels, :2, :2] = basis.reshape(wanted, channels, 2, 2)
    probe = torch.cat(rows_of)[:128]
    matrix, _ = _solve(_blocks(probe).reshape(-1, channels, 4).mean(-1), _rows(block.avg_shortcut(probe)))
    strided.weight[:, :channels, :2, :2] -= (matrix / 4)[:, :, None, None]


def _solve_time(block: nn.Module, resampled: Tensor, shortcut: Tensor, singly: Tensor, kept: int) -> None:
    """The temporal convolution: of each pair of frames, ``kept`` averages and the strongest components of what these leave out.

    ``resampled`` (B, C, T, h, w) is what the convolution sees, ``shortcut`` (B, C, T/2, h, w) what is added to its output, ``singly``
    (B, C, T, h, w) what the block gives for the same frames one by one.
    """
    c = singly.shape[1]
    first, second = _rows(singly[:, :, 0::2]), _rows(singly[:, :, 1::2])
    average = (first + second) / 2
    rest = torch.cat([first, second], 1)
    rest[:, :kept] -= average[:, :kept]
    rest[:, c : c + kept] -= average[:, :kept]
    motion = rest @ _components(rest, c - kept).T / 2**0.5
    inputs = torch.cat([_rows(resampled[:, :, 0::2]), _rows(resampled[:, :, 1::2])], 1)
    weight, bias = _solve(inputs, torch.cat([average[:, :kept], motion], 1) - _rows(shortcut))
    conv = block.downsampler.time_conv
    conv.weight.zero_()
    conv.weight[:, :, 1, 0, 0], conv.weight[:, :, 2, 0, 0] = weight[:, :c], weight[:, c:]
    conv.bias.copy_(bias)


def _solve_block(block: nn.Module, stills: Tensor, chunks: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Solves one down block on its inputs, stills (N, C, 1, H, W) and chunks (B, C, T, H, W); returns its outputs for both."""
    for resnet in block.resnets:
        _pass_through(resnet.conv_shortcut)
    frames = _frames(chunks)
    _solve_space(block, [stills[torch.randperm(len(stills))[:1000]], frames[torch.randperm(len(frames))[:1000]]])
    b, t = chunks.shape[0], chunks.shape[2]
    singly = torch.cat([block(part) for part in frames.split(256)])
    singly = singly.reshape(b, t, *singly.shape[1:2], *singly.shape[3:]).transpose(1, 2)
    trunk = chunks
    for resnet in block.resnets:
        trunk = resnet(trunk)
    resampled = block.downsampler(trunk)  # without a cache the library leaves time alone
    shortcut = block.avg_shortcut(chunks)
    _solve_time(block, resampled, shortcut, singly, kept)
    joined = block.downsampler.time_conv(torch.cat([resampled[:, :, :1], resampled], 2)) + shortcut
    return torch.cat([block(part) for part in stills.split(256)]), joined


@torch.no_grad()
def solve_encoder(vae: nn.Module, clips: Tensor, still_channels: int) -> dict[str, float]:
    """Sets the encoder's weights in place; call on a fresh ``vae.build_vae``.

    Args:
        clips: (N, 3, 5, H, W) in [-1, 1]; some hundreds, as varied as the world is.
        still_channels: how many latent channels of a later frame keep their meaning from stills; fewer leave more to motion.
    Returns: PSNR in dB of the best *linear* decoder of single latent cells, for first frames ("still") and for later ones ("clip").
    """
    if clips.ndim != 5 or clips.shape[2] != 5:
        raise SlotIDError(f"Clips of shape {tuple(clips.shape)} were given; expected (N, 3, 5, H, W).")
    from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

    encoder, channels = vae.encoder, vae.config.z_dim
    x = patchify(clips, vae.config.patch_size)
    _pass_through(encoder.conv_in)
    stills, chunks = _frames(x), x[:, :, 1:]
    stills, chunks = _solve_block(encoder.down_blocks[0], stills, chunks, encoder.down_blocks[0].downsampler.dim * 2 // 3)
    stills, chunks = _solve_block(encoder.down_blocks[1], stills, chunks, still_channels)
    for resnet in encoder.down_blocks[2].resnets:
        _pass_through(resnet.conv_shortcut)

    def headless(v: Tensor) -> Tensor:
        return F.silu(encoder.norm_out(encoder.mid_block(encoder.down_blocks[2](v))))

    rows = torch.cat([_rows(headless(stills[:: max(1, len(stills) // 600)])), _rows(headless(chunks))])[:, :channels]
    spread, centre = torch.std_mean(rows, dim=0)
    spread = spread.clamp_min(1e-4)
    encoder.conv_out.weight.zero_()
    encoder.conv_out.bias.zero_()
    encoder.conv_out.weight[torch.arange(channels), torch.arange(channels), -1, 1, 1] = 1 / spread
    encoder.conv_out.bias[:channels] = -centre / spread
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:channels, :channels, 0, 0, 0] = torch.eye(channels)
    vae.quant_conv.bias[:channels] = 0
    vae.quant_conv.bias[channels:] = -6  # deterministic but for a trace: the decoder's training adds its own noise
    return _linear_psnr(vae, clips)


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


def _linear_psnr(vae: nn.Module, clips: Tensor) -> dict[str, float]:
    found = {}
    side = 2 ** (len(vae.encoder.down_blocks) - 1) * vae.config.patch_size
    latents = torch.cat([vae._encode(part).chunk(2, 1)[0] for part in clips.split(16)])
    n, _, _, height, width = clips.shape
    for name, latent, pixels in (("still", latents[:, :, :1], clips[:, :, :1]), ("clip", latents[:, :, 1:], clips[:, :, 1:])):
        cells = pixels.reshape(n, 3, pixels.shape[2], height // side, side, width // side, side).permute(0, 3, 5, 1, 2, 4, 6)
        targets = cells.reshape(-1, 3 * pixels.shape[2] * side * side)
        rows = _rows(latent)
        pick = torch.randperm(len(rows))[:40000]
        weight, bias = _solve(rows[pick], targets[pick])
        error = rows[pick] @ weight.T + bias - targets[pick]
        found[name] = float(-10 * torch.log10((error / 2).square().mean()))
    return found
