'use strict';
// The samples of the page, and the picture and the name of each. Everything from a file is set as
// text, never as markup.

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
  const score = data.numbers.score[row];
  // One that is not finite is missing.
  return `${label}index ${data.index[row]}, score ${score === null ? 'not finite' : score.toFixed(data.digits)}`;
}

function picture(row, side) {
  if (!data.sprites) return element('span', {className: 'blank', textContent: data.index[row]});
  const {columns, rows} = data.sprites;
  const made = element('span', {className: 'thumb', role: 'img', ariaLabel: name(row)});
  made.style.width = made.style.height = `${side}px`;
  made.style.backgroundSize = `${columns * side}px ${rows * side}px`;
  made.style.backgroundPosition = `-${(row % columns) * side}px -${Math.floor(row / columns) * side}px`;
  return made;
}

// Least and greatest value of a number; a little apart where all are equal.
function ends(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low < high) return [low, high];
  const only = Number.isFinite(low) ? low : 0;
  return [only - 0.5, only + 0.5];
}
