"""Slow references of the similarity graph: loops, NumPy, float64."""

import heapq
import math
from fractions import Fraction

import numpy as np


def sample_difficulty(features, pos_high, pos_low, center=True):
    """`[n, 4]` score, alpha, beta, gamma by sorting each row; empty bands as promised."""
    features = np.asarray(features, np.float64)
    if center:
        features = features - features.mean(axis=0)
    n = len(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    out = np.empty((n, 4))
    for i in range(n):
        others = np.array([unit[i] @ unit[j] for j in range(n) if j != i])
        descending = np.sort(others)[::-1]

        def threshold(percentile, descending=descending):
            rank = math.ceil(Fraction(str(percentile)) * (n - 1))
            return np.inf if rank == 0 else descending[rank - 1]

        high, low = threshold(pos_high), threshold(pos_low)
        top = others[others >= high]
        difficult = others[(low <= others) & (others < high)]
        rest = others[others < low]
        alpha = top.mean() if len(top) else min(high, 1.0)
        beta = rest.mean() if len(rest) else min(low, 1.0)
        gamma = difficult.mean() if len(difficult) else min(low, 1.0)
        score = 0.0 if alpha == beta else (gamma - beta) / (alpha - beta)
        out[i] = score, alpha, beta, gamma
    return out


def contributions(features):
    """`D_ij = max(cos, 0)` by loops."""
    features = np.asarray(features, np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return np.array([[max(left @ right, 0.0) for right in unit] for left in unit])


def lazy_greedy(similarity, count, objective):
    """The `count` first choices of lazy greedy, in order.

    A heap of stale gains: the best is computed anew, and chosen if it is still the best.
    """
    n = len(similarity)
    charged = similarity.copy()
    chosen = []

    def gain(i):
        value = similarity[i].sum()
        for s in chosen:
            value -= charged[s, i] if objective == 'released' else 2 * charged[s, i]
        return value

    # The heap takes the smallest: negative gains, and negative places for the larger index.
    heap = [(-gain(i), -i) for i in range(n)]
    heapq.heapify(heap)
    while len(chosen) < count:
        i = -heapq.heappop(heap)[1]
        fresh = (-gain(i), -i)
        if heap and fresh > heap[0]:
            heapq.heappush(heap, fresh)
            continue
        chosen.append(i)
        if objective == 'released':
            # The slip of the released code: it clears what it would later subtract.
            charged[i] = 0
    return chosen
