"""Networks that say how well words fit a source: a file for each."""
