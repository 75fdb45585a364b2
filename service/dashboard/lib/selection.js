// Brushed ranges of values: their text in the address, and the trials that they select.

/** @typedef {{name: string, low: number, high: number}} Range */

/** @param {string} text "error:0.01:0.05,filters:8:16" @returns {Range[]} */
export const rangesOf = (text) =>
  text.split(",").filter(Boolean).map((part) => {
    const [name, low, high] = part.split(":");
    return { name, low: Number(low), high: Number(high) };
  }).filter((range) => range.name && Number.isFinite(range.low) && Number.isFinite(range.high));

/** @param {Range[]} ranges */
export const textOf = (ranges) => ranges.map(({ name, low, high }) => `${name}:${Number(low.toPrecision(5))}:${Number(high.toPrecision(5))}`).join(",");

/** A metric or a parameter of a trial as a number. @param {import("./columns.js").Row} row @param {string} name @returns {any} */
export function valueOf(row, name) {
  if (name === "index") return row.index;
  if (name === "epochs") return row.epochs;
  const value = row.values[name] ?? row.parameters[name];
  return typeof value === "boolean" ? Number(value) : value;
}

/**
 * The indices of the completed trials inside all ranges; null when nothing is brushed.
 * @param {import("./columns.js").Row[]} rows
 * @param {Range[]} ranges
 * @returns {Set<number> | null}
 */
export function brushed(rows, ranges) {
  if (ranges.length === 0) return null;
  return new Set(
    rows.filter((row) => row.state === "completed" && ranges.every(({ name, low, high }) => {
      const value = valueOf(row, name);
      return typeof value === "number" && value >= low && value <= high;
    })).map((row) => row.index),
  );
}
