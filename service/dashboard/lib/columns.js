// All trials of an experiment as columns, updated with the changes since the last request.
import { get } from "./api.js";

/**
 * @typedef {{index: number, state: string, round: string, origin: string, parent: number | null, epochs: number, finished: number | null,
 *   finishedAt: number | null, values: Record<string, number>, parameters: Record<string, any>, operators: string[], hypervolume: number | null}} Row
 *
 * The front of an experiment: its trials, and the hypervolume after each completed trial, as the server gives them. While there is no front,
 * `nearest` holds the completed trials that come nearest to the budgets.
 * @typedef {{members: {row: number}[], nearest: Row[], history: {row: number, hypervolume: number}[], feasible: (value: (metric: string) => number | null) => boolean}} Front
 */

export class Columns {
  /** @param {number} id */
  constructor(id) {
    this.id = id;
    this.revision = 0;
    /** Rows; a trial keeps its position. @type {Row[]} */
    this.rows = [];
    /** A trial's index -> its position in `rows`. @type {Map<number, number>} */
    this.places = new Map();
    /** @type {string[]} */
    this.metrics = [];
    /** @type {string[]} */
    this.parameters = [];
    /** Indices of the trials on the front. @type {number[]} */
    this.front = [];
    /** The last answer of `frontOf`, and what it was for. @type {Front | null} */
    this.shown = null;
    this.judged = "";
  }

  /** Load the changes; return whether there were any. */
  async update() {
    const answer = await get(`/experiments/${this.id}/points${this.revision ? `?after=${this.revision}` : ""}`);
    const changed = answer.index.length > 0 || answer.full;
    this.merge(answer);
    return changed;
  }

  /** @param {any} answer */
  merge(answer) {
    if (answer.full) {
      this.rows = [];
      this.places.clear();
    }
    this.front = answer.front;
    this.revision = answer.revision;
    const metrics = Object.entries(answer.values);
    const parameters = Object.entries(answer.parameters);
    for (const [name] of metrics) if (!this.metrics.includes(name)) this.metrics.push(name);
    for (const [name] of parameters) if (!this.parameters.includes(name)) this.parameters.push(name);
    answer.index.forEach((/** @type {number} */ index, /** @type {number} */ i) => {
      /** @type {Row} */
      const row = {
        index, state: answer.states[answer.state[i]], round: answer.rounds[answer.round[i]], origin: answer.origins[answer.origin[i]],
        parent: answer.parent[i], epochs: answer.epochs[i], finished: answer.finished[i], finishedAt: answer.finished_at[i],
        values: present(metrics, i), parameters: present(parameters, i), operators: answer.operators[String(index)] ?? [], hypervolume: answer.hypervolume[i],
      };
      const place = this.places.get(index);
      if (place === undefined) {
        this.places.set(index, this.rows.length);
        this.rows.push(row);
      } else this.rows[place] = row;
    });
  }

  /** A trial's row. @param {number} index */
  row(index) {
    const place = this.places.get(index);
    return place === undefined ? undefined : this.rows[place];
  }

  /** Completed trials in the order in which they finished. */
  completed() {
    return this.rows.filter((row) => row.state === "completed").sort((a, b) => (a.finished ?? 0) - (b.finished ?? 0));
  }

  /** The front of `experiment`; the same object until something changes. @param {any} experiment */
  frontOf(experiment) {
    const key = JSON.stringify([this.revision, experiment.budgets]);
    if (!this.shown || this.judged !== key) {
      const budgets = /** @type {[string, number][]} */ (Object.entries(experiment.budgets));
      this.judged = key;
      this.shown = {
        members: this.front.filter((index) => this.row(index)).map((row) => ({ row })),
        nearest: this.front.length ? [] : nearest(this.completed(), budgets),
        history: this.completed().filter((row) => row.hypervolume !== null).map((row) => ({ row: row.index, hypervolume: /** @type {number} */ (row.hypervolume) })),
        /** Whether no budget is broken by what is known. */
        feasible: (value) => budgets.every(([metric, limit]) => !(/** @type {number} */ (value(metric) ?? -Infinity) > limit)),
      };
    }
    return this.shown;
  }
}

const NEAREST = 5;

/**
 * The trials over a budget with the smallest excess, the sum of log(value / limit) over the broken budgets, as on the server.
 * @param {Row[]} completed @param {[string, number][]} budgets
 */
function nearest(completed, budgets) {
  const excess = (/** @type {Row} */ row) => budgets.reduce((sum, [metric, limit]) => sum + Math.max(0, Math.log((row.values[metric] ?? 0) / limit)), 0);
  return completed.map((row) => ({ row, over: excess(row) })).filter(({ over }) => over > 0).sort((a, b) => a.over - b.over).slice(0, NEAREST).map(({ row }) => row);
}

/** The values of row `i` that are not missing. @param {[string, any][]} columns @param {number} i */
function present(columns, i) {
  /** @type {Record<string, any>} */
  const values = {};
  for (const [name, column] of columns) if (column[i] !== null && column[i] !== undefined) values[name] = column[i];
  return values;
}
