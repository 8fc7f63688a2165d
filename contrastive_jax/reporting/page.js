'use strict';
// What both pages share.

const dark = matchMedia('(prefers-color-scheme: dark)');

// Calls an action once Bokeh has drawn: a part that is not drawn yet does not hear of changes.
function whenDrawn(action) {
  const [drawn] = window.Bokeh ? Bokeh.documents : [];
  if (drawn && drawn.is_idle) action(drawn);
  else setTimeout(whenDrawn, 50, action);
}
