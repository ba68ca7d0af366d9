"""`python -m pipeline` is `passerby`."""

from pipeline.cli import main

main()
