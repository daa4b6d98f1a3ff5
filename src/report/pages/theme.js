"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("autointerp-theme");
  } catch (refused) {
    // A page opened as a file may have no storage; it then uses the system's theme.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
