"""Makers of tiny media files: what phones, browsers and old tools write."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np


class NonSeekable(io.RawIOBase):
    """A stream that can only be appended to, as a browser's recorder writes: no header can be patched afterwards."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


class Media:
    """Makes small media files whose content is known: a moving bright square on a colour gradient."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def frames(count: int = 10, height: int = 48, width: int = 64) -> np.ndarray:
        """(T, H, W, 3) uint8: red grows to the right, green grows downwards, blue is low; a white square walks along the top."""
        y, x = np.mgrid[:height, :width]
        base = np.stack([40 + 150 * x / width, 40 + 150 * y / height, np.full(x.shape, 60.0)], -1)
        out = np.repeat(base[None].astype(np.uint8), count, 0)
        for t in range(count):
            left = t * (width - 8) // max(1, count - 1)
            out[t, :8, left : left + 8] = 255
        return out

    def film(
        self,
        name: str,
        frames: np.ndarray,
        *,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        times: np.ndarray | None = None,
        fps: float = 25.0,
        form: str | None = None,
        rotate: float = 0,
        mirror: bool = False,
        matrix: tuple[int, ...] | None = None,
        aspect: Fraction | None = None,
        seekable: bool = True,
        rgba: np.ndarray | None = None,
        full_range: bool = False,
        curve: tuple[int, int, int] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        import av

        path = self.folder / name
        target = str(path) if seekable else NonSeekable()
        times = np.arange(len(frames)) / fps if times is None else times
        with av.open(target, "w", format=form) as container:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options or {})
            stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
            if codec != "gif" and codec != "mpeg1video" and codec != "mpeg4":
                stream.codec_context.time_base = Fraction(1, 1000)
            if rotate or mirror:
                stream.set_display_rotation(rotate, hflip=mirror)
            if matrix is not None:
                stream.set_display_matrix(matrix)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if full_range:
                stream.codec_context.color_range = 2
            if curve is not None:
                stream.codec_context.color_primaries, stream.codec_context.color_trc, stream.codec_context.colorspace = curve
            base = stream.codec_context.time_base or Fraction(1, 1000)
            for k, at in enumerate(times):
                if rgba is not None:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba[k]), format="rgba")
                else:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[k]), format="rgb24")
                if pix_fmt not in ("rgb8", "bgra"):
                    frame = frame.reformat(
                        format=pix_fmt, dst_colorspace=(curve or (0, 0, 5))[2] if curve else 5, dst_color_range=2 if full_range else 1
                    )
                frame.time_base = base
                frame.pts = round(float(at) / float(base))
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if not seekable:
            path.write_bytes(bytes(target.data))
        return path

    def sound(self, name: str = "sound.mp4") -> Path:
        import av

        path = self.folder / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path
