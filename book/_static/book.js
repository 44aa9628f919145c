// What the pages do beyond showing: the filter of the claims, tables that sort. Without this script
// the pages hold the same text.
"use strict";

// --- tables -----------------------------------------------------------------------------------

/** The number that a cell begins with, NaN if it does not begin with one. */
function leading(text) {
  const found = text.trim().replaceAll("−", "-").replace(/^[<>~≤≥]\s*/, "").replace(/^L(?=\d)/, "")
    .replace(/(\d),(?=\d{3})/g, "$1").match(/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?/i);
  return found ? Number(found[0]) : NaN;
}

/** Order of two cells: numbers as numbers, before texts; cells without content last. */
function compare(a, b, down) {
  const [left, right] = [a, b].map((cell) => cell.textContent.trim());
  const empty = (text) => text === "" || text === "–";
  if (empty(left) || empty(right)) return empty(left) - empty(right);
  const [x, y] = [leading(left), leading(right)];
  const sign = down ? -1 : 1;
  if (!Number.isNaN(x) && !Number.isNaN(y) && x !== y) return sign * (x - y);
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * left.localeCompare(right, "en", { numeric: true });
}

function sortBy(table, column, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(a.cells[column], b.cells[column], down));
  table.tBodies[0].append(...rows);
}

/** Every head becomes a button; every cell is told its head, which narrow screens show beside it. */
function makeSortable(table) {
  const head = table.tHead?.rows[0];
  if (!head) return;
  const names = [...head.cells].map((cell) => cell.textContent.trim());
  [...head.cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    button.addEventListener("click", () => sortBy(table, column, cell));
    cell.append(button);
  });
  for (const row of table.tBodies[0]?.rows ?? []) {
    [...row.cells].forEach((cell, column) => { cell.dataset.label = names[column] ?? ""; });
  }
  if (names.length > 3) table.classList.add("stacks");
}

// --- claims -----------------------------------------------------------------------------------

/** The claims with what they are filtered by, in the order of the page. */
function claimsOf(page) {
  return [...page.querySelectorAll("section > .pst-scrollable-table-container, section > table.claims")]
    .map((box) => (box.matches("table") ? box : box.querySelector("table.claims")))
    .filter((table) => table)
    .flatMap((table) => {
      const section = table.closest("section");
      const title = section.querySelector("h3, h2")?.textContent.replace("#", "").trim() ?? "";
      return [...table.tBodies[0].rows].map((row) => ({
        row, section, title,
        number: title.match(/§(\d+)/)?.[1] ?? "",
        verdicts: [...row.querySelectorAll(".badge-v")].map((badge) => badge.textContent.trim()),
        text: `${title} ${row.textContent}`.toLowerCase(),
      }));
    });
}

function field(label, control) {
  const box = document.createElement("label");
  box.append(label, control);
  return box;
}

function select(name, options) {
  const control = document.createElement("select");
  control.name = name;
  for (const [value, text] of options) control.append(new Option(text, value));
  return control;
}

function addFilter(claims) {
  const verdicts = [...new Set(claims.flatMap((claim) => claim.verdicts))];
  const sections = new Map(claims.map((claim) => [claim.number, claim.title]));
  const form = document.createElement("form");
  form.id = "claims-filter";
  const verdict = select("verdict", [["", "all verdicts"], ...verdicts.map((word) => [word, word])]);
  const section = select("section", [["", "all sections"], ...sections]);
  const text = Object.assign(document.createElement("input"),
    { type: "search", name: "text", placeholder: "a word, a model, a number" });
  const output = document.createElement("output");
  form.append(field("Verdict", verdict), field("Section", section), field("Search", text), output);

  function apply() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    const open = new Set();
    for (const claim of claims) {
      const fits = (!verdict.value || claim.verdicts.includes(verdict.value))
        && (!section.value || claim.number === section.value)
        && words.every((word) => claim.text.includes(word));
      claim.row.hidden = !fits;
      shown += fits;
      if (fits) open.add(claim.section);
    }
    for (const claim of claims) claim.section.hidden = !open.has(claim.section);
    output.value = `${shown} of ${claims.length} claims`;
  }

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  text.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { text.value = ""; apply(); }
  });
  window.addEventListener("hashchange", () => reveal());
  /** A link to a claim that the filter hides shows it. */
  function reveal() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target?.closest("tr")?.hidden) { form.reset(); apply(); target.scrollIntoView(); }
  }
  claims[0].section.before(form);
  apply();
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  const whole = document.documentElement.classList.contains("whole-book");
  const claims = claimsOf(document);
  if (claims.length && !whole) addFilter(claims);
});
