// The theme, and the colours of charts. The style sheet defines both.
import { signal } from "./ui.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const chosen = () => document.documentElement.dataset.theme ?? "";

/** Whether the theme is dark. */
export const dark = signal(chosen() ? chosen() === "dark" : system.matches);
system.addEventListener("change", () => {
  known.clear();
  dark.value = chosen() ? chosen() === "dark" : system.matches;
});

/** Switch to the other theme and store the choice. */
export function toggleTheme() {
  const next = dark.value ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Without storage, the choice applies until the page is closed.
  }
  known.clear();
  dark.value = next === "dark";
}

/** Cached colours of the current theme: a chart reads the same ones thousands of times. @type {Map<string, string>} */
const known = new Map();

/** The value of a custom property of the style sheet. @param {string} name */
export function colour(name) {
  let value = known.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    if (value) known.set(name, value);
  }
  return value;
}

/** Colours of categories, in order. */
export const palette = () => [2, 3, 4, 6, 5, 1].map((number) => colour(`c${number}`));
