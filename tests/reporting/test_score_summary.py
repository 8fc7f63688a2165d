from contrastive_jax.reporting.score_summary import hardest_classes


def test_the_hardest_classes_come_first():
    assert hardest_classes({'a': 0.1, 'b': 0.9, 'c': 0.5}, 2) == ['b', 'c']
