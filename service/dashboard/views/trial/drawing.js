// Drawing of the network. A chain is a row of blocks that wraps like text. With branches, columns run from left to right, and an edge that
// skips columns has a separate row.
import { html } from "../../lib/ui.js";

/** @type {Record<string, string>} */
const FILL = { conv: "var(--c2)", linear: "var(--c3)", add: "var(--c4)", concat: "var(--c4)", max_pool: "var(--c6)", avg_pool: "var(--c6)", global_avg_pool: "var(--c6)" };

/** The colour of a kind of operator. @param {string} kind */
export const fill = (kind) => FILL[kind] ?? "var(--c1)";

/** Whether the layer is a depthwise convolution. @param {any} layer */
const depthwise = (layer) => layer.kind === "conv" && layer.attributes.groups > 1 && layer.attributes.groups === layer.shape[0];

/** An operator's kind as text. @param {any} layer */
export function kind(layer) {
  const groups = layer.attributes.groups > 1 ? `, ${layer.attributes.groups} groups` : "";
  return depthwise(layer) ? "depthwise conv" : `${layer.kind.replaceAll("_", " ")}${groups}`;
}

/** An operator's kind with its window, stride and fused activation. @param {any} layer */
function words(layer) {
  const { kernel, stride } = layer.attributes;
  const window = kernel ? ` ${[].concat(kernel).join("×")}` : "";
  // A pool's default stride is its window.
  const steps = kernel && stride && String(stride) !== (layer.kind.endsWith("pool") ? String(kernel) : "1,1") ? ` / ${[...new Set([].concat(stride))].join("×")}` : "";
  return `${kind(layer)}${window}${steps}${layer.activation ? ` + ${layer.activation}` : ""}`;
}

/** @param {any} graph */
const chained = (graph) => graph.layers.every((/** @type {any} */ layer, /** @type {number} */ i) => layer.inputs.length === 1 && layer.inputs[0] === (i ? graph.layers[i - 1].output : graph.input));

/** @param {{graph: any}} properties */
export const Drawing = ({ graph }) => (chained(graph) ? html`<${Chain} graph=${graph} />` : html`<${Branches} graph=${graph} />`);

/** @param {{graph: any}} properties */
const Chain = ({ graph }) => html`<div class="flow" role="img" aria-label=${`Order of operators: ${graph.layers.map(words).join(", ")}`}>
  <span class="block">input<small>${graph.input_shape.join(" × ")}</small></span>${graph.layers.map((/** @type {any} */ layer) => html`<span class="arrow" aria-hidden="true">→</span>
    <span class="block" key=${layer.name} title=${layer.name} style=${{ "--fill": fill(layer.kind) }}>${words(layer)}<small>${layer.shape.join(" × ")}</small></span>`)}</div>`;

/**
 * Positions of all operators: the column after their inputs, in the row of the first input if it is free. An edge that skips columns gets a row that is
 * free in all of them.
 * @param {any} graph
 */
export function layout(graph) {
  /** @type {Map<string, {column: number, row: number}>} */
  const places = new Map([[graph.input, { column: 0, row: 0 }]]);
  /** Occupied rows, by column. @type {Set<number>[]} */
  const occupied = [new Set([0])];
  /** @param {number} from @param {number} to @param {number} wish */
  const free = (from, to, wish) => {
    const rows = [wish, ...Array.from({ length: 1000 }, (_, row) => row)];
    const row = rows.find((one) => Array.from({ length: to - from + 1 }, (_, i) => from + i).every((column) => !occupied[column]?.has(one))) ?? 1000;
    for (let column = from; column <= to; column += 1) (occupied[column] ??= new Set()).add(row);
    return row;
  };
  for (const layer of graph.layers) {
    const sources = layer.inputs.map((/** @type {string} */ name) => places.get(name) ?? { column: 0, row: 0 });
    const column = 1 + Math.max(...sources.map((/** @type {any} */ one) => one.column), 0);
    // Where branches meet, use the row in which they started.
    const wish = Math.min(...sources.map((/** @type {any} */ one) => one.row), 1000);
    places.set(layer.output, { column, row: free(column, column, wish) });
  }
  const edges = graph.layers.flatMap((/** @type {any} */ layer) => layer.inputs.map((/** @type {string} */ name) => {
    const [from, to] = [places.get(name) ?? { column: 0, row: 0 }, /** @type {any} */ (places.get(layer.output))];
    return { from, to, row: to.column - from.column > 1 ? free(from.column + 1, to.column - 1, from.row) : to.row };
  }));
  return { places, edges, columns: occupied.length, rows: 1 + Math.max(...occupied.flatMap((rows) => [...rows])) };
}

const [WIDE, HIGH, GAP, LINE] = [164, 40, 34, 16];

/** @param {{graph: any}} properties */
function Branches({ graph }) {
  const { places, edges, columns, rows } = layout(graph);
  const left = (/** @type {number} */ column) => 2 + column * (WIDE + GAP);
  const middle = (/** @type {number} */ row) => 2 + row * (HIGH + LINE) + HIGH / 2;
  const [width, height] = [columns * (WIDE + GAP) - GAP + 4, rows * (HIGH + LINE) - LINE + 4];
  const blocks = [{ output: graph.input, name: graph.input, kind: "", shape: graph.input_shape }, ...graph.layers];
  return html`<div class="scroll drawing" tabindex="0" role="group" aria-label="Drawing of the network"><svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img"
      aria-label=${`Operators and what each reads: ${graph.layers.map((/** @type {any} */ layer) => `${layer.name}, ${words(layer)}, from ${layer.inputs.join(" and ")}`).join("; ")}`}>
    ${edges.map((/** @type {any} */ edge, /** @type {number} */ i) => html`<path key=${i} d=${path(edge, left, middle)} fill="none" stroke="var(--dim)" stroke-width="1.4" />
      <path key=${`${i}/end`} d=${`M${left(edge.to.column) - 6} ${middle(edge.to.row) - 3.5}l6 3.5l-6 3.5z`} fill="var(--dim)" />`)}
    ${blocks.map((layer) => {
      const { column, row } = /** @type {any} */ (places.get(layer.output));
      const [x, y] = [left(column), middle(row) - HIGH / 2];
      return html`<g key=${layer.output}><title>${layer.kind ? `${layer.name}: ${words(layer)}` : layer.name}</title>
        <rect x=${x} y=${y} width=${WIDE} height=${HIGH} rx="5" fill="var(--card)" stroke="var(--line)" />
        <rect x=${x} y=${y} width="4" height=${HIGH} rx="2" fill=${layer.kind ? fill(layer.kind) : "var(--faint)"} />
        <text x=${x + 11} y=${y + 17} font-size="12" fill="var(--text)">${shortened(layer.kind ? words(layer) : "input", 24)}</text>
        <text x=${x + 11} y=${y + 32} font-size="11" fill="var(--dim)">${layer.shape.join(" × ")}</text></g>`;
    })}
  </svg></div>`;
}

/** The path from one block to another, along the edge's row. @param {any} edge @param {(column: number) => number} left @param {(row: number) => number} middle */
function path({ from, to, row }, left, middle) {
  const [begin, end] = [left(from.column) + WIDE, left(to.column) - 5];
  const [high, along, low] = [middle(from.row), middle(row), middle(to.row)];
  if (to.column - from.column === 1) return `M${begin} ${high}C${begin + GAP / 2} ${high} ${end - GAP / 2} ${low} ${end} ${low}`;
  const [first, last] = [left(from.column + 1), left(to.column) - GAP];
  return `M${begin} ${high}C${begin + GAP / 2} ${high} ${first - GAP / 2} ${along} ${first} ${along}H${last}C${last + GAP / 2} ${along} ${end - GAP / 2} ${low} ${end} ${low}`;
}

/** @param {string} text @param {number} room letters */
const shortened = (text, room) => (text.length <= room ? text : `${text.slice(0, room - 1)}…`);
