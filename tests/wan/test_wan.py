"""Wan in the hub's layout: every listed pipeline opens by folder and by name, is driven as the library drives it, and bad ones are
refused."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from wan_small import KINDS, hub_cache, layout_only, small_spec

from slotid import flow
from slotid.backbone import hub
from slotid.backbone.known import KNOWN, known_for
from slotid.backbone.registry import backbone_spec, backbones_here, open_backbone
from slotid.backbone.wan import folder_spec, load_wan
from slotid.generate import Studio, generate, open_studio
from slotid.guidance import guided, two_streams
from slotid.identity.method import Method
from slotid.types import Conditioning, Request, Result, SlotIDError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache, no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize("kind", KINDS)
def test_every_pipeline_opens_by_folder_and_makes_a_film(pipelines, kind):
    backbone = load_wan(pipelines(kind), device="cpu")
    assert backbone.spec == small_spec(kind) and not any(p.requires_grad for part in backbone.parts().values() for p in part.parameters())
    assert ("transformer_2" in backbone.parts()) == (kind == "2.2-a14b")
    *steps, film = generate(Studio(backbone, Method()), Request("a man talks", None, steps=3, preview_every=2, likeness=False))
    assert isinstance(film, Result) and film.clip.frames.shape == (5, 32, 32, 3) and film.clip.frames.std() > 0
    assert film.settings["backbone"] == f"small-{kind}"
    x, text = torch.randn(1, backbone.spec.channels, 2, 4, 4), backbone.read(["a man talks"])
    with torch.no_grad():
        for t in (0.95, 0.3):
            _, net = backbone.expert(t)
            stock = net(x, torch.tensor([t * 1000]), text, **control(backbone, x), return_dict=False)[0]
            assert torch.equal(backbone.velocity(x, t, text), stock), "an empty conditioning equals the library's forward"


def control(backbone, x):
    """VACE's forward wants control channels; at scale 0 they are without effect."""
    config = backbone.transformer.config
    if "vace_layers" not in config:
        return {}
    return {"control_hidden_states": torch.zeros(1, config.vace_in_channels, *x.shape[2:]), "control_hidden_states_scale": torch.zeros(2)}


@pytest.mark.parametrize("kind", ["2.2-5b", "2.2-a14b"])
def test_diffusers_own_pipeline_makes_what_our_walk_makes(pipelines, kind):
    """The whole WanPipeline against ours: two experts with a guidance of their own, and the 5B's time per token."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

    pipeline = WanPipeline.from_pretrained(pipelines(kind), local_files_only=True)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline.set_progress_bar_config(disable=True)
    ours = load_wan(pipelines(kind), device="cpu")
    noise = torch.randn(1, ours.spec.channels, *ours.spec.grid(5))
    low = ours.spec.text_guidance_low
    theirs = pipeline(
        "a man talks", height=32, width=32, num_frames=5, num_inference_steps=4, guidance_scale=3.0, guidance_scale_2=low, latents=noise,
        output_type="latent", max_sequence_length=ours.spec.text_length,
    ).frames  # fmt: skip
    path = pipeline.scheduler.sigmas
    texts = {told: ours.read(["a man talks" if told else ""]) for told in (True, False)}
    used = set()

    def field(x, t):
        used.add(ours.expert(t)[0])
        streams = two_streams(low if low and t < ours.spec.boundary else 3.0)
        with torch.no_grad():
            return guided(streams, lambda group: [ours.velocity(x, t, texts[s.text]) for s in group])

    *_, (_, x, _) = flow.walk(noise, field, path, "euler")
    assert used == ({"transformer", "transformer_2"} if low else {"transformer"})
    assert torch.allclose(x, theirs, atol=5e-4), float((x - theirs).abs().max())
    assert (x - noise).abs().max() > 0.1


def test_the_experts_change_over_inside_the_backbone(pipelines):
    backbone = load_wan(pipelines("2.2-a14b"), device="cpu")
    x, text, t = torch.randn(3, 8, 2, 4, 4), backbone.read(["a man talks"] * 3), torch.tensor([0.9, 0.2, 0.875])
    context = torch.randn(3, 2, 32)
    with torch.no_grad():
        mixed = backbone.velocity(x, t, text, Conditioning(context=context))
        alone = [backbone.velocity(x[i : i + 1], t[i], text[i : i + 1], Conditioning(context=context[i : i + 1])) for i in range(3)]
        other = backbone.transformer_2(x[:1], torch.tensor([900.0]), text[:1], return_dict=False)[0]
    assert torch.allclose(mixed, torch.cat(alone), atol=1e-5), "a batch on both sides goes to each expert and comes back in order"
    assert [backbone.expert(v)[0] for v in (0.9, 0.875, 0.8749)] == ["transformer", "transformer", "transformer_2"]
    assert (backbone.velocity(x[:1], 0.9, text[:1]) - other).abs().max() > 1e-3, "the experts differ"


@pytest.mark.parametrize("kind", ["2.1", "2.2-a14b", "vace"])
def test_a_backbone_that_predicts_the_clean_latent_gives_velocities(pipelines, kind, tmp_path):
    """The scheduler's config says what the output means; the same weights, read either way, differ by the algebra of the path."""
    from slotid.backbone.layers import ReferenceImages

    folder = tmp_path / "sample"
    shutil.copytree(pipelines(kind), folder)
    (folder / "slotid.json").unlink()
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "sample"}))
    assert folder_spec(folder).predicts == "sample"
    told, clean = load_wan(pipelines(kind), device="cpu"), load_wan(folder, device="cpu")
    given, frames = Conditioning(), 2
    if kind == "vace":
        pictures = torch.arange(32 * 32 * 3).reshape(1, 32, 32, 3).remainder(255).byte().numpy()
        given, frames = Conditioning(residual=ReferenceImages(pictures, 1.0, (2, 4, 4))), 3
    x, text = torch.randn(1, 8, frames, 4, 4), told.read(["a man talks"])
    with torch.no_grad():
        for t in (0.9, 0.4):
            expected = (x - told.velocity(x, t, text, given)) / t
            assert torch.allclose(clean.velocity(x, t, text, given), expected, atol=1e-4)


def test_the_low_guidance_holds_only_where_nothing_was_asked(pipelines):
    studio = Studio(load_wan(pipelines("2.2-a14b"), device="cpu"), Method())
    wish = Request("a man talks", None, steps=3, preview_every=0, likeness=False)

    def latent_of(request):
        *_, film = generate(studio, request)
        return film.clip.frames.astype(int)

    assert (latent_of(wish) != latent_of(replace(wish, text_guidance=3.0))).any(), "3 above and 2 below the boundary, against 3 everywhere"
    same = replace(studio.backbone.spec, text_guidance_low=3.0)
    studio.backbone.spec = same
    assert (latent_of(wish) == latent_of(replace(wish, text_guidance=3.0))).all()


def test_names_come_from_a_faked_hub_cache_offline(pipelines, cache):
    known = KNOWN["wan2.1-1.3b"]
    with pytest.raises(SlotIDError, match="not on this machine yet; fetch it once with `python -m slotid fetch wan2.1-1.3b`.*27 GiB"):
        open_backbone("wan2.1-1.3b")
    snapshot = hub_cache(cache, known.repository, known.revision, pipelines("2.1"))
    assert hub.locate("wan2.1-1.3b") == snapshot == hub.locate(known.repository)
    assert backbones_here() == ["tiny", "wan2.1-1.3b"]
    assert open_backbone("wan2.1-1.3b", device="cpu").spec.name == "small-2.1"
    assert backbone_spec("wan2.1-1.3b").frames == 5
    with pytest.raises(SlotIDError, match="not on this machine"):
        hub.locate("wan2.1-1.3b@" + "0" * 40)  # another revision is another thing
    hub_cache(cache, "somebody/wan", "1" * 40, pipelines("2.1"))
    assert hub.locate("somebody/wan").name == "1" * 40 and hub.locate("somebody/wan@main").name == "1" * 40


def test_known_checkpoints_are_pinned_and_found_by_repository():
    assert len(KNOWN) == 5 and all(len(k.revision) == 40 and set(k.revision) <= set("0123456789abcdef") for k in KNOWN.values())
    assert known_for("Wan-AI/Wan2.2-TI2V-5B-Diffusers").name == "wan2.2-5b" and known_for("wan2.2-5b@abc").revision == "abc"
    assert known_for("tiny") is None


def test_a_folder_of_the_real_sizes_gets_its_frame_rate_and_guidance(tmp_path):
    known = KNOWN["wan2.2-a14b"]
    twin = dict(boundary_ratio=0.875, transformer_2=["diffusers", "WanTransformer3DModel"])
    spec = folder_spec(layout_only(tmp_path / "a14b", known.transformer, known.vae, **twin))
    assert (spec.name, spec.boundary, spec.text_guidance, spec.text_guidance_low, spec.fps) == ("wan2.2-a14b", 0.875, 4.0, 3.0, 16.0)
    five = KNOWN["wan2.2-5b"]
    spec = folder_spec(layout_only(tmp_path / "5b", five.transformer, five.vae))
    assert (spec.name, spec.channels, spec.space, spec.size, spec.width, spec.text_length) == ("wan2.2-5b", 48, 16, (704, 1280), 3072, 512)
    assert spec.legal_frames(None) == 121 and spec.grid(121) == (31, 44, 80)
    strange = folder_spec(layout_only(tmp_path / "mine", known.transformer | {"num_layers": 7}, known.vae))
    assert strange.name == "mine" and strange.depth == 7 and strange.boundary is None and strange.predicts == "velocity"


def broken(source: Path, target: Path, **changes) -> Path:
    """A copy with entries of json files changed ({'file.json': {...}}) or files removed (None)."""
    shutil.copytree(source, target)
    for name, change in changes.items():
        path = next(target.rglob(name))
        if change is None:
            path.unlink()
        else:
            path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return target


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"model_index.json": {"_class_name": "WanImageToVideoPipeline"}}, "image-to-video checkpoint: tokens before the text mean"),
        ({"model_index.json": {"_class_name": "StableDiffusionPipeline"}}, "StableDiffusionPipeline, not a Wan"),
        ({"model_index.json": {"vae": [None, None]}}, "lacks its vae"),
        ({"model_index.json": None}, "model_index.json is missing"),
        ({"tokenizer.json": None, "tokenizer_config.json": {"tokenizer_class": "None"}}, "could not be read"),
    ],
)
def test_other_layouts_are_refused_with_the_reason(pipelines, tmp_path, changes, words):
    with pytest.raises(SlotIDError, match=words):
        load_wan(broken(pipelines("2.1"), tmp_path / "x", **changes), device="cpu")


def test_image_to_video_weights_are_refused_by_what_they_are(pipelines, tmp_path):
    folder = broken(pipelines("2.1"), tmp_path / "x")
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 20}))
    with pytest.raises(SlotIDError, match="20 input channels for 8 of the latent"):
        hub.check_layout(folder)
    weights = next((folder / "vae").glob("*.safetensors"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 8}))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(SlotIDError, match="a pickle that could run code; give a safetensors copy"):
        hub.check_layout(folder)
    weights.with_suffix(".bin").unlink()
    with pytest.raises(SlotIDError, match="download was not finished"):
        hub.check_layout(folder)
    (folder / "vae" / "x.safetensors").touch()
    (folder / "vae" / "d.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "x.safetensors"}}))
    with pytest.raises(SlotIDError, match="lacks 1 of 2 weight files \\(part-1"):
        hub.check_layout(folder)
    original = tmp_path / "original"
    original.mkdir()
    (original / "models_t5_umt5-xxl-enc-bf16.pth").touch()
    with pytest.raises(SlotIDError, match="original layout; give the repository whose name ends in -Diffusers"):
        hub.locate(original)


def response(error, status=404):
    """An error of the hub's library, as it raises it."""
    import httpx2

    return error("refused", response=httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co")))


def test_what_can_go_wrong_while_fetching_is_one_sentence(cache, monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    def failing(error):
        def snapshot_download(*args, **kwargs):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "room_for", lambda gib: None)
    cases = [
        (response(errors.GatedRepoError, 403), "is gated: accept its terms"),
        (response(errors.RepositoryNotFoundError), "no repository Wan-AI"),
        (response(errors.RevisionNotFoundError), "has no revision"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full.*HF_HOME"),
        (ConnectionError("no route"), "cannot be reached.*check the network"),
        (errors.OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE is set"),
        (errors.LocalEntryNotFoundError("none"), "cannot be reached"),
        (response(errors.HfHubHTTPError, 500), "refused"),
    ]
    for error, words in cases:
        failing(error)
        with pytest.raises(SlotIDError, match=words):
            hub.fetch("wan2.1-14b")
    with pytest.raises(SlotIDError, match="cannot be fetched; known are"):
        hub.fetch("wan9")
    monkeypatch.undo()
    with pytest.raises(SlotIDError, match="GiB are to be fetched but"):
        hub.room_for(1e9)


def test_a_fetch_takes_no_files_that_could_run_code(pipelines, cache, monkeypatch):
    import huggingface_hub

    asked = {}

    def snapshot_download(repository, **kwargs):
        asked.update(kwargs, repository=repository)
        return str(pipelines("2.1"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "room_for", lambda gib: None)
    assert hub.fetch("wan2.1-1.3b") == pipelines("2.1")
    assert asked["revision"] == KNOWN["wan2.1-1.3b"].revision and asked["repository"] == KNOWN["wan2.1-1.3b"].repository
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".py", "*")) for pattern in asked["allow_patterns"])


def test_a_method_without_its_backbone_is_refused_by_name(pipelines):
    with pytest.raises(SlotIDError, match="'exemplars' needs 'residual', which backbone 'small-2.1' cannot do"):
        open_studio(pipelines("2.1"), "exemplars", "cpu")
    with pytest.raises(SlotIDError, match="No identity weights"):
        open_studio(pipelines("2.1"), "slots", "cpu")
    with pytest.raises(SlotIDError, match="has no weights of its own"):
        open_studio(pipelines("2.1"), "none", "cpu", adapter="somebody/adapter")
