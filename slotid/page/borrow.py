"""Films and codes made on a borrowed card (Hugging Face ZeroGPU): what crosses to the process that has the card, and what comes back.

There a call runs in a process of its own; what it takes and gives is pickled through a pipe, errors lose their words, and a tensor on the
card would hang it. So errors come back as sentences, tensors as arrays, and the film's frames, a hundred megabytes for a large backbone,
as the path of a file. The card is held for what needs it: likeness is measured after it was given back. Elsewhere nothing of this happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slotid.backbone.zerogpu import borrowed, on_borrowed
from slotid.types import FaceTrack, IdentityCode, Request, Result, SlotIDError, Step

REMEMBER_SECONDS = 20  # a worker's start and 48 face crops through the encoder, with room to spare

FilmOf = Callable[[Request, str, str | None], Iterator[Step | Result]]


@dataclass(frozen=True)
class Failed:
    """A sentence for the visitor, from the other process."""

    words: str


def _flat(code: IdentityCode | None) -> IdentityCode | None:
    """With arrays in place of tensors: torch would hand tensors over by an open file of a process that may end first."""
    return code if code is None else replace(code, tensors={name: value.detach().cpu().numpy() for name, value in code.tensors.items()})


def _full(code: IdentityCode | None) -> IdentityCode | None:
    import torch

    return code if code is None else replace(code, tensors={k: torch.from_numpy(np.array(v)) for k, v in code.tensors.items()})


def borrow_film(film: FilmOf, duration: Callable[[Request, str, str | None], int]) -> FilmOf:
    """``film`` on a borrowed card; elsewhere ``film`` itself.

    Args:
        film: (request, method, backbone) -> Steps, then a Result. duration: of the same arguments, seconds of card to ask for.
    """
    if not borrowed():
        return film

    def there(request: Request, method: str, backbone: str | None) -> Iterator[Any]:
        from slotid.page.visit import own_folder

        if isinstance(request.reference, IdentityCode):
            request = replace(request, reference=_full(request.reference))
        try:
            for event in film(request, method, backbone):
                if isinstance(event, Result):
                    path = own_folder() / "frames.npy"
                    np.save(path, event.clip.frames)
                    clip = replace(event.clip, frames=np.zeros((0, 1, 1, 3), np.uint8))
                    event = replace(event, clip=clip, face=None, code=_flat(event.code), request=replace(event.request, reference=None))
                    yield path, event
                else:
                    yield event
        except SlotIDError as error:
            yield Failed(str(error))

    lent = on_borrowed(there, duration)

    def here(request: Request, method: str, backbone: str | None) -> Iterator[Step | Result]:
        reference = request.reference
        sent = replace(request, likeness=False, reference=_flat(reference) if isinstance(reference, IdentityCode) else reference)
        work = lent(sent, method, backbone)
        try:
            for event in _told(work):
                if isinstance(event, Step):
                    yield event
                    continue
                path, result = event
                film_result = _arrived(path, result, request)
                if request.likeness and film_result.face is not None:
                    yield Step("likeness", 0, 1, None)
                    film_result = _with_likeness(film_result)
                yield film_result
        finally:
            work.close()

    return here


def borrow_remember(remember: Callable[[FaceTrack], IdentityCode]) -> Callable[[FaceTrack], IdentityCode]:
    """Reading a person on a borrowed card; elsewhere ``remember`` itself."""
    if not borrowed():
        return remember

    def there(face: FaceTrack) -> IdentityCode | Failed:
        try:
            return _flat(remember(face))
        except SlotIDError as error:
            return Failed(str(error))

    lent = on_borrowed(there, REMEMBER_SECONDS)

    def here(face: FaceTrack) -> IdentityCode:
        (code,) = _told(lent(face) for _ in range(1))
        return _full(code)

    return here


def _told(work: Iterator[Any]) -> Iterator[Any]:
    """What comes back, failures as errors with their words; so also what the lender refuses (quota, queue)."""
    import gradio as gr

    try:
        for event in work:
            if isinstance(event, Failed):
                raise SlotIDError(event.words)
            yield event
    except gr.Error as error:
        raise SlotIDError(f"No card could be borrowed, or it was taken back: {error.message} Try again, or ask for fewer steps.") from error


def _arrived(path: Path, result: Result, request: Request) -> Result:
    """The film with its frames read from the file, which is deleted, and with what never travelled."""
    frames = np.load(path)
    path.unlink()
    path.parent.rmdir()
    face = request.reference if isinstance(request.reference, FaceTrack) else None
    filled = replace(result.request, reference=request.reference, likeness=request.likeness)
    return replace(result, clip=replace(result.clip, frames=frames), face=face, code=_full(result.code), request=filled)


def _with_likeness(result: Result) -> Result:
    import time

    from slotid.face.likeness import film_likeness

    start = time.perf_counter()
    values = film_likeness(result.face, result.clip)
    return replace(result, likeness=values, timings={**result.timings, "likeness": time.perf_counter() - start})
