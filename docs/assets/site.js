// The theme adds a nameless <nav> to each block of code; screen readers need names to tell them apart.
const nameCodeButtons = () =>
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav) => {
    nav.setAttribute("aria-label", `Code ${1 + [...document.querySelectorAll(".md-code__nav")].indexOf(nav)}`);
  });
new MutationObserver(nameCodeButtons).observe(document.body, { childList: true, subtree: true });
nameCodeButtons();
