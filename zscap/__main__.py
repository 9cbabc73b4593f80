"""`python -m zscap` is the command line."""

from .cli import main

main()
