"""How good captions are, and figures of it."""
