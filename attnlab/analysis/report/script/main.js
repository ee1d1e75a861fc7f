// Each experiment is put together when it is first shown.
class Chapter {
  constructor(packed, article) {
    Object.assign(this, packed);
    this.article = article;
    this.runs = new Columns(packed.runs);
    this.ranked = new Columns(packed.ranking);
    this.files = new Columns(packed.files);
    this.where = new Map(); // column -> the one value to show
    this.arrays = new Map();
    this.points_of = null;
  }

  array(index) {
    if (!this.arrays.has(index)) this.arrays.set(index, halves(this.pool[index]));
    return this.arrays.get(index);
  }

  // The command that repeats the run of a row.
  command(row) {
    const file = this.files.get("plugin")[row];
    return `attnlab run ${this.runs.get("run_id")[row]}${data.suffix}${file ? ` ${file}` : ""}`;
  }

  // The point of the grid that a run belongs to, as a word.
  pointOf(row) {
    if (!this.points_of) {
      const columns = this.points.map((name) => this.runs.get(name));
      this.points_of = Array.from({ length: this.runs.n }, (_, i) => JSON.stringify(columns.map((column) => column[i])));
    }
    return this.points_of[row];
  }

  label(row) {
    const values = this.points.filter((name) => this.runs.get(name)[row] !== null);
    return values.map((name) => {
      const value = this.runs.get(name)[row];
      return typeof value === "number" || typeof value === "boolean" ? `${name.replace(/^.*\./, "")} ${shown(value)}` : shown(value);
    }).join(" · ") || this.name;
  }

  // The task of a row, with the settings in which tasks differ, and its test condition if there are several.
  taskLabel(row, columns = this.runs) {
    const words = this.tasks.filter((name) => columns.packed.has(name) && columns.get(name)[row] !== null)
      .map((name) => (name === "task" ? shown(columns.get(name)[row]) : `${name.replace("task.", "")} ${shown(columns.get(name)[row])}`));
    return words.join(" · ");
  }

  fits(columns, row) {
    for (const [name, value] of this.where) if (columns.packed.has(name) && columns.get(name)[row] !== value) return false;
    return true;
  }

  rows(columns = this.runs) {
    const all = Array.from({ length: columns.n }, (_, i) => i);
    return this.where.size ? all.filter((row) => this.fits(columns, row)) : all;
  }

  build() {
    const part = (name) => this.article.querySelector(`[data-part="${name}"]`);
    const parts = [ranking(part("ranking"), this)];
    for (const [name, maker] of [["heatmap", heatmap], ["curves", curves], ["alignments", explorer]]) {
      const made = maker(part(name), this);
      if (made) parts.push(made);
      else part(name).remove();
    }
    this.comparisons.forEach((packed, i) => {
      if (packed) parts.push(...comparison(this.article.querySelector(`[data-axis="${i}"]`), this, packed));
    });
    parts.push(listing(part("runs"), this));
    if (this.claims) saveClaims(this.article.querySelector(".claims"), new Columns(this.claims));
    filters(part("filters"), this, () => parts.forEach((one) => one.update()));
    this.built = true;
  }
}

// The claims as they were judged, and their effects with intervals and bounds.
function saveClaims(list, judged) {
  const pictures = () => [...list.children].flatMap((claim) => [...claim.querySelectorAll("svg")].map((svg) => ({ svg, title: `${claim.querySelector(".say").textContent}: ${claim.querySelector(".said .quiet").textContent.trim().replace(/\s+/g, " ")}` })));
  list.after(make("p", { class: "saving" }, svgButton("claims", pictures, true),
    csvButton("claims", () => [judged.names, ...Array.from({ length: judged.n }, (_, i) => judged.names.map((name) => judged.get(name)[i]))])));
}

function filters(place, chapter, changed) {
  const names = [...chapter.points, ...(chapter.tests ? ["test"] : [])];
  const boxes = names.flatMap((name) => {
    const levels = chapter.runs.levels(name).sort(compared);
    if (levels.length < 2 || levels.length > 60) return [];
    const options = [["", "all"], ...levels.map((level, i) => [String(i), shown(level)])];
    return [choice(name, options, "", (value) => {
      if (value === "") chapter.where.delete(name);
      else chapter.where.set(name, levels[Number(value)]);
      changed();
      say(`${chapter.rows().length} of ${chapter.runs.n} rows`);
    })];
  });
  if (!boxes.length) return;
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", "Show only");
  place.append(make("p", { class: "quiet" }, "Show only"), make("div", { class: "controls" }, ...boxes));
}

function ranking(place, chapter) {
  const { ranked, runs } = chapter;
  if (!ranked.n) {
    place.append(make("p", { class: "quiet" }, "Nothing has been measured yet."));
    return { update() {} };
  }
  const first = chapter.first, at = ranked.names.indexOf(first);
  const by = ranked.packed.has("ranked_by") ? ranked.get("ranked_by") : Array.from({ length: ranked.n }, () => first); // a task without the first metric is ranked by the next
  const [low, high] = ["low", "high"].map((name) => ranked.get(name)), middle = by.map((name, row) => ranked.get(name)[row]);
  const scales = new Map([...new Set(by)].map((name) => {
    const means = middle.filter((v, row) => by[row] === name && v !== null && Number.isFinite(v));
    const [least, greatest] = [means.reduce((a, b) => Math.min(a, b), Infinity), means.reduce((a, b) => Math.max(a, b), -Infinity)];
    const room = 0.4 * (greatest - least) || Math.abs(greatest) || 1; // a very wide interval is cut off, or it would flatten the others
    return [name, [least - room, greatest + room]];
  }));
  const keys = ranked.names.slice(0, at).filter((name) => runs.packed.has(name));
  const above = keys.filter((name) => name === "test" || chapter.tasks.includes(name)), own = keys.filter((name) => !above.includes(name));
  const inHead = new Set([...above, "chance", "low", "high", "solved_low", "solved_high", "standing", "identical", "ranked_by"]);
  const columns = ranked.names.map((name) => ({ name, numeric: ranked.numeric(name), hidden: inHead.has(name), get: (row) => ranked.get(name)[row], first: chapter.directions[name] === "up" ? -1 : 1, on: own.includes(name) && own.length > 1 ? "wide" : undefined }));
  const marks = { best: "●", "not shown to differ": "○" }, standing = ranked.packed.has("standing") ? ranked.get("standing") : [];
  columns.splice(at + 1, 0, { name: "95 % interval", still: true, get: () => null, cell: (row) => interval(low[row], middle[row], high[row], scales.get(by[row])) });
  if (standing.some((word) => marks[word])) columns.splice(at, 0, { name: "best", still: true, get: () => null, cell: (row) => (marks[standing[row]] ? make("span", { class: "mark" }, make("span", { "aria-hidden": "true" }, marks[standing[row]]), make("span", { class: "sr" }, standing[row])) : "") });
  if (own.length > 1) columns.unshift({ name: "mechanism", on: "narrow", get: (row) => own.map((name) => ranked.get(name)[row]).filter((value) => value !== null).map(shown).join(" · ") });
  const late = ["solved", "mean_solved", "n", "ok"]; // the metrics come first
  columns.sort((a, b) => late.indexOf(a.name) - late.indexOf(b.name));
  for (const column of columns) {
    const [share, least, most] = column.name === "solved" ? ["solved", "solved_low", "solved_high"].map((name) => ranked.get(name)) : [];
    if (share) column.cell = (row) => (share[row] === null ? "–" : `${shown(share[row])} (${shown(least[row])} to ${shown(most[row])})`);
    if (scales.has(column.name)) column.cell = (row) => (by[row] === column.name && standing[row] === "best" ? make("strong", {}, shown(middle[row])) : shown(column.get(row)));
  }
  const chance = ranked.packed.has("chance") ? ranked.get("chance") : [];
  const group = (row) => {
    const words = [chapter.taskLabel(row, ranked) || (chance[row] != null ? shown(runs.get("task")[0]) : ""), above.includes("test") && chapter.tests ? shown(ranked.get("test")[row]) : ""];
    if (scales.size > 1) words.push(`ranked by ${by[row]}`);
    if (chance[row] != null) words.push(`guessing: alignment_accuracy ${shown(chance[row])}`);
    return words.filter(Boolean).join(" · ");
  };
  const detail = (row) => {
    const own = Array.from({ length: runs.n }, (_, i) => i).filter((i) => keys.every((name) => name === "test" && runs.get("status")[i] !== "ok" || runs.get(name)[i] === ranked.get(name)[row]));
    const names = [...new Map(own.map((i) => [runs.get("run_id")[i], i]))];
    return make("div", {}, `${names.length} ${names.length === 1 ? "run" : "runs"}:`, make("ul", { class: "commands" }, ...names.slice(0, 50).map(([run, i]) =>
      make("li", {}, copier(run, chapter.command(i)), make("code", {}, chapter.command(i)), make("span", { class: "quiet" }, `seed ${shown(runs.get("seed")[i])}, ${runs.get("status")[i]}, ${by[row]} ${shown(runs.get(by[row])[i])}`)))),
      names.length > 50 ? `and ${names.length - 50} more, below` : null);
  };
  const made = table(place, { label: "Ranking", columns, rows: () => chapter.rows(ranked), detail, size: 25, group });
  if (standing.some((word) => marks[word])) place.append(make("p", { class: "help" }, "● the best of its task and test condition; ○ not shown to differ from it: a paired t test over the seeds, adjusted by Holm over the rows of the task, at 5 %."));
  return made;
}

function listing(place, chapter) {
  const { runs } = chapter;
  const wanted = new Set([...chapter.points, ...(chapter.tests ? ["test"] : []), "seed", "model_seed", ...chapter.shown, "status"]);
  const columns = runs.names.map((name) => ({ name, numeric: runs.numeric(name), hidden: !wanted.has(name), get: (row) => runs.get(name)[row], first: chapter.directions[name] === "up" ? -1 : 1 }));
  const repeat = (row) => [copier(runs.get("run_id")[row], chapter.command(row)), make("code", {}, chapter.command(row))];
  columns.push({ name: "command", still: true, get: (row) => chapter.command(row), cell: (row) => make("span", { class: "command" }, ...repeat(row)) });
  const detail = (row) => {
    const facts = runs.names.filter((name) => runs.get(name)[row] !== null && runs.get(name)[row] !== "");
    return make("div", {}, ...repeat(row), make("dl", {}, ...facts.flatMap((name) => [make("dt", {}, name), make("dd", {}, shown(runs.get(name)[row]))])));
  };
  return table(place, { label: "Runs", columns, rows: () => chapter.rows(), detail, size: 25, chooser: true });
}

function start() {
  const articles = [...document.querySelectorAll("article")];
  const chapters = data.chapters.map((packed, i) => new Chapter(packed, articles[i]));
  const pick = document.getElementById("chapter"), sections = document.getElementById("sections");

  function show(index) {
    articles.forEach((article, i) => { article.hidden = i !== index; });
    if (!chapters[index].built) chapters[index].build();
    if (pick) pick.value = index;
    const parts = [...articles[index].querySelectorAll("section[data-section]")];
    sections.replaceChildren(...parts.map((part) => make("a", { href: `#${part.id}` }, part.dataset.section)), make("a", { href: "#environment" }, "Environment"));
  }

  function follow() {
    const found = /^#e(\d+)/.exec(location.hash), index = found ? Number(found[1]) : 0;
    if (!chapters[index]) return;
    show(index);
    if (found) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }

  if (pick) pick.addEventListener("change", () => { location.hash = `e${pick.value}`; });
  addEventListener("hashchange", follow);
  if (chapters.length) follow();
  const overview = document.querySelector(".overview table");
  if (overview) overview.closest("section").append(make("p", { class: "saving" }, csvButton("experiments", () => cellsOf(overview))));
  colours();
}

function colours() {
  const button = document.getElementById("theme"), dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const name = () => button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
  dark.addEventListener("change", name);
  name();
}

start();
