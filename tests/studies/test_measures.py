from studies import measures


def test_one_value_has_no_deviation():
    assert measures.spread([0.25]) == '0.250'
    assert measures.spread([1.0, 2.0, 6.0], 2) == '3.00 ± 2.65'
