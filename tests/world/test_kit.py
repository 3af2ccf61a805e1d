"""The kit: packing OBJ files that the test writes, reading back, and clear words when it is not there."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_kit import write_tiny_kit

from slotid.types import SlotIDError
from slotid.world.kit import KEYS, kit_path, load_kit, pack
from slotid.world.rig import EYE_L, EYE_R, FACE, rig_of

POINTS = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 1], [4, 0, 1]], float)


def write_obj(path, points, faces=True):
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points]
    if faces:
        lines += ["vt 0.1 0.2", "vt 0.9 0.2", "vt 0.9 0.8", "vt 0.1 0.8", "vt 1.5 0.5"]
        lines += ["usemtl M_Face", "f 1/1/1 2/2/2 3/3/3 4/4/4", "usemtl M_BackHead", "f 2/2 5/5 3/3"]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def facekit(tmp_path):
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    write_obj(folder / "generic_neutral_mesh.obj", POINTS)
    write_obj(folder / "identity000.obj", POINTS + [0.5, 0, 0])
    write_obj(folder / "identity001.obj", POINTS + [0, 0.25, 0])
    write_obj(folder / "jawOpen.obj", POINTS + np.array([[0, -1, 0]] + [[0, 0, 0]] * 4))
    write_obj(folder / "eyeBlink_L.obj", POINTS + np.array([[0, 0, 0]] * 4 + [[0, 0, -0.5]]))
    (folder / "vertex_indices.json").write_text('{"landmarks": %s, "other": [1, 2]}' % ([0, 1, 2, 3] * 17))
    return folder


def test_pack_and_load_keep_geometry_materials_and_offsets(facekit, tmp_path):
    kit = load_kit(pack(facekit, tmp_path / "deep" / "kit.npz"))
    np.testing.assert_allclose(kit.neutral, POINTS)
    assert kit.neutral.dtype == np.float32 and kit.faces.dtype == np.int32
    assert kit.expr_names == ("eyeBlink_L", "jawOpen")
    np.testing.assert_allclose(kit.expr[1, 0], [0, -1, 0])
    np.testing.assert_allclose(kit.expr[0, 4], [0, 0, -0.5])
    np.testing.assert_allclose(kit.identity[1], np.tile([0, 0.25, 0], (5, 1)))
    assert kit.materials == ("M_BackHead", "M_Face")
    assert kit.faces[kit.triangles("M_Face")].tolist() == [[0, 1, 2], [0, 2, 3]]  # the quad became a fan
    assert kit.faces[kit.triangles("M_BackHead")].tolist() == [[1, 4, 2]]
    np.testing.assert_allclose(kit.uv[kit.faces_uv[kit.triangles("M_BackHead")][0, 1]], [1.5, 0.5])
    assert kit.landmarks68.tolist() == [0, 1, 2, 3] * 17
    assert len(kit.triangles("M_Teeth")) == 0


def test_pack_takes_the_checkout_too_and_leaves_no_half_file(facekit, tmp_path):
    out = pack(facekit.parent, tmp_path / "kit.npz")
    assert out.is_file() and [p.name for p in tmp_path.glob("*.npz")] == ["kit.npz"]
    with np.load(out, allow_pickle=False) as data:
        assert set(data.files) == set(KEYS)


def test_load_is_cached_until_the_file_changes(facekit, tmp_path):
    path = pack(facekit, tmp_path / "kit.npz")
    assert load_kit(path) is load_kit(path)


def test_missing_kit_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOTID_HEADKIT", str(tmp_path / "none.npz"))
    assert kit_path() == tmp_path / "none.npz"
    with pytest.raises(SlotIDError, match="ICT-FaceKit.*world pack.*SLOTID_HEADKIT"):
        load_kit()
    assert kit_path(tmp_path / "mine.npz") == tmp_path / "mine.npz"  # an argument wins over the environment


def test_not_a_kit_and_half_a_kit_are_refused(tmp_path):
    text = tmp_path / "text.npz"
    text.write_text("hello")
    with pytest.raises(SlotIDError, match="not a head kit"):
        load_kit(text)
    np.savez(tmp_path / "half.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(SlotIDError, match="lacks identity"):
        load_kit(tmp_path / "half.npz")
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, **{k: np.array([{"a": 1}], dtype=object) for k in KEYS})
    with pytest.raises(SlotIDError, match="not a head kit"):
        load_kit(pickled)


def test_bad_folders_are_refused_by_name(facekit, tmp_path):
    with pytest.raises(SlotIDError, match="has no generic_neutral_mesh.obj"):
        pack(tmp_path / "nowhere", tmp_path / "k.npz")
    write_obj(facekit / "jawOpen.obj", POINTS[:3])
    with pytest.raises(SlotIDError, match="jawOpen.obj has 3 vertices where the neutral mesh has 5"):
        pack(facekit, tmp_path / "k.npz")


def test_landmarks_outside_the_mesh_are_refused(facekit, tmp_path):
    (facekit / "vertex_indices.json").unlink()
    with pytest.raises(SlotIDError, match="landmarks name vertex 6470 of a mesh of 5"):
        pack(facekit, tmp_path / "k.npz")


def test_a_folder_without_expressions_is_refused(facekit, tmp_path):
    for name in ("jawOpen", "eyeBlink_L"):
        (facekit / f"{name}.obj").unlink()
    with pytest.raises(SlotIDError, match="2 identity and 0 expression"):
        pack(facekit, tmp_path / "k.npz")


def test_a_kit_of_another_mesh_brings_its_own_parts(tmp_path):
    kit = load_kit(write_tiny_kit(tmp_path / "tiny.npz"))
    rig = rig_of(kit)
    assert [len(eye) for eye in rig.eyes] == [384, 384] and set(rig.face_part) == {FACE, EYE_L, EYE_R}
    assert rig.neutral[rig.eyes[0], 0].mean() > 2 and rig.neutral[rig.eyes[1], 0].mean() < -2  # the person's left is at x > 0
    data = dict(np.load(tmp_path / "tiny.npz"))
    np.savez(tmp_path / "odd.npz", **{**data, "parts": data["parts"] + 5})
    with pytest.raises(SlotIDError, match="parts of shape"):
        load_kit(tmp_path / "odd.npz")
