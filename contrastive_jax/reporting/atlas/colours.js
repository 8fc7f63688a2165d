'use strict';
// The colour of each sample by class, verdict or number, and the legend.

const SIGNS = ['●', '▲', '■', '◆'];
const MOST_NAMES = 60;

const palette = () => data.palettes[dark.matches ? 'dark' : 'light'];

// For each sample its colour, and for the legend names with their colour and sign.
function colours(by, values) {
  if (by === 'class') return named(data.labels, data.classes, palette());
  if (by === 'verdict') return named(data.verdict, data.verdicts, [data.neutral, ...palette()]);
  const [low, high] = ends(values), last = data.ramp.length - 1;
  const shade = (value) => value === null ? data.neutral
    : data.ramp[Math.round((last * (value - low)) / (high - low))];
  const legend = [low, (low + high) / 2, high].map((x) => [x.toFixed(data.digits), shade(x), SIGNS[0]]);
  return {each: values.map(shade), legend};
}

function named(names, all, shades) {
  const place = new Map(all.map((text, at) => [text, at]));
  const shade = (text) => shades[place.get(text) % shades.length];
  const sign = (text) => SIGNS[Math.floor(place.get(text) / shades.length) % SIGNS.length];
  const legend = all.slice(0, MOST_NAMES).map((text) => [text, shade(text), sign(text)]);
  if (all.length > MOST_NAMES) legend.push([`and ${all.length - MOST_NAMES} more`, data.neutral, '']);
  return {each: names.map(shade), legend};
}

function showLegend(legend) {
  document.getElementById('legend').replaceChildren(
    ...legend.map(([text, shade, sign]) => {
      const swatch = element('span', {className: 'swatch', textContent: sign, ariaHidden: 'true'});
      swatch.style.color = shade;
      return element('li', {}, swatch, text);
    }),
  );
}
