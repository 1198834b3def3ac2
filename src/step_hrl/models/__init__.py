"""The language model: load, encode, score."""
