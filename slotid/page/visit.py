"""What the page holds of one visitor, in the session's memory only, and how it is let go."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from slotid.show.shown import Shown
    from slotid.types import Clip, FaceTrack, IdentityCode


@dataclass(frozen=True, eq=False)  # told apart by being, not by value: the page hashes its states
class Person:
    """Someone who was read. ``face`` and ``clip`` are None when a saved code was loaded instead of a clip; ``title`` is what the
    page calls him: the file's or the example's name."""

    code: IdentityCode
    face: FaceTrack | None = None
    clip: Clip | None = None
    title: str = "your clip"

    @property
    def reference(self) -> FaceTrack | IdentityCode:
        """What a request takes: the track where there is one, because likeness needs it."""
        return self.code if self.face is None else self.face

    def shown(self) -> Shown | None:
        """The routing, with the crops at full size where the clip is still here."""
        from slotid.show.shown import shown_of

        shown = shown_of(self.code)
        if shown is not None and self.face is not None:
            shown = replace(shown, crops=self.face.crops[[int(index) for index in self.code.shown["frames"]]])
        return shown


@dataclass(frozen=True, eq=False)  # told apart by being, not by value: the page hashes its states
class Film:
    """One film of this visit's history. Files lie in the page's cache, which forgets them by itself."""

    mp4: str
    gif: str
    settings_json: str
    poster: np.ndarray  # (H, W, 3) uint8, a middle frame
    settings: dict[str, Any]
    likeness: float | None
    likeness_html: str = ""  # what was drawn of it
    heard_html: str = ""


def own_folder() -> Path:
    """A new folder with a name nobody can guess, inside the cache that the page empties by age."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / secrets.token_hex(24)
    folder.mkdir(parents=True)
    return folder


def forget(paths: list[str | Path | None]) -> int:
    """Deletes files that lie in the page's cache, and only there. Returns how many were deleted."""
    from gradio.utils import get_upload_folder

    cache = Path(get_upload_folder()).resolve()
    gone = 0
    for path in paths:
        if path and (file := Path(path).resolve()).is_relative_to(cache) and file.is_file():
            file.unlink()
            gone += 1
            if not any(file.parent.iterdir()) and file.parent != cache:
                file.parent.rmdir()
    return gone
