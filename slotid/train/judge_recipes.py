"""How the judges in ``assets/judges`` are made: sizes and what to expect. Plain numbers, because the engine that follows them is
``slotid.evaluate.learn``, and neither package may import the other (what grades must not teach); the command line brings them together.

    python -m slotid train judge_looks    python -m slotid train judge_habits    python -m slotid train judge_facts

In this order: the facts judge keeps statistics of real films in features of the looks judge. The lessons are rendered once, into
``OUT/judge_world``, of people that no generator trains on (split "judges"), some of whom only grade.
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


# Numbers of the judges in assets/judges: 32 held-out people, five clips each; 17 minutes of one core (Zen 4) in all, rendering included.
JUDGES: dict[str, JudgeRecipe] = {
    "judge_looks": JudgeRecipe(32, 400, 32, 0, 780, 64, 1.5e-3, "AUC 0.997 across scenes (by one clip 0.984), rank-1 97 %"),
    "judge_habits": JudgeRecipe(32, 0, 32, 4000, 460, 96, 2e-3, "AUC 0.952 (by one clip 0.900); a still or shuffled film likens to nobody"),
    "judge_facts": JudgeRecipe(32, 400, 32, 4000, 740, 128, 2e-3, "98 % of single acts, 98 % of pairs, background 93 %, light 76 %"),
}
