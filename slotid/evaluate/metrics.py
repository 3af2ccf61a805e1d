"""The metrics: pure functions of arrays, one value per film. Known answers are in tests/evaluate/test_metrics.py.

A frame without a face counts 0 in every likeness (and is left out of the ``..._seen`` variant beside it), so that hiding does not pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from slotid.types import SlotIDError
from slotid.world.performance import acts_of


def normalised(similarity: np.ndarray | float, impostor: float, same: float) -> np.ndarray | float:
    """0 where the similarity is that of the mean impostor, 1 where it is that of another real clip of the same person; linear, unbounded.

    Raises SlotIDError when a judge cannot tell the two apart (same <= impostor).
    """
    if not same > impostor:
        raise SlotIDError(f"the judge finds the same person ({same:.3f}) no more alike than others ({impostor:.3f}); train it longer.")
    return (np.asarray(similarity, np.float64) - impostor) / (same - impostor)


def known_by(vectors: np.ndarray) -> np.ndarray:
    """(K, D) vectors of K clips of one person to the (D,) unit vector that the person is known by; zeros where there is none."""
    mean = np.asarray(vectors, np.float64).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def over_frames(likeness: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """likeness (T,) per frame, seen (T,) bool -> (mean with faceless frames as 0, mean over seen frames; NaN if there are none)."""
    seen = np.asarray(seen, bool)
    if not seen.any():
        return 0.0, float("nan")
    known = np.asarray(likeness, np.float64)[seen]
    return float(known.sum() / len(seen)), float(known.mean())


def detection_rate(seen: np.ndarray) -> float:
    """Share of the frames in which the face was found."""
    return float(np.mean(np.asarray(seen, bool))) if len(seen) else 0.0


def rank_of(target: float, others: np.ndarray) -> int:
    """1 when the film is more like its person than like anybody else; ties count against it."""
    return 1 + int((np.asarray(others) >= target).sum())


def margin(target: float, others: np.ndarray, impostor: float, same: float) -> float:
    """Normalised likeness to the person minus that to the nearest impostor; above 0 means recognised."""
    return float(normalised(target, impostor, same) - normalised(float(np.max(others)), impostor, same))


def drift(likeness: np.ndarray, seconds: np.ndarray, seen: np.ndarray) -> float:
    """Slope of likeness over time, per second, by least squares over the seen frames; NaN with fewer than 3."""
    seen = np.asarray(seen, bool)
    if seen.sum() < 3:
        return float("nan")
    t = np.asarray(seconds, np.float64)[seen]
    t = t - t.mean()
    return float((t * np.asarray(likeness, np.float64)[seen]).sum() / max((t**2).sum(), 1e-12))


def prompt_following(asked: Mapping[str, str], acts: Mapping[str, float], scene: Mapping[str, str]) -> float:
    """Share of the asked facts that the judge sees.

    asked: fact to value as the captions name them; an act may be two, "talk,smile" or "smile+nod". acts: probability of each act; of k
    asked acts those count that are among the k likeliest. scene: the likeliest value of each other fact; clothing "red_shirt"
    counts half for its colour and half for its kind.
    """
    if not asked:
        raise SlotIDError("prompt following needs at least one asked fact; give the facts that the prompt names.")
    points = []
    for fact, value in asked.items():
        if fact == "act":
            wanted = acts_of(value)
            top = sorted(acts, key=lambda act: -acts[act])[: len(wanted)]
            points.append(float(np.mean([act in top for act in wanted])) if acts else 0.0)
        elif fact == "clothing":
            colour, garment = value.split("_", 1)
            points.append(((scene.get("colour") == colour) + (scene.get("garment") == garment)) / 2)
        else:
            points.append(float(scene.get(fact) == value))
    return float(np.mean(points))


def frechet(a: np.ndarray, b: np.ndarray, shrink: float = 0.1) -> float:
    """Frechet distance of two sets of features (N, D), (M, D) as Gaussians (Heusel et al. 2017); covariances shrunk to their diagonal."""
    return frechet_gaussians(*gaussian(a, shrink), *gaussian(b, shrink))


def gaussian(x: np.ndarray, shrink: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and shrunk covariance (D, D) of features (N, D), N at least 2."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise SlotIDError(f"features of shape {x.shape} have no distribution; give (N, D) with N at least 2.")
    cov = np.cov(x.T).reshape(x.shape[1], x.shape[1])
    return x.mean(axis=0), (1 - shrink) * cov + shrink * np.diag(np.diag(cov))


def frechet_gaussians(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """|mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2))."""
    root = _root(np.ascontiguousarray(cov_a, np.float64).tobytes(), len(cov_a))
    inner = np.linalg.eigvalsh(root @ cov_b @ root)  # the eigenvalues of cov_a cov_b
    trace = np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + max(trace, 0.0))


@lru_cache(maxsize=2)
def _root(matrix: bytes, size: int) -> np.ndarray:
    """Symmetric square root; the real films' is asked for again and again."""
    values, vectors = np.linalg.eigh(np.frombuffer(matrix).reshape(size, size))
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def strangeness(features: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> float:
    """How far the frames of one film lie from real ones: root mean square Mahalanobis distance over sqrt(D); about 1 for real films."""
    x = np.asarray(features, np.float64) - mean
    solved = np.linalg.solve(cov + 1e-6 * np.trace(cov) / len(cov) * np.eye(len(cov)), x.T)
    return float(np.sqrt((x.T * solved).sum(axis=0).mean() / len(mean)))


def jitter(landmarks: np.ndarray, seconds: np.ndarray) -> float:
    """Trembling of the mesh: median over points of the RMS second difference at 12 steps a second, in eye distances; NaN if too short.

    landmarks (T, P, 2 or 3) pixels, NaN where unseen. The eyes' outer corners are points 33 and 263.
    """
    flat = np.asarray(landmarks, np.float64)[:, :, :2]
    bend = flat[2:] - 2 * flat[1:-1] + flat[:-2]
    known = np.isfinite(bend).all(axis=(1, 2))
    if not known.any():
        return float("nan")
    unit = float(np.nanmedian(np.linalg.norm(flat[:, 33] - flat[:, 263], axis=1)))
    step = float(np.median(np.diff(seconds)))
    rms = np.sqrt((bend[known] ** 2).sum(axis=2).mean(axis=0))
    return float(np.median(rms) / max(unit, 1e-9) * (1 / 12.0 / step) ** 2)


def flicker(frames: np.ndarray) -> float:
    """Mean absolute second difference of brightness over an 8 x 8 grid of blocks, 0..1; frames (T, H, W, 3) uint8. 0 for a frozen film."""
    if len(frames) < 3:
        return 0.0
    rows, columns = (np.linspace(0, n, 9).astype(int) for n in frames.shape[1:3])
    luma = np.stack([frame.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]) for frame in frames]) / 255
    sums = np.add.reduceat(np.add.reduceat(luma, rows[:-1], axis=1), columns[:-1], axis=2)
    blocks = sums / (np.diff(rows)[:, None] * np.diff(columns)[None])
    return float(np.abs(blocks[2:] - 2 * blocks[1:-1] + blocks[:-2]).mean())


def within(value: float, low: float, high: float) -> float:
    """1 inside the range of real films, falling in proportion outside: half as much or twice as much gives 0.5; NaN gives 0."""
    if not np.isfinite(value) or value < 0:
        return 0.0
    if value < low:
        return float(value / low)
    return float(high / value) if value > high else 1.0


def naturalness(strange: float, jitter_value: float, flicker_value: float, real: Mapping[str, Sequence[float]]) -> float:
    """0 to 1: geometric mean of how far the frames look real, the mesh trembles as in real films, and the light flickers as in them.

    real: the ranges (5th to 95th percentile) of real films under "strangeness", "jitter" and "flicker". Being *less* strange is no fault;
    trembling or flickering less is: a frozen film is not natural.
    """
    looks = within(max(strange, real["strangeness"][0]), *real["strangeness"])
    return float((looks * within(jitter_value, *real["jitter"]) * within(flicker_value, *real["flicker"])) ** (1 / 3))


def spread(values: np.ndarray, seen: np.ndarray) -> float:
    """Range between the 5th and the 95th percentile over the seen frames; 0 where there are none."""
    values = np.asarray(values, np.float64)[np.asarray(seen, bool)]
    values = values[np.isfinite(values)]
    return float(np.percentile(values, 95) - np.percentile(values, 5)) if len(values) else 0.0


def auc(same: np.ndarray, different: np.ndarray) -> float:
    """Probability that a same-person similarity is above a different-person one, ties half (area under the ROC curve)."""
    same, different = np.asarray(same, np.float64).ravel(), np.asarray(different, np.float64).ravel()
    if not len(same) or not len(different):
        raise SlotIDError("verification needs at least one same-person and one different-person pair; give more clips.")
    order = np.sort(different)
    below, upto = np.searchsorted(order, same, "left"), np.searchsorted(order, same, "right")
    return float((below + upto).mean() / (2 * len(order)))


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    """Where as many same-person pairs are refused as different-person pairs are accepted; 0 perfect, 0.5 chance."""
    same, different = np.asarray(same, np.float64).ravel(), np.asarray(different, np.float64).ravel()
    if not len(same) or not len(different):
        raise SlotIDError("verification needs at least one same-person and one different-person pair; give more clips.")
    cuts = np.unique(np.concatenate([same, different, [np.inf]]))
    refused = np.array([(same < cut).mean() for cut in cuts])
    accepted = np.array([(different >= cut).mean() for cut in cuts])
    best = np.abs(refused - accepted).argmin()
    return float((refused[best] + accepted[best]) / 2)
