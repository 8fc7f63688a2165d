"""`nt_xent` with a module of Flax Linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from contrastive_jax import difficult_band, nt_xent


class Model(nn.Module):
    @nn.compact
    def __call__(self, images):
        features = nn.relu(nn.Dense(32)(images.reshape(len(images), -1)))
        return features, nn.Dense(8)(features)


@jax.jit
def step(state, views):
    def loss_function(params):
        features, embeddings = state.apply_fn({'params': params}, views)
        band = difficult_band(features, pos_high=0.1, pos_low=0.5)
        return nt_xent(embeddings, temperature=0.5, pairs=band, remove=True)

    (loss, _), gradients = jax.value_and_grad(loss_function, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients), loss


key = jax.random.key(0)
images = jax.random.normal(key, (64, 4, 4, 1))
params = Model().init(key, images)['params']
state = TrainState.create(apply_fn=Model().apply, params=params, tx=optax.adam(1e-2))
losses = []
for index in range(30):
    noise = jax.random.normal(jax.random.fold_in(key, index), (128, 4, 4, 1))
    state, loss = step(state, jnp.concatenate([images, images]) + 0.1 * noise)
    losses.append(float(loss))
print(f'loss {losses[0]:.3f} -> {losses[-1]:.3f}')
