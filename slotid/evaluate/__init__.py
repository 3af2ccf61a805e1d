"""Measuring with eyes that never helped: judges, metrics, controls, report. Imports nothing of ``show`` and ``train``."""
