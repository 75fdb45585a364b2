// Dominance and hypervolume of experiments that are compared: everything is minimized, on scales that they share.

/** @typedef {{kind: "linear" | "log", low: number, high: number, offset: number}} Scale */

/** @param {Scale} scale @param {number} value */
const inner = (scale, value) => (scale.kind === "log" ? Math.log(Math.max(value + scale.offset, 1e-300)) : value);

/**
 * The place of `value` on a scale: 0 at its low end, 1 at the reference value.
 * @param {Scale} scale @param {number} value
 */
export function unit(scale, value) {
  const start = inner(scale, scale.low);
  return (inner(scale, value) - start) / (inner(scale, scale.high) - start);
}

/** Whether `a` is nowhere worse than `b`. @param {number[]} a @param {number[]} b */
const covers = (a, b) => a.every((value, place) => value <= b[place]);

/**
 * The share of the unit box that points dominate (by slices along the last objective).
 * @param {number[][]} points
 * @returns {number}
 */
export function hypervolume(points) {
  const inside = points.filter((point) => point.every((value) => value < 1)).map((point) => point.map((value) => Math.max(value, 0)));
  if (inside.length === 0) return 0;
  const last = inside[0].length - 1;
  if (last === 0) return 1 - Math.min(...inside.map((point) => point[0]));
  if (last === 1) {
    let [sum, edge] = [0, 1];
    for (const [x, y] of [...inside].sort((a, b) => a[0] - b[0])) {
      if (y < edge) {
        sum += (1 - x) * (edge - y);
        edge = y;
      }
    }
    return sum;
  }
  const sorted = [...inside].sort((a, b) => a[last] - b[last]);
  let sum = 0;
  /** @type {number[][]} */
  let slice = [];
  let area = 0;
  for (let i = 0; i < sorted.length; i += 1) {
    const point = sorted[i].slice(0, last);
    if (!slice.some((other) => covers(other, point))) {
      slice = slice.filter((other) => !covers(point, other));
      slice.push(point);
      area = hypervolume(slice);
    }
    sum += area * ((i + 1 < sorted.length ? sorted[i + 1][last] : 1) - sorted[i][last]);
  }
  return sum;
}

/**
 * What `point` adds to the hypervolume of `others`: its box minus the part that they dominate. Only few of `others` reach into the box.
 * @param {number[]} point
 * @param {number[][]} others
 */
export function gain(point, others) {
  /** @type {number[][]} */
  let inside = [];
  const corner = point.map((value) => Math.max(value, 0));
  for (const other of others) {
    const part = other.map((value, place) => Math.max(value, corner[place]));
    if (part.some((value) => value >= 1) || inside.some((one) => covers(one, part))) continue;
    inside = inside.filter((one) => !covers(part, one));
    inside.push(part);
  }
  return corner.reduce((product, value) => product * (1 - value), 1) - hypervolume(inside);
}

/** A front that grows trial by trial, with its hypervolume after each. */
export class Front {
  /** @param {any} experiment as the server sends it, with the current budgets and scales */
  constructor(experiment) {
    /** @type {string[]} */
    this.names = experiment.objectives;
    /** @type {Record<string, Scale | undefined>} none where the server does not know the device any more */
    this.scales = experiment.scales;
    /** @type {[string, number][]} */
    this.budgets = Object.entries(experiment.budgets);
    /** @type {{row: number, point: number[]}[]} */
    this.members = [];
    /** @type {{row: number, hypervolume: number}[]} */
    this.history = [];
  }

  /** Whether the known values meet all budgets. @param {(metric: string) => number | null} value */
  feasible(value) {
    return this.budgets.every(([metric, limit]) => !(/** @type {number} */ (value(metric) ?? -Infinity) > limit));
  }

  /** Add a completed trial. @param {number} row @param {(metric: string) => number | null} value */
  add(row, value) {
    let volume = this.history.at(-1)?.hypervolume ?? 0;
    const point = this.names.map((name) => (this.scales[name] ? unit(this.scales[name], value(name) ?? Infinity) : NaN));
    if (this.feasible(value) && point.every(Number.isFinite) && !this.members.some((member) => covers(member.point, point))) {
      if (point.every((one) => one < 1)) volume += gain(point, this.members.map((member) => member.point));
      this.members = this.members.filter((member) => !covers(point, member.point));
      this.members.push({ row, point });
    }
    this.history.push({ row, hypervolume: volume });
  }
}
