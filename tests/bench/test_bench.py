"""The bench: fair turns, honest ratios, and every part runs small."""

import json

import pytest
import torch

from slotid.bench import command
from slotid.bench.full import profiles
from slotid.bench.peak import peak_of
from slotid.bench.reading import reading
from slotid.bench.routing import routing
from slotid.bench.steps import step_cost, wan_shaped
from slotid.bench.timing import measure, ratio, slope
from slotid.types import SlotIDError

SMALL = {"num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 64, "text_dim": 32}


def arguments(*words):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser.add_subparsers(dest="command"))
    return parser.parse_args(["bench", *words])


def test_candidates_take_turns_and_work_is_what_counts():
    order = []

    def work(name, amount):
        order.append(name)
        sum(range(amount))

    found = measure({"little": lambda: work("little", 20_000), "much": lambda: work("much", 400_000)}, rounds=3, warmup=1)
    assert order == ["little", "much", "much", "little"] * 2 and [len(v) for v in found.values()] == [3, 3]
    middle, low, high = ratio(found, "much", "little")
    assert low <= middle <= high and middle > 5
    assert slope([1, 2, 4], [3.0, 6.0, 12.0]) == pytest.approx(1) and slope([1, 2, 4], [1.0, 4.0, 16.0]) == pytest.approx(2)


def test_routing_is_compared_at_the_same_marginal_error():
    pytest.importorskip("ot.batch")
    (row,) = routing(((4, 64),), rounds=2)
    errors = row["marginal_error"]
    assert errors["ours"] == pytest.approx(errors["POT solve_batch"], rel=0.02, abs=1e-6), "as many iterations of the same update"
    # it scales the other side last: the same plan in the limit, an error of the same size on the way
    assert errors["ours"] == pytest.approx(errors["POT sinkhorn_log"], rel=0.3, abs=1e-6)
    assert row["faster_than_solve_batch"] == pytest.approx(row["seconds"]["POT solve_batch"] / row["seconds"]["ours"])


def test_a_step_with_identity_is_really_one(monkeypatch):
    found = step_cost(2, (1, 4, 4), 2, SMALL)
    assert set(found["methods"]) == {"bare", "slots", "bare, nothing cached", "slots, nothing cached", "exemplars"}
    assert found["tokens"] == 4 and found["methods"]["bare"]["added"] == 0 and all(r["seconds"] > 0 for r in found["methods"].values())
    from slotid.backbone.known import KNOWN

    with torch.device("meta"):
        from diffusers import WanTransformer3DModel

        real = WanTransformer3DModel(**KNOWN["wan2.1-1.3b"].transformer)
    backbone = wan_shaped(1, SMALL)
    names = {n for n, _ in backbone.transformer.blocks[0].named_parameters()}
    assert {n for n, _ in real.blocks[0].named_parameters()} == names, "the stack's blocks are Wan's"


def test_reading_grows_with_the_clip_and_peaks_are_of_what_lives():
    found = reading((12, 24), rounds=1, latent_channels=4, grid=4, width=24, heads=2, text_width=16)
    assert found["frames"][24]["peak_mib"] > found["frames"][12]["peak_mib"] > 0
    assert peak_of(lambda: torch.ones(250_000)) == 1_000_000


def test_full_size_needs_a_card_and_its_parts_run_on_a_cpu(pipelines_spec):
    known, spec = pipelines_spec
    found = profiles(device="cpu", steps=2, chosen=("full", "model"), known=known, spec=spec)
    assert set(found) == {"full", "model"} and all(row["seconds_per_step"] > 0 and row["estimated_gib"] > 0 for row in found.values())
    assert all(row["slots_added"] > -1 for row in found.values())
    table = command.tables(
        {"machine": command.machine("cpu"), "full": found | {"group": {"failed": "out of memory", "estimated_gib": 1.0}}}
    )
    assert "| model |" in table and "| group | out of memory | - | - | 1.0 |" in table
    if not torch.cuda.is_available():
        with pytest.raises(SlotIDError, match="needs a CUDA card"):
            profiles()


@pytest.fixture
def pipelines_spec():
    """A small checkpoint as ``known`` describes one."""
    from slotid.backbone.backbone import Spec
    from slotid.backbone.known import Known

    vae = dict(base_dim=4, z_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 8, latents_std=[1.0] * 8)
    text = dict(vocab_size=300, d_model=32, d_kv=16, num_heads=2, d_ff=48, num_layers=1)
    net = {**SMALL, "in_channels": 8, "out_channels": 8, "num_layers": 2, "patch_size": (1, 2, 2), "freq_dim": 16}
    spec = Spec(name="small", channels=8, space=8, time=4, patch=(1, 2, 2), text_width=32, text_length=16, width=32, depth=2, size=(32, 32),
                frames=5, frames_min=5, frames_max=9)  # fmt: skip
    return Known("small", "me/small", "0" * 40, 0.0, net, vae, text), spec


def test_the_command_prints_tables_and_json_and_refuses_nonsense(tmp_path, capsys):
    pytest.importorskip("ot.batch")
    out = tmp_path / "bench.json"
    assert (
        command.run(
            arguments("routing", "steps", "reading", "--quick", "--rounds", "1", "--blocks", "1", "--device", "cpu", "--out", str(out))
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "| slots |" in printed and "solve_batch" in printed and "time grows with length" in printed
    kept = json.loads(out.read_text())
    assert set(kept) == {"machine", "routing", "steps", "reading"} and kept["machine"]["torch"] == torch.__version__
    assert command.tables(kept).count("\n") == printed.rstrip().count("\n")
    with pytest.raises(SlotIDError, match="Unknown part 'speed' of the bench"):
        command.run(arguments("speed"))
    with pytest.raises(SlotIDError, match="--rounds 0"):
        command.run(arguments("routing", "--rounds", "0"))
    with pytest.raises(SlotIDError, match="folder of --out"):
        command.run(arguments("routing", "--out", str(tmp_path / "no" / "x.json")))
