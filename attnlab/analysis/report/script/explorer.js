// The alignments of one example under two mechanisms, with one cursor for both: a query and a key.
function explorer(place, chapter) {
  const items = chapter.alignments;
  if (!items.length) return null;
  const { runs } = chapter;
  const test = runs.get("test"), seed = runs.get("seed");
  const task = (row) => chapter.tasks.map((name) => `${name.replace("task.", "")} ${shown(runs.get(name)[row])}`).join(", ") || shown(runs.get("task")[row]);
  const scene = (item) => [task(item.row), chapter.tests ? test[item.row] : "", `seed ${seed[item.row]}`].filter(Boolean).join(" · ");
  const scenes = new Map();
  for (const item of items) {
    if (!scenes.has(scene(item))) scenes.set(scene(item), []);
    scenes.get(scene(item)).push(item);
  }
  const mechanism = chapter.points.filter((name) => !chapter.tasks.includes(name));
  const name = (item) => mechanism.map((column) => runs.get(column)[item.row]).filter((value) => value !== null).map(shown).join(" · ") || shown(runs.get("mechanism")[item.row]);
  const state = { scene: scenes.keys().next().value, example: 0, sides: [0, 1], query: 0, key: 0 };
  const top = make("div", { class: "controls" }), pair = make("div", { class: "pair" });
  place.append(top, pair, make("p", { class: "help" }, "Rows are queries, columns are keys; the stronger the colour, the more weight. A ring marks a true link, a stroke a key that the mask forbids. Point at a cell, or focus a picture and use the arrow keys; both pictures follow."));
  let panels = [];

  const members = () => scenes.get(state.scene);
  const examples = () => Math.min(...members().map((item) => item.shape[0]));

  function build() {
    const list = members();
    state.example = Math.min(state.example, examples() - 1);
    state.sides = state.sides.map((side, i) => (side < list.length ? side : Math.min(i, list.length - 1)));
    top.replaceChildren(
      choice("Task", [...scenes.keys()].map((s) => [s, s]), state.scene, (value) => { state.scene = value; state.query = state.key = 0; build(); }),
      choice("Example", Array.from({ length: examples() }, (_, i) => [i, `${i + 1} of ${examples()}`]), state.example, (value) => { state.example = Number(value); build(); }));
    pair.className = list.length > 1 ? "pair" : "pair one";
    panels = state.sides.slice(0, Math.min(2, list.length)).map((_, i) => panel(i, list));
    pair.replaceChildren(...panels.map((p) => p.element));
    panels.forEach((p) => p.paint());
    move(state.query, state.key, false);
  }

  function move(query, key, speak) {
    const [, q, k] = panels[0].item.shape;
    state.query = Math.min(Math.max(0, query), q - 1);
    state.key = Math.min(Math.max(0, key), k - 1);
    const told = panels.map((p) => p.point(state.query, state.key));
    if (speak) say(told.join("; "));
  }

  function panel(side, list) {
    const item = list[state.sides[side]];
    const [, q, k] = item.shape;
    const from = state.example * q * k;
    const take = (index) => (index === null ? null : chapter.array(index).subarray(from, from + q * k));
    const W = take(item.w), gold = take(item.gold), mask = take(item.mask);
    const tokens = item.tokens && item.tokens[state.example];
    const word = (axis, i) => (tokens && tokens[axis][i] !== undefined ? tokens[axis][i] : null);
    const query = (i) => word(1, i) ?? `query ${i}`, key = (j) => word(0, j) ?? `key ${j}`;
    const largest = W.reduce((a, w) => Math.max(a, Math.abs(w)), 0) || 1;
    const readout = make("output", { class: "readout" });
    const holder = make("div");
    const select = choice(side ? "compared with" : "Mechanism", list.map((other, i) => [i, name(other)]), state.sides[side], (value) => { state.sides[side] = Number(value); build(); pair.querySelectorAll("select")[side].focus(); });
    const cut = item.whole[0] > q || item.whole[1] > k ? make("p", { class: "quiet" }, `The first ${q} of ${item.whole[0]} queries and ${k} of ${item.whole[1]} keys.`) : null;
    const element = make("div", { class: "panel" }, make("div", { class: "controls" }, select), holder, readout, cut);
    let point = () => "";

    function paint() {
      const width = Math.max(240, holder.clientWidth || 440);
      const longest = Math.max(...Array.from({ length: q }, (_, i) => (word(1, i) ?? String(i)).length));
      const left = Math.min(110, 12 + 7 * longest), head = tokens ? 64 : 20, bars = 74;
      const cell = Math.min(34, (width - left - 4) / k), tall = Math.max(7, Math.min(34, Math.max(cell, Math.min(18, 360 / q))));
      const bottom = head + tall * q, height = bottom + bars + 8;
      const X = (j) => left + cell * j, Y = (i) => head + tall * i;
      const svg = draw("svg", { class: "weights", viewBox: `0 0 ${width} ${height}`, height, role: "application", tabindex: "0", "aria-label": `Weights of ${name(item)}: ${q} queries by ${k} keys. Arrow keys move.` });
      svg.append(draw("rect", { class: "ground", x: left, y: head, width: cell * k, height: tall * q }));
      const small = Math.min(cell, tall), radius = Math.max(1.2, small / 2 - 2.2);
      const rings = [];
      for (let i = 0; i < q; i++) for (let j = 0; j < k; j++) {
        const at = i * k + j, w = W[at];
        if (mask && !mask[at]) svg.append(draw("line", { class: "barred", x1: X(j) + cell * 0.25, y1: Y(i) + tall * 0.75, x2: X(j) + cell * 0.75, y2: Y(i) + tall * 0.25 }));
        else if (w !== 0) svg.append(draw("rect", { class: w < 0 ? "cell minus" : "cell", x: X(j), y: Y(i), width: cell, height: tall, "fill-opacity": Math.max(0.03, Math.abs(w) / largest).toFixed(3) }));
        if (gold && gold[at] > 0) for (const name of ["halo", "gold"]) rings.push(draw("ellipse", { class: name, cx: X(j) + cell / 2, cy: Y(i) + tall / 2, rx: Math.min(radius * 1.4, Math.max(1.2, cell / 2 - 1)), ry: radius }));
      }
      svg.append(...rings);
      const rows = [], columns = [];
      const everyRow = Math.ceil(13 / tall), everyColumn = tokens ? Math.ceil(11 / cell) : Math.ceil(20 / cell);
      for (let i = 0; i < q; i++) {
        const text = draw("text", { x: left - 6, y: Y(i) + tall / 2 + 4, "text-anchor": "end" }, clipped(word(1, i) ?? String(i), 14));
        if (i % everyRow) text.setAttribute("visibility", "hidden");
        rows.push(text);
      }
      for (let j = 0; j < k; j++) {
        const x = X(j) + cell / 2;
        const text = draw("text", tokens ? { x, y: head - 6, transform: `rotate(-50 ${x} ${head - 6})` } : { x, y: head - 6, "text-anchor": "middle" }, clipped(word(0, j) ?? String(j), 10));
        if (j % everyColumn) text.setAttribute("visibility", "hidden");
        columns.push(text);
      }
      const cursor = draw("rect", { class: "cursor", width: cell, height: tall }), strip = draw("g");
      svg.append(...rows, ...columns, strip, draw("line", { class: "rule", x1: left, x2: left + cell * k, y1: height - 6, y2: height - 6 }), cursor);
      holder.replaceChildren(svg);

      point = (i, j) => {
        cursor.setAttribute("x", X(j)); cursor.setAttribute("y", Y(i));
        rows.forEach((text, r) => { text.classList.toggle("here", r === i); if (r % everyRow) text.setAttribute("visibility", r === i ? "visible" : "hidden"); });
        columns.forEach((text, c) => { text.classList.toggle("here", c === j); });
        const row = Array.from(W.subarray(i * k, i * k + k)), high = Math.max(...row.map(Math.abs)) || 1;
        strip.replaceChildren(...row.map((w, c) => {
          const tall = Math.abs(w) / high * (bars - 14);
          return draw("rect", { class: w < 0 ? "cell minus" : "cell", "fill-opacity": c === j ? 1 : 0.55, x: X(c) + cell * 0.12, width: cell * 0.76, y: height - 6 - tall, height: tall });
        }), ...row.flatMap((_, c) => (gold && gold[i * k + c] > 0 ? [draw("ellipse", { class: "gold", cx: X(c) + cell / 2, cy: bottom + 8, rx: Math.min(4, Math.max(1.2, cell / 2 - 1)), ry: 3.4 })] : [])));
        const at = i * k + j, w = W[at];
        const what = mask && !mask[at] ? "forbidden by the mask" : `weight ${weight(w)}`;
        const true_ = gold && gold[at] > 0 ? (gold[at] === 1 ? ", a true link" : `, true weight ${shown(gold[at])}`) : "";
        const top = row.indexOf(Math.max(...row)), sum = row.reduce((a, b) => a + b, 0);
        readout.replaceChildren(make("b", {}, `${query(i)} → ${key(j)}`), ` ${what}${true_}. Heaviest: ${key(top)} (${weight(row[top])}); the row sums to ${shown(Number(sum.toFixed(3)))}.`);
        return `${name(item)}: ${query(i)} to ${key(j)}, ${what}${true_}`;
      };
      const locate = (event) => {
        const at = svg.getBoundingClientRect(), scale = width / at.width;
        const j = Math.floor(((event.clientX - at.left) * scale - left) / cell), i = Math.floor(((event.clientY - at.top) * scale - head) / tall);
        if (j < 0 && i >= 0 && i < q) move(i, state.key, false);
        else if (i < 0 && j >= 0 && j < k) move(state.query, j, false);
        else if (j >= 0 && j < k) move(i < q ? i : state.query, j, false);
      };
      svg.addEventListener("pointermove", locate);
      svg.addEventListener("pointerdown", locate);
      svg.addEventListener("focus", () => move(state.query, state.key, true));
      svg.addEventListener("keydown", (event) => {
        const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -k], End: [0, k], PageUp: [-q, 0], PageDown: [q, 0] };
        const step = steps[event.key];
        if (!step) return;
        event.preventDefault();
        move(state.query + step[0], state.key + step[1], true);
      });
    }
    return { element, item, paint, point: (i, j) => point(i, j) };
  }

  let last = 0;
  new ResizeObserver(() => {
    if (Math.abs(pair.clientWidth - last) < 8) return;
    last = pair.clientWidth;
    panels.forEach((p) => p.paint());
    move(state.query, state.key, false);
  }).observe(pair);
  build();
  return { update() {} };
}

// Half precision ends there.
function weight(w) {
  return w !== 0 && Math.abs(w) < 1e-6 ? "below 10⁻⁶" : shown(w);
}

function clipped(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
