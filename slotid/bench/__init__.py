"""Ratios measured in one run: routing against POT, identity's cost per step, reading against the clip's length, memory."""
