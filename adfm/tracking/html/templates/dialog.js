// One sample, large: Enter or a click opens it, arrows go on, Escape closes it and gives the focus back.

const dialog = document.querySelector("dialog.sample");

if (dialog) {
  const body = dialog.querySelector(".body");
  let current = null;

  const neighbours = () => [...current.parentElement.children].filter((card) => !card.hidden);

  const sharpen = (overlay) => {
    const file = new Image();
    file.addEventListener("load", () => {
      const large = document.createElementNS("http://www.w3.org/2000/svg", "image");
      for (const [name, value] of [["href", file.src], ["preserveAspectRatio", "none"], ["class", "whole"],
        ["width", overlay.viewBox.baseVal.width], ["height", overlay.viewBox.baseVal.height]]) {
        large.setAttribute(name, value);
      }
      overlay.querySelector("use").after(large);
    });
    file.src = overlay.dataset.full;
  };

  const show = (card) => {
    current = card;
    const large = card.cloneNode(true);
    large.classList.add("large");
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = large.querySelector(".open").textContent;
    large.querySelector(".open").replaceWith(name);
    for (const details of large.querySelectorAll("details")) details.open = true;
    for (const link of large.querySelectorAll("a.full")) link.target = "_blank";
    for (const names of large.querySelectorAll(".names")) names.tabIndex = 0;
    body.replaceChildren(large);
    body.scrollTop = 0;
    for (const overlay of large.querySelectorAll(".overlay[data-full]")) sharpen(overlay);
    const cards = neighbours();
    dialog.setAttribute("aria-label", name.textContent);
    dialog.querySelector(".count").textContent = `${cards.indexOf(card) + 1} of ${cards.length}`;
    if (!dialog.open) dialog.showModal();
    if (!dialog.contains(document.activeElement)) dialog.querySelector("[data-go='1']").focus();
  };
  const go = (step) => {
    const cards = neighbours();
    show(cards[(cards.indexOf(current) + step + cards.length) % cards.length]);
  };

  document.addEventListener("click", (event) => {
    const opener = event.target.closest(".open, .overlay");
    if (opener && !dialog.contains(opener)) show(opener.closest(".card"));
  });
  dialog.addEventListener("click", (event) => {
    const step = event.target.closest("[data-go]");
    if (step) go(Number(step.dataset.go));
    else if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(step);
  });
  dialog.addEventListener("close", () => {
    body.replaceChildren();
    current.scrollIntoView({ block: "nearest" });
    current.querySelector(".open").focus();
  });
}
