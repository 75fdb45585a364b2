// Candidates that were trained more than once: mean and spread over their trials. Hidden when there are none.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { show, title } from "../../lib/format.js";
import { throttled, returns } from "../../lib/live.js";
import { Card, Problem } from "../../parts/bits.js";

const PAGE = 25;

/** @param {any} properties */
export function Repetitions({ experiment, version }) {
  const [offset, setOffset] = useState(0);
  const [page, setPage] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [refresh] = useState(() => ({ call: /** @type {any} */ (null) }));
  useEffect(() => {
    const abort = new AbortController();
    refresh.call = throttled(() => get(`/experiments/${experiment.id}/repetitions?limit=${PAGE}&offset=${offset}`, abort.signal).then((result) => {
      setError(null);
      setPage(result);
    }, (problem) => abort.signal.aborted || setError(problem)), 5000);
    refresh.call();
    return () => {
      refresh.call.cancel();
      abort.abort();
    };
  }, [experiment.id, offset]);
  useEffect(() => refresh.call?.(), [version, returns.value]);
  if (!page || page.total === 0) return html`<${Problem} error=${error} />`;
  const names = [...new Set(page.items.flatMap((/** @type {any} */ group) => Object.keys(group.parameters)))];
  const varied = names.filter((name) => new Set(page.items.map((/** @type {any} */ group) => String(group.parameters[name]))).size > 1);
  const metrics = experiment.objectives;
  return html`<${Card} title="Repetitions" wide id="repetitions" note="mean ± standard deviation over trials of equal parameters"
    aside=${html`<a class="small" href=${`experiments/${experiment.id}/repetitions?format=csv`} download>CSV</a>`}>
    <${Problem} error=${error} />
    <div class="scroll" tabindex="0" role="group" aria-label="Table of repetitions"><table>
      <thead><tr><th scope="col">Trials</th>${varied.map((name) => html`<th scope="col" key=${name}>${title(name)}</th>`)}${metrics.map((/** @type {string} */ name) => html`<th scope="col" class="number" key=${name}>${title(name)}</th>`)}</tr></thead>
      <tbody>${page.items.map((/** @type {any} */ group) => html`<tr key=${group.trials[0]}>
        <td>${group.trials.slice(0, 8).map((/** @type {number} */ index, /** @type {number} */ i) => html`${i ? ", " : ""}<a href=${`#/experiments/${experiment.id}/trials/${index}`}>${index}</a>`)}${group.trials.length > 8 ? `, … (${group.trials.length})` : ""}</td>
        ${varied.map((name) => html`<td key=${name}>${show("", group.parameters[name])}</td>`)}
        ${metrics.map((/** @type {string} */ name) => html`<td class="number" key=${name}>${words(name, group.metrics[name])}</td>`)}</tr>`)}
      </tbody></table></div>
    ${page.total > PAGE && html`<nav class="pages" aria-label="Pages of repetitions"><button type="button" disabled=${offset === 0} onClick=${() => setOffset(Math.max(0, offset - PAGE))}>Previous</button>
      <span class="dim">${offset + 1}–${Math.min(offset + PAGE, page.total)} of ${page.total}</span>
      <button type="button" disabled=${offset + PAGE >= page.total} onClick=${() => setOffset(offset + PAGE)}>Next</button></nav>`}
  <//>`;
}

/** @param {string} metric @param {{mean: number, deviation: number} | undefined} spread */
const words = (metric, spread) => (spread ? `${show(metric, spread.mean)} ± ${show(metric, spread.deviation)}` : "–");
