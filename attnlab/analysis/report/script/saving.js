// What a reader takes away: tables as CSV, figures as SVG. Also how wide words are, as the reader's fonts draw them.
const DRAWN = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "font-weight", "visibility"];

const pen = document.createElement("canvas").getContext("2d");
const widths = new Map();

// The width of a word in a picture, in pixels.
function measured(text) {
  if (!widths.has(text)) {
    pen.font = `650 12px ${getComputedStyle(document.body).fontFamily}`;
    widths.set(text, pen.measureText(text).width);
  }
  return widths.get(text);
}

// The word, or as much of it as is no wider than that.
function fitted(text, most) {
  if (measured(text) <= most) return text;
  const letters = [...text]; // by code point, so that no letter is cut in two
  while (letters.length > 1 && measured(`${letters.join("")}…`) > most) letters.pop();
  return `${letters.join("")}…`;
}

// A name of a file without what a file system may refuse.
function fileName(words, ending) {
  return `${words.filter(Boolean).join("-").replace(/[^\p{Letter}\p{Number}_-]+/gu, "-").slice(0, 90) || "attnlab"}.${ending}`;
}

function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  say(`Saved ${name}`);
}

// Of which experiment a thing on the page is.
function chapterOf(element) {
  const article = element.closest("article");
  return article ? data.chapters[Number(article.dataset.chapter)].name : "";
}

// -- tables ------------------------------------------------------------------------------------------------------
function csvCell(value) {
  const text = value === null || value === undefined ? "" : typeof value === "number" && !Number.isFinite(value) ? (value > 0 ? "inf" : "-inf") : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(rows) {
  return rows.map((row) => row.map(csvCell).join(",") + "\r\n").join("");
}

// A button that saves rows; `rows()` gives the head and the cells.
function csvButton(title, rows) {
  const button = make("button", { type: "button", class: "save", "aria-label": `Save as CSV: ${title}` }, "CSV");
  button.addEventListener("click", () => download(fileName([chapterOf(button), title], "csv"), csv(rows()), "text/csv"));
  return button;
}

// The rows of a table on the page, as they are written there.
function cellsOf(grid) {
  return [...grid.rows].map((row) => [...row.cells].map((cell) => {
    const text = cell.textContent.trim().replace(/\s+/g, " "), number = text.replace("−", "-");
    return text === "–" ? null : text !== "" && !Number.isNaN(Number(number)) ? number : text;
  }));
}

// -- figures -----------------------------------------------------------------------------------------------------
// A copy of a picture that looks the same outside of the page: each element has its colours written on it.
function standalone(svg) {
  const copy = svg.cloneNode(true), from = [svg, ...svg.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    to[i].removeAttribute("style");
    to[i].removeAttribute("class");
    for (const name of DRAWN) to[i].setAttribute(name, style.getPropertyValue(name));
  });
  copy.querySelectorAll('[visibility="hidden"]').forEach((element) => element.remove());
  for (const name of ["tabindex", "role", "aria-label", "aria-hidden"]) copy.removeAttribute(name);
  const box = svg.viewBox.baseVal, size = svg.getBoundingClientRect();
  copy.setAttribute("width", svg.getAttribute("preserveAspectRatio") === "none" ? size.width : box.width);
  copy.setAttribute("height", svg.getAttribute("preserveAspectRatio") === "none" ? size.height : box.height);
  return copy;
}

// Pictures beside or below one another, each with its title, as one file.
function svgFile(pictures, title, stacked) {
  const shelf = make("div", { class: "sr" }); // a picture has its colours only where it is on the page
  shelf.append(...pictures.flatMap(({ svg, below }) => [svg, below]).filter((svg) => svg && !svg.isConnected));
  document.body.append(shelf);
  try {
    return composed(pictures, title, stacked);
  } finally {
    shelf.remove();
  }
}

function composed(pictures, title, stacked) {
  const root = getComputedStyle(document.body), gap = 24, text = (words, x, y) => draw("text", { x, y, fill: root.color, "font-weight": 600, "font-size": 13 }, words);
  const file = draw("svg", { "font-family": root.fontFamily, "font-size": 12 }), named = pictures.some((p) => p.title);
  let x = gap, y = gap, width = 0, height = 0;
  const parts = pictures.flatMap(({ svg, title: words, below }) => {
    let end = y + (named ? gap : 0);
    const copies = [svg, ...(below ? [below] : [])].map(standalone), size = (copy, way) => Number(copy.getAttribute(way));
    for (const copy of copies) { copy.setAttribute("x", x); copy.setAttribute("y", end); end += size(copy, "height") + gap; }
    const head = words ? [text(words, x, y + 10)] : [], broad = Math.max(...copies.map((copy) => size(copy, "width")), words ? 1.1 * measured(words) + 8 : 0);
    [width, height] = [Math.max(width, x + broad + gap), Math.max(height, end)];
    if (stacked) y = end; else x += broad + gap;
    return [...head, ...copies];
  });
  file.setAttribute("viewBox", `0 0 ${width} ${height}`);
  file.setAttribute("width", width);
  file.setAttribute("height", height);
  file.append(draw("title", {}, title), draw("rect", { width, height, fill: root.backgroundColor }), ...parts);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(file)}\n`;
}

// A button that saves pictures as they are drawn now: [{svg, title?, below?}].
function svgButton(title, pictures, stacked) {
  const button = make("button", { type: "button", class: "save", "aria-label": `Save as SVG: ${title}` }, "SVG");
  button.addEventListener("click", () => {
    const found = pictures();
    if (found.length) download(fileName([chapterOf(button), title], "svg"), svgFile(found, title, stacked), "image/svg+xml");
  });
  return button;
}
