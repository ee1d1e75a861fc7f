// The mean of a metric for each pair of values of two axes.
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
    make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Heatmap" }, grid), legend, readout,
    make("p", { class: "saving" }, svgButton("heatmap", () => (drawn ? [{ svg: heatPicture(drawn), title: `${state.metric}: ${state.down} by ${state.across}` }] : [])), csvButton("heatmap", () => cellsOf(grid))));
  let drawn = null;

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
    drawn = there.length ? { lines: lines.map(shown), columns: columns.map(shown), means, share } : null;
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

// The same as a picture, to be saved.
function heatPicture({ lines, columns, means, share }) {
  const left = 16 + Math.max(...lines.map(measured)), wide = Math.max(72, ...columns.map((name) => measured(name) + 16)), tall = 32;
  const svg = draw("svg", { class: "chart", viewBox: `0 0 ${left + wide * columns.length} ${tall * (lines.length + 1)}` });
  columns.forEach((name, j) => svg.append(draw("text", { class: "word", x: left + wide * (j + 0.5), y: tall - 12, "text-anchor": "middle" }, name)));
  lines.forEach((name, i) => {
    const y = tall * (i + 1);
    svg.append(draw("text", { class: "word", x: left - 8, y: y + tall / 2 + 4, "text-anchor": "end" }, name));
    means[i].forEach((m, j) => {
      if (m !== null) svg.append(draw("rect", { class: "warm", x: left + wide * j + 1, y: y + 1, width: wide - 2, height: tall - 2, "fill-opacity": share(m).toFixed(3) }));
      svg.append(draw("text", { class: "word", x: left + wide * (j + 0.5), y: y + tall / 2 + 4, "text-anchor": "middle" }, shown(m)));
    });
  });
  return svg;
}
