"""What the tests of several losses share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests.objectives import references


def _accepted(flags):
    """The flags, or none of them where this XLA does not know one."""
    try:
        jax.jit(lambda: 0, compiler_options=flags)()
    except jax.errors.JaxRuntimeError:
        return {}
    return flags


# Hundreds of tiny programs: nearly all time goes into compiling them, five times less without the
# optimisations. What runs on several devices or counts memory is compiled in full.
quick_jit = functools.partial(
    jax.jit,
    compiler_options=_accepted(
        {
            'xla_backend_optimization_level': 0,
            'xla_cpu_use_fusion_emitters': False,
            'xla_cpu_parallel_codegen_split_count': 1,
        }
    ),
)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def value_and_gradient(loss, z, **options):
    """`((loss, metrics), gradient)`."""
    loss = functools.partial(loss, **options)
    return quick_jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(z))


def assert_equals_reference(loss, reference, z, *, rtol=2e-6, gradient_rtol=1e-5):
    """Holds value and gradient against a float64 function of `z` and its finite differences.

    The tolerances are relative to the value, at least 1, and to the largest entry of the gradient.
    """
    (value, metrics), gradient = value_and_gradient(loss, z)
    exact = reference(np.asarray(z, np.float64))
    np.testing.assert_allclose(value, exact, atol=rtol * max(1, abs(exact)), rtol=0)
    differences = references.finite_differences(reference, z)
    largest = np.max(np.abs(differences))
    np.testing.assert_allclose(gradient, differences, atol=gradient_rtol * largest, rtol=0)
    return metrics, gradient
