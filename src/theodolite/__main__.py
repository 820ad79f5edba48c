"""`python -m theodolite`: the command line."""

from theodolite.cli.main import main

main(prog_name="theodolite")
