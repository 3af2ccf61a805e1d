"""``python -m slotid memory``: the command line's way in (``fetch_command`` holds both)."""

from slotid.backbone.fetch_command import add_memory_arguments as add_arguments
from slotid.backbone.fetch_command import run_memory as run

__all__ = ["add_arguments", "run"]
