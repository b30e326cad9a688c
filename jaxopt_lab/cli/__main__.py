"""`python -m jaxopt_lab.cli` is `jaxopt-lab`."""

from jaxopt_lab.cli.app import main

main()
