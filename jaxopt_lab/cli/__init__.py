"""The command line: the program `jaxopt-lab`, and the spec files that it reads."""

from jaxopt_lab.cli.app import app as app
from jaxopt_lab.cli.app import main as main
