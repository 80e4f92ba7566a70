// Shows some photographs at a time.  Names and sentences become text, never HTML.
const rows = JSON.parse(document.getElementById("rows").textContent);
const keys = {
  name: (row) => row.name, lesions: (row) => row.lesions, score: (row) => row.score ?? -1, warnings: (row) => row.warnings.length,
};
const find = (what) => document.querySelector(what);
const state = { page: 1, key: "", down: false, which: "all", name: "" };
let shown = rows;

function make(tag, attributes = {}, ...inside) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...inside);
  return element;
}

function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

function line(row, place) {
  const count = row.warnings.length;
  return make("tr", {},
    make("th", { scope: "row" }, make("a", { href: `#photograph-${place}` }, row.name)),
    make("td", {}, row.lesions.toLocaleString("en")),
    make("td", {}, row.score === null ? "none" : row.score.toFixed(2)),
    make("td", {}, count ? make("span", { className: "count" }, count) : "none"));
}

function card(row, place) {
  const seen = row.lesions ? `${counted(row.lesions, "lesion")} marked` : "no lesion marked";
  const parts = [make("h3", {}, row.name),
    make("a", { href: row.overlay }, make("img", { className: "overlay", loading: "lazy", src: row.pictures[0],
      alt: `${row.name}, ${seen}; opens the full overlay` })),
    make("p", { className: "lesions" }, counted(row.lesions, "lesion"))];
  if (row.warnings.length) {
    const sentences = row.warnings.map((sentence) => make("li", {}, sentence));
    parts.push(make("div", { className: "warning" }, make("strong", {}, "Warning"), make("ul", {}, ...sentences)));
  }
  if (row.crops.length) {
    const scores = row.crops.map((words) => make("span", {}, words.split(",")[0].replace("score ", "")));
    parts.push(make("p", {}, "The most probable, with their scores:"),
      make("img", { className: "strip", loading: "lazy", src: row.pictures[1], alt: `Lesions of ${row.name}: ${row.crops.join("; ")}` }),
      make("div", { className: "scores" }, ...scores));
  }
  for (const sentence of row.notes) parts.push(make("p", { className: "note" }, sentence));
  if (row.file !== null) parts.push(make("p", { className: "note" }, `File: ${row.file}`));
  return make("section", { id: `photograph-${place}` }, ...parts);
}

function turn(pages) {
  const go = (words, page) => make("button", { disabled: page < 1 || page > pages || page === state.page, onclick: () => {
    state.page = page;
    draw();
    find("form").scrollIntoView();
  } }, words);
  return [go("First", 1), go("Previous", state.page - 1),
    make("span", { role: "status" }, `page ${state.page} of ${pages}, ${counted(shown.length, "photograph")}`),
    go("Next", state.page + 1), go("Last", pages)];
}

function choose() {
  const letters = state.name.toLowerCase();
  shown = rows.filter((row) => (state.which === "all" || keys[state.which](row) > 0) && row.name.toLowerCase().includes(letters));
  if (state.key) {
    const compare = new Intl.Collator("en", { numeric: true }).compare, value = keys[state.key], sign = state.down ? -1 : 1;
    const order = state.key === "name" ? (a, b) => compare(a.name, b.name) : (a, b) => value(a) - value(b);
    shown.sort((a, b) => sign * order(a, b));
  }
  draw();
}

function draw() {
  const pages = Math.max(1, Math.ceil(shown.length / size));
  state.page = Math.min(Math.max(1, state.page), pages);
  const start = (state.page - 1) * size, part = shown.slice(start, start + size);
  find("tbody").replaceChildren(...part.map((row, place) => line(row, start + place + 1)));
  find(".cards").replaceChildren(...part.map((row, place) => card(row, start + place + 1)));
  for (const place of document.querySelectorAll(".turn")) place.replaceChildren(...turn(pages));
  for (const button of document.querySelectorAll("th button")) {
    const sorted = button.dataset.key === state.key ? (state.down ? "descending" : "ascending") : "none";
    button.parentElement.setAttribute("aria-sort", sorted);
  }
}

for (const button of document.querySelectorAll("th button")) {
  button.onclick = () => {  // names from A on, and the most of everything else
    state.down = state.key === button.dataset.key ? !state.down : button.dataset.key !== "name";
    state.key = button.dataset.key;
    state.page = 1;
    choose();
  };
}
for (const id of ["name", "which"]) {
  document.getElementById(id).oninput = (event) => {
    state[id] = event.target.value;
    state.page = 1;
    choose();
  };
}
find("form").onsubmit = () => false;
choose();
