"""Pictures of a sweep."""

from jaxopt_lab.plots.plots import Plots as Plots
