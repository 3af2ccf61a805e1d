"""MediaPipe prints start-up chatter straight to the process's stderr. Keep that out of people's terminals, and keep real errors in."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# What a healthy start prints. Everything else that was held back is printed after all.
CHATTER = re.compile(
    rb"Created TensorFlow Lite XNNPACK delegate"
    rb"|All log messages before absl::InitializeLog"
    rb"|inference_feedback_manager\.cc.*Feedback manager requires a model with a single signature"
    rb"|gl_context(_egl)?\.cc"
    rb"|^\s*$"
)
_one_at_a_time = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what C++ writes to file descriptor 2, then print it without MediaPipe's known start-up lines."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype")  # MediaPipe's protobuf calls, on every picture
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            held.seek(0)
            for line in held:
                if not CHATTER.search(line):
                    os.write(real, line)
            os.close(real)
