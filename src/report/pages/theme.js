"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("autointerp-theme");
  } catch (refused) {
    // A page from a file may not be allowed to store anything; the system's theme will do.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
