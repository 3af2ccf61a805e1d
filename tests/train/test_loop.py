"""The loop: a resumed run equals an uninterrupted one, files are safetensors, a broken loss is told."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from slotid.train.loop import Plan, adamw8bit, fit, load_weights, precision_here, rate, step_rng
from slotid.train.quick import StackedMuon
from slotid.types import SlotIDError


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(4, 1)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x):
        return self.layer(x) * self.frozen


def batch_at(rng, step):
    return torch.tensor(rng.standard_normal((8, 4)), dtype=torch.float32)


def loss_of(module, x):
    return (module(x)[:, 0] - x.sum(1) + 0.01 * torch.randn(len(x))).square().mean(), {"size": float(len(x))}


PLAN = Plan(steps=12, batch=8, lr=0.05, warmup=2, ema=0.9)


def test_resumed_equals_uninterrupted(tmp_path):
    whole, parts = Line(), Line()
    fit(whole, PLAN, tmp_path / "whole", batch_at, loss_of)
    fit(parts, PLAN, tmp_path / "parts", batch_at, loss_of, minutes=0.0)  # stops after one step
    state = json.loads((tmp_path / "parts/checkpoint/state.json").read_text())
    assert state["step"] == 1
    again = Line()  # as a new process would
    fit(again, PLAN, tmp_path / "parts", batch_at, loss_of)
    for which in ("model", "ema", "optimizer"):
        a, b = (load_file(tmp_path / run / f"checkpoint/{which}.safetensors") for run in ("whole", "parts"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), which


class Wide(nn.Module):
    """Wide enough that an 8-bit optimizer really keeps its moments in 8 bits (below 4,096 weights it does not)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(4, 2048)

    def forward(self, x):
        return self.layer(x).mean(1, keepdim=True)


def test_an_optimizer_of_eight_bits_learns_and_resumes(tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install bitsandbytes")
    plan = replace(PLAN, lr=0.01)
    whole, parts = Wide(), Wide()
    fit(whole, plan, tmp_path / "whole", batch_at, loss_of, optimizers=adamw8bit)
    fit(parts, plan, tmp_path / "parts", batch_at, loss_of, minutes=0.0, optimizers=adamw8bit)
    fit(Wide(), plan, tmp_path / "parts", batch_at, loss_of, optimizers=adamw8bit)
    a, b = (load_file(tmp_path / run / "checkpoint/optimizer.safetensors") for run in ("whole", "parts"))
    assert a["state1/layer.weight"].dtype == torch.uint8 and a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    a, b = (load_file(tmp_path / run / "checkpoint/model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(a["layer.weight"], Wide().layer.weight)


def test_a_missing_optimizer_is_named(tmp_path):
    if find_spec("bitsandbytes") is not None:
        pytest.skip("bitsandbytes is installed here")
    with pytest.raises(SlotIDError, match="pip install bitsandbytes"):
        fit(Line(), PLAN, tmp_path, batch_at, loss_of, optimizers=adamw8bit)


def test_every_line_of_the_log_is_told_and_a_resumed_run_goes_on(tmp_path):
    lines = []
    fit(Line(), PLAN, tmp_path, batch_at, loss_of, minutes=0.0, log_every=5, on_log=lines.append)
    fit(Line(), PLAN, tmp_path, batch_at, loss_of, log_every=5, on_log=lines.append)
    assert [line["step"] for line in lines] == [1, 5, 10, 12] and all(line["loss"] > 0 and line["lr"] > 0 for line in lines)
    assert lines == [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


def test_several_optimizers_share_the_weights_and_resume(tmp_path):
    """One optimizer for the weight and another for the bias, as recipes with matrices and vectors want."""

    def two(module, plan):
        weight, bias = module.layer.weight, module.layer.bias
        return [torch.optim.SGD([weight], lr=plan.lr, momentum=0.9), torch.optim.AdamW([bias], lr=plan.lr)]

    fit(Line(), PLAN, tmp_path / "whole", batch_at, loss_of, optimizers=two)
    fit(Line(), PLAN, tmp_path / "parts", batch_at, loss_of, minutes=0.0, optimizers=two)
    fit(Line(), PLAN, tmp_path / "parts", batch_at, loss_of, optimizers=two)
    for which in ("model", "optimizer"):
        a, b = (load_file(tmp_path / run / f"checkpoint/{which}.safetensors") for run in ("whole", "parts"))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), which
    assert {"momentum_buffer/layer.weight", "exp_avg/layer.bias"} <= set(a)


def test_accumulated_parts_are_one_larger_batch(tmp_path):
    """Two parts of a step give the gradient of both together, and the loss that is told is their mean."""
    seen = []

    def parts_at(rng, step):
        seen.append(batch_at(rng, step))
        return seen[-1]

    def plain(module, x):
        return (module(x)[:, 0] - x.sum(1)).square().mean(), {}

    two, one = Line(), Line()
    told = fit(two, replace(PLAN, steps=1, accumulate=2, clip=0.0, ema=0.0), tmp_path / "two", parts_at, plain)
    both = torch.cat(seen)
    once = fit(one, replace(PLAN, steps=1, clip=0.0, ema=0.0), tmp_path / "one", lambda rng, step: both, plain)
    assert told["loss"] == pytest.approx(once["loss"], abs=1e-5)
    assert torch.allclose(two.layer.weight, one.layer.weight, atol=1e-6)


TWO = """
import sys
sys.path[:0] = {paths!r}
from test_loop import PLAN, Line, batch_at, loss_of
from dataclasses import replace
from pathlib import Path
from slotid.train.loop import fit
fit(Line(), replace(PLAN, steps={steps}, apart={apart}), Path({out!r}), batch_at, loss_of)
"""


@pytest.mark.parametrize("apart", [1, 3])
def test_two_processes_average_gradients_or_meet_now_and_then(tmp_path, apart):
    """Against the same steps made by hand, one learner a process. The last step, the eighth, meets before its turn."""
    plan = replace(PLAN, steps=8, apart=apart)
    pair, first = (Line(), Line()), Line()
    optimizers = [
        torch.optim.AdamW([*line.layer.parameters()], lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay) for line in pair
    ]
    for step in range(plan.steps):
        for rank, (line, optimizer) in enumerate(zip(pair, optimizers, strict=True)):
            rng = step_rng(plan, step, rank)
            torch.manual_seed(int(rng.integers(2**62)))
            optimizer.param_groups[0]["lr"] = rate(plan, step)
            optimizer.zero_grad()
            loss_of(line, batch_at(rng, step))[0].backward()
        both = list(zip(*(line.layer.parameters() for line in pair), strict=True))
        if apart == 1:
            for one, other in both:
                one.grad = other.grad = (one.grad + other.grad) / 2
        for line, optimizer in zip(pair, optimizers, strict=True):
            nn.utils.clip_grad_norm_(line.layer.parameters(), plan.clip)
            optimizer.step()
        if step in (2, 5, 7):
            for one, other in both:
                one.data = (one.data + other.data) / 2
                other.data = one.data.clone()
    here = Path(__file__).parent
    (tmp_path / "run.py").write_text(TWO.format(paths=[str(here), str(here.parents[1])], steps=8, apart=apart, out=str(tmp_path / "out")))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(tmp_path / "run.py")]
    run = subprocess.run(launch, env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    found = load_file(tmp_path / "out/checkpoint/model.safetensors")
    assert not torch.equal(found["layer.weight"], first.layer.weight)
    assert torch.allclose(found["layer.weight"], pair[0].layer.weight, atol=1e-6)


def test_it_learns_and_leaves_frozen_weights_alone(tmp_path):
    line = Line()
    first = float(loss_of(line, batch_at(__import__("numpy").random.default_rng(0), 0))[0])
    last = fit(line, Plan(steps=200, batch=8, lr=0.05, warmup=5), tmp_path, batch_at, loss_of)
    assert last["loss"] < 0.1 * first
    assert line.frozen.item() == 1.0
    assert "frozen" not in load_file(tmp_path / "checkpoint/model.safetensors")


def test_checkpoint_weights_load_and_foreign_ones_are_refused(tmp_path):
    fit(Line(), PLAN, tmp_path, batch_at, loss_of)
    other = Line()
    load_weights(other, tmp_path / "checkpoint")
    assert torch.equal(other.layer.weight, load_file(tmp_path / "checkpoint/ema.safetensors")["layer.weight"])
    with pytest.raises(SlotIDError, match="another recipe"):
        load_weights(nn.Linear(4, 1), tmp_path / "checkpoint")
    with pytest.raises(SlotIDError, match="train this recipe first"):
        load_weights(other, tmp_path / "nothing")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(SlotIDError, match="nan"):
        fit(Line(), PLAN, tmp_path, batch_at, lambda m, x: (m(x).mean() * float("nan"), {}))
    assert not (tmp_path / "checkpoint").exists()


def test_rate_rises_stays_and_falls_to_nothing():
    plan = Plan(steps=100, batch=1, lr=1.0, warmup=10, cooldown=0.2)
    assert rate(plan, 0) == pytest.approx(0.1)
    assert rate(plan, 50) == 1.0
    assert rate(plan, 90) == pytest.approx(0.5)
    assert rate(plan, 99) == pytest.approx(0.05)


@pytest.mark.parametrize("quick", [True, False])
def test_bfloat16_that_is_only_imitated_is_not_used(monkeypatch, quick):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: quick, raising=False)
    assert [precision_here(asked) for asked in ("no", "bf16", "fp16")] == ["no", "bf16" if quick else "no", "fp16"]
    assert StackedMuon([torch.nn.Parameter(torch.ones(4, 4))], lr=0.1).kind is (torch.bfloat16 if quick else torch.float32)


def test_stacked_muon_steps_as_the_library_does():
    torch.manual_seed(0)
    shapes = [(8, 8), (8, 8), (16, 8), (8, 16), (16, 8)]
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    twins = [torch.nn.Parameter(w.detach().clone()) for w in weights]
    options = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    ours, library = StackedMuon(weights, **options), torch.optim.Muon(twins, **options)
    ours.kind = torch.bfloat16  # as the library's steps always are
    for _ in range(3):
        for w, twin in zip(weights, twins, strict=True):
            w.grad = torch.randn(w.shape)
            twin.grad = w.grad.clone()
        ours.step()
        library.step()
    for w, twin, shape in zip(weights, twins, shapes, strict=True):
        assert torch.allclose(w, twin, atol=2e-3), shape  # its steps are in bfloat16
        assert torch.equal(ours.state[w]["momentum_buffer"], library.state[twin]["momentum_buffer"])
