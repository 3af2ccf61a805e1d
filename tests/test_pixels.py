"""Bytes to what networks take and back: nothing is lost, nothing wraps around."""

import numpy as np
import torch

from slotid.pixels import in_bytes, signed


def test_every_byte_comes_back_and_channels_stand_before_rows():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    pictures[0, 0, 0, :2] = [[0], [255]]
    x = signed(pictures)
    assert x.shape == (2, 3, 3, 4, 5) and x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert np.array_equal(in_bytes(x), pictures) and torch.equal(x[1, 2, 0], signed(pictures)[1, 2, 0])
    assert torch.equal(signed(pictures[..., ::-1]), x.flip(2)), "a view with steps backwards is read too"


def test_what_is_beyond_white_and_black_is_white_and_black():
    assert in_bytes(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1).half()).tolist() == [[[0, 128, 255]]]
