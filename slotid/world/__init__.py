"""A small world of heads whose face and habits are known: to learn in, to measure in, and to look at."""
