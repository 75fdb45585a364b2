// The theme, and the colours of charts: read from the style sheet, so that they are named in one place.
import { signal } from "./ui.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const chosen = () => document.documentElement.dataset.theme ?? "";

/** Whether dark holds now. */
export const dark = signal(chosen() ? chosen() === "dark" : system.matches);
system.addEventListener("change", () => (dark.value = chosen() ? chosen() === "dark" : system.matches));

/** Take the other theme, and remember it. */
export function toggleTheme() {
  const next = dark.value ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Then it holds until the page is left.
  }
  dark.value = next === "dark";
}

/** The value of a custom property of the style sheet. @param {string} name */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Colours of categories, in order. */
export const palette = () => [2, 3, 4, 6, 5, 1].map((number) => colour(`c${number}`));

/** The colour of a round. @param {string} round */
export const roundColour = (round) => colour({ r1: "c1", r2: "c2", r3: "c3", manual: "c4" }[round] ?? "c5");
