"use strict";
const form = document.getElementById("sheet");
const rater = document.getElementById("rater");
const progress = document.getElementById("progress");
const sheet = document.body.dataset.sheet;
const store = "sumkit-ratings-" + sheet;
const names = [...new Set([...form.querySelectorAll("input[type=radio]")].map((input) => input.name))];
const criteria = [...new Set(names.map((name) => name.split("|")[2]))];

const ratings = () => {
  const given = {};
  for (const input of form.querySelectorAll("input[type=radio]:checked")) given[input.name] = input.value;
  return given;
};

// Storage may be forbidden for local files; then a reload starts afresh, and nothing else changes.
const remember = () => {
  try {
    localStorage.setItem(store, JSON.stringify({ rater: rater.value, ratings: ratings() }));
  } catch {}
};

const restore = () => {
  let saved = null;
  try {
    saved = JSON.parse(localStorage.getItem(store));
  } catch {}
  if (!saved) return;
  rater.value = saved.rater;
  for (const input of form.querySelectorAll("input[type=radio]")) {
    input.checked = saved.ratings[input.name] === input.value;
  }
};

const show = () => {
  progress.textContent = Object.keys(ratings()).length + " of " + names.length + " ratings given";
};

const cell = (text) => '"' + String(text).replaceAll('"', '""') + '"';

const csv = () => {
  const given = ratings();
  const summaries = [...new Set(names.map((name) => name.split("|").slice(0, 2).join("|")))];
  const rows = summaries.map((summary) => [
    sheet, rater.value, ...summary.split("|"), ...criteria.map((criterion) => given[summary + "|" + criterion] ?? ""),
  ]);
  return [["sheet", "rater", "item", "summary", ...criteria], ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
};

form.addEventListener("change", () => {
  remember();
  show();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "ratings-" + rater.value.replace(/[^\p{L}\p{N}-]+/gu, "-") + ".csv";
  link.click();
  URL.revokeObjectURL(link.href);
});
restore();
show();
