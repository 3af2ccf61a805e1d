"""What is made good at the end of a film: found where it is known, and kept."""

from dataclasses import replace

import pytest
import torch
from small import small_backbone

from slotid import flow
from slotid.train.calibrate import MOST_GAIN, compare
from slotid.train.finish import SAMPLING, keep_finish, read_finish


def test_flat_channels_are_found():
    real, drawn = (torch.randn(40, 5, 12, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    drawn = drawn * torch.tensor([0.5, 1.3, 0.8, 0.1, 0.9]).view(1, -1, 1, 1, 1)
    found = compare(real, drawn, torch.ones(40, 1, 1, 8, 8), kept=1)
    assert found[0] == 1, "not a fine channel"
    assert found[1] == 1, "what is more than real ones have is not taken away"
    assert found[2] == pytest.approx(1 / 0.8, rel=0.03) and found[3] == MOST_GAIN
    assert flow.finished(drawn, found)[:, 4].std() == pytest.approx(float(real[:, 4].std()), rel=0.03)


def test_kept_beside_the_base_and_in_its_spec(tmp_path):
    assert read_finish(tmp_path) == {}
    spec = replace(small_backbone().spec, **SAMPLING)
    keep_finish(spec, tmp_path)
    assert read_finish(tmp_path) == {}, "a backbone without a finish has none to keep"
    spec = replace(spec, finish_gain=(1.0, 1.2))
    keep_finish(spec, tmp_path)
    assert read_finish(tmp_path) == {"finish_gain": (1.0, 1.2)}
    spec.save(tmp_path)
    assert type(spec).load(tmp_path) == spec
