import json

from studies import mixing


def test_every_seed_and_kind_of_mixing_is_in_the_table_and_the_file(tmp_path, capsys):
    file = tmp_path / 'values.json'
    arguments = ['--seeds', '3', '4', '--ratio=0.2', '--epochs=5', f'--out={file}']
    options = mixing.options('What finds them?').parse_args(arguments)

    def areas(config, kind):
        assert (config.mixed.ratio, config.epochs) == (0.2, 5)
        assert config.mixed.match_contrast == (kind == 'matched')
        return {'score': config.seed / 10}

    mixing.report(options, areas)
    both = [0.3, 0.4]
    assert json.loads(file.read_text()) == {'score': {'plain': both, 'matched': both}}
    assert capsys.readouterr().out.splitlines()[-1].split(maxsplit=1) == [
        'score',
        '0.350 ± 0.071  0.350 ± 0.071',
    ]
