"""Geometry: what triangles and strands cover, depth order, turning the head, shadows; each against a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from slotid.world import raster as R
from slotid.world.compiled import HERE, sources_digest
from slotid.world.rig import head_share


def buffers(n=32):
    return np.full((n, n), R.FAR, np.float32), np.full((n, n), R.EMPTY, np.int32), np.zeros((n, n, 2), np.float32)


def test_two_triangles_cover_a_square_once_and_exactly():
    p = np.array([[4, 4, 1], [20, 4, 1], [20, 20, 3], [4, 20, 3]], np.float32)
    depth, number, bary = buffers()
    R.draw_triangles(p, np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.zeros(2, np.int8), depth, number, bary)
    on = number >= 0
    assert on.sum() == 256 and on[4:20, 4:20].all() and set(number[on]) == {0, 1}
    rows = 1 + 2 * (np.arange(4, 20) + 0.5 - 4) / 16
    np.testing.assert_allclose(depth[4:20, 10], rows, atol=1e-5)


def test_the_nearer_wins_whatever_the_order():
    near, far = [[2, 2, 1], [30, 2, 1], [2, 30, 1]], [[2, 2, 5], [30, 2, 5], [2, 30, 5]]
    for order in ((near, far), (far, near)):
        depth, number, bary = buffers()
        R.draw_triangles(
            np.array(order[0] + order[1], np.float32), np.arange(6, dtype=np.int32).reshape(2, 3), np.zeros(2, np.int8), depth, number, bary
        )
        assert set(number[number >= 0]) == {0 if order[0] is near else 1}


def test_culling_drops_the_back_side_only():
    p = np.array([[2, 2, 1], [2, 30, 1], [30, 2, 1]], np.float32)  # counter-clockwise with y down: seen from the front
    for faces, drawn in (([[0, 1, 2]], True), ([[0, 2, 1]], False)):
        depth, number, bary = buffers()
        R.draw_triangles(p, np.array(faces, np.int32), np.ones(1, np.int8), depth, number, bary)
        assert (number >= 0).any() == drawn


@pytest.mark.parametrize("end", [(26.0, 6.0), (26.0, 24.0), (6.0, 26.0), (6.2, 6.0)])
def test_a_strand_covers_its_capsule(end):
    p = np.array([[6, 6, 2], [*end, 2]], np.float32)
    depth, number, bary = buffers()
    R.draw_strands(
        p, np.array([0], np.int32), np.full(2, 2.0, np.float32), np.float32(1), np.float32(0.5), np.float32(1), 100, depth, number, bary
    )
    y, x = np.mgrid[0:32, 0:32] + 0.5
    d = p[1, :2] - p[0, :2]
    t = np.clip(((x - 6) * d[0] + (y - 6) * d[1]) / (d @ d), 0, 1)
    expected = np.hypot(x - 6 - t * d[0], y - 6 - t * d[1]) <= 2
    assert ((number == 100) != expected).sum() <= 2


def test_strands_behind_skin_stay_hidden():
    depth, number, bary = buffers()
    depth[:], number[:] = 3.0, 7
    p = np.array([[4, 4, 6], [28, 28, 6]], np.float32)
    R.draw_strands(
        p, np.array([0], np.int32), np.ones(2, np.float32), np.float32(1), np.float32(1), np.float32(1), 100, depth, number, bary
    )
    assert (number == 7).all()


def test_sparse_expressions_equal_dense():
    rng = np.random.default_rng(0)
    base, dense = rng.normal(size=(20, 3)).astype(np.float32), np.zeros((3, 20, 3), np.float32)
    index = [np.array([0, 3, 5]), np.array([], int), np.array([5, 19])]
    for e, i in enumerate(index):
        dense[e, i] = rng.normal(size=(len(i), 3))
    weights = np.array([0.5, 1.0, 0.25], np.float32)
    out = np.empty_like(base)
    offset = np.concatenate([dense[e, i] for e, i in enumerate(index)]).astype(np.float32)
    R.deform(base, np.cumsum([0] + [len(i) for i in index]), np.concatenate(index).astype(np.int32), offset, weights, out)
    np.testing.assert_allclose(out, base + np.tensordot(weights, dense, 1), atol=1e-6)


def test_head_turns_have_the_signs_that_motion_promises():
    nose, crown = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert (R.head_levels(30, 0, 0)[-1] @ nose)[0] > 0.4  # yaw: to the picture's right
    assert (R.head_levels(0, 30, 0)[-1] @ nose)[1] > 0.4  # pitch: up
    assert (R.head_levels(0, 0, 30)[-1] @ crown)[0] > 0.4  # roll: clockwise
    levels = R.head_levels(50, -20, 10)
    np.testing.assert_allclose(levels[0], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(levels @ levels.transpose(0, 2, 1), np.tile(np.eye(3), (33, 1, 1)), atol=1e-5)


def test_shoulders_stay_and_skull_turns_whole_and_the_neck_is_smooth():
    line = np.stack([np.zeros(60), np.linspace(-20, 14, 60), np.zeros(60)], 1).astype(np.float32)
    share = head_share(line)
    assert share[0] == 0 and share[-1] == 1 and (np.diff(share) >= 0).all() and np.diff(share).max() < 0.12
    ahead = line + np.array([0, 0, 5], np.float32)
    out = np.empty_like(ahead)
    R.turn_head(ahead, share, R.head_levels(40, 0, 0), np.zeros(3, np.float32), out)
    np.testing.assert_allclose(out[0], ahead[0], atol=1e-6)
    np.testing.assert_allclose(out[-1], R.head_levels(40, 0, 0)[-1] @ ahead[-1], atol=1e-5)


def test_normals_of_a_ball_point_outwards():
    from tiny_kit import tiny_kit

    kit = tiny_kit()
    egg = kit.neutral[: kit.parts[0, 1]]
    n = np.empty_like(egg)
    R.vertex_normals(egg, kit.faces[kit.face_material == 0], n)
    out = egg - egg * [0, 1, 0]
    middle = (egg[:, 1] > -2) & (egg[:, 1] < 10)
    assert ((n * out).sum(1)[middle] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1, atol=1e-4)


def test_a_plate_casts_its_shadow_and_nothing_else():
    depth = np.full((40, 40), R.FAR, np.float32)
    plate = np.array([[10, 10, 0], [10, 30, 0], [30, 10, 0], [30, 30, 0]], np.float32)
    R.draw_depth(plate, np.array([[0, 1, 2], [1, 3, 2]], np.int32), depth)
    below = np.array([[20, 20, 5], [5, 5, 5], [20, 20, 0], [10, 20, 5]], np.float32)
    lit = np.empty(4, np.float32)
    R.lit_share(below, depth, 0.4, 3.0, 5, np.ones(4, np.uint8), lit)
    assert lit[0] == 0 and lit[1] == 1 and lit[2] == 1 and 0.2 < lit[3] < 0.8


def test_only_what_the_picture_shows_is_asked_for():
    faces = np.array([[0, 1, 2], [2, 3, 4], [5, 6, 7]], np.int32)  # the second shares a corner with the first, the third none
    first = np.array([0, 1, 4], np.int32)  # three segments: numbers 3, 4, 5
    number = np.array([[R.EMPTY, 0], [5, R.EMPTY]], np.int32)
    mesh, hair = np.ones(8, np.uint8), np.ones(6, np.uint8)
    R.mark_seen(number, faces, first, mesh, hair)
    assert mesh.tolist() == [2, 2, 2, 1, 1, 0, 0, 0] and hair.tolist() == [0, 0, 0, 0, 1, 1]


def test_projection_meets_the_pinhole():
    p, out = np.array([[1, 2, 0], [0, 0, 0]], np.float32), np.empty((2, 3), np.float32)
    R.project(p, np.eye(3, dtype=np.float32), np.array([0, 0, 100], np.float32), np.float32(1000), np.float32(50), np.float32(60), out)
    np.testing.assert_allclose(out, [[60, 40, 100], [50, 60, 100]], atol=1e-3)


def test_machine_code_is_kept_by_what_all_compiled_files_say(tmp_path):
    """A changed callee in another file must not leave its caller with the old one: numba alone would."""
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(f"from x import jit  # {name}\n")
    (tmp_path / "plain.py").write_text("nothing compiled\n")
    first = sources_digest(tmp_path)
    (tmp_path / "plain.py").write_text("something else\n")
    assert sources_digest(tmp_path) == first
    (tmp_path / "b.py").write_text("from x import jit  # changed\n")
    assert sources_digest(tmp_path) != first
    assert sources_digest(HERE) in R.draw_triangles._cache.cache_path
