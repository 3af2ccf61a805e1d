"""Slot-ID: keep one person the same, face and way of moving, in generated video (after arXiv 2601.01352)."""

__version__ = "0.1.0"
