// The colour theme, settled before the first paint: this is the one script that blocks the page, so
// that a visitor who chose dark never sees a white flash. Without a choice the system's preference
// holds; a choice that equals the system's is forgotten, so that the page follows the system again.
// What the choice looks like is style.css's business: it reads `data-theme` of the root element.
(() => {
  "use strict";
  const KEY = "tickwire.theme";
  const root = document.documentElement;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const systemTheme = () => (systemIsDark.matches ? "dark" : "light");

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is off: the choice lasts as long as the page
    }
  }

  function choose(theme) {
    const isSystems = theme === systemTheme();
    if (isSystems) delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (isSystems) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // see stored()
    }
  }

  const theme = stored();
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;

  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const current = root.dataset.theme ?? systemTheme();
      choose(current === "dark" ? "light" : "dark");
    });
  });
})();
