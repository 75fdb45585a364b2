// The deployed network: its operators with parameters, multiply-adds and memory, and the live memory while each runs.
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { bytes, count, plural, show } from "../../lib/format.js";
import { returns } from "../../lib/live.js";
import { Card, Problem } from "../../parts/bits.js";
import { Drawing, fill, kind } from "./drawing.js";

/** @param {any} properties */
export function Network({ id, index, experiment, trial }) {
  const [graph, setGraph] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    let ended = false;
    let tries = 0;
    const load = () => get(`/experiments/${id}/trials/${index}/graph`).then((result) => {
      if (ended) return;
      setError(null);
      if (result.computing) timer = setTimeout(load, Math.min(500 * 1.3 ** (tries += 1), 4000));
      else setGraph(result);
    }, (problem) => ended || setError(problem));
    load();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [id, index, returns.value]);
  const arena = trial.measurements.find((/** @type {any} */ m) => m.metric === "working_memory");
  const kernels = trial.measurements.find((/** @type {any} */ m) => m.metric === "instructions")?.detail?.kernels;
  return html`<${Card} title="Network" wide note=${graph ? `as deployed: ${plural(graph.layers.length, "operator")}, ${count(graph.parameters)} parameters with biases, ${count(graph.macs)} multiply-adds, ${bytes(graph.bytes)} of weights when stored densely` : ""}>
    <${Problem} error=${error} what="The network's graph" />
    ${!graph && !error && html`<p class="dim" role="status">The network is being captured…</p>`}
    ${graph && html`<${Drawing} graph=${graph} /><${Layers} graph=${graph} kernels=${kernels} />
      <h3>Memory while it runs <span class="dim small">peak ${bytes(graph.peak_bytes)} of inputs and outputs</span></h3><${Memory} graph=${graph} limit=${experiment.budgets.working_memory ?? experiment.budgets.ram} />
      ${arena && arena.value !== graph.peak_bytes && html`<p class="dim small">The working memory of ${bytes(arena.value)}, by contrast: ${arena.method}.</p>`}`}<//>`;
}

/** @param {{graph: any, kernels: Record<string, string> | undefined}} properties */
function Layers({ graph, kernels }) {
  /** @param {string} name */
  const most = (name) => Math.max(1, ...graph.layers.map((/** @type {any} */ layer) => layer[name]));
  const [macs, size, output] = [most("macs"), most("bytes"), most("output_bytes")];
  const Meter = (/** @type {any} */ { share }) => html`<span class="meter" aria-hidden="true"><i style=${{ width: `${100 * share}%` }}></i></span>`;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Table of operators"><table class="layers">
    <thead><tr><th scope="col">Operator</th><th scope="col">Kind</th><th scope="col">From</th><th scope="col">Output</th><th scope="col" class="number">Parameters</th><th scope="col" class="number">Multiply-adds</th><th scope="col" class="number">Weights</th><th scope="col" class="number">Output memory</th>${kernels && html`<th scope="col">C kernel</th>`}</tr></thead>
    <tbody>${graph.layers.map((/** @type {any} */ layer) => html`<tr key=${layer.name}><th scope="row"><span class="layer-mark" style=${{ "--fill": fill(layer.kind) }}></span>${layer.name}</th>
      <td>${kind(layer)}${layer.activation ? ` + ${layer.activation}` : ""}</td><td class="dim">${layer.inputs.join(", ")}</td><td>${layer.shape.join(" × ")}</td>
      <td class="number">${layer.parameters ? count(layer.parameters) : "–"}</td>
      <td class="number">${layer.macs ? html`${count(layer.macs)}<${Meter} share=${layer.macs / macs} />` : "–"}</td>
      <td class="number">${layer.bytes ? html`${bytes(layer.bytes)}<${Meter} share=${layer.bytes / size} />` : "–"}</td>
      <td class="number">${bytes(layer.output_bytes)}<${Meter} share=${layer.output_bytes / output} /></td>
      ${kernels && html`<td class="dim">${kernels[layer.name] ?? "–"}</td>`}</tr>`)}</tbody></table></div>`;
}

/** An element's width in pixels; 0 before it is rendered. @returns {[{current: any}, number]} */
function useWidth() {
  const place = useRef(/** @type {any} */ (null));
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!place.current) return undefined;
    const observer = new ResizeObserver(() => setWidth(place.current?.clientWidth ?? 0));
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return [place, width];
}

/** Bars of the live memory at each operator; the chart scrolls when the bars would be too narrow. @param {{graph: any, limit: number | undefined}} properties */
function Memory({ graph, limit }) {
  const [place, room] = useWidth();
  const { timeline, peak_bytes: peak } = graph;
  const high = Math.max(peak, limit !== undefined && limit < 1.5 * peak ? limit : 0) * 1.12 || 1;
  const [width, height] = [Math.max(room, 64 * timeline.length), 150];
  const step = width / Math.max(timeline.length, 1);
  const top = (/** @type {number} */ value) => height - (value / high) * height;
  return html`<div class="scroll" ref=${place} tabindex="0" role="group" aria-label="Memory timeline"><svg width=${width} height=${height + 40} viewBox=${`0 -14 ${width} ${height + 40}`} style=${{ display: "block" }} role="img"
      aria-label=${`Memory while each operator runs; the peak is ${show("memory", peak)} at ${timeline.find((/** @type {any} */ moment) => moment.bytes === peak)?.operator ?? "the start"}`}>
    <line x1="0" x2=${width} y1=${top(peak)} y2=${top(peak)} stroke="var(--accent)" stroke-dasharray="4 4" opacity=".6" />
    ${timeline.map((/** @type {any} */ moment, /** @type {number} */ i) => {
      let below = 0;
      return html`<g key=${i}><title>${`${moment.operator}: ${bytes(moment.bytes)} – ${Object.entries(moment.tensors).map(([name, size]) => `${name} ${bytes(/** @type {number} */ (size))}`).join(", ")}`}</title>
        ${Object.entries(moment.tensors).map(([name, size], place) => {
          const y = top(below + Number(size));
          const bar = html`<rect key=${name} x=${i * step + step * 0.12} y=${y} width=${step * 0.76} height=${Math.max(0, top(below) - y - 1)} rx="2" fill=${moment.bytes === peak ? "var(--accent)" : "var(--c1)"} opacity=${1 - 0.3 * (place % 3)} />`;
          below += Number(size);
          return bar;
        })}
        <text x=${i * step + step / 2} y=${top(moment.bytes) - 4} font-size="11" stroke="var(--card)" stroke-width="3" paint-order="stroke" text-anchor="middle" fill="var(--dim)">${bytes(moment.bytes)}</text>
        <text x=${i * step + step / 2} y=${height + 16} font-size="11" text-anchor="middle" fill="var(--dim)">${shortened(moment.operator, Math.floor(step / 6.5))}</text></g>`;
    })}
    ${limit !== undefined && limit <= high && html`<line x1="0" x2=${width} y1=${top(limit)} y2=${top(limit)} stroke="var(--bad)" stroke-dasharray="4 4" /><text x=${width} y=${top(limit) - 4} text-anchor="end" font-size="11" fill="var(--bad)">budget ${bytes(limit)}</text>`}
  </svg></div>`;
}

/** The end of a name, which is its most specific part. @param {string} name @param {number} room */
const shortened = (name, room) => (name.length <= room ? name : `…${name.slice(1 - room).replace(/^[._]+/, "")}`);
