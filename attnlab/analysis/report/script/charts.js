// What charts share: colours, axes, and the whiskers of the ranking.
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const SERIES = 8;

// What a chart may be split by: the parts of the mechanism first.
function axesOf(chapter) {
  const axes = chapter.points.filter((name) => chapter.runs.levels(name).length > 1 && chapter.runs.levels(name).length <= 60);
  return [...data.parts.filter((name) => axes.includes(name)), ...axes.filter((name) => !data.parts.includes(name))];
}

function interval(low, middle, high, [least, greatest]) {
  if (middle === null) return "–";
  const at = (value) => Math.min(100, Math.max(0, (100 * (value - least)) / (greatest - least)));
  const svg = draw("svg", { class: "whisker", viewBox: "0 0 100 12", "aria-hidden": "true" });
  if (low !== null && high !== null) svg.append(draw("line", { x1: at(low), x2: at(high), y1: 6, y2: 6 }));
  svg.append(draw("circle", { cx: at(middle), cy: 6, r: 3 }));
  return make("span", { class: "interval" }, svg, low === null ? "–" : `${shown(low)} to ${shown(high)}`);
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) found.push(Number(t.toPrecision(12)));
  return found;
}
