// Means with their intervals below one another. No interval and no axis goes beyond the bounds of what is measured.
// rows: [{label, middle, low, high, verdict?}]; bounds: [least, greatest], null where there is none; zero: draw a line at 0.
function forestPlot(rows, { bounds, unit, zero, width }) {
  const [least, greatest] = bounds.map((bound, i) => bound ?? (i ? Infinity : -Infinity));
  const cut = (value) => (value === null ? null : Math.min(greatest, Math.max(least, value)));
  const drawn = rows.map((row) => ({ ...row, low: cut(row.low), high: cut(row.high) }));
  const values = drawn.flatMap((row) => [row.middle, row.low, row.high]).filter((v) => v !== null && Number.isFinite(v)).concat(zero ? [0] : []);
  if (!values.length) return null;
  let [x0, x1] = [Math.min(...values), Math.max(...values)];
  const room = 0.06 * (x1 - x0) || 0.05 * Math.abs(x1) || 0.05;
  [x0, x1] = [Math.max(least, x0 - room), Math.min(greatest, x1 + room)];
  if (x0 === x1) [x0, x1] = [x0 - room, x1 + room];
  const labels = drawn.map((row) => fitted(row.label, 0.36 * width)), left = 14 + Math.max(...labels.map(measured));
  const said = drawn.map((row) => (row.low === null ? shown(row.middle) : `${shown(row.middle)} (${shown(row.low)} to ${shown(row.high)})`));
  const right = width < 560 ? width - 14 : width - 14 - Math.max(...said.map(measured)) - 12;
  const step = 26, top = 8, bottom = top + step * drawn.length, height = bottom + 40;
  const X = (value) => left + ((right - left) * (value - x0)) / (x1 - x0);
  const svg = draw("svg", { class: "forest-plot", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${unit}: ${drawn.length} means with intervals` });
  for (const t of ticks(x0, x1, Math.max(2, (right - left) / 90))) svg.append(draw("line", { class: "grid", x1: X(t), x2: X(t), y1: top, y2: bottom }), draw("text", { x: X(t), y: bottom + 17, "text-anchor": "middle" }, shown(t)));
  const upright = (name, value) => svg.append(draw("line", { class: name, x1: X(value), x2: X(value), y1: top, y2: bottom }));
  if (zero) upright("zero", 0);
  bounds.forEach((bound) => { if (bound !== null && bound >= x0 && bound <= x1) upright("limit", bound); });
  svg.append(draw("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }), draw("text", { x: right, y: bottom + 34, "text-anchor": "end" }, unit));
  drawn.forEach((row, i) => {
    const y = top + step * (i + 0.5);
    svg.append(draw("text", { class: "word", x: left - 8, y: y + 4, "text-anchor": "end" }, labels[i]));
    if (row.low !== null && row.high !== null) svg.append(draw("line", { class: "whole", x1: X(row.low), x2: X(row.high), y1: y, y2: y }));
    if (row.middle !== null && Number.isFinite(row.middle)) svg.append(draw("rect", { class: "middle", x: X(row.middle) - 4, y: y - 4, width: 8, height: 8 }));
    if (right < width - 14) svg.append(draw("text", { x: right + 12, y: y + 4 }, said[i]));
  });
  return svg;
}

// The forest plot of a comparison: the means in order of merit, or the differences from the first.
function comparedForest(chapter, by, merit, pairs) {
  const names = merit.get(by).map((value) => (value === null ? "none" : shown(value)));
  const bounds = chapter.bounds[chapter.first] || [null, null];
  const wide = bounds.every((bound) => bound !== null) ? bounds[1] - bounds[0] : null;
  const state = { kind: "means" }, figure = make("figure");
  const kinds = {
    means: () => ({ rows: names.map((label, i) => ({ label, middle: merit.get("mean")[i], low: merit.get("low")[i], high: merit.get("high")[i], row: i })).filter(({ row }) => chapter.fits(merit, row)), bounds, unit: chapter.first }),
    differences: () => {
      const [first, second] = [pairs.get("first"), pairs.get("second")], at = first.map((_, i) => i).filter((i) => first[i] === first[0]);
      return { rows: at.map((i) => ({ label: second[i], middle: pairs.get("improvement")[i], low: pairs.get("low")[i], high: pairs.get("high")[i] })), bounds: [wide === null ? null : -wide, wide], unit: `how much better ${first[0]} is, in ${chapter.first}`, zero: true };
    },
  };
  const controls = make("div", { class: "controls" });
  if (pairs) controls.append(choice("Forest plot of", [["means", "means with intervals"], ["differences", "differences from the first"]], state.kind, (value) => { state.kind = value; update(); }));
  function update() {
    const given = kinds[state.kind](), plot = forestPlot(given.rows, { ...given, width: Math.max(280, figure.clientWidth || 720) });
    figure.replaceChildren(...(plot ? [plot] : []));
  }
  redrawn(figure, update);
  const save = svgButton(`comparison by ${by}`, () => [...figure.querySelectorAll("svg")].map((svg) => ({ svg, title: `By ${by}, on ${chapter.first}` })));
  return { element: make("div", {}, controls, figure, make("p", { class: "saving" }, save)), update };
}
