"""The notebook of the guide: it runs as it stands, and its stored outputs are small."""

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOUR = ROOT / 'docs' / 'guide' / 'tour.ipynb'
CELLS = json.loads(TOUR.read_text())['cells']


def _kinds(outputs):
    """What each output shows, without what is written while the notebook runs."""
    seen = [output for output in outputs if output.get('name') != 'stderr']
    return [sorted(output.get('data', [output['output_type']])) for output in seen]


def test_the_stored_outputs_are_small_and_name_no_folder_of_ours():
    assert TOUR.stat().st_size < 300_000
    outputs = [output for cell in CELLS for output in cell.get('outputs', ())]
    # Loss curve, histogram, gallery, bounds.
    assert sum('image/png' in output.get('data', ()) for output in outputs) == 4
    assert not any(output['output_type'] == 'error' for output in outputs)
    shown = json.dumps([o.get('text', '') for o in outputs])
    assert not re.search(r'/(tmp|home|root|work)\b', shown)


def test_its_links_lead_to_pages():
    text = ''.join(''.join(cell['source']) for cell in CELLS if cell['cell_type'] == 'markdown')
    links = re.findall(r'\]\(([^)#\s]+)\)', text)
    assert links
    for link in links:
        assert (TOUR.parent / link).is_file(), link


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # Of the event loop of Jupyter.
def test_the_notebook_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, paths)))
    # As a reader has it: one device, and an optimising compiler.
    monkeypatch.delenv('XLA_FLAGS')
    notebook = nbformat.read(TOUR, 4)
    NotebookClient(
        notebook, timeout=1200, resources={'metadata': {'path': str(tmp_path)}}
    ).execute()
    for stored, cell in zip(CELLS, notebook.cells, strict=True):
        assert _kinds(cell.get('outputs', ())) == _kinds(stored.get('outputs', ()))
