"""A lender of cards on this machine, spoken to by the real ``spaces``: it lends, and remembers what was asked for. Run as a script, it
makes a film and a code on a "borrowed card" and prints what crossed the border; see ``test_zerogpu.py``.

Everything of ``spaces`` is real (its emulated CUDA, the forked process, the pipes); only moving weights onto the card is replaced by
moving them back, because there is none.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Lender:
    """Answers the four calls of ``spaces``; ``asked`` holds the seconds of every request. ``refuse``: say that the quota is used up."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.refuse = False
        lender = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                url = urlsplit(self.path)
                body, status = b"{}", 200
                if url.path == "/schedule":
                    lender.asked.append(int(parse_qs(url.query)["durationSeconds"][0]))
                    told = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": "yes"}
                    body = json.dumps(told).encode()
                    if lender.refuse:
                        status, body = 429, json.dumps({"left": 0, "wait": 60}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def weights_stay_here() -> None:
    """In the other process: what ``spaces`` would move onto the card is put back into main memory."""
    from spaces.zero import wrappers
    from spaces.zero.torch import patching

    def move(callback=None) -> None:
        for fake, original in patching.cuda_aliases.items():
            fake.data = original

    wrappers.torch.init, wrappers.torch.move = (lambda uuid: None), move


def main(folder: str, wan: str) -> None:
    lender = Lender()
    os.environ |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{lender.server.server_port}"}
    import torch

    if torch.version.cuda is None:  # what ``spaces`` looks for and a build for the CPU alone has not
        torch.version.cuda, torch._C._cuda_init, torch.cuda._is_in_bad_fork = "12.8", bool, bool
    import spaces  # noqa: F401
    from small import small_face

    from slotid.page.engine import Engine
    from slotid.types import Request, Result, SlotIDError, Step

    engine = Engine(folder)
    engine.open_all()
    told = {"emulated": torch.cuda.is_available(), "placed": str(engine.studio("slots").backbone.device), "backbones": engine.backbones()}
    large = Engine(wan)
    large.open_all()
    placed = large.studio("exemplars").backbone
    told |= {"profile": placed.placement.profile, "wan placed": str(placed.transformer.patch_embedding.weight.device)}
    weights_stay_here()
    placed.placement.device = torch.device("cpu")  # where the weights will be found
    face = small_face(1)
    code = engine.remember(face)
    wish = Request("a man talks", face, steps=4, seed=3, preview_every=2, seconds=1.125)
    events = list(engine.film(wish, "slots", None))
    film = events[-1]
    told |= {
        "code": [type(value).__name__ for value in code.tensors.values()],
        "stages": [event.stage for event in events if isinstance(event, Step)],
        "previews": sum(event.preview is not None for event in events if isinstance(event, Step)),
        "frames": list(film.clip.frames.shape), "sum": int(film.clip.frames.astype(int).sum()), "likeness": len(film.likeness),
        "face": film.face is face, "request": film.request.reference is face, "kept": {**film.settings}["seed"],
    }  # fmt: skip
    again = engine.film(Request("a man talks", code, steps=50, preview_every=0), "slots", None)
    for number, _ in enumerate(again):
        if number == 4:
            break
    again.close()  # Stop
    told["same"] = int(
        next(e for e in engine.film(Request("a man talks", code, steps=4, seed=3, seconds=1.125), "slots", None) if isinstance(e, Result))
        .clip.frames.astype(int)
        .sum()
    )
    *_, pictures = large.film(Request("a man talks", face, steps=2, preview_every=0, likeness=False), "exemplars", None)
    told["exemplars"] = [pictures.code.method, *pictures.clip.frames.shape]
    told["errors"] = []
    for bad in (Request(" ", face), Request("a man talks", face, slot_gain=(1.0,))):
        try:
            list(engine.film(bad, "slots", None))
        except SlotIDError as error:
            told["errors"].append(str(error))
    lender.refuse = True
    try:
        list(engine.film(wish, "slots", None))
    except SlotIDError as error:
        told["errors"].append(str(error))
    told["asked"] = lender.asked
    print(json.dumps(told))
    sys.stdout.flush()
    for worker in multiprocessing.active_children():  # they wait for more work, and would keep this output open
        worker.kill()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
