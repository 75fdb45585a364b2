// The address: #/path?query. The query holds the state of a view, so that a link or a reload shows the same.
import { computed, signal } from "./ui.js";

const current = signal(location.hash);
addEventListener("hashchange", () => (current.value = location.hash));

/** Decode a part of the path; return it unchanged if it cannot be decoded. @param {string} part */
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

/** The path alone, as text: changes only when the view changes. */
export const place = computed(() => route.value.path.join("/"));

/**
 * A value of the query.
 * @param {string} name
 * @param {string} [otherwise]
 * @returns {string}
 */
export const queryValue = (name, otherwise = "") => route.value.query.get(name) ?? otherwise;

/** The offset in a list; 0 for text that is not a whole number. @returns {number} */
export function offset() {
  const text = queryValue("offset", "0");
  return /^\d{1,9}$/.test(text) ? Number(text) : 0;
}

/**
 * Change the query; empty values are removed. With `push`, add an entry to the browser's history.
 * @param {Record<string, string | number | null | undefined>} change
 * @param {{push?: boolean}} [options]
 */
export function setQuery(change, { push = false } = {}) {
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
