"""The engine: many trials at once."""

from jaxopt_lab.engine.execute import execute as execute
from jaxopt_lab.engine.execution import Execution as Execution
from jaxopt_lab.engine.outcome import Outcome as Outcome
from jaxopt_lab.engine.outcome import Progress as Progress
from jaxopt_lab.engine.plan import Group as Group
from jaxopt_lab.engine.plan import Plan as Plan
from jaxopt_lab.engine.structure import Structure as Structure
