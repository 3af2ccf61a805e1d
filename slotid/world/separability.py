"""Are habits strong enough to know a person by? Verification of people from how they move, with everything about how they look taken away.

Two clips of one act kind, other performances, are one person or two? Curves are centred in time (the resting face goes) and one scale
per clip is divided out (how strong goes, how remains); a second table divides out every curve's own scale too, so that only timing and
coordination are left. Rendered clips give every clip another face and scene, so that MediaPipe's curves carry nothing of the looks. The
metric is linear discriminant analysis with a shrunken within-person scatter, fitted on other people than it is tested on (5 folds).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from slotid.types import SlotIDError
from slotid.world.habits import sample_habits
from slotid.world.performance import EXPRESSIONS, Script, perform
from slotid.world.splits import SPLITS

KINDS: dict[str, Script] = {
    "smile": Script(("smile",)),
    "talk": Script(("talk",)),
    "talk, then smile": Script(("talk", "smile")),
}
FRAMES, FPS = 33, 12.0
_LAGS = (1, 2, 3, 4, 5, 6, 8, 10)
_FLOOR = 0.02  # share of the clip's scale below which a curve is at rest


def _seed(person: int, kind: int, take: int) -> int:
    return int(np.random.SeedSequence([person, 8, kind, take]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def expression_channels(expressions: np.ndarray) -> np.ndarray:
    """(T, 57) to (T, C): each paired expression as mean and left minus right, the others as they are; gaze is left out."""
    names, columns = list(EXPRESSIONS), []
    for index, name in enumerate(names):
        if name.startswith(("eyeLook", "Pupil")):
            continue
        if name.endswith("_L"):
            other = expressions[:, names.index(name[:-2] + "_R")]
            columns += [(expressions[:, index] + other) / 2, expressions[:, index] - other]
        elif not name.endswith("_R"):
            columns.append(expressions[:, index])
    return np.stack(columns, axis=1).astype(np.float64)


def describe(curves: np.ndarray, own_scale: bool = False) -> np.ndarray:
    """(T, C) curves of one clip to one vector that knows no offset and no scale of the clip (``own_scale``: of no single curve either).

    Per curve: share of the movement, fastest rise and fall, skewness, time spent high, autocorrelation; between curves: correlation.
    """
    x = curves - curves.mean(axis=0)
    spread = x.std(axis=0)
    whole = max(float(np.sqrt((spread**2).mean())), 1e-9)
    rest = spread < _FLOOR * whole
    unit = np.where(rest, 0, x / np.maximum(spread, 1e-12))
    speed = np.diff(unit, axis=0)
    signed = np.cbrt((unit**3).mean(axis=0))
    parts = [np.percentile(speed, 97, axis=0), np.percentile(speed, 3, axis=0), signed, (unit > 0.8).mean(axis=0)]
    parts += [(unit[lag:] * unit[:-lag]).mean(axis=0) for lag in _LAGS]
    linked = (unit.T @ unit) / len(unit)
    parts.append(linked[np.triu_indices(len(linked), 1)])
    if not own_scale:
        parts += [np.log(spread / whole + _FLOOR), spread / whole]
    return np.concatenate(parts)


def verification_auc(features: np.ndarray, people: np.ndarray, folds: int = 5, kept: int = 24) -> float:
    """Area under the ROC curve of "same person?" over all pairs of clips of held-out people.

    features (N, D), people (N,) their owners. Raises SlotIDError with fewer than 2 people a fold or 2 clips a person.
    """
    owners, counts = np.unique(people, return_counts=True)
    if len(owners) < 2 * folds or min(counts) < 2:
        raise SlotIDError(f"{len(owners)} people with {min(counts, default=0)} clips are too few; give {2 * folds} people, 2 clips each.")
    order = np.random.default_rng(0).permutation(owners)
    same_all, score_all = [], []
    for fold in range(folds):
        held = np.isin(people, order[fold::folds])
        project = _discriminant(features[~held], people[~held], kept)
        z, who = project(features[held]), people[held]
        score = z @ z.T
        upper = np.triu_indices(len(z), 1)
        score_all.append(score[upper])
        same_all.append((who[:, None] == who[None])[upper])
    return _auc(np.concatenate(score_all), np.concatenate(same_all))


def _discriminant(features: np.ndarray, people: np.ndarray, kept: int) -> Callable[[np.ndarray], np.ndarray]:
    """A projection to unit vectors in which clips of one person lie close: within-person scatter whitened, then main axes."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    live = spread > 1e-6
    mean, spread = mean[live], spread[live]
    x = np.clip((features[:, live] - mean) / spread, -4, 4)
    values, vectors = np.linalg.eigh(x @ x.T)  # the main axes of x; far fewer clips than features
    count = min(160, len(x) // 2)
    basis = (vectors[:, -count:].T @ x) / np.sqrt(np.maximum(values[-count:], 1e-9))[:, None]
    y = x @ basis.T
    owners, index = np.unique(people, return_inverse=True)
    means = np.stack([y[index == i].mean(axis=0) for i in range(len(owners))])
    within = np.cov((y - means[index]).T) * len(y) / max(len(y) - len(owners), 1)
    shrink = 0.2
    within = (1 - shrink) * within + shrink * np.eye(len(within)) * np.trace(within) / len(within)
    values, vectors = np.linalg.eigh(within)
    white = vectors / np.sqrt(values)
    between = np.linalg.svd((means - means.mean(axis=0)) @ white, full_matrices=False)
    axes = between[2][:kept]
    strength = between[1][:kept] ** 2 / len(owners)
    noise = 1.0 / np.bincount(index).mean()
    weight = np.sqrt(np.maximum(strength - noise, 0) / np.maximum(strength, 1e-12))  # axes that are mere noise count for little
    final = basis.T @ white @ axes.T * weight

    def project(new: np.ndarray) -> np.ndarray:
        z = np.clip((new[:, live] - mean) / spread, -4, 4) @ final
        return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9)

    return project


def _auc(score: np.ndarray, same: np.ndarray) -> float:
    order = score.argsort(kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    inside = int(same.sum())
    return float((ranks[same].sum() - inside * (inside + 1) / 2) / (inside * (len(score) - inside)))


def true_curves_auc(people: int = 400, takes: int = 3) -> dict[str, float]:
    """Verification AUC on the true expression curves (no head pose) of test people, per act kind and their mean."""
    seeds = SPLITS["test"][:people]
    owners = np.repeat(np.arange(people), takes)
    table: dict[str, float] = {}
    for own_scale, label in ((False, "clip's scale removed"), (True, "every curve's scale removed")):
        for number, (name, script) in enumerate(KINDS.items()):
            rows = []
            for seed in seeds:
                habits = sample_habits(seed)
                for take in range(takes):
                    motion = perform(habits, script, _seed(seed, number, take), FRAMES, FPS)
                    rows.append(describe(expression_channels(motion.expressions), own_scale))
            table[f"{name}, {label}"] = verification_auc(np.array(rows), owners)
        table[f"mean, {label}"] = float(np.mean([table[f"{name}, {label}"] for name in KINDS]))
    return table


def measured_curves_auc(
    people: int = 80,
    takes: int = 3,
    size: int = 192,
    kit: str | None = None,
    report: Callable[[str], None] | None = None,
    kinds: tuple[str, ...] = ("talk, then smile",),
) -> dict[str, float]:
    """Verification AUC on curves that MediaPipe measures from rendered films; every clip wears another face and scene than any other.

    Expression curves alone, with the head's movement, and with its resting roll too. Frames without a face take their neighbours' values.
    """
    from slotid.world.kit import load_kit
    from slotid.world.looks import sample_looks
    from slotid.world.measure import CurveReader
    from slotid.world.render import render_clip
    from slotid.world.scene import sample_scene

    model = load_kit(kit)
    seeds = SPLITS["test"][:people]
    table: dict[str, float] = {}
    with CurveReader() as reader:
        for name in kinds:
            number, rows, lost, frames_all = list(KINDS).index(name), {"face": [], "head": [], "tilt": []}, 0, 0
            owners = []
            for done, seed in enumerate(seeds):
                for take in range(takes):
                    performance = _seed(seed, number, take)
                    motion = perform(sample_habits(seed), KINDS[name], performance, FRAMES, FPS, model.expr_names)
                    looks = sample_looks(SPLITS["test"].start + 50_000 + done * takes + take)  # somebody else's face, used once
                    frames, _ = render_clip(model, looks, sample_scene(performance), motion, size)
                    face, head, seen = reader.curves(frames)
                    lost, frames_all = lost + int((~seen).sum()), frames_all + len(seen)
                    if seen.sum() < len(seen) // 2:
                        continue
                    owners.append(done)
                    shape, moved = describe(face), describe(head)
                    rows["face"].append(shape)
                    rows["head"].append(np.concatenate([shape, moved]))
                    rows["tilt"].append(np.concatenate([shape, moved, np.repeat(np.median(head[:, 2]), 3), head.std(axis=0)]))
                if report and (done + 1) % 10 == 0:
                    report(f"{name}: {done + 1} of {people} people rendered and read")
            owned = np.array(owners)
            keep = np.isin(owned, np.flatnonzero(np.bincount(owned) >= 2))
            for label, what in (("face", "face"), ("head", "face and head"), ("tilt", "face, head, its size and resting roll")):
                table[f"{name}, {what}"] = verification_auc(np.array(rows[label])[keep], owned[keep])
            table[f"{name}, frames without a face"] = lost / frames_all
    return table
