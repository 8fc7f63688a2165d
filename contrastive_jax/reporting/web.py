"""HTML pages that need no other file, on which no script of a file can run."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from bokeh.embed import components
from bokeh.resources import Resources

from contrastive_jax.reporting.style import page_variables

__all__ = ['embedded', 'page']


def embedded(models: dict[str, Any], parts: Sequence[str] = ()) -> tuple[list[str], dict]:
    """The scripts that draw models of Bokeh, and the element that each model is drawn into.

    Args:
      models: the models by a name of their own.
      parts: parts of Bokeh that they need beside its core, such as `tables`.

    Returns:
      The sources of the scripts, without their tags, and the HTML of the element of each model, by
      its name.
    """
    names: list[Any] = ['bokeh', *(f'bokeh-{part}' for part in parts)]
    library = Resources('inline', components=names)
    script, places = components(models)
    return [*library.js_raw, script.partition('>')[2].rpartition('</script>')[0]], places


def page(
    title: str, body: str, scripts: Sequence[str], style: str, *, templates: bool = False
) -> str:
    """The whole page.

    Args:
      title: title of the window.
      body: the elements; texts of files in them must be escaped.
      scripts: the only scripts that may run.
      style: its own style sheet, after the one of all pages.
      templates: whether the browser may compile templates, which the tables of Bokeh need.

    Returns:
      The text of an HTML file that needs no other file.
    """
    shared = resources.files(__package__)
    scripts = [shared.joinpath('page.js').read_text(encoding='utf-8'), *scripts]
    styles = page_variables() + shared.joinpath('page.css').read_text(encoding='utf-8') + style
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_policy(scripts, templates)}">
<title>{title}</title>
<style>{styles}</style>
</head>
<body>
{body}
{''.join(f'<script>{script}</script>' for script in scripts)}
</body>
</html>
"""


def _policy(scripts: Sequence[str], templates: bool) -> str:
    """No other script runs, in case markup is left in a text, and nothing is fetched."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts)
    allowed = ' '.join(f"'sha256-{digest.decode()}'" for digest in digests)
    if templates:
        allowed = f"'unsafe-eval' {allowed}"
    return (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; font-src data:; "
        f'script-src {allowed}'
    )
