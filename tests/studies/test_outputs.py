import pytest

from studies.outputs import check_new


def test_an_earlier_result_is_not_replaced(tmp_path):
    new, old = tmp_path / 'new.json', tmp_path / 'old.json'
    check_new(new)
    old.write_text('precious')
    with pytest.raises(SystemExit, match=r'--out: .*old\.json exists; give another name'):
        check_new(new, old)
