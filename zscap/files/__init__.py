"""Files of weights and of captions: read with care, written whole."""
