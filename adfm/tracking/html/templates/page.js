"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => {
    const range = document.createRange();
    range.selectNodeContents(button.previousElementSibling);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
    button.textContent = "copied";
  });
}

for (const chart of document.querySelectorAll(".chart[data-readout]")) {
  const { names, rows } = JSON.parse(chart.dataset.readout);
  const output = chart.closest("figure").querySelector("output");
  const resting = output.textContent;
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const { width, height } = chart.viewBox.baseVal;
  let at = null;
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", 0);
  cursor.setAttribute("y2", height);

  const read = (place) => {
    if (place === at) return;
    at = place;
    const [x, label, ...values] = rows[at];
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    chart.append(cursor);
    const known = names.map((name, i) => [name, values[i]]).filter(([, value]) => value !== null);
    output.textContent = label + ": " + known.map(([n, v]) => (names.length > 1 ? n + " " + v : v)).join(", ");
  };
  const rest = () => {
    at = null;
    cursor.remove();
    output.textContent = resting;
  };
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    read(rows.reduce((best, row, i) => (Math.abs(row[0] - x) < Math.abs(rows[best][0] - x) ? i : best), 0));
  });
  chart.addEventListener("keydown", (event) => {
    const last = rows.length - 1;
    const places = {
      ArrowLeft: at === null ? last : Math.max(0, at - 1), ArrowRight: at === null ? 0 : Math.min(last, at + 1),
      Home: 0, End: last,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    read(places[event.key]);
  });
  chart.addEventListener("pointerleave", rest);
  chart.addEventListener("blur", rest);
}
