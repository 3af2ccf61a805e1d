"""One person in one scene, moving: geometry, light and hair become frames of film."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slotid.types import SlotIDError
from slotid.world import clothes, glasses, paint, raster, shade
from slotid.world.backdrop import MARGIN, paint_backdrop
from slotid.world.barber import fall
from slotid.world.body import body_of
from slotid.world.hair import collider
from slotid.world.kit import Kit
from slotid.world.looks import Looks
from slotid.world.occlusion import HALF, MIDDLE, frame_along, sky_share
from slotid.world.rig import CLOTH, EYE_L, EYE_R, FRAME, HEAD, PIVOT, SOCKET, TEETH, head_share, rig_of
from slotid.world.scene import COLOUR_RGB, Scene

if TYPE_CHECKING:
    from slotid.world.performance import Motion

SUPER = 2  # samples per pixel and axis
SHADOW = 176  # side of the key light's shadow map, pixels
EYE_REST = np.array([0.02, 0.0, 1.0])  # where a straight gaze points from the left eyeball's centre (mirrored for the right)


class Renderer:
    """Everything that stays the same over a clip, made once; then ``render`` and ``points`` per frame.

    Args:
        kit: the packed head kit.
        looks: the person.
        scene: light, background, clothes, camera.
        size: side of the square film in pixels, 32 to 1024.
    """

    def __init__(self, kit: Kit, looks: Looks, scene: Scene, size: int = 128):
        if not 32 <= int(size) <= 1024:
            raise SlotIDError(f"A film of {size} px was asked of the head world; give a size from 32 to 1024.")
        self.kit, self.looks, self.scene, self.size = kit, looks, scene, int(size)
        rig = self.rig = rig_of(kit)
        body = body_of(kit, looks, size)
        skin, self.texture = body.skin, body.texture
        self.skin = skin
        self._dress(skin)
        self.strands = fall(body.hair, collider(np.concatenate([skin[self._bare], self._extra])))
        self.lashes = []
        upper = (self.strands.kind == 3) & (self.strands.normal[:, 1] > 0)
        for name, side in (("eyeBlink_L", 1), ("eyeBlink_R", -1)):
            which = np.flatnonzero(upper & (np.sign(self.strands.points[:, 0]) == side))
            if name in rig.expr_names and len(which):
                self.lashes.append((which, 0.55 * self.strands.along[which], rig.expr_names.index(name)))
        self._light()
        self._occlude()
        self._colours()
        self._camera()
        self._buffers()

    # -- made once ---------------------------------------------------------------------------------------------------------------

    def _dress(self, skin: np.ndarray) -> None:
        """Join skin, garment and glasses into one mesh; drop the skin that the garment hides."""
        rig, scene = self.rig, self.scene
        mean = rig.neutral
        ear = (np.abs(mean[:, 0]) > 7.6) & (mean[:, 1] < 5.2) & (mean[:, 1] > -3.5) & (mean[:, 2] > -3.6) & (mean[:, 2] < 3.5)
        self._bare = np.flatnonzero((rig.part <= HEAD) & ~ear)
        garment = scene.facts["clothing"].split("_", 1)[1]
        neck = skin[(rig.part <= HEAD) & (mean[:, 1] < 4)]
        coat = clothes.sew(garment, neck, scene.seed)
        frame = glasses.bend(self.looks, skin, rig)
        self._extra = coat.points
        angle = ((np.arctan2(skin[:, 0], skin[:, 2] - clothes.AXIS_Z) / (2 * np.pi)) % 1 * clothes.AROUND).astype(int) % clothes.AROUND
        below = skin[:, 1] - coat.neckline[angle]
        outside = np.hypot(skin[:, 0], skin[:, 2] - clothes.AXIS_Z) > coat.ring[angle] + 0.45
        body = (rig.part <= HEAD) & (rig.share < 0.8)  # the chin is head, even where it dips into a collar
        keep = ~(body & (below < -2.2))[rig.faces].all(1) & ~(body & outside & (below < 1.5))[rig.faces].any(1)
        sizes = np.cumsum([0, len(skin), len(coat.points), len(frame.points)])
        self.base = np.concatenate([skin, coat.points, frame.points]).astype(np.float32)
        self.faces = np.ascontiguousarray(np.concatenate([rig.faces[keep], coat.faces + sizes[1], frame.faces + sizes[2]]), np.int32)
        extra = len(coat.faces) + len(frame.faces)
        self.face_part = np.concatenate(
            [rig.face_part[keep], np.full(len(coat.faces), CLOTH, np.int8), np.full(len(frame.faces), FRAME, np.int8)]
        )
        self.uv = np.concatenate([rig.uv[keep], np.zeros((extra, 3, 2), np.float32)])
        self.share = np.concatenate([rig.share, coat.share, np.ones(len(frame.points), np.float32)]).astype(np.float32)
        self.attr = np.concatenate([rig.neutral, coat.detail, frame.points]).astype(np.float32)
        self.eyes = []
        for k, (which, mirror) in enumerate(zip(rig.eyes, (1, -1), strict=True)):
            if len(which):
                low, high = skin[which].min(0), skin[which].max(0)
                self.eyes.append((which, (low + high) / 2))
                look = EYE_REST * [mirror, 1, 1]
                look /= np.linalg.norm(look)
                side = np.cross([0, 1, 0], look)
                side /= np.linalg.norm(side)
                local = (skin[which] - (low + high) / 2) @ np.stack([side, np.cross(look, side), look]).T
                self.attr[which] = local / np.linalg.norm(local, axis=1, keepdims=True)
            del k
        solid = self.face_part <= 1
        self.cull = (solid | (self.face_part == EYE_L) | (self.face_part == EYE_R) | (self.face_part == TEETH)).astype(np.int8)
        self.casts = solid | (self.face_part == CLOTH)
        self.casting = np.ascontiguousarray(self.faces[self.casts])
        inner = (self.face_part >= SOCKET) & (self.face_part <= TEETH)
        self.outer = np.flatnonzero(~inner)
        self.lip_gap = rig.landmarks[[61, 62, 63, 65, 66, 67]]

    def _light(self) -> None:
        scene = self.scene
        self.directions = np.array([scene.key_dir, scene.fill_dir, scene.rim_dir], np.float64)
        self.colours = np.array([scene.key_rgb, scene.fill_rgb, scene.rim_rgb, scene.sky_rgb, scene.ground_rgb], np.float64)
        self.colours[:3] *= 0.62  # the palette of lights was tuned for this response of skin
        self.shadow_cam = frame_along(self.directions[0])

    def _occlude(self) -> None:
        normals = np.empty_like(self.base)
        raster.vertex_normals(self.base, self.faces, normals)
        ao, hair_ao = sky_share(self.base, normals, self.faces, self.casts, self.strands)
        part = np.full(len(self.base), CLOTH)
        part[: len(self.rig.part)] = self.rig.part
        ao[(part >= SOCKET) & (part <= TEETH)] = 1.0  # the mouth is darkened by depth instead, because it opens
        self.ao = np.clip(0.12 + 0.88 * ao, 0, 1).astype(np.float32)
        self.hair_ao = np.clip(0.06 + 1.15 * hair_ao, 0, 1).astype(np.float32)
        self.hair_ao[self.strands.kind > 0] = np.maximum(self.hair_ao[self.strands.kind > 0], 0.45)

    def _colours(self) -> None:
        looks, scene, size = self.looks, self.scene, self.size
        self.hair_rgb = np.stack(paint.hair_colours(looks))
        colour = scene.facts["clothing"].split("_", 1)[0]
        self.cloth_rgb = paint.to_linear(COLOUR_RGB[colour])
        self.frame_rgb = paint.to_linear(looks.glasses_rgb)
        self.iris = paint.to_linear(looks.iris_rgb) * 0.95
        self.backdrop = paint_backdrop(scene, size)
        self.table = shade.srgb_table()

    def _camera(self) -> None:
        scene, size = self.scene, self.size
        e, a = np.radians(scene.elevation), np.radians(scene.azimuth)
        back = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
        right = np.cross([0.0, 1.0, 0.0], back)
        right /= np.linalg.norm(right)
        self.cam = np.stack([right, np.cross(back, right), back]).astype(np.float32)
        view, centre_y = scene.view, scene.centre[1]
        seen = np.concatenate([self.strands.points[self.strands.kind == 0], self.skin]) - [scene.centre[0], centre_y, 2.0]
        heights = seen @ self.cam[1] * scene.distance / (scene.distance - seen @ self.cam[2])  # nearer hair looks higher
        over = float(np.quantile(heights, 0.9995)) + 0.9 - view / 2  # big hair is not cut off: the camera looks up and steps back
        if over > 0:
            centre_y += 0.7 * over
            view += 0.6 * over
        self.target = np.array([scene.centre[0], centre_y, 2.0])
        self.eye = (self.target + scene.distance * back).astype(np.float32)
        self.scale = np.float32(SUPER * size * (scene.distance) / view)
        self.px_per_cm = float(SUPER * size / view)
        n = SUPER * size
        at = (np.arange(n) + 0.5 - n / 2) / self.scale
        rays = at[None, :, None] * self.cam[0] - at[:, None, None] * self.cam[1] - self.cam[2]
        self.view_dirs = (-rays / np.linalg.norm(rays, axis=2, keepdims=True)).astype(np.float32)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([scene.seed, 3, 8])))
        self.wander = rng.uniform(0, 2 * np.pi, (2, 3))

    def _buffers(self) -> None:
        n = SUPER * self.size
        v, p = len(self.base), len(self.strands.points)
        self.depth, self.number = np.empty((n, n), np.float32), np.empty((n, n), np.int32)
        self.bary, self.picture = np.zeros((n, n, 2), np.float32), np.zeros((n, n, 3), np.float32)
        self.cover = np.zeros((n, n), np.float32)
        self.moved, self.posed, self.screen = (np.empty((v, 3), np.float32) for _ in range(3))
        self.moved[:] = self.base
        self.normals, self.flat, self.lit = np.empty((v, 3), np.float32), np.empty((v, 3), np.float32), np.zeros(v, np.float32)
        self.seen, self.hair_seen = np.zeros(v, np.uint8), np.zeros(p, np.uint8)
        self.hair_moved, self.hair_posed, self.hair_screen = (np.empty((p, 3), np.float32) for _ in range(3))
        self.hair_normals, self.hair_flat, self.hair_lit = (
            np.empty((p, 3), np.float32),
            np.empty((p, 3), np.float32),
            np.empty(p, np.float32),
        )
        self.shadow, self.tally = np.empty((SHADOW, SHADOW), np.float32), np.empty((2, v), np.float32)

    # -- per frame ---------------------------------------------------------------------------------------------------------------

    def _pose(self, motion: Motion, frame: int) -> None:
        """Skin, eyes and hair of one frame, in cm."""
        rig = self.rig
        weights = rig.weights(motion.expressions[frame])
        if len(weights) != len(rig.expr_names):
            raise SlotIDError(
                f"The motion has {len(weights)} expressions and the kit {len(rig.expr_names)}; perform with this kit's names."
            )
        v = len(self.skin)
        raster.deform(self.skin, rig.start, rig.index, rig.offset, weights, self.moved[:v])
        yaw, pitch = np.radians(np.asarray(motion.gaze[frame], np.float64))
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        for which, centre in self.eyes:
            raster.turn_some(self.moved, which, centre.astype(np.float32), turn.astype(np.float32))
        levels = raster.head_levels(*(float(a) for a in motion.head[frame]))
        raster.turn_head(self.moved, self.share, levels, PIVOT, self.posed)
        s = self.strands
        if len(s.points):
            raster.follow_roots(s.points, s.root, self.moved, self.base, self.hair_moved)
            for which, fall, number in self.lashes:  # upper lashes fall with the lid
                self.hair_moved[which, 1] -= fall * weights[number]
            raster.turn_head(self.hair_moved, s.share, levels, PIVOT, self.hair_posed)
            raster.turn_head(s.normal, s.share, levels, np.zeros(3, np.float32), self.hair_normals)

    def _offset(self, seconds: float) -> np.ndarray:
        """(2,) cm by which the hand that holds the camera has drifted."""
        t = np.sin(np.array([0.9, 1.7, 3.1])[None] * seconds + self.wander) @ np.array([1.0, 0.5, 0.2])
        return self.scene.hand * t

    def _eye_at(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        drift = self._offset(seconds)
        return (self.eye + drift[0] * self.cam[0] + drift[1] * self.cam[1]).astype(np.float32), drift

    def render(self, motion: Motion, frame: int) -> np.ndarray:
        """(size, size, 3) uint8 RGB, one frame of the motion."""
        self._pose(motion, frame)
        size, rig = self.size, self.rig
        s, n = self.strands, SUPER * size
        raster.vertex_normals(self.posed, self.faces, self.normals)
        eye, drift = self._eye_at(float(motion.seconds[frame]))
        half = np.float32(n / 2)
        raster.project(self.posed, self.cam, eye, self.scale, half, half, self.screen)
        self.depth[:], self.number[:] = raster.FAR, raster.EMPTY
        gap = float(np.linalg.norm(self.moved[self.lip_gap[:3]] - self.moved[self.lip_gap[:2:-1]], axis=1).max())
        faces, part, uv, cull = (self.faces, self.face_part, self.uv, self.cull)
        raster.draw_triangles(self.screen, faces, cull, self.depth, self.number, self.bary)
        if len(s.points):
            raster.project(self.hair_posed, self.cam, eye, self.scale, half, half, self.hair_screen)
            raster.draw_strands(
                self.hair_screen,
                s.first,
                s.half,
                np.float32(self.px_per_cm),
                np.float32(0.52),
                np.float32(1.0),
                len(faces),
                self.depth,
                self.number,
                self.bary,
            )
        self._shadows()
        dilate = 0.0
        if "PupilDilate_L" in rig.expr_names:
            dilate = float(np.clip(motion.expressions[frame][rig.expr_names.index("PupilDilate_L")], 0, 1))
        looks = self.looks
        shade.shade(
            self.number, self.bary, self.view_dirs, self.normals, self.attr, self.ao, self.lit, faces, part, uv, self.texture,
            looks.seed % 9973, self.iris, np.radians(23.0 + 2.5 * looks.iris_size), 0.40 + 0.16 * dilate, self.cloth_rgb, self.frame_rgb,
            len(faces), s.first, self.hair_posed, self.hair_normals, s.along, s.tint, s.kind, self.hair_ao, self.hair_lit,
            self.hair_rgb, looks.hair_gloss, self.directions, self.colours, gap, self.scene.seed % 9967, self.picture, self.cover,
        )  # fmt: skip
        out = np.empty((size, size, 3), np.uint8)
        shift = 0.45 * drift * size / self.scene.view  # the backdrop is farther away and moves less
        limit = MARGIN * size - 2
        shift = np.clip(shift, -limit, limit)
        shade.finish(self.picture, self.cover, self.backdrop, shift[0], -shift[1], self.scene.exposure, self.table, out)
        return out

    def _shadows(self) -> None:
        """Key light on every skin, cloth and hair point that the picture shows; softer lights look at a wider patch of the map."""
        s = self.strands
        raster.mark_seen(self.number, self.faces, s.first, self.seen, self.hair_seen)
        scale, half = np.float32(SHADOW / (2 * HALF)), np.float32(SHADOW / 2)
        raster.project_flat(self.posed - MIDDLE, self.shadow_cam, scale, half, self.flat)
        self.shadow[:] = raster.FAR
        raster.draw_depth(self.flat, self.casting, self.shadow)
        radius = 2.2 + 6.0 * self.scene.key_soft
        if len(s.points):
            raster.project_flat(self.hair_posed - MIDDLE, self.shadow_cam, scale, half, self.hair_flat)
            raster.draw_strand_depth(self.hair_flat, s.first, 1, self.shadow)
            raster.lit_share(self.hair_flat, self.shadow, 0.55, radius * 0.6, 2, self.hair_seen, self.hair_lit)
        raster.lit_share(self.flat, self.shadow, 0.42, radius, 5, self.seen, self.lit)
        raster.even_out(self.lit, self.faces, self.tally)

    def points(self, motion: Motion, frame: int) -> dict[str, np.ndarray]:
        """Where the face is, in pixels of the film (x right, y down; pixel centres at +0.5).

        "five" (5, 2) float32: left eye centre, right eye centre, nose tip, mouth left, mouth right, where left is the person's own
        left, which is the picture's right (MediaPipe's naming). "landmarks68" (68, 2) float32: Multi-PIE order.
        """
        self._pose(motion, frame)
        return self._marks(float(motion.seconds[frame]))

    def _marks(self, seconds: float) -> dict[str, np.ndarray]:
        """``points`` of the pose that is there already."""
        eye, _ = self._eye_at(seconds)
        marks = self.posed[self.rig.landmarks]
        out = np.empty((68, 3), np.float32)
        half = np.float32(SUPER * self.size / 2)
        raster.project(marks, self.cam, eye, self.scale, half, half, out)
        p = out[:, :2] / SUPER
        five = np.stack([p[42:48].mean(0), p[36:42].mean(0), p[30], p[54], p[48]])
        return {"five": five.astype(np.float32), "landmarks68": p.astype(np.float32)}


def render_clip(
    kit: Kit, looks: Looks, scene: Scene, motion: Motion, size: int = 128, degrade_seed: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Film a whole motion: frames (T, size, size, 3) uint8 and points5 (T, 5, 2) float32 pixels (order as in ``Renderer.points``).

    ``degrade_seed`` seeds the webcam's noise and the hand's path where ``scene.webcam`` asks for them; None films clean.
    """
    renderer = Renderer(kit, looks, scene, size)
    count = len(motion.seconds)
    frames, points5 = np.empty((count, size, size, 3), np.uint8), np.empty((count, 5, 2), np.float32)
    for t in range(count):
        frames[t] = renderer.render(motion, t)
        points5[t] = renderer._marks(float(motion.seconds[t]))["five"]
    if degrade_seed is not None and scene.webcam is not None:
        from slotid.world.webcam import degrade

        frames = degrade(frames, points5, scene.webcam, degrade_seed)
    return frames, points5


__all__ = ["Renderer", "head_share", "render_clip"]
