// Learning curves: a panel for each task, a colour for each value of one axis, and the mean over the others where the grid is wide.
const FEW = 8; // lines in a panel that can still be told apart

function curves(place, chapter) {
  const { runs } = chapter;
  if (!chapter.curves.length) return null;
  const series = [...new Set(chapter.curves.map((curve) => curve.series))];
  const varies = (name) => chapter.curves.some((curve) => curve.series === name && curve.mean.some((v) => v !== curve.mean[0]));
  const all = [...new Set([...chapter.asked, ...axesOf(chapter)])].filter((axis) => axesOf(chapter).includes(axis)); // what the claims ask about first
  const axes = all.filter((axis) => !chapter.tasks.includes(axis)), own = axes.length ? axes : all;
  const state = { series: series.find((s) => s.includes("alignment_accuracy") && varies(s)) || series.find(varies) || series[0], by: own[0], on: null, lines: "auto" };
  let groupsShown = [];
  const figure = make("figure"), legend = make("div", { class: "legend", role: "group", "aria-label": "Lines to emphasise" }), readout = make("output", { class: "readout" });
  const controls = make("div", { class: "controls" }, choice("Curve", series.map((s) => [s, s]), state.series, (value) => { state.series = value; update(); }));
  if (own.length) controls.append(choice("Coloured by", own.map((a) => [a, a]), state.by, (value) => { state.by = value; state.on = null; update(); }));
  if (own.length > 1) controls.append(choice("Lines", [["auto", "what can be read"], ["means", "means over the other axes"], ["each", "each point of the grid"]], state.lines, (value) => { state.lines = value; update(); }));
  place.append(controls, legend, figure, readout, make("p", { class: "saving" },
    svgButton("learning curves", () => [...figure.querySelectorAll("svg")].map((svg) => ({ svg, title: `${state.series} by step`, below: legendPicture() }))),
    csvButton("learning curves", () => [["series", ...chapter.points, "seeds", "step", "mean", "least", "greatest"], ...lines().flatMap((c) => c.x.map((x, i) => [c.series, ...chapter.points.map((p) => runs.get(p)[c.row]), c.seeds, x, c.mean[i], c.low[i], c.high[i]]))])));

  // The legend as a picture, to be saved.
  function legendPicture() {
    const svg = draw("svg", { class: "chart" });
    let x = 0;
    groupsShown.forEach((group, i) => {
      const name = state.by ? `${state.by.replace(/^.*\./, "")} ${shown(group)}` : shown(group);
      svg.append(stroked(draw("line", { x1: x, x2: x + 26, y1: 9, y2: 9, "stroke-width": 2.6 }), i), draw("text", { class: "word", x: x + 34, y: 13 }, name));
      x += 34 + measured(name) + 22;
    });
    svg.setAttribute("viewBox", `0 0 ${Math.max(1, x)} 20`);
    return groupsShown.length > 1 ? svg : null;
  }

  // The curves of the rows that are shown.
  function lines() {
    const kept = new Set(chapter.rows().map((row) => chapter.pointOf(row)));
    return chapter.curves.filter((curve) => curve.series === state.series && kept.has(chapter.pointOf(curve.row)));
  }

  const panelOf = (curve) => chapter.taskLabel(curve.row);

  function update() {
    const all = lines(), colour = state.by ? runs.get(state.by) : null;
    const groups = [...new Set(all.map((curve) => (colour ? colour[curve.row] : null)))].sort(compared);
    if (state.on !== null && !groups.includes(state.on)) state.on = null;
    groupsShown = groups;
    const panels = new Map();
    for (const curve of all) {
      if (!panels.has(panelOf(curve))) panels.set(panelOf(curve), []);
      panels.get(panelOf(curve)).push({ ...curve, group: groups.indexOf(colour ? colour[curve.row] : null), points: 1, label: chapter.label(curve.row) });
    }
    const widest = Math.max(0, ...[...panels.values()].map((list) => list.length));
    const means = state.lines === "means" || (state.lines === "auto" && widest > FEW);
    if (means) for (const [name, list] of panels) {
      panels.set(name, groups.map((group, i) => meanOf(list.filter((curve) => curve.group === i), i, [state.by ? shown(group) : "", name].filter(Boolean).join(" · "))).filter(Boolean));
    }
    keys(groups, [...panels.values()].flat());
    paint(panels, groups, means);
  }

  function keys(groups, drawn) {
    legend.replaceChildren(...(groups.length < 2 ? [] : groups.map((group, i) => {
      const last = drawn.filter((curve) => curve.group === i).map((curve) => curve.mean.at(-1)).filter((v) => v !== null);
      const sample = draw("svg", { viewBox: "0 0 27 12", "aria-hidden": "true" }, stroked(draw("line", { x1: 1, x2: 26, y1: 6, y2: 6, "stroke-width": 2.6 }), i));
      const press = () => { state.on = state.on === group ? null : group; update(); legend.querySelectorAll("button")[i].focus(); };
      return make("button", { type: "button", class: "plainly", "aria-pressed": String(state.on === group), onclick: press }, sample, `${shown(group)} `, make("span", { class: "quiet" }, last.length ? shown(mean(last)) : "–"));
    })));
  }

  function paint(panels, groups, means) {
    const drawn = [...panels.values()].flat();
    const xs = drawn.flatMap((curve) => curve.x), ys = drawn.flatMap((curve) => (curve.points > 1 && state.on === null ? curve.mean : [...curve.low, ...curve.high])).filter((v) => v !== null && Number.isFinite(v));
    if (!ys.length) { figure.replaceChildren(); readout.textContent = "No run that is shown has this curve."; return; }
    const ends = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    const [x0, x1] = ends(xs);
    let [y0, y1] = ends(ys);
    if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
    const width = Math.max(280, figure.clientWidth || 720), several = panels.size > 1;
    const across = Math.min(panels.size, 3, Math.max(1, Math.floor(width / 300))), gap = 22, left = 52;
    const wide = (width - left - 18 - gap * (across - 1)) / across;
    const tall = several ? Math.min(240, Math.max(150, wide * 0.62)) : Math.min(316, Math.max(176, width * 0.45 - 44));
    const head = several ? 26 : 10, step = head + tall + 30, height = Math.ceil(panels.size / across) * step + 14;
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${state.series} by step: ${drawn.length} lines${several ? ` in ${panels.size} panels, one for each task` : ""}` });
    const boxes = [...panels].map(([name, list], n) => {
      const box = { left: left + (n % across) * (wide + gap), top: Math.floor(n / across) * step + head, name, list };
      return { ...box, right: box.left + wide, bottom: box.top + tall };
    });
    for (const box of boxes) {
      box.X = (x) => box.left + ((box.right - box.left) * (x - x0)) / (x1 - x0 || 1);
      box.Y = (y) => box.bottom - ((box.bottom - box.top) * (y - y0)) / (y1 - y0 || 1);
      if (several) svg.append(draw("text", { class: "panel-title", x: box.left, y: box.top - 10 }, fitted(box.name, wide)));
      for (const t of ticks(y0, y1, several ? 4 : 5)) svg.append(draw("line", { class: "grid", x1: box.left, x2: box.right, y1: box.Y(t), y2: box.Y(t) }), ...(box.left === left ? [draw("text", { x: box.left - 8, y: box.Y(t) + 4, "text-anchor": "end" }, shown(t))] : []));
      for (const t of ticks(x0, x1, Math.max(2, wide / 110))) svg.append(draw("text", { x: box.X(t), y: box.bottom + 18, "text-anchor": "middle" }, shown(t)));
      svg.append(draw("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
      box.drawn = box.list.map((curve) => line(svg, box, curve, groups));
      svg.append(...box.drawn.map((one) => one.path));
    }
    svg.append(draw("text", { x: width - 18, y: height - 2, "text-anchor": "end" }, "step"));
    const guide = draw("line", { class: "guide", visibility: "hidden" });
    svg.append(guide);
    svg.addEventListener("pointermove", (event) => point(event, svg, boxes, guide, width));
    svg.addEventListener("pointerleave", () => { guide.setAttribute("visibility", "hidden"); explain(drawn, means); });
    figure.replaceChildren(svg);
    explain(drawn, means);
  }

  function line(svg, box, curve, groups) {
    const few = box.list.length <= FEW, there = curve.x.map((x, j) => [x, curve.mean[j], curve.low[j], curve.high[j]]).filter(([, m]) => m !== null);
    const path = stroked(draw("path", { d: there.map(([x, m], j) => `${j ? "L" : "M"}${box.X(x).toFixed(1)} ${box.Y(m).toFixed(1)}`).join("") }), curve.group);
    const on = state.on === null ? "" : groups[curve.group] === state.on ? " on" : " off";
    path.setAttribute("class", `curve${on}${few && !on ? " on" : ""}`);
    if (curve.seeds > 1 && (on === " on" || (few && curve.points === 1)) && on !== " off") {
      const edge = (values) => values.map(([x, y]) => `${box.X(x).toFixed(1)} ${box.Y(y).toFixed(1)}`);
      const band = draw("path", { class: "band", d: `M${[...edge(there.map(([x, , l]) => [x, l])), ...edge(there.toReversed().map(([x, , , h]) => [x, h]))].join("L")}Z` });
      band.style.fill = `var(--s${curve.group % SERIES})`;
      svg.append(band);
    }
    return { curve, path, there, shown: on !== " off" };
  }

  // The nearest point of the nearest panel.
  function point(event, svg, boxes, guide, width) {
    const at = svg.getBoundingClientRect(), scale = width / at.width;
    const px = (event.clientX - at.left) * scale, py = (event.clientY - at.top) * scale;
    const away = (box) => Math.hypot(Math.max(box.left - px, 0, px - box.right), Math.max(box.top - py, 0, py - box.bottom));
    const box = boxes.reduce((a, b) => (away(b) < away(a) ? b : a));
    let best = null;
    for (const one of box.drawn) {
      if (!one.shown) continue;
      for (const [x, m] of one.there) {
        const far = Math.hypot((box.X(x) - px) * 2, box.Y(m) - py);
        if (!best || far < best.far) best = { far, x, m, one };
      }
    }
    for (const one of boxes.flatMap((b) => b.drawn)) one.path.classList.toggle("hover", one === best?.one);
    if (!best) return;
    const { curve } = best.one;
    for (const [name, value] of [["x1", box.X(best.x)], ["x2", box.X(best.x)], ["y1", box.top], ["y2", box.bottom], ["visibility", "visible"]]) guide.setAttribute(name, value);
    const of = curve.points > 1 ? `${curve.points} points of the grid (${curve.seeds} runs)` : `${curve.seeds} ${curve.seeds === 1 ? "seed" : "seeds"}`;
    readout.replaceChildren(make("b", {}, curve.label), ` step ${shown(best.x)}: ${shown(best.m)}, mean of ${of}`);
  }

  function explain(drawn, means) {
    const banded = figure.querySelector(".band") ? `; bands reach from the least ${means ? "point of the grid" : "seed"} to the greatest` : "";
    readout.textContent = `${drawn.length} ${drawn.length === 1 ? "line" : "lines"}, each ${means ? "the mean over the other axes and seeds" : "the mean over seeds of one point of the grid"}${banded}.`;
  }

  redrawn(figure, update);
  update();
  return { update };
}

function stroked(element, i) {
  element.style.stroke = `var(--s${i % SERIES})`;
  element.setAttribute("stroke-dasharray", DASHES[Math.floor(i / SERIES) % DASHES.length]);
  return element;
}

// The mean of several curves, at the steps of the longest. Where a curve has ended, the others are left.
function meanOf(list, group, label) {
  if (!list.length) return null;
  const x = list.reduce((a, b) => (b.x.length > a.x.length ? b : a)).x;
  const values = x.map((step) => list.map((curve) => valueAt(curve, step)).filter((v) => v !== null));
  const each = (summary) => values.map((v) => (v.length ? summary(v) : null));
  const points = list.length, seeds = list.reduce((sum, curve) => sum + curve.seeds, 0);
  if (points === 1) return { ...list[0], label };
  return { x, mean: each(mean), low: each((v) => Math.min(...v)), high: each((v) => Math.max(...v)), group, label, points, seeds, row: list[0].row };
}

function valueAt({ x, mean: y }, step) {
  const after = x.findIndex((one) => one >= step);
  if (after < 0 || step < x[0]) return null;
  if (x[after] === step || after === 0) return y[after];
  const before = after - 1, share = (step - x[before]) / (x[after] - x[before]);
  return y[before] === null || y[after] === null ? null : y[before] + share * (y[after] - y[before]);
}
