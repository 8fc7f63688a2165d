"""`nt_xent` under `jax.shard_map`: `axis_name` makes the negatives global."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from contrastive_jax import difficult_band, nt_xent

devices = len(jax.devices())
mesh = Mesh(np.array(jax.devices()), ('data',))
key = jax.random.key(0)
views = jax.random.normal(key, (2, 32, 16))
params = 0.3 * jax.random.normal(key, (16, 8))


def loss_function(params, views, axis_name=None):
    # Of each device: view 1 of its images, then view 2.
    embeddings = jnp.tanh(views.reshape(-1, 16) @ params)
    band = difficult_band(embeddings, pos_high=0.1, pos_low=0.5, axis_name=axis_name)
    return nt_xent(embeddings, temperature=0.5, pairs=band, margin=0.1, axis_name=axis_name)[0]


def mapped(params, views):
    return loss_function(params, views, axis_name='data')


# Each device has some of the images, both views of them.
specs = PartitionSpec(), PartitionSpec(None, 'data')
global_loss = jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
# Differentiated from outside, so that JAX adds up what the devices contribute.
loss, gradient = jax.jit(jax.value_and_grad(global_loss))(params, views)
expected, its_gradient = jax.jit(jax.value_and_grad(loss_function))(params, views)
np.testing.assert_allclose(loss, expected, rtol=1e-5)
np.testing.assert_allclose(gradient, its_gradient, rtol=1e-4, atol=1e-6)
print(f'loss {loss:.3f} on one device and on {devices}')
