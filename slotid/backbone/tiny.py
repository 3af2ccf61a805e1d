"""The embedded backbone: a whole diffusers WanPipeline of small size, and how one is built, saved and loaded."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slotid.backbone.backbone import SPEC_FILE, Spec
from slotid.types import SlotIDError

REFINER_FOLDER = "refiner"  # in a pipeline's folder; diffusers does not look at it
TINY_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "tiny"


def tiny_config(**sizes: Any) -> dict[str, Any]:
    """Sizes of the embedded pipeline; keyword arguments override one each (tests use smaller ones).

    The defaults: films of 128x128 at 12 fps, a VAE of 16x in space with 48 channels that leaves time alone, a transformer of
    9 million weights that sees 16 tokens per frame, text tokens 192 wide. A token is 192 numbers, which a stream of 256 can carry: with
    tokens of three frames, 576 numbers, what moves in a face was lost however long it was trained (LOG.md, eighth and ninth training).
    It predicts the clean latent, so that the stream has room to think beside what it carries of the noise (Li and He 2025,
    arXiv 2511.13720, "Back to basics"). Time is joined in the transformer, where it is learned, and not in the VAE: solved components of
    four frames of a turning head are ghosts, and a decoder that undoes them needs more training than all the rest.
    It films what moves beside the picture, in ``motion`` channels of its own (``train.motion``): acts are planned before drawn.
    """
    config = {
        "channels": 48,  # of a picture
        "motion": 16,  # more channels, before those, that hold what moves; the VAE neither fills nor shows them
        "motion_ahead": 2.0,  # how far their noise is below that of the picture: acts are settled before they are drawn
        "vae_base": 48,
        "vae_decoder_base": 64,  # None: as the encoder's
        "vae_mult": (1, 2, 2),  # the last two equal: the residual VAE adds its average shortcut there
        "vae_blocks": 1,
        "vae_patch": 4,
        "time": 1,  # frames per latent frame: 1, 2 or 4
        "patch_time": 1,  # latent frames per token
        "heads": 8,
        "head_dim": 32,
        "depth": 8,
        "ffn": 1024,
        "frequencies": 256,
        "text_width": 192,
        "text_length": 40,
        "text_depth": 2,
        "text_heads": 6,
        "text_ffn": 512,
        "fps": 12.0,
        "size": (128, 128),
        "frames": 33,
        "frames_min": 9,
        "frames_max": 48,
        "shift": 3.5,
        "noise_place": 0.5,
        "predicts": "sample",
    }
    unknown = set(sizes) - set(config)
    if unknown:
        raise SlotIDError(f"Unknown size of the tiny pipeline: {', '.join(sorted(unknown))}; known are {', '.join(config)}.")
    return config | sizes


def with_motion(vae, count: int):
    """The same VAE with ``count`` more latent channels before its own: it leaves them empty (0) and does not show them.

    They are the transformer's (``train.motion``). A VAE that knows of them makes the pipeline one that diffusers runs as it is.
    """
    from diffusers import AutoencoderKLWan

    if not count:
        return vae
    config = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    own = config["z_dim"]
    mean, std = ([first] * count + list(config[name]) for name, first in (("latents_mean", 0.0), ("latents_std", 1.0)))
    wider = AutoencoderKLWan(**config | {"z_dim": own + count, "latents_mean": mean, "latents_std": std})
    weights = vae.state_dict()
    for name, places in motion_places(own, count).items():
        whole = wider.state_dict()[name].zero_()
        whole[places] = weights[name]
        weights[name] = whole
    wider.load_state_dict(weights)
    return wider


def without_motion(weights: dict, own: int) -> dict:
    """The weights that ``with_motion`` was given, from those of the VAE it made. ``own``: the channels of a picture."""
    count = weights["post_quant_conv.weight"].shape[0] - own
    places = motion_places(own, count)
    return {name: value[places[name]] if name in places else value for name, value in weights.items()}


def motion_places(own: int, count: int) -> dict[str, tuple]:
    """Where the ``own`` channels lie in each weight of a VAE that has ``count`` empty ones before them, as an index."""
    import torch

    latent = count + torch.arange(own)
    both = torch.cat([latent, count + own + latent])  # means, then log variances
    everything = slice(None)
    return {
        "encoder.conv_out.weight": (both,),
        "encoder.conv_out.bias": (both,),
        "quant_conv.weight": (both[:, None], both[None]),
        "quant_conv.bias": (both,),
        "post_quant_conv.weight": (latent[:, None], latent[None]),
        "post_quant_conv.bias": (latent,),
        "decoder.conv_in.weight": (everything, latent),
    }


def build_tokenizer(sentences: Iterable[str], size: int = 2048):
    """A small byte-level BPE tokenizer in which the words of ``sentences`` are whole tokens and any other text falls back to bytes.

    Lower case; ``<pad>`` is 0 and ``</s>`` 1 and ends every prompt, as in T5's, so that diffusers' WanPipeline can use it.

    Args:
        sentences: texts whose words it should know. size: most tokens.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=1,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(sentences)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def tiny_vae(**sizes: Any):
    """The pipeline's AutoencoderKLWan in Wan 2.2's residual layout, from the library's random weights. ``sizes``: see ``tiny_config``."""
    from diffusers import AutoencoderKLWan

    c = tiny_config(**sizes)
    stages, patch = len(c["vae_mult"]), c["vae_patch"]
    halvings = c["time"].bit_length() - 1
    return AutoencoderKLWan(
        base_dim=c["vae_base"],
        decoder_base_dim=c["vae_decoder_base"],
        z_dim=c["channels"],
        dim_mult=list(c["vae_mult"]),
        num_res_blocks=c["vae_blocks"],
        temperal_downsample=[False] * (stages - 1 - halvings) + [True] * halvings,
        latents_mean=[0.0] * c["channels"],
        latents_std=[1.0] * c["channels"],
        is_residual=True,
        in_channels=3 * patch**2,
        out_channels=3 * patch**2,
        patch_size=patch,
        scale_factor_temporal=c["time"],
        scale_factor_spatial=2 ** (stages - 1) * patch,
    )


def build_tiny(seed: int = 0, sentences: Iterable[str] = ("a person looks into the camera",), tokenizer: Any = None, **sizes: Any):
    """A random pipeline of the real classes (untrained), frozen. Same seed and sizes, same weights.

    Args:
        seed: of the weights; the caller's random state is left as it was. sentences: for the tokenizer, unless one is given.
        sizes: see ``tiny_config``.
    """
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    from slotid.backbone.wan_driver import WanBackbone

    c = tiny_config(**sizes)
    tokenizer = tokenizer or build_tokenizer(sentences)
    channels = c["motion"] + c["channels"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = with_motion(tiny_vae(**sizes), c["motion"])
        transformer = WanTransformer3DModel(
            patch_size=(c["patch_time"], 2, 2),
            num_attention_heads=c["heads"],
            attention_head_dim=c["head_dim"],
            in_channels=channels,
            out_channels=channels,
            text_dim=c["text_width"],
            freq_dim=c["frequencies"],
            ffn_dim=c["ffn"],
            num_layers=c["depth"],
        )
        text = UMT5Config(
            vocab_size=len(tokenizer),
            d_model=c["text_width"],
            d_kv=c["text_width"] // c["text_heads"],
            num_heads=c["text_heads"],
            d_ff=c["text_ffn"],
            num_layers=c["text_depth"],
            pad_token_id=0,
            eos_token_id=1,
            dropout_rate=0.0,
        )
        text_encoder = UMT5EncoderModel(text)
    if c["predicts"] == "velocity":
        scheduler = FlowMatchEulerDiscreteScheduler(shift=c["shift"])
    else:  # the stock WanPipeline must know it too
        scheduler = UniPCMultistepScheduler(prediction_type=c["predicts"], use_flow_sigmas=True, flow_shift=c["shift"])
    spec = Spec(
        name="tiny",
        channels=channels,
        space=vae.config.scale_factor_spatial,
        time=c["time"],
        patch=(c["patch_time"], 2, 2),
        text_width=c["text_width"],
        text_length=c["text_length"],
        width=c["heads"] * c["head_dim"],
        depth=c["depth"],
        fps=c["fps"],
        size=tuple(c["size"]),
        frames=c["frames"],
        frames_min=c["frames_min"],
        frames_max=c["frames_max"],
        shift=c["shift"],
        noise_place=c["noise_place"],
        noise_shared=c["motion"],
        noise_ahead=c["motion_ahead"],
        predicts=c["predicts"],
        whole_words=True,
    )
    return WanBackbone(transformer, vae, text_encoder, tokenizer, scheduler, spec)


def save_tiny(backbone, folder: str | Path, half: bool = True) -> None:
    """Write a backbone as a diffusers WanPipeline folder (float16 safetensors when ``half``) with ``slotid.json`` beside it.

    The backbone itself is left as it was. An adopted backbone is refused: its LoRA belongs to the identity weights.
    """
    import copy

    import torch
    from diffusers import WanPipeline

    if backbone.adopted:
        raise SlotIDError("A backbone with LoRA was given to save; save the frozen backbone before a method is trained on it.")
    parts = [backbone.transformer, backbone.vae, backbone.text_encoder]
    with _quiet():
        if half:
            parts = [copy.deepcopy(part).to(torch.float16) for part in parts]
        transformer, vae, text_encoder = parts
        pipeline = WanPipeline(
            tokenizer=backbone.tokenizer, text_encoder=text_encoder, vae=vae, scheduler=backbone.scheduler, transformer=transformer
        )
        pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size="14MB")  # code hosts dislike files above 16 MB
        if backbone.refiner is not None:
            refiner = copy.deepcopy(backbone.refiner).to(torch.float16) if half else backbone.refiner
            refiner.save_pretrained(Path(folder, REFINER_FOLDER))
    backbone.spec.save(folder)


def load_tiny(path: str | Path | None = None, dtype: Any = None):
    """Read a pipeline folder from disk, offline, as a frozen backbone. ``path`` None: the embedded one; ``dtype`` None: float32.

    Raises:
        SlotIDError: no pipeline there.
    """
    import torch
    from diffusers import WanPipeline

    from slotid.backbone.refiner import MotionRefiner
    from slotid.backbone.wan_driver import WanBackbone

    folder = Path(path) if path is not None else TINY_FOLDER
    if not (folder / "model_index.json").is_file() or not (folder / SPEC_FILE).is_file():
        raise SlotIDError(
            f"No pipeline was found in {folder}; expected a folder with model_index.json and {SPEC_FILE}. "
            "Give --backbone tiny, or train one with `python -m slotid train`."
        )
    with _quiet():
        pipeline = WanPipeline.from_pretrained(folder, dtype=dtype or torch.float32, local_files_only=True, use_safetensors=True)
        refiner = None
        if (folder / REFINER_FOLDER).is_dir():
            try:
                refiner = MotionRefiner.from_pretrained(folder / REFINER_FOLDER, torch_dtype=dtype or torch.float32, use_safetensors=True)
            except OSError as error:
                raise SlotIDError(f"{folder / REFINER_FOLDER} is no whole refiner ({error}); fetch or write the pipeline again.") from error
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer, pipeline.scheduler)
    return WanBackbone(*parts, Spec.load(folder), refiner=refiner)


@contextmanager
def _quiet():
    """The libraries' progress bars and notes off: our own output says what happens. Settings are put back afterwards."""
    import logging

    import diffusers.utils.logging as diffusers_log
    import transformers.utils.logging as transformers_log

    levels = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in (diffusers_log, transformers_log)]
    for log, _, _ in levels:
        log.set_verbosity(logging.ERROR)
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level, bar in levels:
            log.set_verbosity(level)
            if bar:
                log.enable_progress_bar()
