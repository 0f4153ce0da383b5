"""What recording costs: one question per file, answered by ``python -m benchmarks``."""
