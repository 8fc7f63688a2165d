"""The tasks that a run can train for.

A task is a module with a function `make_task(config)`, and a `Section` of the config that names the
module. To add a task, call `config.register(section)`.
"""

from contrastive_jax.config.table import register
from contrastive_jax.tasks.sections import CONTRAST, MOCO

for _section in (CONTRAST, MOCO):
    register(_section)

# Everything else works without the folder of the energy-based transformers.
try:
    from contrastive_jax.ebt.section import DENOISE
except ModuleNotFoundError as _error:
    if _error.name != 'contrastive_jax.ebt':
        raise
else:
    register(DENOISE)
