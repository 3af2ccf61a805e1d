"""``jit``: numba for the renderer, its machine code kept on disk by the content of *all* compiled files.

Numba alone looks at a function's own file. A function keeps the code of those that it calls in other files, so that a changed hairline
in one file would go on growing the old hair in another, and one seed would no longer mean one picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numba

HERE = Path(__file__).parent


def sources_digest(folder: Path) -> str:
    """Short name for what all Python files in ``folder`` that use ``jit`` say."""
    files = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"\0".join(text for text in files if b"jit" in text)).hexdigest()[:12]


@lru_cache
def _home() -> str:
    return str(Path(numba.config.CACHE_DIR or HERE / "__pycache__") / f"numba-{sources_digest(HERE)}")


def jit(function: Callable) -> Callable:
    """Compile for one thread, without the interpreter's lock; compiled once per machine and state of the sources."""
    home, before = _home(), numba.config.CACHE_DIR
    numba.config.CACHE_DIR = home  # asked by numba when it decorates
    try:
        return numba.njit(cache=True, fastmath=True, nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = before
