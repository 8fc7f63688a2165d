"""The atlas as one HTML page that needs no other file.

Bokeh draws the map, the histogram and the table; the scripts of this folder join them to each other
and to the panel of one sample.
"""

import json
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from bokeh.palettes import Viridis256

from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.reporting import web
from contrastive_jax.reporting.atlas.content import Content
from contrastive_jax.reporting.atlas.models import page_models
from contrastive_jax.reporting.atlas.sprites import Sheet, sprite_sheet
from contrastive_jax.reporting.entries import counted
from contrastive_jax.reporting.style import DARK, LIGHT, NEUTRAL, SCORE, pattern

__all__ = ['atlas_page']

_SCRIPTS = ('samples.js', 'panel.js', 'colours.js', 'atlas.js')
# The ends of Viridis are lost on a black and on a white page.
_RAMP = Viridis256[40:224]


def atlas_page(content: Content) -> str:
    """The whole page, which shows everything that comes from a file as text."""
    sheet = None if content.images is None else sprite_sheet(content.images)
    bokeh, places = web.embedded(page_models(content, sheet), ('gl', 'widgets', 'tables'))
    own = resources.files(__package__)
    scripts = [*bokeh, *(own.joinpath(name).read_text(encoding='utf-8') for name in _SCRIPTS)]
    data = json.dumps(_data(content, sheet), allow_nan=False).replace('<', '\\u003c')
    notes = ''.join(f'<p class="note">{escape(note)}</p>' for note in content.notes)
    count = counted(len(content.index), 'sample')
    body = f"""<header><h1>Difficulty atlas</h1>
<p>{escape(content.title)}; {count}, map by {escape(content.map_name)}.</p>
{notes}</header>
<main>
<section class="controls" aria-label="Filters">{places['controls']}
<p id="count" role="status"></p>
<button id="clear" type="button">Clear selection and filters</button>
<button id="export" type="button">Save the rows of the table as CSV</button>
<ul id="legend" aria-label="Colours"></ul></section>
<section class="map" aria-label="Map of the samples">{places['map']}{places['histogram']}</section>
<section id="detail" aria-label="One sample"><h2 id="name" role="status" tabindex="-1"></h2>
<p><button id="previous" type="button">Previous in the table</button>
<button id="next" type="button">Next in the table</button></p>
<div id="facts"></div></section>
<section class="table" aria-label="Table of the shown samples">{places['table']}</section>
</main>
<script type="application/json" id="data">{data}</script>
<script type="text/plain" id="sprites">{sheet.url if sheet else ''}</script>"""
    style = own.joinpath('atlas.css').read_text(encoding='utf-8')
    return web.page('Difficulty atlas', body, scripts, style, templates=True)


def _data(content: Content, sheet: Sheet | None) -> dict[str, Any]:
    """What the scripts need beyond what Bokeh draws."""
    dynamics = content.dynamics
    return {
        'index': content.index.tolist(),
        'labels': content.labels,
        'files': content.files,
        'verdict': content.verdict,
        'numbers': {name: _rounded(values) for name, values in content.numbers.items()},
        'nearest': content.nearest.tolist(),
        'partners': content.partners.tolist(),
        'sprites': sheet and {'columns': sheet.columns, 'rows': sheet.rows},
        'classes': content.classes(),
        'verdicts': VERDICTS,
        'palettes': {'light': LIGHT, 'dark': DARK},
        'neutral': NEUTRAL,
        'digits': len(pattern(SCORE)) - 2,
        'ramp': _RAMP,
        'dynamics': dynamics
        and {
            'epochs': _rounded(dynamics.epochs),
            'scores': [_rounded(row) for row in dynamics.scores],
        },
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    """Five digits; what is not finite becomes null."""
    return [float(f'{x:.5g}') if np.isfinite(x) else None for x in values.tolist()]
