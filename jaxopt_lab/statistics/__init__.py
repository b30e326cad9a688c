"""What the numbers mean."""

from jaxopt_lab.statistics.best import Best as Best
from jaxopt_lab.statistics.best import best as best
from jaxopt_lab.statistics.leaderboard import leaderboard as leaderboard
from jaxopt_lab.statistics.score import default_metric as default_metric
from jaxopt_lab.statistics.score import direction as direction
from jaxopt_lab.statistics.score import greater_is_better as greater_is_better
from jaxopt_lab.statistics.score import score as score
