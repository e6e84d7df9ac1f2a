"""`python -m sumkit` is the command `sumkit`."""

from common.cli.main import main

main()
