// The alignments of one example under two mechanisms, on one scale, with one cursor for both: a query and a key.
function explorer(place, chapter) {
  if (!chapter.alignments.length) return null;
  const { runs } = chapter;
  const test = runs.get("test"), seed = runs.get("seed");
  const task = (row) => chapter.tasks.map((name) => `${name.replace("task.", "")} ${shown(runs.get(name)[row])}`).join(", ") || shown(runs.get("task")[row]);
  const sceneName = (item) => [task(item.row), chapter.tests ? test[item.row] : "", `seed ${seed[item.row]}`].filter(Boolean).join(" · ");
  const mechanism = chapter.points.filter((name) => !chapter.tasks.includes(name));
  const name = (item) => mechanism.map((column) => runs.get(column)[item.row]).filter((value) => value !== null).map(shown).join(" · ") || shown(runs.get("mechanism")[item.row]);
  const state = { scene: null, example: 0, sides: [], all: [], query: 0, key: 0 };
  const top = make("div", { class: "controls" }), pair = make("div", { class: "pair" }), key = make("p", { class: "key weights-key" }), every = make("p", { class: "quiet every" });
  const save = svgButton("alignments", () => panels.map((p, i) => ({ title: p.title, svg: p.svg, below: i ? null : weightsKeyPicture(state.scale, state.marks) })));
  place.append(top, key, pair, every, make("p", { class: "saving" }, save), make("p", { class: "help" }, "Rows are queries, columns are keys; both pictures and the bars below them, which are the weights of one query, have one scale. Point at a cell, or focus a picture and use the arrow keys; both pictures follow, and below them is the weight in every mechanism."));
  let panels = [], scenes = new Map();

  const members = () => scenes.get(state.scene);
  const examples = () => Math.min(...members().map((item) => item.shape[0]));

  // The alignments of the rows that are shown.
  function gather() {
    scenes = new Map();
    for (const item of chapter.alignments) {
      if (!chapter.fits(runs, item.row)) continue;
      if (!scenes.has(sceneName(item))) scenes.set(sceneName(item), []);
      scenes.get(sceneName(item)).push(item);
    }
    if (!scenes.has(state.scene)) [state.scene, state.query, state.key] = [scenes.keys().next().value, 0, 0];
    build();
  }

  function build() {
    if (!scenes.size) {
      [top, pair, key, every].forEach((part) => part.replaceChildren());
      panels = [];
      save.hidden = true;
      pair.append(make("p", { class: "quiet" }, "No run that is shown has kept weights."));
      return;
    }
    save.hidden = false;
    const list = members();
    state.example = Math.min(state.example, examples() - 1);
    const kept = state.sides.filter((item) => list.includes(item)), others = list.filter((item) => !kept.includes(item));
    state.sides = state.sides.length === 2 && kept.length === 2 ? kept : [...kept, ...others].slice(0, 2);
    top.replaceChildren(
      choice("Task", [...scenes.keys()].map((s) => [s, s]), state.scene, (value) => { state.scene = value; state.query = state.key = 0; build(); }),
      choice("Example", Array.from({ length: examples() }, (_, i) => [i, `${i + 1} of ${examples()}`]), state.example, (value) => { state.example = Number(value); build(); }));
    pair.className = list.length > 1 ? "pair" : "pair one";
    panels = state.sides.map((item, side) => panel(item, side, list));
    state.all = list.length > 2 ? list.slice(0, 60).map((item) => [name(item), sceneOf(chapter, item, state.example)]) : [];
    pair.replaceChildren(...panels.map((p) => p.element));
    const scenesShown = panels.map((p) => p.scene), all = { weights: [], gold: false, barred: false };
    scenesShown.forEach((scene) => everyCell(scene, (i, j) => {
      all.weights.push(scene.weight(i, j));
      all.gold ||= scene.gold(i, j) > 0;
      all.barred ||= scene.barred(i, j);
    }));
    state.scale = all.weights.reduce((most, w) => Math.max(most, Math.abs(w)), 1);
    state.marks = { negative: all.weights.some((w) => w < 0), gold: all.gold, barred: all.barred };
    key.replaceChildren(...weightsKey(state.scale, state.marks));
    paint();
  }

  function paint() {
    panels.forEach((p) => p.paint());
    move(null, null, false);
  }

  function move(query, key, speak) {
    if (!panels.length) return;
    const { q, k } = panels[0].scene;
    state.query = Math.min(Math.max(0, query ?? state.query), q - 1);
    state.key = Math.min(Math.max(0, key ?? state.key), k - 1);
    const told = panels.map((p) => p.tell(state.query, state.key));
    const each = state.all.map(([title, scene]) => {
      const [row, column] = [Math.min(state.query, scene.q - 1), Math.min(state.key, scene.k - 1)];
      return `${title} ${scene.barred(row, column) ? "forbidden" : weight(scene.weight(row, column))}`;
    });
    every.replaceChildren(...(each.length ? [make("b", {}, "In every mechanism: "), each.join("; ")] : []));
    if (speak) say(told.join("; "));
  }

  function panel(item, side, list) {
    const scene = sceneOf(chapter, item, state.example), title = name(item);
    const readout = make("output", { class: "readout" }), holder = make("div");
    const select = choice(side ? "compared with" : "Mechanism", list.map((other, i) => [i, name(other)]), list.indexOf(item), (value) => { state.sides[side] = list[Number(value)]; build(); pair.querySelectorAll("select")[side].focus(); });
    const [, q, k] = item.shape, whole = item.whole[0] > q || item.whole[1] > k;
    const cut = whole && (scene.q === q || scene.k === k) ? make("p", { class: "quiet" }, `The first ${scene.q} of ${item.whole[0]} queries and ${scene.k} of ${item.whole[1]} keys.`) : null;
    const made = { element: make("div", { class: "panel" }, make("div", { class: "controls" }, select), holder, readout, cut), scene, title };
    made.paint = () => {
      const picture = weightsPicture(scene, { name: title, width: Math.max(240, holder.clientWidth || 440), scale: state.scale, move, place: () => [state.query, state.key] });
      holder.replaceChildren(picture.svg);
      [made.svg, made.point] = [picture.svg, picture.point];
    };
    made.tell = (i, j) => {
      const [row, column] = [Math.min(i, scene.q - 1), Math.min(j, scene.k - 1)];
      made.point(row, column);
      const w = scene.weight(row, column), gold = scene.gold(row, column), weights = scene.row(row);
      const what = scene.barred(row, column) ? "forbidden by the mask" : `weight ${weight(w)}`;
      const link = gold > 0 ? (gold === 1 ? ", a true link" : `, true weight ${shown(gold)}`) : "";
      const heaviest = weights.indexOf(Math.max(...weights)), sum = weights.reduce((a, b) => a + b, 0);
      readout.replaceChildren(make("b", {}, `${scene.query(row)} → ${scene.key(column)}`), ` ${what}${link}. Heaviest: ${scene.key(heaviest)} (${weight(weights[heaviest])}); the row sums to ${shown(Number(sum.toFixed(3)))}.`);
      return `${title}: ${scene.query(row)} to ${scene.key(column)}, ${what}${link}`;
    };
    return made;
  }

  redrawn(pair, paint);
  gather();
  return { update: gather };
}
