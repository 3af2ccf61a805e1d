"""Files <-> Clip. Reading is PyAV for films and Pillow for pictures; writing lives in ``clip_write`` and is re-exported here.

Time is the file's own presentation time, never frame number over a nominal rate: browser recordings and phone films have
a variable rate. Pictures come out upright (rotation and mirror metadata honoured) and square-pixelled, 8-bit RGB.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slotid.clip_write import read_settings, write_clip
from slotid.types import Clip, SlotIDError

if TYPE_CHECKING:
    import av

__all__ = ["read_clip", "read_settings", "resample", "write_clip"]

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,gif,flv,asf,ogg,mp3,wav,flac,aac"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
GREY = 128  # what shows through transparent pixels: neither lights nor darkens a face's surroundings
MAX_BYTES = 1_000_000_000  # of decoded frames; larger clips are made smaller, with a notice
HDR = {16: "PQ", 18: "HLG"}  # AVColorTransferCharacteristic of the two HDR curves
UNKNOWN_RATE = 30.0  # frames per second supposed where a container states none


def read_clip(path: str | Path, max_seconds: float = 20.0, max_side: int | None = None, fps: float = 25.0) -> Clip:
    """Read a film, an animated picture, one picture, or a folder of pictures.

    Args:
        path: mp4, mov, webm (with or without duration), mkv, avi, mpg, gif, webp, png, jpg, bmp, tiff, avif, or a folder of
            pictures, taken in natural order (2 before 10).
        max_seconds: later frames are left out, with a notice.
        max_side: longest side of the frames in pixels; larger films are reduced while decoding (fast). None: as they are,
            unless they would not fit into ``MAX_BYTES``. Never enlarged.
        fps: frames per second of a folder of pictures; not used otherwise.

    Returns:
        Clip with frames (T, H, W, 3) uint8 RGB, upright; seconds (T,) from 0. Transparent pixels are laid over mid-grey and
        HDR is converted to BT.709; both are said in ``notices``, as is everything else that was changed.

    Raises:
        SlotIDError: missing, empty, damaged or unknown file; sound without picture; no frames; folder without pictures.
    """
    path = Path(path).expanduser()
    if not max_seconds > 0 or not fps > 0 or (max_side is not None and max_side < 16):
        raise SlotIDError(
            f"read_clip got max_seconds {max_seconds}, max_side {max_side}, fps {fps}; give positive numbers, a side of at least 16."
        )
    try:
        if path.is_dir():
            return _read_folder(path, max_seconds, max_side, fps)
        if path.exists() and not path.is_file():
            raise SlotIDError(f"{path} is no file but a device or a pipe; save the clip as a file and give that.")
        with path.open("rb") as file:
            head = file.read(32)
    except PermissionError as error:
        raise SlotIDError(f"{path.name} may not be read: permission denied; change its permissions.") from error
    except OSError as error:  # missing, a name too long for the disk...
        raise SlotIDError(f"There is no file {_brief(path)}; check the name.") from error
    if not head:
        raise SlotIDError(f"{path.name} is empty (0 bytes); record or copy it again.")
    if _is_picture(head):
        return _read_picture(path, max_seconds, max_side)
    return _read_film(path, max_seconds, max_side)


def resample(clip: Clip, fps: float) -> Clip:
    """The clip at a constant rate: for each time k / fps the frame nearest in true time. Neither faster nor slower than before.

    Args:
        clip: any rate, variable too.
        fps: frames per second, above 0.
    """
    if not fps > 0:
        raise SlotIDError(f"resample got {fps} frames per second; give a number above 0.")
    seconds = np.asarray(clip.seconds, np.float64)
    times = np.arange(int(np.floor(seconds[-1] * fps + 1e-6)) + 1) / fps
    later = np.clip(np.searchsorted(seconds, times), 1, max(1, len(seconds) - 1))
    if len(seconds) == 1:
        nearest = np.zeros(len(times), int)
    else:
        nearest = np.where(times - seconds[later - 1] <= seconds[later] - times, later - 1, later)
    return replace(clip, frames=clip.frames[nearest], seconds=times)


# --- films ---------------------------------------------------------------------------------------------------------


def _read_film(path: Path, max_seconds: float, max_side: int | None) -> Clip:
    import av

    # Playlists and concat scripts can name other files or addresses: only plain containers and only this file may be opened.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        with av.open(str(path.resolve()), container_options=options, metadata_errors="replace") as container:
            return _decode(container, path, max_seconds, max_side)
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise SlotIDError(
            f"{path.name} is not a film that can be read ({_short(error)}); "
            "give mp4, mov, webm, mkv, avi, mpg, gif, webp or a folder of pictures."
        ) from error


def _decode(container: av.container.InputContainer, path: Path, max_seconds: float, max_side: int | None) -> Clip:
    import av
    from av.stream import Disposition

    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        what = "has sound but no picture" if container.streams.audio else "holds no film"
        raise SlotIDError(f"{path.name} {what}; give a film in which a face is to be seen.")
    stream = films[0]
    stream.thread_type = "AUTO"
    buffer: _Frames | None = None
    notices: list[str] = []
    damaged = cut = False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged = True
            continue
        for frame in frames:
            if buffer is None:
                buffer = _Frames(frame, stream, container, max_seconds, max_side, notices)
            cut = not buffer.add(frame)
            if cut:
                break
        if cut:
            break
    if buffer is None or not buffer.seconds:
        raise SlotIDError(f"{path.name} holds no frame that can be decoded; it may be damaged or cut short: record or copy it again.")
    if cut:
        notices.append(f"cut to the first {buffer.limit:g} s")
    if damaged:
        notices.append("damaged parts of the file were skipped")
    if buffer.guessed:
        notices.append(f"{buffer.guessed} frames had no usable time stamp; spaced by the nominal rate")
    if buffer.transparent:
        notices.append("transparent pixels laid over mid-grey")
    return Clip(buffer.frames(), np.array(buffer.seconds), path.name, tuple(notices))


class _Frames:
    """Turns decoded frames into upright RGB at the wanted size and collects them with their times."""

    def __init__(self, first: av.VideoFrame, stream: Any, container: Any, max_seconds: float, max_side: int | None, notices: list[str]):
        from av.video.reformatter import VideoReformatter

        self.reformatter = VideoReformatter()
        self.rate = float(stream.average_rate or stream.guessed_rate or UNKNOWN_RATE)
        if not 0.1 <= self.rate <= 240:  # a webm without duration may claim 1000
            self.rate = UNKNOWN_RATE
        self.limit, self.seconds, self.guessed, self.transparent = max_seconds, [], 0, False
        self.start: float | None = None
        wide = first.width * _pixel_aspect(stream)
        side = max(wide, first.height)
        scale = 1.0 if max_side is None else min(1.0, max_side / side)
        known = float(container.duration) / 1e6 if container.duration and container.duration > 0 else max_seconds
        count = max(1.0, min(max_seconds, known) * self.rate)
        fit = np.sqrt(MAX_BYTES / (count * 3 * wide * first.height))
        if fit < scale:
            scale = fit
            notices.append(f"reduced from {round(wide)}x{first.height} to fit into memory")
        self.size = max(1, round(wide * scale)), max(1, round(first.height * scale))
        self.turn = _display_matrix(first)
        self.alpha = any(c.is_alpha for c in first.format.components)
        self.hdr = int(first.color_trc) in HDR
        if self.hdr:
            notices.append(f"{HDR[int(first.color_trc)]} high dynamic range converted to BT.709")
        # Untagged YUV: HD is BT.709 and below is BT.601, as browsers and players suppose.
        self.space = {} if int(first.colorspace) != 2 else {"src_colorspace": 1 if first.height >= 720 or first.width >= 1280 else 5}
        self.data = np.empty((0, 1, 1, 3), np.uint8)

    def add(self, frame: av.VideoFrame) -> bool:
        """False once the clip is full: past the time limit, or past twice the memory that was planned."""
        time = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if self.start is None:
            self.start = time if time is not None else 0.0
            self.guessed += time is None
            at = 0.0
        else:
            at = -1.0 if time is None else time - self.start
            if at <= self.seconds[-1]:
                at = self.seconds[-1] + 1 / self.rate
                self.guessed += 1
        if at >= self.limit - 1e-6:
            return False
        picture = self._rgb(frame)
        if not self.seconds:
            self.data = np.empty((64, *picture.shape), np.uint8)
        if len(self.seconds) == len(self.data):
            if self.data.nbytes > 2 * MAX_BYTES:
                self.limit = round(at, 2)
                return False
            self.data.resize((len(self.data) * 5 // 4 + 16, *picture.shape), refcheck=False)  # grows in place: no second copy
        self.data[len(self.seconds)] = picture
        self.seconds.append(at)
        return True

    def frames(self) -> np.ndarray:
        self.data.resize((len(self.seconds), *self.data.shape[1:]), refcheck=False)
        return self.data

    def _rgb(self, frame: av.VideoFrame) -> np.ndarray:
        how: dict[str, Any] = dict(self.space)
        if self.hdr:
            how.update(dst_color_trc=1, dst_color_primaries=1)
        shrinks = self.size[0] < frame.width
        how["interpolation"] = "AREA" if shrinks else "BICUBIC"
        form = "rgba" if self.alpha else "rgb24"
        picture = self.reformatter.reformat(frame, *self.size, form, threads=1, **how).to_ndarray()
        if self.alpha:
            picture, clear = _over_grey(picture)
            self.transparent |= clear
        return _turn(picture, self.turn)


def _pixel_aspect(stream: Any) -> float:
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    return aspect if 0.2 < aspect < 5 else 1.0


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) in -1, 0, 1: a pixel at (x, y) is shown at (a x + c y, b x + d y). Rounded to quarter turns and mirrors."""
    from av.sidedata.sidedata import Type

    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.float64) / 65536
    if max(abs(a), abs(d)) >= max(abs(b), abs(c)):
        return (1 if a >= 0 else -1), 0, 0, (1 if d >= 0 else -1)
    return 0, (1 if b >= 0 else -1), (1 if c >= 0 else -1), 0


def _turn(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if a == 0:
        picture = picture.transpose(1, 0, 2)
        a, d = c, b
    return picture[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1]


# --- pictures ------------------------------------------------------------------------------------------------------


def _is_picture(head: bytes) -> bool:
    return (
        head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or head[4:12] in (b"ftypavif", b"ftypavis")
    )


def _read_picture(path: Path, max_seconds: float, max_side: int | None) -> Clip:
    """One picture, or an animated webp, png or avif, with its own frame durations."""
    from PIL import Image, ImageSequence

    notices: list[str] = []
    frames, seconds, now = [], [], 0.0
    transparent = cut = False
    try:
        with Image.open(path) as picture:
            side = max_side
            count = getattr(picture, "n_frames", 1)
            if count * picture.width * picture.height * 3 > MAX_BYTES:
                fit = int(max(picture.size) * np.sqrt(MAX_BYTES / (count * picture.width * picture.height * 3)))
                side = min(side or fit, fit)
                notices.append(f"reduced from {picture.width}x{picture.height} to fit into memory")
            for frame in ImageSequence.Iterator(picture):
                if now >= max_seconds - 1e-6:
                    cut = True
                    break
                pixels, clear = _upright(frame, side)
                transparent |= clear
                frames.append(pixels)
                seconds.append(now)
                now += max(10.0, frame.info.get("duration") or 100.0) / 1000  # 0 ms means "as fast as you can": browsers take 100
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if not frames:
            raise SlotIDError(f"{path.name} is not a picture that can be read ({_short(error)}); save it again as png or jpg.") from error
        notices.append("damaged parts of the file were skipped")
    if cut:
        notices.append(f"cut to the first {max_seconds:g} s")
    if transparent:
        notices.append("transparent pixels laid over mid-grey")
    if len(frames) == 1:
        notices.append("a single picture: a person's way of moving cannot be seen in it")
    return Clip(np.stack(frames), np.array(seconds), path.name, tuple(notices))


def _read_folder(folder: Path, max_seconds: float, max_side: int | None, fps: float) -> Clip:
    files = [f for f in folder.iterdir() if f.suffix.lower() in PICTURES and not f.name.startswith(".") and f.is_file()]
    if not files:
        raise SlotIDError(f"The folder {folder} holds no pictures; give a folder with png, jpg, webp, bmp, tiff or avif files, or a film.")
    files.sort(key=lambda f: [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", f.name.lower())])
    keep = max(1, int(np.ceil(max_seconds * fps - 1e-6)))
    notices = [f"{min(len(files), keep)} pictures shown at {fps:g} frames per second"]
    if len(files) > keep:
        notices.append(f"cut to the first {max_seconds:g} s")
    frames: list[np.ndarray] = []
    fitted = transparent = False
    for file in files[:keep]:
        first = _read_picture(file, max_seconds, max_side or 1920)
        transparent |= any("transparent" in notice for notice in first.notices)
        pixels = first.frames[0]
        if frames and pixels.shape != frames[0].shape:
            pixels, fitted = _fit(pixels, frames[0].shape), True
        frames.append(pixels)
    if fitted:
        notices.append("pictures of other sizes fitted into the size of the first, with grey borders")
    if transparent:
        notices.append("transparent pixels laid over mid-grey")
    return Clip(np.stack(frames), np.arange(len(frames)) / fps, folder.name, tuple(notices))


def _upright(picture: Any, max_side: int | None) -> tuple[np.ndarray, bool]:
    """(H, W, 3) uint8 turned as its EXIF says, alpha over grey, no side above max_side; and whether anything was transparent."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # 16-bit grey would be clipped at 255, floats in [0, 1] would be black
        values = np.asarray(picture, np.float64)
        white = 255.0 if 1 < values.max() <= 255 else 65535.0 if picture.mode.startswith("I") else max(1.0, values.max())
        picture = Image.fromarray(np.clip(values * (255.0 / white), 0, 255).astype(np.uint8))
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    picture = picture.convert("RGBA" if has_alpha else "RGB")
    if max_side is not None and max(picture.size) > max_side:
        scale = max_side / max(picture.size)
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.BOX)
    pixels = np.asarray(picture)
    return _over_grey(pixels) if has_alpha else (pixels, False)


def _over_grey(rgba: np.ndarray) -> tuple[np.ndarray, bool]:
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3]), False
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.round(rgba[..., :3] * alpha + GREY * (1 - alpha)).astype(np.uint8), True


def _fit(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    import cv2

    scale = min(shape[0] / pixels.shape[0], shape[1] / pixels.shape[1])
    h, w = max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale))
    out = np.full(shape, GREY, np.uint8)
    top, left = (shape[0] - h) // 2, (shape[1] - w) // 2
    out[top : top + h, left : left + w] = cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return out


def _brief(path: Path) -> str:
    """The path, or its end where it is too long for a line."""
    return str(path) if len(str(path)) <= 200 else f"...{str(path)[-100:]}"


def _short(error: BaseException) -> str:
    """The reason without paths and error numbers."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.split(": '")[0].strip().rstrip(".").lower()
