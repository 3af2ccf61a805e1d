"""Frozen video generators behind one promise (``backbone.Backbone``)."""
