// What the other scripts stand on: the data, elements, words for numbers. Text only ever goes in as text.
const data = JSON.parse(document.getElementById("data").textContent);

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let ids = 0;
const fresh = (word) => `${word}-${ids++}`;

// A table that came by columns: `get(name)` is the array of a column's values, null where there is none.
class Columns {
  constructor(packed) {
    this.n = packed.n;
    this.names = Object.keys(packed.columns);
    this.packed = new Map(Object.entries(packed.columns));
    this.open = new Map();
  }

  get(name) {
    if (!this.open.has(name)) {
      const column = this.packed.get(name);
      let values;
      if (!column) values = new Array(this.n).fill(null);
      else if ("all" in column) values = new Array(this.n).fill(revive(column.all));
      else if (column.levels) { const levels = column.levels.map(revive); values = column.codes.map((code) => levels[code]); }
      else values = column.values.map(revive);
      this.open.set(name, values);
    }
    return this.open.get(name);
  }

  levels(name) {
    return [...new Set(this.get(name))];
  }

  numeric(name) {
    const there = this.get(name).filter((value) => value !== null);
    return there.length > 0 && there.every((value) => typeof value === "number");
  }
}

function revive(value) {
  return value === "Infinity" ? Infinity : value === "-Infinity" ? -Infinity : value;
}

// As attnlab's tables print it.
function shown(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value).replace("-", "−");
  const text = size < 1e-3 || size >= 1e6 ? value.toExponential(2) : size < 100 ? value.toFixed(3) : value.toFixed(1);
  return text.replace("-", "−");
}

function compared(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1; // what is not there comes last, whichever way
  if (b === null || b === undefined) return -1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function choice(label, options, value, change, wide) {
  const select = make("select", { onchange: () => change(select.value) });
  for (const [key, text] of options) select.append(make("option", { value: key }, text));
  if (value !== undefined) select.value = value;
  return make("label", { class: wide ? "field wide" : "field" }, make("span", {}, label), select);
}

// Draw again when a place has another width than when it was drawn.
function redrawn(place, again) {
  let last = place.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(place.clientWidth - last) < 9) return;
    last = place.clientWidth;
    again();
  }).observe(place);
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function copier(run, command) {
  const button = make("button", { type: "button", class: "plainly", "aria-label": `Copy the command that repeats run ${run}` }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "copied";
      say(`Copied: ${command}`);
    } catch {
      const code = button.nextElementSibling; // no clipboard here: select it, to be copied by hand
      if (code) getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  return button;
}

// Numbers in half precision, little-endian, base64.
function halves(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    const half = view.getUint16(2 * i, true);
    const exponent = (half >> 10) & 31, fraction = half & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
    values[i] = half & 0x8000 ? -size : size;
  }
  return values;
}
