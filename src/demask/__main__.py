"""``python -m demask`` is the command line."""

from demask.cli import main

main()
