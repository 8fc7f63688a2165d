"""Strict arithmetic for every test: no silent promotion or broadcast, four devices."""

import os

# Before JAX is imported. Several devices, since cross-device negatives are where contrastive code
# goes wrong; and little optimisation, since nearly all of the time of a test is compilation.
_FLAGS = '--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0'
os.environ['XLA_FLAGS'] = f'{_FLAGS} {os.environ.get("XLA_FLAGS", "")}'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax
import jaxtyping
import matplotlib

matplotlib.use('Agg')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Shapes and types in signatures are promises: check them at every call.
jaxtyping.install_import_hook('contrastive_jax', 'beartype.beartype')
