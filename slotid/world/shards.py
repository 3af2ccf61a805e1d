"""Training films on disk: ``write_shards`` renders, ``read_shards`` lists, ``decoded`` feeds them without starving a training step.

A shard is one uncompressed zip of a few people: ``parameters.npz`` and one H.264 film per clip (4:4:4, crf 12: about 39 dB at a tenth of
the raw size; some 13 ms of CPU to decode 33 frames of 128 px). One file a shard, because thousands of small files are slow to open and
copy; a film of its own per clip, because then any clip is read without seeking through others; a zip, because any tool opens it and its
directory comes last, so a cut-off file is never taken for a whole one. A shard is written under a temporary name and renamed when
complete: what has the right name is done, and resuming skips it.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import time
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from slotid.types import SlotIDError
from slotid.world.person import person_vector
from slotid.world.splits import split_range
from slotid.world.take import Take, calm, direct, film

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

FORMAT = 1
PEOPLE_PER_SHARD = 4
CRF = 12
_T = TypeVar("_T")
_R = TypeVar("_R")
_stopped: Callable[[], bool] = bool  # worker processes set it; bool() is False: a single process is stopped by Ctrl-C itself


@dataclass(frozen=True)
class ShardSettings:
    """What every clip of a folder has in common; kept in its ``world.json``, so that a resumed run cannot mix two kinds."""

    clips: int  # per person
    references: int  # how many of them, the last ones, are reference takes
    size: int  # pixels, square
    frames: int
    fps: float
    defects: float = 0.5  # share of the reference takes with webcam defects
    format: int = FORMAT
    tripod: bool = False  # one fixed camera for all, see scene.on_tripod
    calm: bool = False  # faces held still, see take.calm

    def __post_init__(self) -> None:
        if self.clips < 1 or not 0 <= self.references <= self.clips:
            raise SlotIDError(
                f"{self.clips} clips with {self.references} references cannot be; give at least 1 clip and at most as many references."
            )
        if not 64 <= self.size <= 512 or self.size % 2:
            raise SlotIDError(f"film size {self.size} px is not usable; give an even size from 64 to 512.")
        if not 1 <= self.fps <= 60 or not 2 <= self.frames <= 1200:
            raise SlotIDError(f"{self.frames} frames at {self.fps:g} per second is not usable; give 1 to 60 fps and 2 to 1200 frames.")


@dataclass(frozen=True)
class ClipRecord:
    """One clip on disk. Everything but the pictures is in memory; ``frames()`` decodes them anew at each call."""

    person: int  # seed
    index: int
    reference: bool
    caption: str
    facts: dict[str, str]  # act, light, background, clothing, framing
    seconds: np.ndarray  # (T,) float64
    points5: np.ndarray  # (T, 5, 2) float32 pixels: left eye, right eye, nose tip, mouth left, mouth right (the person's sides)
    expressions: np.ndarray  # (T, E) float16, in the order of performance.EXPRESSIONS
    head: np.ndarray  # (T, 3) float32 degrees yaw, pitch, roll
    gaze: np.ndarray  # (T, 2) float32 degrees
    vector: np.ndarray  # (PERSON_SIZE,) float32, laid out as person.PERSON_LAYOUT
    shard: Path
    member: str

    def frames(self) -> np.ndarray:
        """(T, S, S, 3) uint8 RGB."""
        with zipfile.ZipFile(self.shard) as pack:
            return decode_film(pack.read(self.member))


def encode_film(frames: np.ndarray, fps: float, crf: int = CRF) -> bytes:
    """(T, H, W, 3) uint8 RGB to the bytes of an mp4: one thread, one key frame, colour at full resolution, quick to decode."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        stream.options = {"crf": str(crf), "preset": "fast", "tune": "fastdecode", "threads": "1", "g": str(len(frames))}
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def decode_film(data: bytes) -> np.ndarray:
    """The inverse of ``encode_film``, on one thread (many decode at once)."""
    import av
    from av.video.reformatter import VideoReformatter

    to_rgb = VideoReformatter()  # one for all frames: making one a frame costs more than decoding
    with av.open(io.BytesIO(data)) as container:
        container.streams.video[0].thread_type = "NONE"
        return np.stack([to_rgb.reformat(frame, format="rgb24").to_ndarray() for frame in container.decode(video=0)])


def pack_shard(path: Path, clips: Iterable[tuple[Take, np.ndarray, np.ndarray]]) -> int:
    """Writes (take, frames (T, S, S, 3) uint8, points5 (T, 5, 2)) into one shard; returns how many clips.

    All clips have the same length and times. ``path`` appears only when all is written; nothing is left behind when it is stopped half way.
    """
    rows: dict[str, list] = defaultdict(list)
    partial = path.with_name(path.name + f".{os.getpid()}.part")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as pack:
            for take, frames, points in clips:
                seconds = take.motion.seconds
                pack.writestr(_member(take.person.seed, take.index), encode_film(frames, 1 / float(seconds[1] - seconds[0])))
                rows["person"].append(take.person.seed)
                rows["index"].append(take.index)
                rows["reference"].append(take.reference)
                rows["caption"].append(take.caption)
                rows["facts"].append(json.dumps(take.facts))
                rows["points5"].append(points.astype(np.float32))
                rows["expressions"].append(take.motion.expressions.astype(np.float16))
                rows["head"].append(take.motion.head)
                rows["gaze"].append(take.motion.gaze)
                rows["vector"].append(person_vector(take.person))
            buffer = io.BytesIO()
            np.savez(buffer, seconds=seconds, **{name: np.array(values) for name, values in rows.items()})
            pack.writestr("parameters.npz", buffer.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return len(rows["person"])


def _member(seed: int, index: int) -> str:
    return f"{seed:07d}_{index:03d}.mp4"


def _render_shard(path: Path, seeds: range, settings: ShardSettings, kit_path: str | None) -> int:
    """Directs, films and packs all clips of ``seeds``; runs in a process of its own."""
    from slotid.world.kit import load_kit

    kit = load_kit(kit_path)

    def clips() -> Iterator[tuple[Take, np.ndarray, np.ndarray]]:
        for seed in seeds:
            for index in range(settings.clips):
                if _stopped():
                    raise SlotIDError("rendering was stopped; the same command goes on where it was.")
                reference = index >= settings.clips - settings.references
                take = direct(
                    seed, index, settings.frames, settings.fps, reference,
                    defects=settings.defects, expr_names=kit.expr_names, tripod=settings.tripod,
                )  # fmt: skip
                take = calm(take, kit.expr_names) if settings.calm else take
                yield (take, *film(take, kit, settings.size))

    return pack_shard(path, clips())


def _settings_agree(out: Path, settings: ShardSettings) -> None:
    note = out / "world.json"
    if note.exists():
        known = {"tripod": False, "calm": False} | json.loads(note.read_text())  # folders made before there was a choice
        wanted = asdict(settings)
        other = [f"{name} {known.get(name)} there, {value} asked" for name, value in wanted.items() if known.get(name) != value]
        if other:
            raise SlotIDError(f"folder {out} holds films made otherwise ({'; '.join(other)}); give another --out or the same settings.")
    else:
        note.write_text(json.dumps(asdict(settings), indent=1))


def write_shards(
    start: int,
    stop: int,
    settings: ShardSettings,
    out: str | Path,
    workers: int = 1,
    kit: str | None = None,
    report: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """Renders people start..stop-1 into shards under ``out``; complete shards are kept, so that a stopped run goes on where it was.

    Returns counts: shards, skipped, clips, seconds. ``report`` gets a line per finished shard (default: one moving line on stderr).
    Raises SlotIDError for an empty or split-crossing range, for other settings in the folder, or when no kit is found.
    """
    from slotid.world.kit import load_kit

    split_range(start, stop)
    if workers < 1:
        raise SlotIDError(f"{workers} workers cannot render; give at least 1.")
    load_kit(kit)  # fail here, once and clearly, not in every worker
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _settings_agree(out, settings)
    report = report or _stderr_line
    jobs = [(out / f"shard_{seeds.start:07d}_{seeds.stop:07d}.zip", seeds, settings, kit) for seeds in _groups(start, stop)]
    todo = [job for job in jobs if not job[0].exists()]
    if len(todo) < len(jobs):
        report(f"{len(jobs) - len(todo)} of {len(jobs)} shards are there already")
    begun, clips = time.monotonic(), 0
    for done, made in enumerate(_render_all(todo, min(workers, len(todo))), 1):
        clips += made
        spent = time.monotonic() - begun
        left = _clock(spent / done * (len(todo) - done))
        report(f"{done}/{len(todo)} shards, {clips} clips, {clips * settings.frames / max(spent, 1e-6):.0f} frames/s, {left} left")
    if report is _stderr_line and todo:
        sys.stderr.write("\n")
    return {"shards": len(jobs), "skipped": len(jobs) - len(todo), "clips": clips, "seconds": time.monotonic() - begun}


def _groups(start: int, stop: int) -> list[range]:
    """Runs of people that share a shard; cut at fixed places, so that a longer range later finds the same shards."""
    cuts = [start, *range((start // PEOPLE_PER_SHARD + 1) * PEOPLE_PER_SHARD, stop, PEOPLE_PER_SHARD), stop]
    return [range(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]


def _render_all(jobs: list[tuple], workers: int) -> Iterator[int]:
    """Clips made by each job, in the order they finish; several fresh processes (spawned: numba and OpenMP do not survive a fork)."""
    if workers <= 1:
        yield from (_render_shard(*job) for job in jobs)
        return
    context = get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_worker, initargs=(stop,)) as pool:
        try:
            for job in as_completed([pool.submit(_render_shard, *job) for job in jobs]):
                yield job.result()
        except BaseException:  # Ctrl-C, a failed shard, a closed generator: stop after the clips under way, not after the shards
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _worker(stop: Event) -> None:
    """One thread each; Ctrl-C is the parent's business, who tells by ``stop``."""
    global _stopped
    _stopped = stop.is_set
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _stderr_line(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K" + text)
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def read_shards(folder: str | Path) -> list[ClipRecord]:
    """All clips of the complete shards under ``folder``, ordered by person and number; pictures stay on disk.

    Raises SlotIDError when the folder holds no shard or one that cannot be read.
    """
    folder = Path(folder)
    records: dict[tuple[int, int], ClipRecord] = {}
    for shard in sorted(folder.glob("shard_*.zip")):
        try:
            with zipfile.ZipFile(shard) as pack:
                table = dict(np.load(io.BytesIO(pack.read("parameters.npz")), allow_pickle=False))
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise SlotIDError(f"shard {shard} cannot be read ({error}); delete it and render again.") from error
        for row in range(len(table["person"])):
            seed, index = int(table["person"][row]), int(table["index"][row])
            records[seed, index] = ClipRecord(
                person=seed,
                index=index,
                reference=bool(table["reference"][row]),
                caption=str(table["caption"][row]),
                facts=json.loads(str(table["facts"][row])),
                seconds=table["seconds"],
                points5=table["points5"][row],
                expressions=table["expressions"][row],
                head=table["head"][row],
                gaze=table["gaze"][row],
                vector=table["vector"][row],
                shard=shard,
                member=_member(seed, index),
            )
    if not records:
        raise SlotIDError(f"no shards in {folder}; make some with `python -m slotid world render --people 0:100 --out {folder}`.")
    return [records[key] for key in sorted(records)]


def pairs(records: list[ClipRecord], seed: int = 0) -> Iterator[tuple[ClipRecord, ClipRecord]]:
    """Without end: (reference, target) of one person, never the same clip. Every clip is a target once before any is twice.

    A target is any plain clip; its reference is a reference take of the person where there is one, else another clip.
    Raises SlotIDError when nobody has two clips.
    """
    people: dict[int, list[ClipRecord]] = defaultdict(list)
    for record in records:
        people[record.person].append(record)
    targets = [record for record in records if not record.reference and len(people[record.person]) > 1]
    if not targets:
        raise SlotIDError("no person has a plain clip and another one to refer to; render at least two clips a person, one of them plain.")
    rng = np.random.default_rng(seed)
    while True:
        for number in rng.permutation(len(targets)):
            target = targets[number]
            others = [record for record in people[target.person] if record is not target]
            others = [record for record in others if record.reference] or others
            yield others[int(rng.integers(len(others)))], target


def decoded(items: Iterable[_T], load: Callable[[_T], _R], workers: int = 1, ahead: int = 16) -> Iterator[_R]:
    """``load`` of each item, in order, made up to ``ahead`` items early by threads (decoding lets go of Python's lock).

    For training: ``decoded(pairs(records), lambda pair: [clip.frames() for clip in pair])``. An error of ``load`` is raised where its item
    is due.
    """
    source = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        try:
            for item in source:
                waiting.append(pool.submit(load, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job in waiting:
                job.cancel()
