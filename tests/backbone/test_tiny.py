"""The small pipeline is the real one: diffusers loads it, runs it, and agrees with our walk."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from small import SENTENCES, SIZES, small_backbone, stir

from slotid import flow
from slotid.backbone.backbone import LoraPlan, Spec
from slotid.backbone.registry import backbone_folder
from slotid.backbone.tiny import TINY_FOLDER, build_tiny, build_tokenizer, load_tiny, save_tiny, tiny_config, with_motion, without_motion
from slotid.guidance import guided, two_streams
from slotid.types import Conditioning, SlotIDError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    backbone = small_backbone(7)
    save_tiny(backbone, folder)
    return backbone, folder


def test_saved_and_loaded_it_is_the_same_to_half_precision(saved):
    backbone, folder = saved
    again = load_tiny(folder)
    assert again.spec == backbone.spec
    x, prompts = torch.randn(1, 8, 2, 4, 4), ["a woman nods", "zebra"]
    assert torch.allclose(again.read(prompts), backbone.read(prompts), atol=5e-3)
    text = backbone.read(["a woman nods"])
    with torch.no_grad():
        assert torch.allclose(again.velocity(x, 0.4, text), backbone.velocity(x, 0.4, text), atol=2e-2)
        assert torch.allclose(again.to_pixels(x), backbone.to_pixels(x), atol=5e-2)
    assert not any(p.requires_grad for part in (again.transformer, again.vae, again.text_encoder) for p in part.parameters())
    assert backbone.transformer.patch_embedding.weight.dtype == torch.float32, "saving in half precision must not change the one saved"


def test_the_folder_is_safetensors_in_half_precision(saved):
    from safetensors.torch import load_file

    _, folder = saved
    names = {p.suffix for p in folder.rglob("*") if p.is_file()}
    assert names <= {".json", ".safetensors"}
    weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {v.dtype for v in weights.values()} == {torch.float16}


def test_diffusers_own_pipeline_makes_what_our_walk_makes(saved):
    """The whole of WanPipeline (tokenizer, text encoder, scheduler, guidance) against read + walk + guided, same noise, same times."""
    from diffusers import WanPipeline

    _, folder = saved
    pipeline = WanPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    ours = load_tiny(folder)
    # all that the stock pipeline has to be told
    noise = ours.spec.placed(torch.randn(1, 8, 3, 4, 4))
    theirs = pipeline(
        "A man  talks to the camera", height=64, width=64, num_frames=9, num_inference_steps=4, guidance_scale=3.0, latents=noise,
        output_type="latent", max_sequence_length=ours.spec.text_length,
    ).frames  # fmt: skip
    path = pipeline.scheduler.sigmas
    empty, text = ours.read(["", "A man  talks to the camera"]).split(1)

    def field(x, t):
        with torch.no_grad():
            return guided(two_streams(3.0), lambda group: [ours.velocity(x, t, text if s.text else empty, Conditioning()) for s in group])

    *_, (_, x, _) = flow.walk(noise, field, path, "euler")
    assert torch.allclose(x, theirs, atol=2e-4), float((x - theirs).abs().max())
    assert (x - noise).abs().max() > 0.1


def test_channels_of_motion_are_left_empty_by_the_vae_and_not_shown():
    plain = small_backbone(3)
    wider = with_motion(plain.vae, 2)
    film = torch.rand(2, 3, 1, 64, 64) * 2 - 1
    with torch.no_grad():
        own, latent = plain.vae.encode(film).latent_dist.mode(), wider.encode(film).latent_dist.mode()
        assert (latent[:, :2] == 0).all() and torch.equal(latent[:, 2:], own) and own.abs().max() > 0.01
        seen = [wider.decode(torch.cat([motion, own], 1)).sample for motion in (torch.zeros(2, 2, 1, 4, 4), torch.randn(2, 2, 1, 4, 4))]
        assert torch.equal(*seen) and torch.allclose(seen[0], plain.vae.decode(own).sample, atol=1e-5)
    assert wider.config.latents_mean[:2] == [0, 0] and wider.config.latents_std[:2] == [1, 1]
    back = without_motion(wider.state_dict(), 8)
    assert all(torch.equal(back[name], value) for name, value in plain.vae.state_dict().items())


@pytest.mark.parametrize("motion", [0, 3])
def test_a_pipeline_that_films_motion_runs_in_diffusers_as_it_is(tmp_path, motion):
    from diffusers import WanPipeline

    save_tiny(small_backbone(7, motion=motion), tmp_path)
    pipeline = WanPipeline.from_pretrained(tmp_path, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    sizes = dict(height=64, width=64, num_frames=9, num_inference_steps=2, max_sequence_length=16)
    film = pipeline("A man talks", output_type="np", **sizes).frames
    assert film.shape == (1, 9, 64, 64, 3)


def test_latents_are_normalised_as_the_vae_says():
    backbone = small_backbone(2)
    video = torch.rand(1, 3, 5, 64, 64) * 2 - 1
    with torch.no_grad():
        plain, pixels = backbone.to_latent(video), backbone.to_pixels(torch.randn(1, 8, 2, 4, 4))
        backbone.vae.register_to_config(latents_mean=[0.5] * 8, latents_std=[2.0] * 8)
        scaled = backbone.to_latent(video)
        assert torch.allclose(scaled, (plain - 0.5) / 2, atol=1e-6)
        z = torch.randn(1, 8, 2, 4, 4)
        direct = backbone.vae.decode(z * 2 + 0.5).sample
        assert torch.equal(backbone.to_pixels(z), direct)
    assert plain.shape == (1, 8, 2, 4, 4) and pixels.shape == (1, 3, 5, 64, 64) and pixels.abs().max() <= 1


def test_videos_of_illegal_shape_are_refused():
    backbone = small_backbone()
    with pytest.raises(SlotIDError, match="6 frames of 64x64.*4k\\+1"):
        backbone.to_latent(torch.zeros(1, 3, 6, 64, 64))
    with pytest.raises(SlotIDError, match="sides divisible by 16"):
        backbone.to_latent(torch.zeros(1, 3, 5, 64, 60))


def test_text_is_padded_with_zeros_and_cut():
    backbone = small_backbone()
    text = backbone.read(["a man talks", "", "a man talks " * 30])
    assert text.shape == (3, 16, 32)
    assert backbone.tokens_in("a man talks") == 4 and (text[0, 4:] == 0).all() and (text[0, :4].abs().sum(-1) > 0).all()
    assert (text[1, 1:] == 0).all() and (text[1, 0] != 0).any() and (text[2].abs().sum(-1) > 0).all()
    assert torch.allclose(text[0], backbone.read(["  A  man\n TALKS "])[0], atol=1e-6), "spaces and case do not matter"
    assert torch.allclose(backbone.read(["a man talks"])[0], text[0], atol=1e-5), "a prompt in a batch is read as if alone"


def test_the_tokenizer_keeps_known_words_whole_and_never_fails():
    tokenizer = build_tokenizer(SENTENCES)
    assert len(tokenizer.tokenize("a woman nods, in a room with warm light")) == 10
    for text in ("zebra", "é🙂 中文", "a\tman", "", "x" * 300):
        ids = tokenizer(text).input_ids
        assert ids[-1] == 1 and 2 not in ids, "bytes stand in for unknown letters, never <unk>"
    assert tokenizer.decode(tokenizer("zebra é🙂").input_ids, skip_special_tokens=True).strip() == "zebra é🙂"
    assert build_tokenizer(reversed(SENTENCES)).get_vocab() == tokenizer.get_vocab(), "the order of sentences does not matter"
    assert len(tokenizer) < 700


def test_unknown_words_are_named():
    backbone = small_backbone()
    assert backbone.unknown_words("A man talks, zebra. Zebra!") == ["zebra"]


def test_same_seed_same_weights_and_the_caller_s_randomness_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, two, three = small_backbone(1), small_backbone(1), small_backbone(2)
    assert torch.equal(torch.rand(1), expected)
    weights = [b.transformer.proj_out.weight for b in (one, two, three)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_default_sizes_are_those_of_the_embedded_pipeline():
    backbone = build_tiny()
    counts = backbone.parameters_count()
    assert 8e6 < counts["transformer"] < 10e6 and backbone.spec.grid(33) == (33, 8, 8)
    embedded = Spec.load(TINY_FOLDER)  # what its trained weights need; how long its films are and how it walks may be chosen otherwise
    sizes = ("channels", "space", "time", "patch", "text_width", "text_length", "width", "depth")
    for name in (*sizes, "predicts", "noise_shared", "noise_ahead"):
        assert getattr(backbone.spec, name) == getattr(embedded, name), name
    with pytest.raises(SlotIDError, match="hight"):
        tiny_config(hight=3)


@pytest.mark.parametrize("seconds,frames", [(None, 25), (0.75, 9), (2.0, 25), (2.3, 29), (4.08, 49), (1.0, 13)])
def test_legal_lengths(seconds, frames):
    spec = replace(small_backbone().spec, frames=25, frames_min=9, frames_max=49)
    assert spec.legal_frames(seconds) == frames


@pytest.mark.parametrize("seconds,frames", [(None, 33), (0.75, 9), (2.0, 24), (2.3, 27), (4.0, 48), (2.75, 33)])
def test_legal_lengths_are_whole_tokens(seconds, frames):
    spec = replace(small_backbone().spec, frames=33, frames_min=9, frames_max=48, time=1, patch=(3, 2, 2))
    assert spec.legal_frames(seconds) == frames
    assert spec.grid(frames)[0] == frames and spec.legal_frames(frames / spec.fps) == frames


def test_frames_joined_in_patches_run_through_the_whole_pipeline():
    backbone = small_backbone(time=1, patch_time=3)
    film = torch.rand(1, 3, 9, 64, 64) * 2 - 1
    latent = backbone.to_latent(film)
    assert latent.shape == (1, 8, 9, 4, 4)
    velocity = backbone.velocity(latent, 0.5, backbone.read(["a person smiles"]))
    assert velocity.shape == latent.shape and backbone.to_pixels(latent).shape == film.shape


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.5, 4.5, float("nan"), float("inf")])
def test_illegal_lengths(seconds):
    with pytest.raises(SlotIDError, match="Ask for a length in between"):
        replace(small_backbone().spec, frames=25, frames_min=9, frames_max=49).legal_frames(seconds)


def test_adopting_again_starts_afresh_and_an_adopted_backbone_is_not_saved(tmp_path):
    backbone = small_backbone()
    first = backbone.adopt(LoraPlan(rank=2))
    stir(first)
    second = backbone.adopt(LoraPlan(rank=3, attention="self"))
    assert {name.split("/")[2] for name, _ in second.named_parameters()} == {"attn1"}
    x, text = torch.randn(1, 8, 2, 4, 4), backbone.read(["a man talks"])
    with torch.no_grad():
        assert torch.equal(backbone.velocity(x, 0.5, text, Conditioning(lora=1.0)), backbone.velocity(x, 0.5, text)), "B starts at zero"
    with pytest.raises(SlotIDError, match="frozen backbone"):
        save_tiny(backbone, tmp_path / "x")
    with pytest.raises(SlotIDError, match="'cross' or 'self'"):
        backbone.adopt(LoraPlan(attention="both"))


def test_image_to_video_checkpoints_are_refused():
    from diffusers import WanTransformer3DModel

    from slotid.backbone.wan_driver import WanBackbone

    b = small_backbone()
    config = {k: v for k, v in b.transformer.config.items() if not k.startswith("_")} | {"image_dim": 16, "added_kv_proj_dim": 32}
    transformer = WanTransformer3DModel(**config)
    with pytest.raises(SlotIDError, match="text-to-video"):
        WanBackbone(transformer, b.vae, b.text_encoder, b.tokenizer, b.scheduler, b.spec)


def test_wrong_folders_are_refused(tmp_path, monkeypatch):
    with pytest.raises(SlotIDError, match="No pipeline was found"):
        load_tiny(tmp_path)
    with pytest.raises(SlotIDError, match="Unknown backbone 'huge'; known are tiny"):
        backbone_folder("huge")
    monkeypatch.setenv("SLOTID_TINY", str(tmp_path))
    assert backbone_folder("tiny") == tmp_path
    spec = small_backbone().spec
    spec.save(tmp_path)
    assert Spec.load(tmp_path) == spec
    fields = json.loads((tmp_path / "slotid.json").read_text())
    (tmp_path / "slotid.json").write_text(json.dumps(fields | {"speed": 3}))
    with pytest.raises(SlotIDError, match="speed"):
        Spec.load(tmp_path)


def test_loading_is_quiet(saved):
    code = f"from slotid.backbone.tiny import load_tiny; load_tiny({str(saved[1])!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "" and run.stderr == ""


def test_sizes_of_the_small_world_are_legal():
    assert set(SIZES) <= set(tiny_config())
