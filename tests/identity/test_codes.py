"""Identity codes on disk: whole, private, refused by name."""

import os
import stat

import numpy as np
import pytest
import torch

from slotid.identity.codes import load_code, save_code
from slotid.types import IdentityCode, SlotIDError


def code() -> IdentityCode:
    gates = torch.rand(8)
    shown = {
        "plans": np.random.default_rng(0).random((3, 8, 2, 4, 4)).astype(np.float16),
        "gates": gates.numpy(),  # shares its memory with the tensor, as remember() makes it
        "crops": np.full((2, 8, 8, 3), 7, np.uint8),
        "frames": [0, 3],
        "anchor_frame": 3,
    }
    return IdentityCode("slots", 1, {"slots": torch.randn(8, 24), "gates": gates}, shown, {"weights": "abc"})


def test_a_code_comes_back_whole_without_pictures(tmp_path):
    one = code()
    path = save_code(one, tmp_path / "me.safetensors")
    two = load_code(path, "slots", 1)
    assert (two.method, two.version, dict(two.meta)) == ("slots", 1, {"weights": "abc"})
    assert all(torch.equal(two.tensors[k], v) for k, v in one.tensors.items()) and two.tensors.keys() == one.tensors.keys()
    assert np.array_equal(two.shown["plans"], one.shown["plans"]) and two.shown["frames"] == [0, 3] and two.shown["anchor_frame"] == 3
    assert "crops" not in two.shown, "pictures of the face are saved only on request"
    assert np.array_equal(load_code(save_code(one, path, pictures=True)).shown["crops"], one.shown["crops"])


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_code_is_readable_by_its_owner_alone_and_leaves_no_part(tmp_path):
    path = save_code(code(), tmp_path / "me.safetensors")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["me.safetensors"]


def test_refusals(tmp_path):
    path = save_code(code(), tmp_path / "me.safetensors")
    with pytest.raises(SlotIDError, match="method 'slots' version 1; expected 'sparse'"):
        load_code(path, "sparse")
    with pytest.raises(SlotIDError, match="version 1; expected 'slots' version 2"):
        load_code(path, "slots", 2)
    with pytest.raises(SlotIDError, match="no identity code at"):
        load_code(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(SlotIDError, match="not readable as safetensors"):
        load_code(tmp_path / "text.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(SlotIDError, match="not an identity code"):
        load_code(tmp_path / "other.safetensors")
    with pytest.raises(SlotIDError, match="does not exist"):
        save_code(code(), tmp_path / "no" / "me.safetensors")


def test_a_failed_write_keeps_the_old_code(tmp_path):
    path = save_code(code(), tmp_path / "me.safetensors")
    before = path.read_bytes()
    broken = IdentityCode("slots", 1, {"slots": torch.zeros(2).to_sparse()}, {}, {})
    with pytest.raises(Exception):  # noqa: B017  (whatever the library says)
        save_code(broken, path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
