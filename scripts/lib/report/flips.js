"use strict";
// All rows stand in the page; this only hides and sorts them.
(() => {
  const form = document.getElementById("controls");
  const place = document.getElementById("rows");
  const rows = [...place.children];
  if (!rows.length) return;
  const texts = new Map();
  const textOf = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const number = (row, name) => Number(row.dataset[name] ?? 0);
  const orders = {
    id: (one, other) => number(one, "place") - number(other, "place"),
    fall: (one, other) => number(one, "change") - number(other, "change"),
    rise: (one, other) => number(other, "change") - number(one, "change"),
    sure: (one, other) => number(other, "sure") - number(one, "sure"),
  };
  let order = "";
  const show = () => {
    const wanted = new FormData(form);
    const text = wanted.get("text").trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = ["outcome", "category", "subject", "training"].every(
        (name) => !wanted.get(name) || row.dataset[name] === wanted.get(name),
      );
      row.hidden = !(fits && (!text || textOf(row).includes(text)));
      shown += !row.hidden;
    }
    if (order !== wanted.get("order")) {
      order = wanted.get("order");
      place.append(...(order ? [...rows].sort(orders[order]) : rows));
    }
    form.querySelector("output").value =
      `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
