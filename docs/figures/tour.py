"""Executes `docs/guide/tour.ipynb` in an empty folder and stores its outputs, small.

python docs/figures/tour.py

Needs the extra `test`. Took six minutes on two x86-64 cores that other jobs used as well.
"""

import base64
import io
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

TOUR = Path(__file__).parents[1] / 'guide' / 'tour.ipynb'


def smaller(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The output with its picture, if it has one, in 256 colours."""
    if 'image/png' in output.get('data', {}):
        picture = Image.open(io.BytesIO(base64.b64decode(output.data['image/png'])))
        file = io.BytesIO()
        # By the widest cover: other methods lose the colours of thin lines.
        picture = picture.convert('RGB').quantize(256, Image.Quantize.MAXCOVERAGE)
        picture.save(file, 'png', optimize=True)
        output.data['image/png'] = base64.b64encode(file.getvalue()).decode()
    return output


def main() -> None:
    """Executes and stores; progress, which goes to stderr, is left out."""
    notebook = nbformat.read(TOUR, 4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {'metadata': {'path': folder}}
        NotebookClient(notebook, timeout=1200, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == 'code':
            seen = [output for output in cell.outputs if output.get('name') != 'stderr']
            cell.outputs = [smaller(output) for output in seen]
    # The version of the Python that executed it would change with every execution.
    notebook.metadata.language_info = {'name': 'python'}
    nbformat.write(notebook, TOUR)
    print(f'{TOUR}: {TOUR.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
