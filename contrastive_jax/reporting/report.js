'use strict';
// Sorts the tables, and colours, hides and shows the cells in the figures.

// Numbers sort as numbers, and missing ones come last in either order.
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const head = button.closest('th'), body = head.closest('table').tBodies[0];
    const up = head.getAttribute('aria-sort') !== 'ascending';
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const entry = (row) => row.cells[head.cellIndex];
    const number = (row) => parseFloat(entry(row).dataset.number);
    const compare = (a, b) => {
      const x = number(a), y = number(b);
      if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
      const order = isNaN(x) ? entry(a).textContent.localeCompare(entry(b).textContent) : x - y;
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}

whenDrawn((drawn) => {
  const parts = drawn.roots().flatMap((plot) => plot.renderers);
  const legend = document.querySelectorAll('.legend button');

  function paint() {
    const style = getComputedStyle(document.documentElement);
    for (const {glyph} of parts) {
      const value = style.getPropertyValue(`--cell-${glyph.tags[1]}`);
      for (const key of ['line_color', 'fill_color']) if (key in glyph) glyph[key] = {value};
    }
  }

  legend.forEach((button, cell) => button.addEventListener('click', () => {
    const shown = button.getAttribute('aria-pressed') === 'false';
    button.setAttribute('aria-pressed', shown);
    for (const part of parts) if (part.glyph.tags[0] === cell) part.visible = shown;
  }));
  dark.addEventListener('change', paint);
  paint();
  document.documentElement.dataset.ready = 'yes';
});
