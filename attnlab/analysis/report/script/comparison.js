// What `attnlab.compare` says of one axis: its values in order of merit, each with each, and the matrix of p values.
const MATRIX_OF = 12; // competitors, the most whose matrix can be read
const RARELY = new Set(["n_tasks", "n_seeds", "p_value", "p_improvement_low", "p_improvement_high", "tasks_needed", "seeds_needed", "reason"]);
const GREATEST_FIRST = new Set(["improvement", "wins", "rank_biserial", "p_improvement", "p_better", "p_equivalent"]);

function comparison(place, chapter, { by, order, pairs }) {
  const merit = new Columns(order), best = chapter.directions[chapter.first] === "up" ? -1 : 1;
  const measured = new Set(["mean", "iqm", "low", "high"]);
  const each = pairs ? new Columns(pairs) : null, forest = comparedForest(chapter, by, merit, each);
  place.replaceChildren(forest.element, make("h5", {}, "In order of merit"));
  const shownOnes = [forest, table(place, { label: `By ${by}, in order of merit`, columns: columnsOf(merit, (name) => (measured.has(name) ? best : 1), new Set(["reason"])), rows: () => chapter.rows(merit), size: 15 })];
  forest.update();
  if (!pairs) return shownOnes;
  const [first, second] = [each.get("first"), each.get("second")];
  const rows = () => {
    const only = chapter.where.has(by) ? String(chapter.where.get(by) ?? "none") : null; // as pairs name it
    return Array.from({ length: each.n }, (_, i) => i).filter((i) => only === null || first[i] === only || second[i] === only);
  };
  place.append(make("h5", {}, "Each with each"));
  shownOnes.push(table(place, { label: `By ${by}, each with each`, columns: columnsOf(each, (name) => (GREATEST_FIRST.has(name) ? -1 : 1), RARELY), rows, size: 10, chooser: true }));
  const names = [...new Set([...first, ...second])];
  if (names.length <= MATRIX_OF) place.append(matrix(by, names, each));
  return shownOnes;
}

function columnsOf(packed, first, hidden) {
  return packed.names.map((name) => ({ name, numeric: packed.numeric(name), hidden: hidden.has(name), get: (row) => packed.get(name)[row], first: first(name) }));
}

function matrix(by, names, each) {
  const [first, second, p, verdict, reason] = ["first", "second", "p_holm", "verdict", "reason"].map((name) => each.get(name));
  const lacking = [...new Set(reason.filter((_, i) => p[i] === null))].filter(Boolean);
  const cells = new Map();
  first.forEach((name, i) => [[name, second[i]], [second[i], name]].forEach((pair) => cells.set(JSON.stringify(pair), i)));
  const cell = (a, b) => {
    const i = cells.get(JSON.stringify([a, b]));
    if (i === undefined) return make("td", { class: "number" }, "–");
    return make("td", { class: "number" }, verdict[i] === "undecided" ? shown(p[i]) : make("strong", {}, shown(p[i])));
  };
  const head = make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col", class: "number" }, name)));
  const body = names.map((a) => make("tr", {}, make("th", { scope: "row" }, a), ...names.map((b) => cell(a, b))));
  const grid = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  return make("details", { class: "matrix" }, make("summary", {}, "The p values of all pairs as a matrix"),
    make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `By ${by}: p values of all pairs` }, grid),
    make("p", { class: "saving" }, csvButton(`p values by ${by}`, () => cellsOf(grid))),
    make("p", { class: "help" }, "Adjusted by Holm over all pairs; bold where the two are shown to differ." + (lacking.length ? ` No p value (–): ${lacking.join("; ")}.` : "")));
}

