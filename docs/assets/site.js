// What the theme adds after loading, and leaves without a name or out of the reach of a keyboard.
const mend = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, place) => {
    if (!nav.hasAttribute("aria-label")) nav.setAttribute("aria-label", `Code ${place + 1}`);
  });
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach((box) => {
    box.setAttribute("tabindex", "0");
  });
};
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
mend();
