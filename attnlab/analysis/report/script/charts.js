// The heatmap of two axes, the learning curves, and the whiskers of the ranking.
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const SERIES = 8;

// What a chart may be split by: the parts of the mechanism first.
function axesOf(chapter) {
  const axes = chapter.points.filter((name) => chapter.runs.levels(name).length > 1 && chapter.runs.levels(name).length <= 40);
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

function heatmap(place, chapter) {
  const { runs } = chapter;
  const order = axesOf(chapter);
  if (order.length < 2 || !chapter.metrics.length) return null;
  const state = { metric: chapter.first || chapter.metrics[0], down: order[0], across: order[1] };
  const grid = make("table", { class: "heat" }), readout = make("p", { class: "readout" }), legend = make("p", { class: "scale" });
  const names = (list) => list.map((name) => [name, name]);
  place.append(
    make("div", { class: "controls" },
      choice("Metric", names(chapter.metrics), state.metric, (value) => { state.metric = value; update(); }),
      choice("Rows", names(order), state.down, (value) => { state.down = value; update(); }),
      choice("Columns", names(order), state.across, (value) => { state.across = value; update(); })),
    make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Heatmap" }, grid), legend, readout);

  function update() {
    const value = runs.get(state.metric), down = runs.get(state.down), across = runs.get(state.across);
    const groups = new Map();
    for (const row of chapter.rows()) {
      if (value[row] === null || !Number.isFinite(value[row])) continue;
      if (!groups.has(down[row])) groups.set(down[row], new Map());
      const line = groups.get(down[row]);
      if (!line.has(across[row])) line.set(across[row], []);
      line.get(across[row]).push(value[row]);
    }
    const columns = [...new Set([...groups.values()].flatMap((line) => [...line.keys()]))].sort(compared);
    const lines = [...groups.keys()].sort(compared);
    const means = lines.map((a) => columns.map((b) => (groups.get(a).has(b) ? mean(groups.get(a).get(b)) : null)));
    const there = means.flat().filter((m) => m !== null);
    const least = Math.min(...there), greatest = Math.max(...there), way = chapter.directions[state.metric];
    const share = (m) => { const s = (m - least) / (greatest - least || 1); return way === "down" ? 1 - s : s; };
    const best = way ? (way === "down" ? least : greatest) : null;
    const head = make("tr", {}, make("th", { scope: "col" }, `${state.down} \\ ${state.across}`), ...columns.map((b) => make("th", { scope: "col" }, shown(b))));
    const body = lines.map((a, i) => make("tr", {}, make("th", { scope: "row" }, shown(a)), ...columns.map((b, j) => {
      const m = means[i][j];
      if (m === null) return make("td", {}, make("span", { class: "quiet" }, "–"));
      const ground = make("i", { "aria-hidden": "true" });
      ground.style.opacity = share(m).toFixed(3);
      const all = groups.get(a).get(b);
      const tell = () => readout.replaceChildren(make("b", {}, `${shown(a)} · ${shown(b)}`), ` ${state.metric} ${shown(m)}, mean of ${all.length} runs between ${shown(Math.min(...all))} and ${shown(Math.max(...all))}`);
      const isBest = best !== null && Math.abs(m - best) <= 1e-9 * Math.max(Math.abs(m), Math.abs(best)); // equal but for rounding
      return make("td", { class: isBest ? "best" : false, tabindex: "0", onmouseenter: tell, onfocus: tell }, ground, make("span", {}, shown(m)));
    })));
    grid.replaceChildren(make("caption", { class: "sr" }, `${state.metric}: mean for each ${state.down} and ${state.across}`), make("thead", {}, head), make("tbody", {}, ...body));
    const better = way ? `, ${way === "down" ? "lower" : "higher"} is better; the best is underlined` : "";
    const ends = way === "down" ? [greatest, least] : [least, greatest];
    legend.replaceChildren(...(there.length ? [shown(ends[0]), make("i"), `${shown(ends[1])}`] : ["no values"]));
    readout.textContent = there.length ? `${state.metric}, mean over the other axes and seeds${better}` : "No run that is shown has this metric.";
  }
  update();
  return { update };
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) found.push(Number(t.toPrecision(12)));
  return found;
}

function curves(place, chapter) {
  const { runs } = chapter;
  if (!chapter.curves.length) return null;
  const series = [...new Set(chapter.curves.map((curve) => curve.series))];
  const varies = (name) => chapter.curves.some((curve) => curve.series === name && curve.mean.some((v) => v !== curve.mean[0]));
  const axes = axesOf(chapter);
  const state = { series: series.find((s) => s.includes("alignment_accuracy") && varies(s)) || series.find(varies) || series[0], by: axes[0], on: null };
  const figure = make("figure"), legend = make("div", { class: "legend", role: "group", "aria-label": "Lines to emphasise" }), readout = make("output", { class: "readout" });
  const controls = make("div", { class: "controls" }, choice("Curve", series.map((s) => [s, s]), state.series, (value) => { state.series = value; update(); }));
  if (axes.length) controls.append(choice("Coloured by", axes.map((a) => [a, a]), state.by, (value) => { state.by = value; state.on = null; update(); }));
  place.append(controls, legend, figure, readout);

  function update() {
    const kept = new Set(chapter.rows().map((row) => chapter.pointOf(row)));
    const lines = chapter.curves.filter((curve) => curve.series === state.series && kept.has(chapter.pointOf(curve.row)));
    const colour = state.by ? runs.get(state.by) : null;
    const groups = [...new Set(lines.map((curve) => (colour ? colour[curve.row] : null)))].sort(compared);
    const place_of = (curve) => groups.indexOf(colour ? colour[curve.row] : null);
    if (state.on !== null && !groups.includes(state.on)) state.on = null;
    keys(groups, lines, place_of);
    paint(lines, groups, place_of);
  }

  function keys(groups, lines, place_of) {
    legend.replaceChildren(...(groups.length < 2 ? [] : groups.map((group, i) => {
      const last = lines.filter((curve) => place_of(curve) === i).map((curve) => curve.mean.at(-1)).filter((v) => v !== null);
      const sample = draw("svg", { viewBox: "0 0 27 12", "aria-hidden": "true" }, stroke(draw("line", { x1: 1, x2: 26, y1: 6, y2: 6, "stroke-width": 2.6 }), i));
      const press = () => { state.on = state.on === group ? null : group; update(); legend.querySelectorAll("button")[i].focus(); };
      return make("button", { type: "button", class: "plainly", "aria-pressed": String(state.on === group), onclick: press }, sample, `${shown(group)} `, make("span", { class: "quiet" }, last.length ? shown(mean(last)) : "–"));
    })));
  }

  function stroke(element, i) {
    element.style.stroke = `var(--s${i % SERIES})`;
    element.setAttribute("stroke-dasharray", DASHES[Math.floor(i / SERIES) % DASHES.length]);
    return element;
  }

  function paint(lines, groups, place_of) {
    const width = Math.max(280, figure.clientWidth || 720), height = Math.min(360, Math.max(220, width * 0.45));
    const box = { left: 52, right: width - 18, top: 10, bottom: height - 34 };
    const xs = lines.flatMap((curve) => curve.x), ys = lines.flatMap((curve) => [...curve.low, ...curve.high]).filter((v) => v !== null && Number.isFinite(v));
    if (!ys.length) { figure.replaceChildren(); readout.textContent = "No run that is shown has this curve."; return; }
    const [x0, x1] = [xs.reduce((a, b) => Math.min(a, b)), xs.reduce((a, b) => Math.max(a, b))];
    let [y0, y1] = [ys.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.max(a, b))];
    if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
    const X = (x) => box.left + ((box.right - box.left) * (x - x0)) / (x1 - x0 || 1);
    const Y = (y) => box.bottom - ((box.bottom - box.top) * (y - y0)) / (y1 - y0 || 1);
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${state.series} by step, ${lines.length} lines, one for each point of the grid` });
    for (const t of ticks(y0, y1, 5)) svg.append(draw("line", { class: "grid", x1: box.left, x2: box.right, y1: Y(t), y2: Y(t) }), draw("text", { x: box.left - 8, y: Y(t) + 4, "text-anchor": "end" }, shown(t)));
    for (const t of ticks(x0, x1, Math.max(3, width / 110))) svg.append(draw("text", { x: X(t), y: box.bottom + 18, "text-anchor": "middle" }, shown(t)));
    svg.append(draw("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }), draw("text", { x: box.right, y: height - 2, "text-anchor": "end" }, "step"));
    const drawn = lines.map((curve) => {
      const i = place_of(curve), there = curve.x.map((x, j) => [x, curve.mean[j], curve.low[j], curve.high[j]]).filter(([, m]) => m !== null);
      const path = stroke(draw("path", { class: "curve", d: there.map(([x, m], j) => `${j ? "L" : "M"}${X(x).toFixed(1)} ${Y(m).toFixed(1)}`).join("") }), i);
      const on = state.on === null ? "" : groups[i] === state.on ? " on" : " off";
      path.setAttribute("class", `curve${on}${lines.length < 9 && !on ? " on" : ""}`);
      if (curve.seeds > 1 && (on === " on" || lines.length < 9) && on !== " off") {
        const band = draw("path", { class: "band", d: `M${[...there.map(([x, , l]) => `${X(x).toFixed(1)} ${Y(l).toFixed(1)}`), ...there.toReversed().map(([x, , , h]) => `${X(x).toFixed(1)} ${Y(h).toFixed(1)}`)].join("L")}Z` });
        band.style.fill = `var(--s${i % SERIES})`;
        svg.append(band);
      }
      return { curve, path, there, shown: on !== " off" };
    });
    svg.append(...drawn.map((line) => line.path));
    const guide = draw("line", { class: "guide", y1: box.top, y2: box.bottom, visibility: "hidden" });
    svg.append(guide);
    svg.addEventListener("pointermove", (event) => {
      const at = svg.getBoundingClientRect(), scale = width / at.width;
      const px = (event.clientX - at.left) * scale, py = (event.clientY - at.top) * scale;
      let best = null;
      for (const line of drawn) {
        if (!line.shown) continue;
        for (const [x, m] of line.there) {
          const far = Math.hypot((X(x) - px) * 2, Y(m) - py);
          if (!best || far < best.far) best = { far, x, m, line };
        }
      }
      for (const line of drawn) line.path.classList.toggle("hover", line === best?.line);
      if (!best) return;
      guide.setAttribute("x1", X(best.x)); guide.setAttribute("x2", X(best.x)); guide.setAttribute("visibility", "visible");
      readout.replaceChildren(make("b", {}, chapter.label(best.line.curve.row)), ` step ${shown(best.x)}: ${shown(best.m)}, mean of ${best.line.curve.seeds} ${best.line.curve.seeds === 1 ? "seed" : "seeds"}`);
    });
    svg.addEventListener("pointerleave", () => { guide.setAttribute("visibility", "hidden"); explain(lines); });
    figure.replaceChildren(svg);
    explain(lines);
  }

  function explain(lines) {
    const band = figure.querySelector(".band") ? "; bands reach from the least seed to the greatest" : "";
    readout.textContent = `${lines.length} ${lines.length === 1 ? "line" : "lines"}, each the mean over seeds of one point of the grid${band}.`;
  }

  let last = 0;
  new ResizeObserver(() => { if (Math.abs(figure.clientWidth - last) > 8) { last = figure.clientWidth; update(); } }).observe(figure);
  update();
  return { update };
}
