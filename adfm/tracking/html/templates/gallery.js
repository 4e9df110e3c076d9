// Filters, order and layers of galleries; the box that a text names, and the other way round.

const press = (button, pressed) => button.setAttribute("aria-pressed", pressed);
const isPressed = (button) => button.getAttribute("aria-pressed") === "true";

const switchLayer = (card, layer, on) => {
  card.classList.toggle("hide-" + layer, !on);
  for (const button of card.querySelectorAll(`.switches [data-layer="${layer}"]`)) press(button, on);
};

for (const gallery of document.querySelectorAll(".gallery")) {
  const holder = gallery.querySelector(".cards");
  const cards = [...holder.children].map((node) => ({ node, ...JSON.parse(node.dataset.card) }));
  const buttons = [...gallery.querySelectorAll("button[data-facet]")];
  const selects = [...gallery.querySelectorAll("select[data-facet]")];
  const search = gallery.querySelector("[data-search]");
  const least = gallery.querySelector("[data-least]");
  const most = gallery.querySelector("[data-most]");
  const order = gallery.querySelector("[data-order]");
  const layers = [...gallery.querySelectorAll(".bar [data-layer]")];
  const bound = (input) => (input && input.value !== "" ? Number(input.value) : null);

  const wanted = () => {
    const found = new Map();
    for (const select of selects) if (select.value) found.set(select.dataset.facet, [select.value]);
    const kinds = buttons.filter(isPressed).map((button) => button.dataset.value);
    return kinds.length ? found.set("kind", kinds) : found;
  };
  const isIn = (card, low, high, word) => {
    const { reward } = card.numbers;
    if ((low !== null && !(reward >= low)) || (high !== null && !(reward <= high))) return false;
    card.text ??= card.node.textContent.toLowerCase();
    return card.text.includes(word);
  };
  const has = (card, facet, values) => values.some((value) => (card.facets[facet] ?? []).includes(value));

  const show = () => {
    const facets = [...wanted()];
    const low = bound(least), high = bound(most), word = search.value.toLowerCase();
    const counts = new Map();
    let shown = 0;
    for (const card of cards) {
      const missed = facets.filter(([facet, values]) => !has(card, facet, values)).map(([facet]) => facet);
      const inside = isIn(card, low, high, word);
      card.node.hidden = !inside || missed.length > 0;
      shown += card.node.hidden ? 0 : 1;
      for (const [facet, values] of inside ? Object.entries(card.facets) : []) {
        if (missed.some((other) => other !== facet)) continue;
        for (const value of values) counts.set(facet + "\n" + value, (counts.get(facet + "\n" + value) ?? 0) + 1);
      }
    }
    gallery.querySelector("[data-shown]").textContent = shown;
    const count = (facet, value) => counts.get(facet + "\n" + value) ?? 0;
    for (const button of buttons) {
      button.querySelector(".count").textContent = count(button.dataset.facet, button.dataset.value);
    }
    for (const option of selects.flatMap((select) => [...select.options].slice(1))) {
      option.textContent = `${option.dataset.name} (${count(option.parentElement.dataset.facet, option.value)})`;
    }
  };
  const sort = () => {
    const [, minus, key] = /^(-?)(.*)$/.exec(order.value);
    const value = (card) => (key in card.numbers ? (minus ? -1 : 1) * card.numbers[key] : Infinity);
    const byPlace = (a, b) => a.numbers.place - b.numbers.place;
    const byName = (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }) || byPlace(a, b);
    const byNumber = (a, b) => (value(a) === value(b) ? byPlace(a, b) : value(a) - value(b));
    cards.sort(key === "id" ? byName : byNumber);
    holder.append(...cards.map((card) => card.node));
  };

  for (const button of buttons) {
    button.addEventListener("click", () => { press(button, !isPressed(button)); show(); });
  }
  for (const input of [...selects, least, most, search]) input?.addEventListener("input", show);
  order.addEventListener("change", sort);
  for (const button of layers) {
    button.addEventListener("click", () => {
      press(button, !isPressed(button));
      for (const card of cards) switchLayer(card.node, button.dataset.layer, isPressed(button));
    });
  }
  gallery.querySelector("[data-reset]").addEventListener("click", () => {
    for (const button of buttons) press(button, false);
    for (const input of [...selects, least, most, search]) if (input) input.value = "";
    order.value = "place";
    for (const button of layers.filter((one) => !isPressed(one))) button.click();
    sort();
    show();
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".switches [data-layer]");
  if (button) switchLayer(button.closest(".card"), button.dataset.layer, !isPressed(button));
});

// A box and the places that name it light up together, within one completion.
const scope = (node) => node.closest(".one, .card");
const light = (on) => (event) => {
  const node = event.target.closest?.("[data-box]");
  if (!node) return;
  for (const other of scope(node).querySelectorAll(`[data-box="${node.dataset.box}"]`)) {
    if (scope(other) === scope(node)) other.classList.toggle("lit", on);
  }
};
for (const name of ["pointerover", "focusin"]) document.addEventListener(name, light(true));
for (const name of ["pointerout", "focusout"]) document.addEventListener(name, light(false));
