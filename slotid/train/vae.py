"""The tiny AutoencoderKLWan: its encoder is solved (see ``principal``), its decoder learned on single frames.

It leaves time alone (Wan's compresses it fourfold): every frame is a still, and time is joined in the transformer's attention. ``inflate``
keeps the temporal taps at zero, so that a film decodes to its stills (``backbone.stills``): frames flicker no more than their latents do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slotid.backbone.stills import StillConvs
from slotid.pixels import signed
from slotid.train.loop import Plan, fit
from slotid.train.pairs import SolvedEncoder, face_weight

SQUARED = 4.0  # weight of the squared error: at an error of 0.125 (pixels in [-1, 1]) it pulls as hard as L1


def build_vae(latent_channels: int) -> nn.Module:
    """The tiny pipeline's VAE (``tiny_vae``), in the linear state from which it is solved and trained."""
    from slotid.backbone.tiny import tiny_vae

    vae = tiny_vae(channels=latent_channels)
    inflate(vae)
    linear_start(vae)
    return vae


@torch.no_grad()
def linear_start(vae: nn.Module, offset: float = 16.0, gain: float = 4.0) -> None:
    """Lets the network begin as a linear autoencoder (it then learns about ten times faster than from the library's initialisation).

    Residual branches start at zero (Zhang et al. 2019, "Fixup"). The two heads normalise every pixel to unit length, which throws its
    brightness away: a constant ``offset`` in all channels dominates that length, so that what rides on it passes nearly linearly, and
    ``gain`` moves it to where SiLU is straight.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResidualBlock

    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and module.kernel_size[-1] > 1:
            fan_in = module.in_channels * module.kernel_size[-1] * module.kernel_size[-2]
            bound = (3 / fan_in) ** 0.5
            taps = module.weight[:, :, -1:] if isinstance(module, WanCausalConv3d) else module.weight
            taps.uniform_(-bound, bound)
            module.bias.zero_()
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            module.conv2.weight.zero_()
    vae.encoder.mid_block.resnets[-1].conv2.bias.fill_(offset)
    vae.decoder.up_blocks[-1].resnets[-1].conv2.bias.fill_(offset)
    for half in (vae.encoder, vae.decoder):
        half.mid_block.attentions[0].proj.weight.zero_()
        half.mid_block.attentions[0].proj.bias.zero_()
        half.norm_out.gamma.fill_(gain)
        head = half.conv_out
        head.weight.zero_()
        centre = torch.empty(head.out_channels, head.in_channels)
        nn.init.orthogonal_(centre, gain=offset / gain)
        head.weight[:, :, -1, 1, 1] = centre
        head.bias.copy_(-centre.sum(1) * gain * torch.sigmoid(torch.tensor(gain)))


@torch.no_grad()
def inflate(vae: nn.Module) -> None:
    """Past taps to zero: a clip decodes to its stills."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    for module in vae.modules():
        if isinstance(module, WanCausalConv3d) and module.kernel_size[0] == 3:
            module.weight[:, :, :2] = 0


def decode_unclamped(vae: nn.Module, latent: Tensor) -> Tensor:
    """The library's decode without its clamp to [-1, 1], which would stop the gradient of every saturated pixel."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    vae.clear_cache()
    x = vae.post_quant_conv(latent)
    parts = []
    for i in range(latent.shape[2]):
        vae._conv_idx = [0]
        first = {"first_chunk": True} if i == 0 else {}
        parts.append(vae.decoder(x[:, :, i : i + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **first))
    vae.clear_cache()
    return unpatchify(torch.cat(parts, 2), vae.config.patch_size)


def decoder_loss(vae: nn.Module, latent: Tensor, video: Tensor, weight: Tensor, noise: float) -> tuple[Tensor, dict[str, float]]:
    """L1 and squares on pixels, L1 on their first differences, from latents with a little noise on them.

    The squares care for the few large errors, at outlines, which L1 charges like many small ones. The difference terms keep eyes and
    mouths sharp where plain L1 would average them; no perceptual network is at hand, and none that judges may be used. The noise makes
    the decoder forgive what the flow model leaves imperfect.

    Args:
        latent: (B, z, 1, h, w), unit deviation per channel. video: (B, 3, 1, H, W) in [-1, 1]. weight: (B, 1, 1, H, W), mean near 1.
        noise: standard deviation of the latent noise; half of the batch's samples stay clean.
    """
    amount = noise * (torch.rand(len(latent), 1, 1, 1, 1) > 0.5).to(latent)
    out = decode_unclamped(vae, latent + amount * torch.randn_like(latent))
    error = out - video
    l1 = (error.abs() * weight).mean()
    edges = ((error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
    edges = edges + ((error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]).mean()
    loss = l1 + 0.5 * edges + SQUARED * (error.square() * weight).mean()
    with torch.no_grad():
        clean = out.clamp(-1, 1) - video
        psnr = float((-10 * torch.log10((clean / 2).square().mean((1, 2, 3, 4)) + 1e-10))[amount.flatten() == 0].mean())
    return loss, {"l1": float(l1.detach()), "psnr": psnr if psnr == psnr else 0.0}


def to_video(frames: np.ndarray) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float (B, 3, T, H, W) in [-1, 1]."""
    return signed(frames).transpose(1, 2)


def face_pixels(points5: np.ndarray, size: int, extra: float = 3.0) -> Tensor:
    """Loss weight (B, 1, 1, size, size) from true points (B, 5, 2): 1 + ``extra`` on the face, scaled to mean 1."""
    points = torch.from_numpy(np.asarray(points5, np.float32))
    reach = (points[:, :2].mean(1) - points[:, 3:].mean(1)).norm(dim=-1)
    weight = face_weight(points.mean(1), reach, (size, size), extra, 1.2)
    return weight / weight.mean((-1, -2), keepdim=True)


def train_decoder(vae: nn.Module, folders: list[Path], plan: Plan, out: Path, *, noise: float = 0.12, **kwargs) -> dict[str, float]:
    """Trains the decoder of a solved VAE on single frames of world films; three in twenty are pictures from nothing (``pictures``).

    Args:
        folders: of shards, each as likely as any other. noise: see ``decoder_loss``.
    """
    from slotid.train.pictures import picture
    from slotid.world.shards import read_shards

    shelves = [read_shards(folder) for folder in folders]
    store: dict[tuple[int, int], np.ndarray] = {}
    leaves: list[np.ndarray] = []
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    vae.post_quant_conv.requires_grad_(True)

    def batch_at(rng: np.random.Generator, step: int) -> tuple[Tensor, Tensor]:
        if not leaves:
            first = np.random.default_rng(plan.seed)
            leaves.extend(picture(first)[None] for _ in range(400))
        frames, weights = [], []
        for _ in range(plan.batch):
            if rng.random() < 0.15:
                frames.append(leaves[int(rng.integers(len(leaves)))])
                weights.append(torch.ones(1, 1, 1, 128, 128))
                continue
            shelf = int(rng.integers(len(shelves)))
            row = int(rng.integers(len(shelves[shelf])))
            record = shelves[shelf][row]
            every = 4 if len(record.seconds) > 8 else 1  # of a film; neighbours are alike, and memory is not endless
            if (shelf, row) not in store:
                store[shelf, row] = record.frames()[::every].copy()
            at = int(rng.integers(len(store[shelf, row])))
            frames.append(store[shelf, row][at : at + 1])
            weights.append(face_pixels(record.points5[at * every][None], 128))
        return to_video(np.stack(frames)), torch.cat(weights)

    def loss_of(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        video, weight = batch
        with torch.no_grad(), SolvedEncoder(module), torch.autocast(video.device.type, enabled=False):
            latent = module._encode(video).chunk(2, 1)[0]
        return decoder_loss(module, latent, video, weight, noise)

    with StillConvs(vae):
        return fit(vae, plan, out, batch_at, loss_of, **kwargs)
