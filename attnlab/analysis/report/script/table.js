// A table that sorts, searches and turns pages, so that ten thousand rows cost as much as twenty.
// columns: [{name, numeric, get(row), cell(row)?, on?}], `on` the "wide" or "narrow" windows in which a column is shown;
// rows: () => the rows to show; detail(row): an element below a row; group(row): the words above the rows that follow each
// other and have them in common, which sorting keeps together.
function table(place, { label, columns, rows, detail, chooser, size, group }) {
  const narrow = matchMedia("(max-width: 46rem)");
  const visible = () => columns.filter((column) => !column.hidden && (!column.on || column.on === (narrow.matches ? "narrow" : "wide")));
  const state = { columns: visible(), words: "", sort: null, page: 0, size, open: new Set() };
  const hint = make("p", { class: "hint", role: "status", id: fresh("hint") });
  const search = make("input", { type: "search", placeholder: example(columns, rows()[0] ?? -1), spellcheck: "false", "aria-describedby": hint.id, oninput: () => { state.words = search.value; state.page = 0; update(); } });
  const controls = make("div", { class: "controls" }, make("label", { class: "field wide" }, make("span", {}, "Search: words, column=value, column>number"), search));
  controls.hidden = rows().length < 4; // so few are seen at a glance
  const head = make("thead"), body = make("tbody"), count = make("span", { class: "count", role: "status" });
  const back = make("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const on = make("button", { type: "button", onclick: () => turn(1) }, "Next");
  const region = make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, make("table", {}, head, body));
  const written = columns.filter((column) => !column.still && column.on !== "narrow");
  const save = csvButton(label, () => [written.map((column) => column.name), ...fitting().map((row) => written.map((column) => column.get(row)))]);
  place.append(controls, hint, ...(chooser ? [picker()] : []), region, make("div", { class: "pager" }, count, back, on, save));
  narrow.addEventListener("change", () => { state.columns = visible(); heading(); update(); });

  function picker() {
    const list = make("div", { class: "controls" });
    for (const column of columns) {
      const box = make("input", { type: "checkbox", onchange: () => { column.hidden = !box.checked; state.columns = visible(); heading(); update(); } });
      box.checked = !column.hidden;
      list.append(make("label", { class: "quiet" }, box, ` ${column.name}`));
    }
    return make("details", { class: "columns" }, make("summary", {}, "Columns"), list);
  }

  function turn(by) {
    state.page += by;
    update();
    region.scrollIntoView({ block: "nearest" });
  }

  function heading() {
    const row = make("tr");
    if (detail) row.append(make("th", { scope: "col" }, make("span", { class: "sr" }, "Details")));
    for (const column of state.columns) {
      const way = state.sort && state.sort.name === column.name ? state.sort.way : 0;
      const sort = way ? (way > 0 ? "ascending" : "descending") : "none";
      const press = () => {
        const turned = state.sort && state.sort.name === column.name ? -state.sort.way : column.first || 1;
        state.sort = { name: column.name, way: turned };
        state.page = 0;
        heading();
        update();
        [...head.querySelectorAll("button")].find((button) => button.dataset.column === column.name).focus();
      };
      const arrow = make("span", { "aria-hidden": "true" }, way ? (way > 0 ? " ↑" : " ↓") : "");
      const button = make("button", { type: "button", "data-column": column.name, onclick: press }, ...breakable(column.name), arrow);
      row.append(make("th", { scope: "col", class: column.numeric ? "number" : false, "aria-sort": sort }, column.still ? column.name : button));
    }
    head.replaceChildren(row);
  }

  // The rows that fit the search, in their order.
  function fitting() {
    let found = rows();
    const tests = state.words.split(/\s+/).filter(Boolean).map((word) => asked(word, columns));
    if (tests.length) found = found.filter((row) => tests.every(({ fits }) => fits(row)));
    hint.textContent = tests.map((one) => one.unclear).filter(Boolean).join(" ");
    const column = state.sort && columns.find((c) => c.name === state.sort.name);
    if (!column) return found;
    const places = new Map();
    if (group) for (const row of found) if (!places.has(group(row))) places.set(group(row), places.size);
    const keyed = found.map((row) => [column.get(row), row, group ? places.get(group(row)) : 0]);
    keyed.sort(([a, , p], [b, , q]) => p - q || (a === null || b === null ? compared(a, b) : state.sort.way * compared(a, b)));
    return keyed.map(([, row]) => row);
  }

  function update() {
    const found = fitting();
    const pages = Math.max(1, Math.ceil(found.length / state.size));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const start = state.page * state.size, end = Math.min(start + state.size, found.length);
    count.textContent = found.length ? `${start + 1}–${end} of ${found.length}` : "nothing fits";
    back.disabled = state.page === 0;
    on.disabled = state.page >= pages - 1;
    back.hidden = on.hidden = pages === 1;
    body.replaceChildren(...found.slice(start, end).flatMap((row, i, all) => (group && group(row) && (!i || group(row) !== group(all[i - 1])) ? [above(row), ...line(row)] : line(row))));
  }

  function above(row) {
    return make("tr", { class: "detail group" }, make("th", { scope: "colgroup", colspan: state.columns.length + (detail ? 1 : 0) }, make("span", {}, group(row))));
  }

  function line(row) {
    const cells = state.columns.map((column) => {
      const content = column.cell ? column.cell(row) : shown(column.get(row));
      const long = typeof content === "string" && content.length > 60;
      return make("td", { class: column.numeric ? "number" : column.on === "narrow" ? "words" : long ? "text" : false }, content);
    });
    if (!detail) return [make("tr", {}, ...cells)];
    const open = state.open.has(row);
    const toggle = make("button", { type: "button", class: "plainly", "aria-expanded": String(open), "aria-label": "Details and command of this row", onclick: () => {
      if (state.open.has(row)) state.open.delete(row); else state.open.add(row);
      const at = [...body.querySelectorAll("button[aria-expanded]")].indexOf(toggle);
      update();
      body.querySelectorAll("button[aria-expanded]")[at].focus();
    } }, open ? "▾" : "▸");
    const lines = [make("tr", {}, make("td", {}, toggle), ...cells)];
    if (open) lines.push(make("tr", { class: "detail" }, make("td", { colspan: cells.length + 1 }, detail(row))));
    return lines;
  }

  heading();
  update();
  return { update: () => { state.page = 0; update(); } };
}

// A name that may be broken after its dots and dashes, so that a narrow column is enough for it.
function breakable(name) {
  return name.split(/(?<=[._])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
}
