"""The command line: ``python -m slotid encode | generate | train | world | evaluate | app``."""
