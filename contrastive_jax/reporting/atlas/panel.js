'use strict';
// The panel of one sample: large, with its numbers, its neighbours, and its course over training.

function strip(title, rows, open) {
  const list = element('div', {className: 'strip'});
  for (const row of rows.filter((row) => row >= 0)) {
    const button = element('button', {type: 'button', title: name(row)}, picture(row, 48));
    button.addEventListener('click', () => {
      open(row);
      // The button is gone now.
      document.getElementById('name').focus();
    });
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
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'score over the epochs, from 0 below to 1 above');
  line.setAttribute('points', points.map(([x, y]) => `${(200 * x) / last},${60 - 60 * y}`).join(' '));
  svg.append(line);
  return [element('h3', {textContent: `Score over ${last} epochs, from 0 to 1`}), svg];
}

// Share of the samples on the page below a value, in %.
function share(values, value) {
  const known = values.filter((other) => other !== null);
  return Math.floor((100 * known.filter((other) => other < value).length) / known.length);
}

function facts(row) {
  const list = element('dl');
  const add = (term, ...value) =>
    list.append(element('dt', {textContent: term}), element('dd', {}, ...value));
  add('verdict', data.verdict[row]);
  for (const [key, values] of Object.entries(data.numbers)) {
    const value = values[row];
    if (value === null) continue;
    const below = share(values, value), title = `above ${below} % of the samples on this page`;
    const meter = element('meter', {max: 100, value: below, title, ariaLabel: title});
    add(key, meter, ` ${value.toFixed(data.digits)}`);
  }
  if (data.files) add('file', data.files[row]);
  return list;
}

function showPanel(row, open) {
  document.getElementById('name').textContent = name(row);
  document.getElementById('facts').replaceChildren(
    picture(row, 160),
    facts(row),
    ...strip('Nearest samples', data.nearest[row], open),
    ...strip('Nearest in its difficult band', data.partners[row], open),
    ...course(row),
  );
}
