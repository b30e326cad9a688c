"""Pictures: those of a sweep are methods of `results.plot`; here are the ones of tables, tasks and several sweeps."""

from jaxopt_lab.report.plots.landscape import basins as basins
from jaxopt_lab.report.plots.landscape import trajectories as trajectories
from jaxopt_lab.report.plots.profiles import performance as performance
from jaxopt_lab.report.plots.style import style as style
from jaxopt_lab.report.plots.tables import chances as chances
from jaxopt_lab.report.plots.tables import effects as effects
from jaxopt_lab.report.plots.tables import ranks as ranks
