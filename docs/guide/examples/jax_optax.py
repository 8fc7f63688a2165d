"""`nt_xent` in a loop of plain JAX and Optax: the difficult negatives get a margin."""

import jax
import jax.numpy as jnp
import optax

from contrastive_jax import difficult_band, nt_xent

key = jax.random.key(0)
images = jax.random.normal(key, (64, 16))
params = {'encoder': 0.3 * jax.random.normal(key, (16, 32)), 'projector': jnp.eye(32, 8)}
optimizer = optax.adam(1e-2)
state = optimizer.init(params)


def loss_function(params, views):
    features = jnp.tanh(views @ params['encoder'])
    band = difficult_band(features, pos_high=0.1, pos_low=0.5)
    return nt_xent(features @ params['projector'], temperature=0.5, pairs=band, margin=0.1)


@jax.jit
def step(params, state, key):
    # Rows are all of view 1, then all of view 2 in the same order.
    twice = jnp.concatenate([images, images])
    views = twice + 0.1 * jax.random.normal(key, twice.shape)
    (loss, _), gradients = jax.value_and_grad(loss_function, has_aux=True)(params, views)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(params, updates), state, loss


losses = []
for index in range(30):
    params, state, loss = step(params, state, jax.random.fold_in(key, index))
    losses.append(float(loss))
print(f'loss {losses[0]:.3f} -> {losses[-1]:.3f}')
