"""`nt_xent` under `jax.jit` on arrays that are split over devices: negatives are global.

The arrays are global ones, so no axis is named.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from contrastive_jax import difficult_band, nt_xent

mesh = Mesh(np.array(jax.devices()), ('data',))
key = jax.random.key(0)
# Rows are all of view 1, then all of view 2; where they lie does not matter.
views = jax.random.normal(key, (64, 16))
params = 0.3 * jax.random.normal(key, (16, 8))


@jax.jit
def loss_and_gradient(params, views):
    def loss_function(params):
        embeddings = jnp.tanh(views @ params)
        band = difficult_band(embeddings, pos_high=0.1, pos_low=0.5)
        return nt_xent(embeddings, temperature=0.5, pairs=band, margin=0.1)[0]

    return jax.value_and_grad(loss_function)(params)


split = jax.device_put(views, NamedSharding(mesh, PartitionSpec('data')))
replicated = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
losses, gradients = zip(
    loss_and_gradient(params, views), loss_and_gradient(replicated, split), strict=True
)
np.testing.assert_allclose(*losses, rtol=1e-5)
np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-6)
print(f'loss {losses[0]:.3f} on one device and on {len(jax.devices())}')
