// One picture of weights: a cell for each query and key, their words, and the weights of one query as bars below.
const BARS = 74; // pixels

// One example of an alignment without its padding, as numbers by query and key.
function sceneOf(chapter, item, example) {
  const [, q, k] = item.shape, from = example * q * k;
  const take = (index) => (index === null ? null : chapter.array(index).subarray(from, from + q * k));
  const W = take(item.w), gold = take(item.gold), mask = take(item.mask), words = item.tokens && item.tokens[example];
  // Words that are fewer than the rows end where the sentence ends. Else it ends where the mask allows nothing any more.
  const ends = (axis, size, allows) => {
    if (words && words[axis].length && words[axis].length < size) return words[axis].length;
    let end = size;
    if (mask) while (end > 1 && !allows(end - 1)) end--;
    return end;
  };
  const rows = ends(1, q, (i) => mask.subarray(i * k, i * k + k).some((allowed) => allowed));
  const columns = ends(0, k, (j) => Array.from({ length: q }, (_, i) => mask[i * k + j]).some((allowed) => allowed));
  const at = (array, i, j) => (array ? array[i * k + j] : 0);
  const word = (axis, i) => (words && words[axis][i] !== undefined ? words[axis][i] : null);
  return {
    q: rows, k: columns, hasGold: gold !== null,
    weight: (i, j) => at(W, i, j), gold: (i, j) => at(gold, i, j), barred: (i, j) => mask !== null && !at(mask, i, j),
    row: (i) => Array.from({ length: columns }, (_, j) => at(W, i, j)),
    query: (i) => word(1, i) ?? `query ${i}`, key: (j) => word(0, j) ?? `key ${j}`,
    queryLabel: (i) => word(1, i) ?? String(i), keyLabel: (j) => word(0, j) ?? String(j), hasWords: Boolean(words),
  };
}

function everyCell(scene, act) {
  for (let i = 0; i < scene.q; i++) for (let j = 0; j < scene.k; j++) act(i, j);
}

// Where things are in a picture so wide. Labels are as wide as they are measured.
function layout(scene, width, scale) {
  const { q, k } = scene;
  const queries = Array.from({ length: q }, (_, i) => fitted(scene.queryLabel(i), Math.min(180, 0.34 * width)));
  const left = 12 + Math.max(measured(shown(scale)), ...queries.map(measured));
  const keys = Array.from({ length: k }, (_, j) => fitted(scene.keyLabel(j), 120));
  const widths = keys.map(measured), longest = Math.max(...widths), room = width - left - 4;
  const flat = longest + 6 <= Math.min(44, room / k) || !scene.hasWords;
  const [up, along] = flat ? [12, 0.5] : [Math.sin(50 * Math.PI / 180), Math.cos(50 * Math.PI / 180)]; // of a turned word
  const head = flat ? 22 : Math.ceil(longest * up) + 18;
  let cell = Math.min(44, room / k);
  if (!flat) for (let turn = 0; turn < 3; turn++) { // the words of the last keys lean over the edge
    const over = Math.max(0, ...widths.map((w, j) => cell * (j + 0.5) + w * along + 8 - room));
    cell = Math.min(44, Math.max((0.55 * room) / k, cell - over / k));
  }
  const tall = Math.max(7, Math.min(44, Math.max(cell, Math.min(20, 360 / q))));
  const bottom = head + tall * q;
  return { width, left, head, cell, tall, bottom, height: bottom + BARS + 8, flat, queries, keys, X: (j) => left + cell * j, Y: (i) => head + tall * i };
}

function ring(x, y, rx, ry) {
  return ["halo", "gold"].map((name) => draw("ellipse", { class: name, cx: x, cy: y, rx, ry }));
}

function strike(x, y, w, h) {
  return draw("line", { class: "barred", x1: x + w * 0.25, y1: y + h * 0.75, x2: x + w * 0.75, y2: y + h * 0.25 });
}

function filled(w, scale, box) {
  return draw("rect", { class: w < 0 ? "cell minus" : "cell", ...box, "fill-opacity": Math.max(0.03, Math.min(1, Math.abs(w) / scale)).toFixed(3) });
}

// The picture, and a function that points at a query and a key in it. Weights from 0 to `scale` go from no colour to full.
function weightsPicture(scene, { name, width, scale, move, place }) {
  const { q, k } = scene, at = layout(scene, width, scale), { left, head, cell, tall, bottom, height, X, Y } = at;
  const svg = draw("svg", { class: "weights", viewBox: `0 0 ${width} ${height}`, height, role: "application", tabindex: "0", "aria-label": `Weights of ${name}: ${q} queries by ${k} keys. Arrow keys move.` });
  svg.append(draw("rect", { class: "ground", x: left, y: head, width: cell * k, height: tall * q }));
  const radius = Math.max(1.2, Math.min(cell, tall) / 2 - 2.2), rings = [];
  everyCell(scene, (i, j) => {
    const w = scene.weight(i, j);
    if (scene.barred(i, j)) svg.append(strike(X(j), Y(i), cell, tall));
    else if (w !== 0) svg.append(filled(w, scale, { x: X(j), y: Y(i), width: cell, height: tall }));
    if (scene.gold(i, j) > 0) rings.push(...ring(X(j) + cell / 2, Y(i) + tall / 2, Math.min(radius * 1.4, Math.max(1.2, cell / 2 - 1)), radius));
  });
  svg.append(...rings);
  const everyRow = Math.ceil(13 / tall), everyColumn = scene.hasWords ? Math.ceil(11 / cell) : Math.ceil(20 / cell);
  const rows = at.queries.map((text, i) => draw("text", { class: "word", x: left - 6, y: Y(i) + tall / 2 + 4, "text-anchor": "end", visibility: i % everyRow ? "hidden" : "visible" }, text));
  const columns = at.keys.map((text, j) => {
    const x = X(j) + cell / 2, y = head - 7;
    return draw("text", { class: "word", x, y, visibility: j % everyColumn ? "hidden" : "visible", ...(at.flat ? { "text-anchor": "middle" } : { transform: `rotate(-50 ${x} ${y})` }) }, text);
  });
  const cursor = draw("rect", { class: "cursor", width: cell, height: tall }), strip = draw("g");
  const rule = draw("line", { class: "rule", x1: left, x2: left + cell * k, y1: height - 6, y2: height - 6 });
  const full = draw("line", { class: "full", x1: left, x2: left + cell * k, y1: height - 6 - (BARS - 18), y2: height - 6 - (BARS - 18) });
  const most = draw("text", { x: left - 6, y: height - 2 - (BARS - 18), "text-anchor": "end" }, shown(scale)), none = draw("text", { x: left - 6, y: height - 2, "text-anchor": "end" }, "0");
  svg.append(...rows, ...columns, full, most, none, strip, rule, cursor);

  function point(i, j) {
    cursor.setAttribute("x", X(j)); cursor.setAttribute("y", Y(i));
    rows.forEach((text, r) => { text.classList.toggle("here", r === i); if (r % everyRow) text.setAttribute("visibility", r === i ? "visible" : "hidden"); });
    columns.forEach((text, c) => { text.classList.toggle("here", c === j); });
    strip.replaceChildren(...scene.row(i).flatMap((w, c) => {
      const high = (Math.abs(w) / scale) * (BARS - 18);
      const bar = draw("rect", { class: w < 0 ? "cell minus bar" : "cell bar", "fill-opacity": c === j ? 1 : 0.55, x: X(c) + cell * 0.12, width: cell * 0.76, y: height - 6 - high, height: high });
      return scene.gold(i, c) > 0 ? [bar, draw("ellipse", { class: "gold", cx: X(c) + cell / 2, cy: bottom + 9, rx: Math.min(4, Math.max(1.2, cell / 2 - 1)), ry: 3.4 })] : [bar];
    }));
  }

  const locate = (event) => {
    const box = svg.getBoundingClientRect(), by = width / box.width;
    const j = Math.floor(((event.clientX - box.left) * by - left) / cell), i = Math.floor(((event.clientY - box.top) * by - head) / tall);
    if (j < 0 && i >= 0 && i < q) move(i, null, false);
    else if (i < 0 && j >= 0 && j < k) move(null, j, false);
    else if (j >= 0 && j < k) move(i < q ? i : null, j, false);
  };
  svg.addEventListener("pointermove", locate);
  svg.addEventListener("pointerdown", locate);
  svg.addEventListener("focus", () => move(null, null, true));
  svg.addEventListener("keydown", (event) => {
    const [query, key] = place();
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -k], End: [0, k], PageUp: [-q, 0], PageDown: [q, 0] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    move(query + step[0], key + step[1], true);
  });
  return { svg, point };
}

// The key of both pictures: the colours from 0 to the scale, and the marks that occur.
function weightsKey(scale, { negative, gold, barred }) {
  const svg = (width, ...parts) => draw("svg", { class: "swatches", viewBox: `0 0 ${width} 16`, width, height: 16, "aria-hidden": "true" }, ...parts);
  const steps = 24, from = negative ? -scale : 0;
  const bar = svg(144, draw("rect", { class: "ground", x: 0, y: 2, width: 144, height: 12 }), ...Array.from({ length: steps }, (_, i) =>
    filled(from + ((scale - from) * (i + 0.5)) / steps, scale, { x: 6 * i, y: 2, width: 6, height: 12 })));
  const line = [make("span", { class: "bar-of-colours" }, `weight ${shown(from)} `, bar, ` ${shown(scale)}`)];
  if (gold) line.push(make("span", {}, svg(18, draw("rect", { class: "ground", width: 18, height: 16 }), ...ring(9, 8, 6, 5)), " a true link (gold)"));
  if (barred) line.push(make("span", {}, svg(18, draw("rect", { class: "ground", width: 18, height: 16 }), strike(0, 0, 18, 16)), " forbidden by the mask"));
  return line;
}

// The same as one picture, to be saved.
function weightsKeyPicture(scale, { negative, gold, barred }) {
  const from = negative ? -scale : 0, words = [`weight ${shown(from)}`, shown(scale), "a true link (gold)", "forbidden by the mask"], parts = [];
  let x = 0;
  const say = (text) => { parts.push(draw("text", { class: "word", x, y: 14 }, text)); x += measured(text) + 8; };
  say(words[0]);
  for (let i = 0; i < 24; i++) parts.push(filled(from + ((scale - from) * (i + 0.5)) / 24, scale, { x: x + 6 * i, y: 4, width: 6, height: 12 }));
  x += 152;
  say(words[1]);
  if (gold) { x += 22; parts.push(...ring(x, 10, 6, 5)); x += 12; say(words[2]); }
  if (barred) { x += 14; parts.push(strike(x, 2, 16, 16)); x += 18; say(words[3]); }
  return draw("svg", { class: "weights", viewBox: `0 0 ${x} 22` }, ...parts);
}

// Half precision ends there.
function weight(w) {
  return w !== 0 && Math.abs(w) < 1e-6 ? "below 10⁻⁶" : shown(w);
}
