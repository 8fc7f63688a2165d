"""The objectives once more in slow NumPy float64, one pair at a time, straight from their formulas.

Axes: m rows (view 1, then view 2), d dimensions. Nothing here is taken from the package.
"""

from fractions import Fraction

import numpy as np


def unit(row):
    length = np.sqrt(np.sum(row * row))
    return row / length if length > 0 else row


def similarities(rows):
    """Cosines `[m, m]` in float64."""
    units = [unit(row) for row in np.asarray(rows, np.float64)]
    return np.array([[np.dot(a, b) for b in units] for a in units])


def positive_of(i, m):
    return (i + m // 2) % m


def negatives_of(i, m):
    return [k for k in range(m) if k not in (i, positive_of(i, m))]


def difficult_pairs(features, pos_high, pos_low):
    """Eq. 12 by sorting."""
    s = similarities(features)
    m = len(s)
    selected = np.zeros((m, m), bool)
    for i in range(m):
        order = sorted((s[i, k] for k in negatives_of(i, m)), reverse=True)
        high, low = np.inf, np.inf
        for percentile, name in ((pos_high, 'high'), (pos_low, 'low')):
            count = Fraction(str(percentile)) * len(order)
            rank = -(-count.numerator // count.denominator)
            threshold = order[rank - 1] if rank > 0 else np.inf
            high, low = (threshold, low) if name == 'high' else (high, threshold)
        for k in negatives_of(i, m):
            selected[i, k] = low <= s[i, k] < high
    return selected


def all_negatives(m):
    return np.array([[k in negatives_of(i, m) for k in range(m)] for i in range(m)])


def different_class_share(pairs, labels):
    chosen = [(i, j) for i, j in np.argwhere(pairs)]
    return np.mean([labels[i] != labels[j] for i, j in chosen])


def nt_xent(z, temperature, pairs=None, remove=False, margin=0.0, temperature_scale=1.0):
    """Mean over i of `-l_ij + log sum_{k != i} exp(l_ik)`."""
    s = similarities(z)
    m = len(s)
    pairs = np.zeros((m, m), bool) if pairs is None else pairs
    total = 0.0
    for i in range(m):
        positive = s[i, positive_of(i, m)] / temperature
        terms = [positive]
        for k in negatives_of(i, m):
            if pairs[i, k] and remove:
                continue
            if pairs[i, k]:
                terms.append((s[i, k] + margin) / (temperature * temperature_scale))
            else:
                terms.append(s[i, k] / temperature)
        total += -positive + np.logaddexp.reduce(terms)
    return total / m


def nt_xent_gradient(z, temperature, pairs=None, remove=False, margin=0.0, temperature_scale=1.0):
    """Closed form: softmax minus target on the logits, then the tangent plane of the sphere."""
    z = np.asarray(z, np.float64)
    units = np.array([unit(row) for row in z])
    m = len(z)
    s = similarities(z)
    pairs = np.zeros((m, m), bool) if pairs is None else pairs
    of_units = np.zeros_like(units)
    for i in range(m):
        logits, slopes = {}, {}
        for k in range(m):
            treated = pairs[i, k] and k in negatives_of(i, m)
            if k == i or (treated and remove):
                continue
            slopes[k] = 1 / (temperature * (temperature_scale if treated else 1.0))
            logits[k] = (s[i, k] + (margin if treated else 0.0)) * slopes[k]
        log_total = np.logaddexp.reduce(list(logits.values()))
        for k, logit in logits.items():
            share = np.exp(logit - log_total) - (k == positive_of(i, m))
            of_units[i] += share * slopes[k] * units[k] / m
            of_units[k] += share * slopes[k] * units[i] / m
    lengths = np.sqrt(np.sum(z * z, axis=1))
    return np.array(
        [
            (g - np.dot(g, u) * u) / length
            for g, u, length in zip(of_units, units, lengths, strict=True)
        ]
    )


def finite_differences(function, z, step=1e-5):
    """Gradient of a scalar function of an array by central differences."""
    z = np.asarray(z, np.float64)
    gradient = np.zeros_like(z)
    for place in np.ndindex(z.shape):
        change = np.zeros_like(z)
        change[place] = step
        gradient[place] = (function(z + change) - function(z - change)) / (2 * step)
    return gradient


def clipped(rows, mu):
    """Rows shortened to length `sqrt(mu)`."""
    rows = np.asarray(rows, np.float64)
    return np.array([row * min(1, np.sqrt(mu) / max(np.linalg.norm(row), 1e-300)) for row in rows])


def spectral(z, mu=1.0, pairs=None, remove=False, margin=0.0, temperature_scale=1.0):
    """`-(2/b) sum_i <z1_i, z2_i> + 1/(b (b-1)) sum_{i != j} <z1_i, z2_j>^2`, over mu, treated.

    The two orders of a pair of images are written out, since a selection need not be symmetric.
    """
    z = clipped(z, mu)
    m, b = len(z), len(z) // 2
    pairs = np.zeros((m, m), bool) if pairs is None else pairs
    attraction = sum(np.dot(z[i], z[b + i]) for i in range(b))
    repulsion = 0.0
    for i in range(b):
        for j in range(b):
            if i == j:
                continue
            s = np.dot(z[i], z[b + j])
            for marked in (pairs[i, b + j], pairs[b + j, i]):
                if not marked:
                    repulsion += s**2 / 2
                elif not remove:
                    repulsion += (s + margin) ** 2 / temperature_scale / 2
    return (-2 * attraction / b + repulsion / max(b * (b - 1), 1)) / mu


def hard_negative(z, temperature, tau_plus, beta):
    """As printed, without logarithms: float64 carries the exponentials of the tests."""
    s = similarities(z)
    m = len(s)
    count = m - 2
    total = 0.0
    for i in range(m):
        positive = np.exp(s[i, positive_of(i, m)] / temperature)
        negatives = np.array([np.exp(s[i, k] / temperature) for k in negatives_of(i, m)])
        weights = negatives**beta
        r = np.sum(weights * negatives) / np.mean(weights)
        g = (r - count * tau_plus * positive) / (1 - tau_plus)
        g = max(g, count * np.exp(-1 / temperature))
        total -= np.log(positive / (positive + g))
    return total / m


def decoupled_weights(z, weight_temperature):
    """DCLW's weights of the b images."""
    s = similarities(z)
    b = len(s) // 2
    e = np.array([np.exp(s[i, b + i] / weight_temperature) for i in range(b)])
    return 2 - b * e / np.sum(e)


def decoupled(z, temperature, weights):
    """With the weights of the b images given, since no gradient flows through them."""
    s = similarities(z)
    m = len(s)
    total = 0.0
    for i in range(m):
        positive = s[i, positive_of(i, m)] / temperature
        total -= weights[i % (m // 2)] * positive
        total += np.log(sum(np.exp(s[i, k] / temperature) for k in negatives_of(i, m)))
    return total / m


def supervised(z, labels, temperature):
    s = similarities(z)
    m = len(s)
    total = 0.0
    for i in range(m):
        others = [k for k in range(m) if k != i]
        log_sum = np.log(sum(np.exp(s[i, k] / temperature) for k in others))
        same = [k for k in others if labels[k] == labels[i]]
        total -= np.mean([s[i, k] / temperature - log_sum for k in same])
    return total / m
