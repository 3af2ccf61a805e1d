"""Clip -> mp4 that plays in browsers and carries its request in its metadata; and the request back out of the file."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from slotid.types import Clip, SlotIDError

TICKS = 90_000  # time base of written films: fine enough for any rate, as MPEG has it


def write_clip(path: str | Path, clip: Clip | np.ndarray, request_meta: Mapping[str, Any] | None = None, fps: float | None = None) -> Path:
    """Write an mp4: H.264, yuv420p, BT.709, even size (an odd side repeats its last row), index in front so that it plays while loading.

    The file appears whole or not at all: it is written beside its place and renamed, so an interrupted write leaves nothing.

    Args:
        path: ends in .mp4; its folder must exist.
        clip: a Clip, or frames (T, H, W, 3) uint8 RGB with ``fps``.
        request_meta: JSON-able settings (prompt, seed, strengths, method, backbone, version...); kept as one JSON object in the
            comment tag, always with ``"ai_generated": true``. None: no comment, for films that were not generated.
        fps: constant rate; None with a Clip: its true times.

    Returns:
        The path written.
    """
    import av
    from av.video.reformatter import VideoReformatter

    path = Path(path).expanduser()
    frames = clip.frames if isinstance(clip, Clip) else np.asarray(clip)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise SlotIDError(f"write_clip got frames {frames.shape} {frames.dtype}; give (T, H, W, 3) uint8 with at least one frame.")
    if fps is None and not isinstance(clip, Clip):
        raise SlotIDError("write_clip got frames without a rate; give fps.")
    if fps is not None and not 0 < fps <= 240:
        raise SlotIDError(f"write_clip got {fps} frames per second; give a rate above 0 and up to 240.")
    if path.suffix.lower() != ".mp4":
        raise SlotIDError(f"Films are written as mp4, but {path.name} does not end in .mp4; change the name.")
    seconds = np.arange(len(frames)) / fps if fps is not None else np.asarray(clip.seconds, np.float64)
    if len(seconds) != len(frames) or (np.diff(seconds) <= 0).any():
        raise SlotIDError("write_clip got times that do not increase, or not one per frame; give increasing seconds.")
    comment = None
    if request_meta is not None:
        try:
            comment = json.dumps({**request_meta, "ai_generated": True}, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SlotIDError(f"The settings cannot be kept as JSON ({error}); give strings, finite numbers, lists and dicts.") from error
    rate = fps or (1 / float(np.median(np.diff(seconds))) if len(seconds) > 1 else 25.0)

    with whole_or_nothing(path) as temporary:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            if comment is not None:
                container.metadata["comment"] = comment
            # x264's tree of macroblocks weighs some otherwise from time to time: the same film became one of two or three files
            options = {"crf": "14", "preset": "medium", "x264-params": "mbtree=0"}
            stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001), options=options)
            stream.width, stream.height = frames.shape[2] + frames.shape[2] % 2, frames.shape[1] + frames.shape[1] % 2
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.time_base = Fraction(1, TICKS)
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, said in the file: no player has to guess
            context.color_range = 1  # limited
            reformatter = VideoReformatter()
            for pixels, at in zip(frames, seconds, strict=True):
                frame = av.VideoFrame.from_ndarray(_even(pixels), format="rgb24")
                frame = reformatter.reformat(frame, format="yuv420p", dst_colorspace=1, dst_color_range=1, interpolation="BICUBIC")
                frame.pts, frame.time_base = round(at * TICKS), Fraction(1, TICKS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def read_settings(path: str | Path) -> dict[str, Any]:
    """The request kept in a film that :func:`write_clip` wrote; a SlotIDError where there is none."""
    import av

    path = Path(path).expanduser()
    if not path.is_file():
        raise SlotIDError(f"There is no file {path}; check the name.")
    options = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2", "protocol_whitelist": "file"}
    try:
        with av.open(str(path.resolve()), container_options=options, metadata_errors="replace") as container:
            comment = container.metadata.get("comment", "")
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise SlotIDError(f"{path.name} is not an mp4 that can be read; give a film made by Slot-ID.") from error
    try:
        settings = json.loads(comment)
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or "ai_generated" not in settings:
        raise SlotIDError(f"{path.name} carries no settings; give an mp4 made by Slot-ID that was not re-encoded since.")
    return settings


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A temporary place beside ``path``; renamed to it on success, removed on any failure or interruption.

    Raises:
        SlotIDError: the folder is missing or may not be written, or ``path`` is a folder.
    """
    folder = path.parent
    if not folder.is_dir():
        raise SlotIDError(f"The folder {folder} does not exist; create it or choose another.")
    if path.is_dir():
        raise SlotIDError(f"{path} is a folder; give the name of a file in it.")
    temporary = folder / f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}"
    try:
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            os.replace(temporary, path)
        except (PermissionError, FileNotFoundError) as error:
            raise SlotIDError(f"{path} cannot be written ({error.strerror}); choose a folder you may write to.") from error
        except OSError as error:
            raise SlotIDError(f"{path} cannot be written ({error.strerror or error}); is there room on the disk?") from error
    finally:
        temporary.unlink(missing_ok=True)


def _even(pixels: np.ndarray) -> np.ndarray:
    odd = pixels.shape[0] % 2, pixels.shape[1] % 2
    if any(odd):
        pixels = np.pad(pixels, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)
