"""How the judges in ``assets/judges`` are made: sizes and what to expect. Plain numbers, because the engine that follows them is
``slotid.evaluate.learn``, and neither package may import the other (what grades must not teach); the command line brings them together.

    python -m slotid train judge_looks    python -m slotid train judge_habits    python -m slotid train judge_facts

In this order: the facts judge keeps statistics of real films in features of the looks judge. The lessons are rendered once, into
``OUT/judge_world``, of people that no generator trains on (split "judges"), 40 of whom only grade.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JudgeRecipe:
    """What a judge learns from and for how long."""

    films: int  # people rendered as films to train on, three takes each
    stills: int  # people rendered as stills, four moments of three takes each
    held: int  # people rendered as films to grade by, five takes each; never trained on
    bank: int  # people whose performances are simulated
    steps: int
    batch: int
    lr: float
    expected: str  # on held-out people


JUDGES: dict[str, JudgeRecipe] = {
    "judge_looks": JudgeRecipe(72, 900, 40, 0, 1500, 64, 1.5e-3, "verification AUC across scenes at least 0.99"),
    "judge_habits": JudgeRecipe(72, 0, 40, 6000, 1200, 96, 2e-3, "verification AUC from measured curves at least 0.85"),
    "judge_facts": JudgeRecipe(72, 900, 40, 6000, 1500, 128, 2e-3, "at least 95 % of single acts"),
}
