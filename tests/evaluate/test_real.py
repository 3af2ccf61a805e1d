"""Real clips: halves, verification, and the whole mode on clips of two people where there are any."""

import numpy as np
import pytest
import torch

from slotid.evaluate.real import READ, agreement, clips_in, code_vector, evaluate_real, halves, real_markdown, verification
from slotid.types import IdentityCode, SlotIDError


def test_verification_of_known_codes():
    rng = np.random.default_rng(0)
    people = rng.normal(size=(6, 40))
    found = verification(people + 0.01 * rng.normal(size=people.shape), people)
    assert found["auc"] == 1 and found["equal_error_rate"] == 0 and found["same"] > 0.95 > found["different"]
    assert found["pairs"] == {"same": 6, "different": 30} and found["nearest_is_own"] == 1
    turned = verification(people, np.roll(people, 1, axis=0))
    assert turned["nearest_is_own"] == 0
    chance = [verification(rng.normal(size=(6, 40)), rng.normal(size=(6, 40)))["auc"] for _ in range(30)]
    assert 0.4 < np.mean(chance) < 0.6


def test_what_all_codes_share_is_no_likeness():
    rng = np.random.default_rng(1)
    shared, people = 100 * rng.normal(size=40), rng.normal(size=(5, 40))
    assert verification(people + shared, people + shared)["different"] < 0.5


def test_code_vector_is_in_the_order_of_names():
    code = IdentityCode("slots", 1, {"b": torch.ones(2, 2), "a": torch.zeros(3)})
    assert code_vector(code).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_halves_split_the_seen_time():
    from small import small_face

    first, second = halves(small_face(frames=24, hidden=tuple(range(6))))
    assert first.seen.sum() == 9 and second.seen.sum() == 9 and first.seconds[-1] < second.seconds[0]
    with pytest.raises(SlotIDError, match="10 are needed"):
        halves(small_face(frames=8))


def test_a_reading_is_held_against_landmarks_and_stillness_says_nothing():
    from small import small_face

    from slotid.face.pose import LEVEL, UPRIGHT
    from slotid.world.performance import EXPRESSIONS

    class Movement(torch.nn.Module):
        """Tells mouth and lids by how bright a crop is: the brighter, the wider open."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def curves(self, crops, seen):
            curves = torch.zeros(*seen.shape, 62)
            shown = crops.mean((2, 3, 4))
            curves[..., EXPRESSIONS.index("jawOpen")] = shown
            curves[..., EXPRESSIONS.index("eyeBlink_L")] = -shown
            return curves

    face = small_face(frames=20)
    opening = np.abs(np.sin(np.arange(20)))
    face.crops[:] = (100 + 100 * opening[:, None, None, None]).astype(np.uint8)
    mesh = np.random.default_rng(0).uniform(-0.3, 0.3, (478, 3))
    for right, left in LEVEL:
        mesh[left] = mesh[right] * [-1, 1, 1]
    for above, below in UPRIGHT:
        mesh[above], mesh[below] = (0, -0.5, 0), (0, 0.5, 0)
    for upper, lower in ((13, 14), (159, 145), (386, 374)):
        mesh[lower] = mesh[upper] + [0, 0.05, 0]
    face.landmarks[:] = 100 + 60 * mesh
    for point in (14, 145, 374):  # lower lip and lower lids go down
        face.landmarks[:, point, 1] += 10 * opening
    found = agreement(face, Movement())
    assert found["mouth opening"] > 0.95 and found["lids closing"] > 0.95 and found["brows raised"] is None and set(found) == set(READ)


def test_folders(tmp_path):
    with pytest.raises(SlotIDError, match="no folder"):
        clips_in(tmp_path / "none")
    (tmp_path / "one.mp4").write_bytes(b"x")
    with pytest.raises(SlotIDError, match="1 clips"):
        clips_in(tmp_path)


def test_clips_of_two_people(two_faces, judges, tmp_path):
    """From files to the report, with the recogniser's part left out."""
    from small import small_studio

    from slotid.clip import write_clip

    for name, clip in zip("ab", two_faces, strict=True):
        write_clip(tmp_path / f"{name}.mp4", clip)
    (tmp_path / "c.mp4").write_bytes(b"not a film")
    report = evaluate_real(tmp_path, small_studio(), judges)
    assert len(report["clips"]) == 2 and set(report["skipped"]) == {"c.mp4"} and report["detection_rate"] > 0.9
    assert report["codes"]["pairs"] == {"same": 2, "different": 2} and "looks" in report
    assert "c.mp4" in real_markdown(report) and "through the VAE and back: " in real_markdown(report)
    assert all(3 < row["psnr"] < 40 for row in report["clips"])
