"""One loop for every recipe. Accelerate drives devices, processes, precision and accumulation; a step's randomness comes from its
number alone, so that a resumed run equals an uninterrupted one; checkpoints are safetensors and are renamed into place whole.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from slotid.types import SlotIDError

Optimizers = Sequence[torch.optim.Optimizer]


@dataclass(frozen=True)
class Plan:
    """How long and how fast: AdamW with warm-up, a flat stretch and a linear cool-down over the last ``cooldown`` share of the steps."""

    steps: int
    batch: int
    lr: float
    warmup: int = 100
    cooldown: float = 0.2
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema: float = 0.999  # 0: none
    accumulate: int = 1
    apart: int = 1  # steps that each of several processes takes alone before their weights are averaged; 1: gradients are, at every step
    precision: str = "no"  # accelerate's: "no", "bf16" (see ``precision_here``), "fp16"
    save_minutes: float = 5.0
    seed: int = 0


def rate(plan: Plan, step: int) -> float:
    """Learning rate of a step (0-based)."""
    up = min(1.0, (step + 1) / max(1, plan.warmup))
    down = min(1.0, (plan.steps - step) / max(1.0, plan.cooldown * plan.steps))
    return plan.lr * up * down


def device_here() -> torch.device:
    """Where ``fit`` computes: this process's CUDA card, or the CPU where there is none."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")


def multiplies_bfloat16() -> bool:
    """Whether bfloat16 is quicker than float32 where ``fit`` computes. A CPU without AVX-512 only imitates it: a step of the tiny base took
    25 times as long (LOG.md, sixteenth session)."""
    return device_here().type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def precision_here(asked: str) -> str:
    """``Plan.precision`` as ``fit`` follows it: "no" where bfloat16 was asked for and is only imitated."""
    return "no" if asked == "bf16" and not multiplies_bfloat16() else asked


def step_rng(plan: Plan, step: int, rank: int = 0) -> np.random.Generator:
    """The only source of randomness of a step: for the batch, and (through torch.manual_seed) for noise, times and drop-out."""
    return np.random.default_rng([plan.seed, step, rank])


class Ema:
    """Exponential moving average of the trained weights, with the early steps bias-corrected (Karras et al. 2024 discuss the choice)."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.shadow = {n: p.detach().clone().float() for n, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        d = min(self.decay, (1 + step) / (10 + step))
        trained = {n: p.detach().float() for n, p in module.named_parameters() if n in self.shadow}
        torch._foreach_lerp_([self.shadow[n] for n in trained], list(trained.values()), 1 - d)


def _trained_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(n, p) for n, p in module.named_parameters() if p.requires_grad]


def _trained(module: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().contiguous() for n, p in _trained_parameters(module)}


class Learner(nn.Module):
    """A module for ``fit`` with parts ``beside`` it that are neither trained nor saved, but follow it to its device."""

    def beside(self) -> list[nn.Module]:
        """The parts that follow; they are no submodules."""
        return []

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
        for part in self.beside():
            part._apply(fn)
        return super()._apply(fn, recurse)


def adamw(module: nn.Module, plan: Plan) -> Optimizers:
    """One AdamW for all that is trained: the default of ``fit``."""
    trained = [p for _, p in _trained_parameters(module)]
    return [torch.optim.AdamW(trained, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay)]


def adamw8bit(module: nn.Module, plan: Plan) -> Optimizers:
    """AdamW that keeps its moments in 8 bits (arXiv 2110.02861), a quarter of the memory.

    Raises:
        SlotIDError: bitsandbytes, which makes it, is not installed.
    """
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise SlotIDError("Optimizer adamw8bit needs the package bitsandbytes; run `pip install bitsandbytes`, or use adamw.") from error
    trained = [p for _, p in _trained_parameters(module)]
    return [AdamW8bit(trained, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay)]


def _save(out: Path, module: nn.Module, ema: Ema | None, optimizers: Optimizers, step: int, plan: Plan, minutes: float) -> None:
    moments = {}
    owner = _owners(optimizers)
    for name, parameter in _trained_parameters(module):
        for key, value in owner[id(parameter)].state.get(parameter, {}).items():
            moments[f"{key}/{name}"] = torch.as_tensor(value).detach().clone().contiguous()  # 8-bit optimizers share their code tables
    average = {n: t.contiguous() for n, t in ema.shadow.items()} if ema else None
    write_checkpoint(out, _trained(module), average, moments, {"step": step, "minutes": round(minutes, 2), "plan": asdict(plan)})


def write_checkpoint(
    out: Path, weights: dict[str, torch.Tensor], average: dict[str, torch.Tensor] | None, moments: dict[str, torch.Tensor], state: dict
) -> None:
    """``out/checkpoint``, whole or not at all: what ``fit`` resumes from. ``moments``: of the optimizers, named MOMENT/WEIGHT."""
    work, final = out / "checkpoint.part", out / "checkpoint"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    save_file(weights, work / "model.safetensors")
    if average is not None:
        save_file(average, work / "ema.safetensors")
    save_file(moments, work / "optimizer.safetensors")
    (work / "state.json").write_text(json.dumps(state, indent=1))
    shutil.rmtree(out / "checkpoint.old", ignore_errors=True)
    if final.exists():
        final.rename(out / "checkpoint.old")
    work.rename(final)
    shutil.rmtree(out / "checkpoint.old", ignore_errors=True)


def _owners(optimizers: Optimizers) -> dict[int, torch.optim.Optimizer]:
    return {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}


def load_weights(module: nn.Module, folder: Path, which: str = "ema", without: str | None = None) -> None:
    """Puts a checkpoint's weights ("ema" or "model") into a module; only the trained ones are there, the others stay.

    ``without``: the start of names that are left out: a part that served the training only.
    """
    path = Path(folder) / f"{which}.safetensors"
    if not path.exists():
        raise SlotIDError(f"No weights at {path}: train this recipe first, or name the folder of a finished run.")
    found = {n: t for n, t in load_file(path).items() if without is None or not n.startswith(without)}
    missing = module.load_state_dict(found, strict=False).unexpected_keys
    if missing:
        raise SlotIDError(f"{path} holds weights this model does not have ({missing[0]}, ...): it belongs to another recipe or size.")


def _resume(out: Path, module: nn.Module, ema: Ema | None, optimizers: Optimizers) -> tuple[int, float]:
    folder = out / "checkpoint" if (out / "checkpoint").exists() else out / "checkpoint.old"
    if not (folder / "state.json").exists():
        return 0, 0.0
    load_weights(module, folder, "model")
    if ema:
        for n, t in load_file(folder / "ema.safetensors").items():
            ema.shadow[n].copy_(t)
    moments: dict[str, dict[str, Any]] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        key, _, name = name.partition("/")
        # a step counter stays on the CPU: a tensor in torch's optimizers, a plain number in bitsandbytes'
        moments.setdefault(name, {})[key] = int(value) if value.ndim == 0 and not value.is_floating_point() else value
    owner = _owners(optimizers)
    for name, parameter in _trained_parameters(module):
        if name in moments:
            told = moments[name].items()
            state = {k: v.to(parameter.device) if torch.is_tensor(v) and v.ndim else v for k, v in told}
            owner[id(parameter)].state[parameter] = state
    state = json.loads((folder / "state.json").read_text())
    return state["step"], state["minutes"]


def fit(
    module: nn.Module,
    plan: Plan,
    out: Path,
    batch_at: Callable[[np.random.Generator, int], Any],
    loss_of: Callable[[nn.Module, Any], tuple[torch.Tensor, dict[str, float]]],
    *,
    on_save: Callable[[nn.Module, int], None] | None = None,
    minutes: float | None = None,
    log_every: int = 50,
    optimizers: Callable[[nn.Module, Plan], Optimizers] = adamw,
    on_log: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Trains ``module``'s parameters that require gradients.

    Args:
        batch_at: (rng, step) -> tensors, in dicts, lists or tuples or not, which go to the module's device; must draw all of its
            randomness from ``rng``.
        loss_of: (module, batch) -> (loss, numbers to log); may use torch's global randomness, which is seeded per step.
        on_save: called with the module (EMA weights inside) after each checkpoint.
        on_log: called in the first process with every line of the log.
        optimizers: made from (module, plan) once the module is on its device; together they hold every trained parameter once.
        minutes: stop early, after a checkpoint, when this run has taken so long; a later call goes on.
    Returns: the last logged numbers with step and minutes. Raises SlotIDError when the loss stops being a number.
    """
    from accelerate import Accelerator
    from accelerate.utils import send_to_device

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        mixed_precision=precision_here(plan.precision), gradient_accumulation_steps=plan.accumulate, cpu=not torch.cuda.is_available()
    )
    if accelerator.distributed_type.value in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):  # they would cut the checkpoint's weights into pieces
        raise SlotIDError(
            f"The launcher was configured for {accelerator.distributed_type.value}; use slotid/train/launch/gpus.yaml, "
            "and --spread where the frozen weights do not fit."
        )
    parameters = [p for p in module.parameters() if p.requires_grad]
    module.to(accelerator.device)
    plain = optimizers(module, plan)
    ema = Ema(module, plan.ema) if plan.ema else None
    first, spent = _resume(out, module, ema, plain)
    apart = plan.apart > 1 and accelerator.num_processes > 1  # local SGD (arXiv 1805.09767): no step waits for another process's
    wrapped = accelerator.prepare_model(module, evaluation_mode=apart)
    prepared = [accelerator.prepare_optimizer(optimizer) for optimizer in plain]
    if apart:
        _average(accelerator, parameters)
    started = saved = time.time()
    log = open(out / "log.jsonl", "a") if accelerator.is_main_process else open(os.devnull, "w")
    sums: dict[str, float] = {}
    last: dict[str, float] = {"step": float(first)}

    def checkpoint(step: int) -> None:
        if accelerator.is_main_process:
            _save(out, accelerator.unwrap_model(wrapped), ema, plain, step, plan, spent + (time.time() - started) / 60)
            if on_save:
                with swapped(module, ema):
                    on_save(module, step)
        accelerator.wait_for_everyone()

    for step in range(first, plan.steps):
        for group in (group for optimizer in plain for group in optimizer.param_groups):
            group["lr"] = rate(plan, step) * group.get("share", 1.0)
        value = 0.0
        for part in range(plan.accumulate):
            rng = step_rng(plan, step * plan.accumulate + part, accelerator.process_index)
            torch.manual_seed(int(rng.integers(2**62)))
            with accelerator.accumulate(wrapped):
                loss, numbers = loss_of(wrapped, send_to_device(batch_at(rng, step), accelerator.device))
                accelerator.backward(loss)
                if accelerator.sync_gradients and plan.clip:
                    accelerator.clip_grad_norm_(parameters, plan.clip)
                for optimizer in prepared:
                    optimizer.step()
                    optimizer.zero_grad()
            value += float(loss.detach()) / plan.accumulate
        if ema:
            ema.update(accelerator.unwrap_model(wrapped), step)
        done, late, due = step + 1, False, False
        if not apart or done % plan.apart == 0 or done == plan.steps:
            if apart:
                _average(accelerator, parameters)
            late = minutes is not None and time.time() - started > minutes * 60
            due = late or done == plan.steps or time.time() - saved > plan.save_minutes * 60
            value, late, due = _agreed(accelerator, value, late, due)
        if not math.isfinite(value):
            raise SlotIDError(f"The loss became {value} at step {step}: lower the learning rate and resume from {out}.")
        for k, v in {"loss": value, **numbers}.items():
            sums[k] = sums.get(k, 0.0) + float(v)
        if done % log_every == 0 or done == plan.steps or late:
            count = (done - 1) % log_every + 1 if done - first >= log_every else done - first
            last = {"step": done, "minutes": round(spent + (time.time() - started) / 60, 2), "lr": round(rate(plan, step), 7)}
            last |= {k: round(v / count, 5) for k, v in sums.items()}
            sums = {}
            log.write(json.dumps(last) + "\n")
            log.flush()
            print(json.dumps(last), file=sys.stderr, flush=True)
            if on_log and accelerator.is_main_process:
                on_log(last)
        if due:
            checkpoint(done)
            saved = time.time()
        if late:
            break
    log.close()
    return last


@torch.no_grad()
def _average(accelerator: Any, parameters: Sequence[nn.Parameter]) -> None:
    """Every process's weights become the mean of all."""
    flat = accelerator.reduce(torch.nn.utils.parameters_to_vector(parameters), "mean")
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))


def _agreed(accelerator: Any, loss: float, late: bool, due: bool) -> tuple[float, bool, bool]:
    """The mean loss of all processes, and whether to stop and to save as the first process says: clocks differ, and a process that
    saves while another trains on would wait for it forever. A loss that is no number anywhere is none everywhere."""
    told = torch.tensor([[loss, late, due]], dtype=torch.float32, device=accelerator.device)
    rows = accelerator.gather(told)
    return float(rows[:, 0].mean()), bool(rows[0, 1]), bool(rows[0, 2])


class swapped:
    """With the EMA weights in place of the trained ones."""

    def __init__(self, module: nn.Module, ema: Ema | None):
        self.module, self.ema = module, ema

    def __enter__(self) -> nn.Module:
        if self.ema:
            self.kept = _trained(self.module)
            self.kept = {n: t.clone() for n, t in self.kept.items()}
            self.module.load_state_dict({n: t.to(self.kept[n].dtype) for n, t in self.ema.shadow.items()}, strict=False)
        return self.module

    def __exit__(self, *_: object) -> None:
        if self.ema:
            self.module.load_state_dict(self.kept, strict=False)
