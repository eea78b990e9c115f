// Light, dark, or as the system has it: a switch that is remembered.

import { h, icon } from "./dom.js";

const THEMES = { auto: ["As the system", "auto"], light: ["Light", "sun"], dark: ["Dark", "moon"] };
const KEY = "holdall.theme";

/** Have `small`, which shows an icon only, and `wide`, which says it, change the theme. */
export function startTheme(small, wide) {
  const show = () => {
    const [label, glyph] = THEMES[chosen()];
    small.replaceChildren(icon(glyph), h("span", { class: "quiet" }, `Theme: ${label}. Change`));
    small.title = `Theme: ${label}`;
    wide.replaceChildren(icon(glyph), h("span", {}, `Theme: ${label}`));
  };
  for (const button of [small, wide]) {
    button.addEventListener("click", () => {
      const names = Object.keys(THEMES);
      choose(names[(names.indexOf(chosen()) + 1) % names.length]);
      show();
    });
  }
  show();
}

function chosen() {
  return document.documentElement.dataset.theme ?? "auto";
}

function choose(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // It then holds until the page is left.
  }
}
