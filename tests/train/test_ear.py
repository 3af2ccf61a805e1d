"""The frame reader and the ear learn; a mirror is a mirror; what is laid upon played curves is how the reader errs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import small_backbone, small_method, stir
from small_world import embedder

from slotid.backbone.backbone import LoraPlan
from slotid.identity.movement import CURVES, FrameReader
from slotid.pixels import signed
from slotid.train import ear
from slotid.train.ear import Reading, hear, played, train_ear
from slotid.train.frames import face_batch, faces_of, mirror_curves, told, train_reader
from slotid.train.loop import Plan
from slotid.train.motion import motion_of, scale_of
from slotid.train.movement_recipes import split, thinned_lora
from slotid.train.pairs import moments
from slotid.world.performance import EXPRESSIONS
from slotid.world.person import PERSON_SIZE
from slotid.world.shards import pack_shard, read_shards
from slotid.world.take import direct

PLAN = Plan(steps=120, batch=12, lr=5e-3, warmup=5, ema=0.9)


def pictures_of(curves: torch.Tensor) -> np.ndarray:
    """(N, R, 96, 96, 3) uint8 crops with a patch on the right as bright as the smile's left half, one on the left for the other."""
    shown = np.random.default_rng(0).integers(100, 110, (*curves.shape[:2], 96, 96, 3)).astype(np.uint8)
    for side, columns in (("L", slice(52, 76)), ("R", slice(20, 44))):
        size = (100 * curves[:, :, EXPRESSIONS.index(f"mouthSmile_{side}")]).numpy().astype(np.uint8)
        shown[:, :, 36:60, columns] += size[:, :, None, None, None]
    return shown


def test_curves_of_a_mirror():
    curves = torch.randn(3, 5, CURVES)
    other = mirror_curves(curves)
    left, right = (EXPRESSIONS.index(f"mouthSmile_{side}") for side in "LR")
    assert torch.equal(other[..., left], curves[..., right]) and torch.equal(mirror_curves(other), curves)
    assert torch.equal(other[..., EXPRESSIONS.index("jawLeft")], curves[..., EXPRESSIONS.index("jawRight")])
    count = len(EXPRESSIONS)
    assert torch.equal(other[..., count:], curves[..., count:] * torch.tensor([-1.0, 1, -1, -1, 1]))  # yaw, pitch, roll, gaze


def test_a_reader_learns_curves_it_can_see_of_the_rows_it_is_given(tmp_path):
    torch.manual_seed(0)
    curves = torch.rand(60, 12, CURVES)
    pictures, scale = pictures_of(curves), scale_of(curves)
    part = (pictures, curves, np.arange(50))
    batch, again = (face_batch([part], np.random.default_rng(0), 4) for _ in range(2))
    assert torch.equal(batch["pictures"], again["pictures"]) and batch["pictures"].shape[:2] == batch["curves"].shape[:2]
    only = face_batch([(pictures, curves, np.array([7]))], np.random.default_rng(0), 4)["curves"]
    assert all(any(torch.equal(run, turned) for turned in (only[0], only[0].flip(0))) for run in only)
    reader = train_reader([part], scale, PLAN, tmp_path)
    share = told(reader, pictures[50:], curves[50:], scale)
    smile, brow = EXPRESSIONS.index("mouthSmile_L"), EXPRESSIONS.index("browDown_L")
    assert share[smile] > 0.5 > 0.1 > share[brow]


def test_faces_are_cut_once_in_the_order_of_their_latents(tmp_path):
    points = np.tile(np.array([[26, 28], [38, 28], [32, 34], [27, 40], [37, 40]], np.float32), (17, 1, 1))
    films = np.random.default_rng(0).integers(0, 256, (2, 17, 64, 64, 3)).astype(np.uint8)
    pack_shard(tmp_path / "shard_0000007_0000009.zip", [(direct(7 + k, 0, 17, 12.0), films[k], points) for k in range(2)])
    found = faces_of(tmp_path, tmp_path / "faces.npy", size=96)
    records = read_shards(tmp_path)
    assert [*zip(found.people, found.index, strict=True)] == [(r.person, r.index) for r in records]
    assert found.pictures.shape == (len(records), found.curves.shape[1], 96, 96, 3) and found.pictures.dtype == np.uint8
    _, picked = moments(records[0].seconds)
    assert torch.equal(found.curves[1], torch.from_numpy(motion_of(records[1])[picked]))
    stamp = (tmp_path / "faces.npy").stat().st_mtime_ns
    again = faces_of(tmp_path, tmp_path / "faces.npy", size=96)
    assert (tmp_path / "faces.npy").stat().st_mtime_ns == stamp and torch.equal(again.curves, found.curves)


def test_played_people_are_those_of_their_seeds():
    curves, habits = played(3, [0, 4, 9])
    assert curves.shape == (3, 3, CURVES) and torch.equal(curves, played(3, [0, 4, 9])[0])
    assert not torch.equal(habits[0], habits[1]) and torch.isfinite(habits).all()


def test_what_is_laid_upon_curves_is_how_the_reader_errs():
    torch.manual_seed(0)
    truth = torch.randn(300, 8, 4) + 2 * torch.randn(300, 1, 4)
    bias, noise = 0.5 * torch.randn(300, 1, 4), 0.3 * torch.randn(300, 8, 4)
    reading = Reading.of(0.6 * truth + bias + noise, truth, ridge=1e-3)
    laid = reading.lay(truth, np.random.default_rng(0))
    own = truth - truth.mean(1, keepdim=True)
    moving = laid - laid.mean(1, keepdim=True)
    assert float((moving * own).sum() / own.square().sum()) == pytest.approx(0.6, abs=0.05)
    assert float((moving - 0.6 * own).std()) == pytest.approx(0.3 * (7 / 8) ** 0.5, abs=0.03)


def test_an_ear_learns_habits_of_people_it_has_not_met_and_leaves_the_rest(tmp_path):
    torch.manual_seed(0)
    method = small_method(movement=True)
    before = {name: value.clone() for name, value in method.state_dict().items()}

    def people(count: int):
        """Their second number of the smile is how much the first curves swing."""
        vectors = torch.randn(count, PERSON_SIZE)
        curves = 0.1 * torch.randn(count, 10, CURVES)
        smile = method_group()
        size = (1 + 0.5 * vectors[:, smile.start + 1, None]).clamp_min(0.1)
        curves[..., :12] += (size * torch.sin(torch.arange(10.0) + torch.rand(count, 1) * 6))[..., None]
        return curves, vectors

    def method_group() -> slice:
        return ear.told_groups()[ear.HABIT_SLOTS[0]]

    curves, vectors = people(40)
    crops, pictures = torch.randn(40, 10, 8, 4, 4), np.random.default_rng(0).integers(0, 256, (40, 10, 96, 96, 3)).astype(np.uint8)
    filmed = replace(hear(method, crops, pictures, (torch.arange(10) / 8).expand(40, -1), vectors), curves=curves)
    whole = method.encode(crops, filmed.seconds, torch.ones(40, 10).bool(), torch.full((40,), 5), signed(pictures))
    assert torch.allclose(filmed.mass.sum((1, 2)), whole.mass[:, 5:].sum(1))
    plays, told_of = people(400)
    habits = slice(method_group().start, ear.told_groups()[ear.HABIT_SLOTS[-1]].stop)
    learner, done = train_ear(
        method, embedder(), filmed, curves, (plays, told_of[:, habits]), replace(PLAN, steps=500, lr=5e-3, batch=48), tmp_path
    )
    new, vectors = people(60)
    rows = torch.arange(60) % 40
    assert learner.tells(replace(filmed.of(rows), curves=new, vectors=vectors))["smile"] > 0.02  # one of twelve numbers is 0.08
    assert done
    changed = {name.split(".")[0] for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"movement"} and torch.equal(method.movement.reader.out.weight, before["movement.reader.out.weight"])


def test_people_are_split_by_seed_and_nobody_is_on_two_sides():
    people = np.repeat(np.arange(100, 200), 2)
    known, others, held = (set(people[::-1][rows]) for rows in split(people[::-1]))
    assert len(known) == 65 and len(held) == 7 and not (known & others or known & held or others & held) and len(others) == 28


def test_a_reader_starts_small():
    assert sum(p.numel() for p in FrameReader().parameters()) < 430_000
    assert [value.shape for value in scale_of(torch.randn(4, 5, CURVES))] == [(CURVES,)] * 2


def test_a_thinned_lora_keeps_what_adds_most_at_the_same_strength(tmp_path):
    lora = small_backbone().adopt(LoraPlan(rank=3, alpha=0.6))
    stir(lora)
    small_method().save_pretrained(tmp_path, "tiny", lora)

    def added(module) -> torch.Tensor:
        weights, plan = module.state_dict(), module.plan
        names = sorted(key.removesuffix("lora_A") for key in weights if key.endswith("lora_A"))
        return torch.stack([plan.alpha / plan.rank * weights[n + "lora_B"] @ weights[n + "lora_A"] for n in names if "to_q" in n])

    whole = added(lora)
    assert torch.allclose(added(thinned_lora(small_backbone(), tmp_path, 3)), whole, atol=1e-5)
    thin = thinned_lora(small_backbone(), tmp_path, 1)
    assert thin.plan.rank == 1 and thin.plan.alpha == pytest.approx(0.2)
    lost, largest = (added(thin) - whole).square().sum((1, 2)), torch.linalg.svdvals(whole)
    assert torch.allclose(lost, largest[:, 1:].square().sum(1), rtol=1e-3)
    small_method().save_pretrained(tmp_path / "none", "tiny")
    assert thinned_lora(small_backbone(), tmp_path / "none") is None
