"""Exemplars: a few frames of the clip that best cover how the person looks and moves, given to Wan VACE as reference images.

Needs no training of ours: VACE (arXiv 2503.07598) has public weights. The frames are picked by farthest-point sampling (Gonzalez 1985) from
the best frame outwards, over pose and expression, or over the slots' own routing where a Slot-ID code is at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from slotid.identity.codes import check_code
from slotid.identity.method import Method, ToLatent
from slotid.types import Conditioning, FaceTrack, IdentityCode, Request, SlotIDError, Stream

# a change of this much in each counts one: degrees of yaw and pitch, opening of mouth and eyes, smile
SPREAD = {"yaw": 20.0, "pitch": 15.0, "roll": 20.0, "mouth": 0.25, "eyes": 0.15, "smile": 0.15}
MOST = 4


def pose_features(face: FaceTrack) -> np.ndarray:
    """(T, 6) pose and expression in units of a clear change; NaN where unseen."""
    columns = [np.asarray(getattr(face.quality, name), np.float64) / size for name, size in SPREAD.items()]
    rows = np.stack(columns, 1)
    filled = np.where(np.isfinite(rows), rows, 0.0)  # what was not measured counts as no difference
    filled[~face.seen] = np.nan
    return filled


def routing_features(plans: np.ndarray) -> np.ndarray:
    """(T, S) square roots of each frame's share of the slots, from a plan (S, T, h, w): how the slots themselves tell frames apart.

    Distances between square roots of distributions are Hellinger distances. A frame without mass (hidden) is NaN.
    """
    mass = np.asarray(plans, np.float64).sum((2, 3)).T
    total = mass.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, np.sqrt(mass / total), np.nan)


def cover(features: np.ndarray, first: int, most: int) -> list[int]:
    """At most ``most`` row indices, ``first`` first, each next one the farthest from those chosen; rows with NaN never.

    Stops early when all that is left equals what was chosen.
    """
    usable = np.isfinite(features).all(1)
    if not usable[first]:
        raise SlotIDError(f"Frame {first} does not show the face; choose a frame that does.")
    chosen = [first]
    nearest = np.where(usable, np.linalg.norm(np.where(usable[:, None], features, 0) - features[first], axis=1), -1.0)
    while len(chosen) < most and nearest.max() > 1e-6:
        chosen.append(int(nearest.argmax()))
        away = np.linalg.norm(np.where(usable[:, None], features, 0) - features[chosen[-1]], axis=1)
        nearest = np.where(usable, np.minimum(nearest, away), -1.0)
    return chosen


def pick_exemplars(face: FaceTrack, most: int = MOST, slots: IdentityCode | None = None) -> list[int]:
    """Frames of ``face`` to show, the best still look first.

    Args:
        slots: a Slot-ID code of the same track with its routing (``shown``); its frames are then told apart by their slots, pose added.

    Raises:
        SlotIDError: no frame shows the face.
    """
    from slotid.identity.reading import choose_anchor

    if not bool(face.seen.any()):
        raise SlotIDError("The face track has no frame in which the face is seen; give a clip that shows one face.")
    features, first = pose_features(face), choose_anchor(face)
    sharp = np.asarray(face.quality.sharpness, np.float64)
    blurred = np.isfinite(sharp) & (sharp < 0.5 * np.nanmedian(sharp)) if np.isfinite(sharp).any() else np.zeros(len(sharp), bool)
    blurred[first] = False
    features[blurred] = np.nan  # a blurred frame is far from all others and shows nothing
    if slots is None or "plans" not in slots.shown:
        return cover(features, first, most)
    at = np.asarray(slots.shown["frames"], int)
    routed = routing_features(np.asarray(slots.shown["plans"])[-1])
    size = np.nanstd(routed) or 1.0
    both = np.full((len(features), features.shape[1] + routed.shape[1]), np.nan)
    both[at] = np.concatenate([features[at], routed / size], axis=1)
    return cover(both, first if np.isfinite(both[first]).all() else int(np.flatnonzero(np.isfinite(both).all(1))[0]), most)


class Exemplars(Method):
    """Reference images for VACE. Strength is the scale of its control blocks; 0 leaves the Wan transformer inside as it is."""

    name = "exemplars"
    version = 1
    says = "up to four frames of the clip that cover pose and expression, shown to Wan VACE as pictures: looks only, no training of ours"
    asks = ("residual",)
    crop_pixels = 480  # VACE sees the pictures at the size of the film

    def __init__(self, most: int = MOST, routing: Callable[[FaceTrack], IdentityCode | None] | None = None):
        """``routing``: a Slot-ID encoder's reading of a track, where one is at hand: frames are then also told apart by their slots."""
        self.most, self.routing = most, routing

    def remember(self, face: FaceTrack, to_latent: ToLatent | None = None) -> IdentityCode:
        """The chosen crops themselves, (n, C, C, 3) uint8. They are pictures of the person: keep the code like a picture."""
        import torch

        routed = self.routing(face) if self.routing is not None and bool(face.seen.any()) else None
        frames = pick_exemplars(face, self.most, routed)
        pictures = np.ascontiguousarray(face.crops[frames])
        shown = {"frames": frames, "anchor_frame": frames[0], "seconds": face.seconds[frames], "crops": pictures}
        return IdentityCode(self.name, self.version, {"images": torch.from_numpy(pictures)}, shown, {"frames": str(len(frames))})

    def condition(self, code: IdentityCode, grid: tuple[int, int, int], strength: float = 1.0, slot_gain=None) -> Conditioning:
        """The pictures with ``strength`` as their scale; nothing at strength 0."""
        from slotid.backbone.layers import ReferenceImages

        check_code(code.method, code.version, self.name, self.version)
        if slot_gain is not None:
            raise SlotIDError("Slot gains were given, but method 'exemplars' has no slots; leave them out or choose method 'slots'.")
        if strength == 0:
            return Conditioning()
        return Conditioning(residual=ReferenceImages(code.tensors["images"].numpy(), float(strength), tuple(grid)))

    def streams(self, request: Request, text_guidance: float, identity_guidance: float) -> list[Stream]:
        """Text guidance with the pictures in both streams, as VACE was trained; identity guidance has no meaning here."""
        from slotid.guidance import two_streams

        known = request.reference is not None and request.strength > 0
        return [replace(stream, identity=known) for stream in two_streams(text_guidance)]

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Exemplars:
        """There is nothing to read; here so that all methods open alike."""
        return cls()
