"""ConsisID's protocol with a stand-in recogniser of ArcFace's interface: it reads who is there from the colour of patches."""

import numpy as np
import pytest

from slotid.evaluate import recogniser
from slotid.evaluate.recogniser import ArcFace, Face, consisid_similarity, largest, reference_vector, spread_frames
from slotid.types import Clip, SlotIDError


class Patches:
    """Every pure-coloured square on black is a face; its colour is its vector. A recogniser in all but accuracy."""

    def __init__(self):
        self.calls = 0

    def faces(self, picture):
        self.calls += 1
        found = []
        for colour in np.unique(picture.reshape(-1, 3), axis=0):
            if not colour.any():
                continue
            rows, columns = np.nonzero((picture == colour).all(axis=2))
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
            found.append(Face(box, colour.astype(float) - 100))
        return found


def film(*colours, small=None):
    frames = np.zeros((len(colours), 40, 40, 3), np.uint8)
    for frame, colour in zip(frames, colours, strict=True):
        if colour is not None:
            frame[5:25, 5:25] = colour
        if small is not None:
            frame[30:34, 30:34] = small
    return Clip(frames, np.arange(len(colours)) / 12)


A, AWAY, OTHER = (250, 100, 100), (10, 100, 100), (100, 250, 100)


def test_sixteen_frames_are_looked_at():
    eyes = Patches()
    consisid_similarity(eyes, np.array([1.0, 0, 0]), film(*[A] * 49))
    assert eyes.calls == 16
    assert list(spread_frames(49))[:2] == [0, 3] and spread_frames(49)[-1] == 48 and len(spread_frames(5)) == 5


def test_same_other_and_opposite():
    eyes = Patches()
    reference = reference_vector(eyes, film(A, A, A))
    assert consisid_similarity(eyes, reference, film(A, A))["similarity"] == pytest.approx(1)
    assert consisid_similarity(eyes, reference, film(OTHER, OTHER))["similarity"] == pytest.approx(0)
    assert consisid_similarity(eyes, reference, film(AWAY, AWAY))["similarity"] == 0  # -1, clipped


def test_largest_face_and_faceless_frames():
    eyes = Patches()
    found = consisid_similarity(eyes, np.array([5.0, 0, 0]), film(A, None, A, None, small=None))
    assert found == {"similarity": pytest.approx(1), "similarity_faceless_0": pytest.approx(0.5), "detection_rate": 0.5}
    crowd = consisid_similarity(eyes, np.array([1.0, 0, 0]), film(A, A, small=OTHER))
    assert crowd["similarity"] == pytest.approx(1)
    assert largest([]) is None
    nobody = consisid_similarity(eyes, np.array([1.0, 0, 0]), film(None, None))
    assert nobody["similarity"] == 0 and nobody["detection_rate"] == 0
    with pytest.raises(SlotIDError, match="no face"):
        reference_vector(eyes, film(None))


def test_arcface_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(recogniser, "HOME", tmp_path)
    assert recogniser.arcface_missing()
    with pytest.raises(SlotIDError, match="leave it out"):
        ArcFace()
