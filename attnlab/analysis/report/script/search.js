// The words of a search: a part of any cell, `column=value` or `column>number`; a column may be named in part.
const QUESTION = /^([^<>=]+)(<=|>=|=|<|>)(.*)$/;

// A word as a test of rows, with what is unclear about it.
function asked(word, columns) {
  const parts = QUESTION.exec(word);
  const found = parts ? meant(parts[1], columns.filter((column) => !column.still)) : [];
  if (found.length !== 1) {
    const wanted = word.toLowerCase();
    return { fits: (row) => columns.some((c) => String(c.get(row) ?? "").toLowerCase().includes(wanted)), unclear: parts ? unclear(parts[1], found, columns) : "" };
  }
  const [, , sign, text] = parts, [column] = found;
  const number = text === "" ? NaN : Number(text.replace("−", "-"));
  if (sign === "=") {
    const wanted = text.toLowerCase();
    return { fits: (row) => { const value = column.get(row); return typeof value === "number" ? value === number || shown(value) === text : String(value ?? "").toLowerCase() === wanted; } };
  }
  if (text === "") return { fits: () => true }; // the number is still to be typed
  const holds = { "<": (v) => v < number, ">": (v) => v > number, "<=": (v) => v <= number, ">=": (v) => v >= number }[sign];
  return { fits: (row) => typeof column.get(row) === "number" && holds(column.get(row)), unclear: Number.isNaN(number) ? `“${text}” is no number.` : "" };
}

// The columns that a word may mean: those of that name, else with that name after a dot, else with that part; a component
// comes before its settings.
function meant(word, columns) {
  const wanted = word.toLowerCase(), named = (fits) => columns.filter((column) => fits(column.name.toLowerCase()));
  const ways = [(name) => name === wanted, (name) => name.endsWith(`.${wanted}`), (name) => name.includes(wanted) && !name.includes("."), (name) => name.includes(wanted)];
  return ways.map(named).find((found) => found.length) || [];
}

function unclear(word, found, columns) {
  if (found.length) return `“${word}” may be ${found.map((column) => column.name).join(", ")}: say which. Until then it is searched as a word.`;
  const names = near(word, columns);
  return `There is no column “${word}”${names.length ? `: did you mean ${names.join(", ")}?` : "."} It is searched as a word.`;
}

// The three names that share the most pairs of letters with a word.
function near(word, columns) {
  const pairs = (text) => new Set(Array.from({ length: text.length - 1 }, (_, i) => text.toLowerCase().slice(i, i + 2)));
  const own = pairs(word);
  const likeness = (name) => { const other = pairs(name); return (2 * [...own].filter((pair) => other.has(pair)).length) / (own.size + other.size || 1); };
  const rated = columns.filter((column) => !column.still).map(({ name }) => [likeness(name), name]).filter(([like]) => like > 0.2);
  return rated.sort(([a], [b]) => b - a).slice(0, 3).map(([, name]) => name);
}

// A search that finds a row: a word, a column's value and a bound, as far as the columns that are shown have them.
function example(columns, row) {
  const short = (text) => /^[^\s<>=]{1,24}$/.test(text);
  const there = columns.filter((column) => !column.hidden && !column.still && short(column.name));
  const words = there.filter((column) => typeof column.get(row) === "string" && short(column.get(row)));
  const number = there.find((column) => column.numeric && Number.isFinite(column.get(row)) && !Number.isInteger(column.get(row)));
  const value = words[1] || words[0];
  const said = [words[1] && words[0].get(row), value && `${value.name}=${value.get(row)}`, number && `${number.name}>=${Math.floor(100 * number.get(row)) / 100}`];
  return said.filter(Boolean).join("  ");
}

