"""The look of every plot that Bokeh draws.

The colours of words, axes and grids are variables of `page.css`, so they follow the theme.
"""

from typing import Any

from bokeh.plotting import figure

from contrastive_jax.reporting.style import FONT

__all__ = ['plot']


def plot(**options: Any) -> Any:
    """An empty plot as wide as its place on the page.

    Args:
      options: options of `bokeh.plotting.figure`.

    Returns:
      The figure of Bokeh, with the font of the page and without a logo.
    """
    made: Any = figure(
        sizing_mode='stretch_width',
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        toolbar_location='above',
        **options,
    )
    made.toolbar.logo = None
    made.title.text_font = FONT
    for axis in made.axis:
        axis.update(
            axis_label_text_font=FONT,
            axis_label_text_font_style='normal',
            major_label_text_font=FONT,
            minor_tick_line_color=None,
        )
    return made
