// The address: #/path?query. What a view shows lies in its query, so that a link or a reload shows the same.
import { computed, signal } from "./ui.js";

const current = signal(location.hash);
addEventListener("hashchange", () => (current.value = location.hash));

/** A part of the path; what cannot be decoded stands for itself, and leads nowhere. @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Path and query of the address. */
export const route = computed(() => {
  const [path, query = ""] = current.value.replace(/^#/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
});

/** The path alone, as text: changes only when another view is meant. */
export const place = computed(() => route.value.path.join("/"));

/**
 * A value of the query.
 * @param {string} name
 * @param {string} [otherwise]
 * @returns {string}
 */
export const asked = (name, otherwise = "") => route.value.query.get(name) ?? otherwise;

/** A place in a list; what is no whole number is its beginning. @returns {number} */
export function offset() {
  const text = asked("offset", "0");
  return /^\d{1,9}$/.test(text) ? Number(text) : 0;
}

/**
 * Change the query; empty values leave it. The browser's history gets no entry, unless `push`.
 * @param {Record<string, string | number | null | undefined>} change
 * @param {{push?: boolean}} [options]
 */
export function ask(change, { push = false } = {}) {
  const { path, query } = route.peek();
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(change)) {
    if (value === null || value === undefined || value === "") next.delete(name);
    else next.set(name, String(value));
  }
  const text = next.toString();
  const hash = `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
  if (hash === location.hash) return;
  history[push ? "pushState" : "replaceState"](null, "", hash);
  current.value = hash;
}

/**
 * Go to another view.
 * @param {string} path
 */
export function go(path) {
  location.hash = path;
}
