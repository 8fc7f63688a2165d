"""Array arithmetic that objectives, graph and theory share."""

from contrastive_jax.numerics.arrays import (
    COSINE_SLACK,
    Number,
    Scalar,
    blocks_of,
    check_classes,
    check_percentiles,
    cosines,
    count_true,
    default_block,
    exact_share,
    gather,
    host_unit_rows,
    map_anchors,
    masked_logsumexp,
    order_statistics,
    percentile_rank,
    unit_rows,
)
from contrastive_jax.numerics.sharding import compiler_sharded

__all__ = [
    'COSINE_SLACK',
    'Number',
    'Scalar',
    'blocks_of',
    'check_classes',
    'check_percentiles',
    'compiler_sharded',
    'cosines',
    'count_true',
    'default_block',
    'exact_share',
    'gather',
    'host_unit_rows',
    'map_anchors',
    'masked_logsumexp',
    'order_statistics',
    'percentile_rank',
    'unit_rows',
]
