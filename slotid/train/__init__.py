"""How it learns: recipes, pairs, the loop. Training goes through the same Conditioning path as sampling."""
