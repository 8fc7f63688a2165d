'use strict';
// Joins the parts that Bokeh draws: filters and selection choose the rows of the table, and a chosen
// sample fills the panel. Everything from a file is set as text, never as markup.

const data = JSON.parse(document.getElementById('data').textContent);
const count = data.index.length;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// One address for all thumbnails, which the shadow trees of Bokeh inherit.
function shareSprites() {
  const [head, text] = document.getElementById('sprites').textContent.split(',');
  if (!text) return;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const address = URL.createObjectURL(new Blob([bytes], {type: head.slice(5).split(';')[0]}));
  document.documentElement.style.setProperty('--sprites', `url(${address})`);
}

function name(row) {
  const label = data.labels ? `${data.labels[row]}, ` : '';
  return `${label}index ${data.index[row]}, score ${data.numbers.score[row].toFixed(3)}`;
}

function picture(row, side) {
  if (!data.columns) return element('span', {className: 'blank', textContent: data.index[row]});
  const made = element('span', {className: 'thumb', role: 'img', ariaLabel: name(row)});
  const [column, line] = [row % data.columns, Math.floor(row / data.columns)];
  made.style.width = made.style.height = `${side}px`;
  made.style.backgroundSize = `${data.columns * side}px ${data.rows * side}px`;
  made.style.backgroundPosition = `-${column * side}px -${line * side}px`;
  return made;
}

function strip(title, rows, open) {
  const list = element('div', {className: 'strip'});
  for (const row of rows.filter((row) => row >= 0)) {
    const button = element('button', {type: 'button', title: name(row)}, picture(row, 48));
    button.addEventListener('click', () => open(row));
    list.append(button);
  }
  return list.children.length ? [element('h3', {textContent: title}), list] : [];
}

function course(row) {
  const scores = data.dynamics && data.dynamics.scores[row];
  if (!scores || scores.filter((score) => score !== null).length < 2) return [];
  const epochs = data.dynamics.epochs, last = epochs[epochs.length - 1] || 1;
  const points = epochs.map((epoch, i) => [epoch, scores[i]]).filter(([, y]) => y !== null);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
  svg.setAttribute('viewBox', '0 0 200 60');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'score over the epochs, from 0 below to 1 above');
  line.setAttribute('points', points.map(([x, y]) => `${(200 * x) / last},${60 - 60 * y}`).join(' '));
  svg.append(line);
  return [element('h3', {textContent: `Score over ${last} epochs`}), svg];
}

function facts(row) {
  const list = element('dl');
  const add = (term, ...value) =>
    list.append(element('dt', {textContent: term}), element('dd', {}, ...value));
  add('verdict', data.verdict[row]);
  for (const [key, values] of Object.entries(data.numbers)) {
    if (values[row] === null) continue;
    const share = data.shares[key];
    const text = values[row].toFixed(3);
    if (!share) add(key, text);
    else {
      const title = `above ${share[row]} % of all`;
      add(key, `${text} `, element('meter', {max: 100, value: share[row], title, ariaLabel: title}));
    }
  }
  if (data.files) add('file', data.files[row]);
  return list;
}

function connect(find) {
  const source = find('source'), rows = find('rows'), shown = find('shown');
  const widget = (key) => find(key) || {value: ''};
  const points = find('points'), range = find('range');
  let current = -1;

  function matches() {
    const [low, high] = range.value, verdicts = widget('verdicts').value;
    const classes = widget('classes').value, text = widget('text').value.toLowerCase();
    return data.index.map((_, row) => {
      const score = data.numbers.score[row];
      return score >= low && score <= high
        && (!verdicts.length || verdicts.includes(data.verdict[row]))
        && (!classes.length || classes.includes(data.labels[row]))
        && (!text || data.files[row].toLowerCase().includes(text));
    });
  }

  function refresh() {
    const match = matches();
    const selected = Array.from(source.selected.indices).filter((row) => match[row]);
    const listed = selected.length ? selected : [...match.keys()].filter((row) => match[row]);
    listed.sort((a, b) => data.numbers.score[b] - data.numbers.score[a] || a - b);
    shown.booleans = match;
    const taken = {};
    for (const key of Object.keys(rows.data)) {
      taken[key] = listed.map((row) => source.data[key][row]);
    }
    rows.selected.indices = [];
    // With as many rows as before, the table would keep its old ones.
    rows.data = Object.fromEntries(Object.keys(taken).map((key) => [key, []]));
    rows.data = taken;
    const matching = match.filter(Boolean).length;
    document.getElementById('count').textContent =
      `${matching} of ${count} samples shown, ${selected.length} selected`;
    if (selected.length === 1) open(selected[0]);
  }

  function open(row) {
    current = row;
    const step = (by) => {
      const order = Array.from(rows.data.row), at = order.indexOf(current) + by;
      if (at >= 0 && at < order.length) open(order[at]);
    };
    const button = (text, by) => {
      const made = element('button', {type: 'button', textContent: text});
      made.addEventListener('click', () => step(by));
      return made;
    };
    document.getElementById('detail').replaceChildren(
      element('h2', {textContent: name(row)}),
      picture(row, 160),
      element('p', {}, button('Harder', -1), ' ', button('Easier', 1)),
      facts(row),
      ...strip('Nearest samples', data.nearest[row], open),
      ...strip('Nearest in its difficult band', data.partners[row], open),
      ...course(row),
    );
  }

  const dark = matchMedia('(prefers-color-scheme: dark)');
  dark.addEventListener('change', () => colour());

  function colour() {
    const chosen = find('colour').value, own = dark.matches ? `dark ${chosen}` : chosen;
    const by = own in data.legends ? own : chosen;
    for (const glyph of [points.glyph, points.selection_glyph, points.nonselection_glyph]) {
      if (glyph && glyph.fill_color !== undefined) glyph.fill_color = {field: `by_${by}`};
    }
    document.getElementById('legend').replaceChildren(
      ...data.legends[by].map(([text, shade, sign]) => {
        const swatch = element('span', {className: 'swatch', textContent: sign});
        swatch.style.color = shade;
        return element('li', {}, swatch, text);
      }),
    );
  }

  function clear() {
    for (const key of ['verdicts', 'classes']) if (find(key)) find(key).value = [];
    if (find('text')) find('text').value = '';
    range.value = [range.start, range.end];
    source.selected.indices = [];
  }

  function save() {
    const quote = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const fields = ['index', 'score', 'verdict', ...(data.labels ? ['label'] : []),
      ...(data.files ? ['file'] : [])];
    const lines = Array.from(rows.data.row).map((_, at) =>
      fields.map((field) => (/index|score/.test(field) ? rows.data[field][at]
        : quote(rows.data[field][at]))).join(','));
    const text = [fields.join(','), ...lines].join('\n') + '\n';
    const address = URL.createObjectURL(new Blob([text], {type: 'text/csv'}));
    element('a', {href: address, download: 'samples.csv'}).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  const on = (model, property, action) => model.connect(model.properties[property].change, action);
  for (const key of ['range', 'verdicts', 'classes', 'text']) {
    if (find(key)) on(find(key), 'value', refresh);
  }
  on(source.selected, 'indices', refresh);
  on(find('colour'), 'value', colour);
  on(rows.selected, 'indices', () => {
    const [at] = rows.selected.indices;
    if (at !== undefined) open(rows.data.row[at]);
  });
  find('histogram').on_event('selectiongeometry', ({geometry}) => {
    range.value = [Math.max(0, geometry.x0), Math.min(1, geometry.x1)];
  });
  document.getElementById('clear').addEventListener('click', clear);
  document.getElementById('export').addEventListener('click', save);
  colour();
  refresh();
  open(rows.data.row[0]);
  document.documentElement.dataset.ready = 'yes';
}

function start() {
  const [document_] = window.Bokeh ? Bokeh.documents : [];
  const find = (key) => document_ && document_.get_model_by_name(key);
  // A part that is not drawn yet does not hear of changes.
  if (document_ && document_.is_idle && find('source')) connect(find);
  else setTimeout(start, 50);
}

shareSprites();
start();
