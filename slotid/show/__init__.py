"""What a person looks at: routing maps, gates, likeness over time, film strips, the reference meter. Draws arrays; runs no network."""
