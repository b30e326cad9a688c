"""Functions rewritten to what the machine does best.

A model in its natural code has operations that XLA's CPU compiler runs slowly, most of all inside a loop and over many
trials. Each rule here replaces one such operation by others that give the same numbers, except that sums may be in
another order: one file a kind of operation, which says when its rules apply, why the numbers are the same, and what
they gained. `walk` applies them to a traced function, before it is differentiated, so gradients gain too.
"""

from jaxopt_lab.rewrite.rewritten import rewriting as rewriting
from jaxopt_lab.rewrite.rewritten import rewritten as rewritten
