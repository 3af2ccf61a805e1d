"""A hub of small repositories on this machine, spoken to by the real client: what a tree, a file and a missing name answer."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class SmallHub:
    """Serves folders as repositories at one revision each, until the ``with`` ends. ``address`` is for HF_ENDPOINT.

    Args:
        repositories: owner/name -> (revision, folder). refused: owner/name -> (status, the hub's code for the reason).
    """

    def __init__(self, repositories: dict[str, tuple[str, Path]], refused: dict[str, tuple[int, str]] | None = None):
        self.repositories, self.refused, self.asked = repositories, refused or {}, []
        hub = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, True)

            def do_HEAD(self) -> None:
                hub._answer(self, False)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> SmallHub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        parts = request.path.partition("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, what, revision, *rest = [*(parts[2:] if api else parts), "", "", "", ""]
        known = self.repositories.get(f"{owner}/{name}")
        if known is None:
            status, code = self.refused.get(f"{owner}/{name}", (404, "RepoNotFound"))
            return self._send(request, status, b"{}", {"X-Error-Code": code}, body)
        commit, folder = known
        if revision not in (commit, "main"):
            return self._send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
        if api and what == "tree":
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            tree = [{"type": "file", "path": str(p.relative_to(folder)), "size": p.stat().st_size, "oid": _oid(p)} for p in files]
            return self._send(request, 200, json.dumps(tree).encode(), {}, body)
        if api:
            return self._send(request, 200, json.dumps({"id": f"{owner}/{name}", "sha": commit}).encode(), {}, body)
        path = folder / "/".join(part for part in rest if part)
        if what != "resolve" or not path.is_file():
            return self._send(request, 404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        if body:
            self.asked.append(str(path.relative_to(folder)))
        return self._send(request, 200, path.read_bytes(), {"ETag": f'"{_oid(path)}"', "X-Repo-Commit": commit}, body)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(data)


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
