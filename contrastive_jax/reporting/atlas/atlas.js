'use strict';
// Joins the parts that Bokeh draws: filters and selection choose the rows of the table, and a chosen
// sample fills the panel.

const BINS = 40;

function connect(drawn) {
  const find = (key) => drawn.get_model_by_name(key);
  const source = find('source'), rows = find('rows'), shown = find('shown'), bars = find('bars');
  const table = find('table'), histogram = find('histogram'), range = find('range');
  const widget = (key) => find(key) || {value: ''};
  let current = -1;

  const values = () => data.numbers[find('number').value];

  function matches() {
    const number = values(), verdicts = new Set(widget('verdicts').value);
    const classes = new Set(widget('classes').value), text = widget('text').value.toLowerCase();
    // A slider rounds; at its end it leaves nothing out, nor what has no value.
    const low = range.value[0] <= range.start ? -Infinity : range.value[0];
    const high = range.value[1] >= range.end ? Infinity : range.value[1];
    const inside = (value) => value === null
      ? low === -Infinity && high === Infinity : low <= value && value <= high;
    return data.index.map((_, row) => inside(number[row])
      && (!verdicts.size || verdicts.has(data.verdict[row]))
      && (!classes.size || classes.has(data.labels[row]))
      && (!text || data.files[row].toLowerCase().includes(text)));
  }

  function refresh() {
    const match = matches(), number = values();
    const selected = Array.from(source.selected.indices).filter((row) => match[row]);
    const listed = selected.length ? selected : [...match.keys()].filter((row) => match[row]);
    // Samples without a value come last.
    const rank = (row) => number[row] ?? -Infinity;
    listed.sort((a, b) => rank(b) - rank(a) || a - b);
    shown.booleans = match;
    const keys = Object.keys(rows.data);
    const taken = keys.map((key) => [key, listed.map((row) => source.data[key][row])]);
    rows.selected.indices = [];
    // With as many rows as before, the table would keep its old ones.
    rows.data = Object.fromEntries(keys.map((key) => [key, []]));
    rows.data = Object.fromEntries(taken);
    document.getElementById('count').textContent =
      `${match.filter(Boolean).length} of ${count} sample${count === 1 ? '' : 's'} shown, ${selected.length} selected`;
    if (selected.length === 1) open(selected[0]);
  }

  function open(row) {
    current = row;
    showPanel(row, open);
  }

  // The rows as the table shows them: a heading sorts the view and not its source.
  function inOrder() {
    const view = Bokeh.index.get(table), places = view ? view.data.index : rows.data.row.keys();
    return Array.from(places, (place) => rows.data.row[place]);
  }

  function step(by) {
    const order = inOrder(), at = order.indexOf(current) + by;
    if (at >= 0 && at < order.length) open(order[at]);
  }

  function colour() {
    const {each, legend} = colours(find('colour').value, values());
    source.data.colour = each;
    source.change.emit();
    showLegend(legend);
  }

  const blue = () => Array(BINS).fill(palette()[0]);

  // Another number: its bars, its range, its column in the table.
  function choose() {
    const number = values(), [low, high] = ends(number), width = (high - low) / BINS;
    const edges = Array.from({length: BINS}, (_, bin) => low + bin * width);
    const top = edges.map(() => 0);
    for (const value of number) {
      if (value !== null) top[Math.min(BINS - 1, Math.floor((value - low) / width))] += 1;
    }
    bars.data = {left: edges, right: edges.map((edge) => edge + width), top, colour: blue()};
    histogram.x_range.setv({start: low, end: high});
    source.data.number = number.map((value) => (value === null ? NaN : value));
    range.setv({start: low, end: high, step: width / 10, value: [low, high]});
    table.columns.find((column) => column.field === 'number').title = find('number').value;
    colour();
    refresh();
  }

  function clear() {
    for (const key of ['verdicts', 'classes']) if (find(key)) find(key).value = [];
    if (find('text')) find('text').value = '';
    range.value = [range.start, range.end];
    source.selected.indices = [];
  }

  function save() {
    const quote = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const number = find('number').value, listed = inOrder();
    const columns = {index: data.index, [number]: values(), verdict: data.verdict.map(quote)};
    if (data.labels) columns.label = data.labels.map(quote);
    if (data.files) columns.file = data.files.map(quote);
    const lines = listed.map((row) => Object.values(columns).map((column) => column[row]).join(','));
    const text = [Object.keys(columns).join(','), ...lines].join('\n') + '\n';
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
  on(find('number'), 'value', choose);
  dark.addEventListener('change', () => {
    colour();
    bars.data.colour = blue();
    bars.change.emit();
  });
  on(rows.selected, 'indices', () => {
    const [at] = rows.selected.indices;
    if (at !== undefined) open(rows.data.row[at]);
  });
  histogram.on_event('selectiongeometry', ({geometry}) => {
    range.value = [Math.max(range.start, geometry.x0), Math.min(range.end, geometry.x1)];
  });
  // Bokeh gives the handles of a slider no names.
  const handles = Bokeh.index.find_one(range).shadow_el.querySelectorAll('[role=slider]');
  ['Least', 'Greatest'].forEach((end, at) => (handles[at].ariaLabel = `${end} value of the range`));
  const click = (id, action) => document.getElementById(id).addEventListener('click', action);
  click('clear', clear);
  click('export', save);
  click('previous', () => step(-1));
  click('next', () => step(1));
  choose();
  open(rows.data.row[0]);
  document.documentElement.dataset.ready = 'yes';
}

shareSprites();
whenDrawn(connect);
