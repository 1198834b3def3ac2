"""The language model and its critics: loading, encoding, scoring."""
