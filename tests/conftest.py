"""Strict arithmetic for every test: no silent promotion or broadcast, four devices."""

import os

# Before JAX is imported: cross-device negatives are where contrastive code goes wrong.
os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=4'
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax
import jaxtyping
import matplotlib

matplotlib.use('Agg')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Shapes and types in signatures are promises: check them at every call.
jaxtyping.install_import_hook('contrastive_jax', 'beartype.beartype')
