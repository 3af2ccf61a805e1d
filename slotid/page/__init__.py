"""The parts of the page that app.py composes: sections, words, the lazily opened models. No model code here."""
