"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => {
    const text = button.previousElementSibling;
    const range = document.createRange();
    range.selectNodeContents(text);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
    button.textContent = "copied";
  });
}

for (const chart of document.querySelectorAll(".chart[data-readout]")) {
  if (!chart.dataset.readout) continue;
  const { names, rows } = JSON.parse(chart.dataset.readout);
  const output = chart.closest("figure").querySelector("output");
  const resting = output.textContent;
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", 0);
  cursor.setAttribute("y2", chart.viewBox.baseVal.height);
  chart.addEventListener("mousemove", (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const row = rows.reduce((best, next) => (Math.abs(next[0] - x) < Math.abs(best[0] - x) ? next : best));
    cursor.setAttribute("x1", row[0]);
    cursor.setAttribute("x2", row[0]);
    chart.append(cursor);
    const values = names.map((name, i) => [name, row[i + 2]]).filter(([, value]) => value !== null);
    output.textContent = row[1] + ": " + values.map(([n, v]) => (names.length > 1 ? n + " " + v : v)).join(", ");
  });
  chart.addEventListener("mouseleave", () => {
    cursor.remove();
    output.textContent = resting;
  });
}

const ORDERS = {
  failures: ["place", 1], "low reward": ["total", 1], "high reward": ["total", -1],
  "high score": ["score", -1], "low IoU": ["iou", 1],
};

for (const gallery of document.querySelectorAll(".gallery")) {
  const cards = [...gallery.querySelectorAll(".card")];
  const holder = gallery.querySelector(".cards");
  const kinds = [...gallery.querySelectorAll("[data-kind-button]")];
  const category = gallery.querySelector("[data-category]");
  const order = gallery.querySelector("[data-order]");
  const search = gallery.querySelector("[data-search]");

  const show = () => {
    const wanted = kinds.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.kindButton);
    const word = search.value.toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const { kind, group } = card.dataset;
      card.hidden = (wanted.length > 0 && !wanted.includes(kind)) ||
        (category.value !== "" && category.value !== group) ||
        (word !== "" && !card.textContent.toLowerCase().includes(word));
      shown += card.hidden ? 0 : 1;
    }
    gallery.querySelector("[data-shown]").textContent = shown;
  };
  const sort = () => {
    const [key, sign] = ORDERS[order.value];
    const value = (card) => (card.dataset[key] === "" ? Infinity : sign * Number(card.dataset[key]));
    const place = (card) => Number(card.dataset.place);
    cards.sort((a, b) => { const x = value(a), y = value(b); return x === y ? place(a) - place(b) : x - y; });
    holder.append(...cards);
  };
  const press = (button) => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", pressed);
    return pressed;
  };
  for (const button of kinds) button.addEventListener("click", () => { press(button); show(); });
  for (const button of gallery.querySelectorAll("[data-layer]")) {
    button.addEventListener("click", () => gallery.classList.toggle("hide-" + button.dataset.layer, !press(button)));
  }
  category.addEventListener("change", show);
  search.addEventListener("input", show);
  order.addEventListener("change", sort);
  holder.addEventListener("click", (event) => {
    const overlay = event.target.closest(".overlay");
    if (overlay) overlay.closest(".card").classList.toggle("large");
  });
}
