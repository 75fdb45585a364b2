// All trials, sorted, filtered and paged by the server.
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { ago, show, title } from "../../lib/format.js";
import { throttled, returns } from "../../lib/live.js";
import { roundName } from "../../lib/rounds.js";
import { setQuery, queryValue, offset as place } from "../../lib/route.js";
import { Card, Clock, Kept, Pick, Problem, State } from "../../parts/bits.js";

const PAGE = 25;

/** @param {any} properties */
export function Trials({ experiment, columns, version, picked }) {
  const [page, setPage] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const sort = queryValue("sort", "index");
  const order = queryValue("order", sort === "index" ? "desc" : "asc");
  const offset = place();
  const filters = { state: queryValue("state"), round: queryValue("round"), origin: queryValue("origin") };
  const query = new URLSearchParams({ sort, order, limit: String(PAGE), offset: String(offset), ...Object.fromEntries(Object.entries(filters).filter(([, value]) => value)) }).toString();
  // A page of trials is large compared with an event, so load it less often when there are many trials.
  const size = useRef(0);
  size.current = page?.total ?? 0;
  const [refresh] = useState(() => ({ call: /** @type {any} */ (null) }));
  useEffect(() => {
    const abort = new AbortController();
    refresh.call = throttled(() => get(`/experiments/${experiment.id}/trials?${query}`, abort.signal).then((result) => {
      setError(null);
      // An old link may point beyond the last page: show the last one.
      if (result.total > 0 && offset >= result.total) setQuery({ offset: PAGE * Math.floor((result.total - 1) / PAGE) || null });
      else setPage(result);
    }, (problem) => abort.signal.aborted || setError(problem)), () => (size.current > 500 ? 15000 : 4000));
    refresh.call();
    return () => {
      refresh.call.cancel();
      abort.abort();
    };
  }, [experiment.id, query]);
  useEffect(() => refresh.call?.(), [version, returns.value]);
  const metrics = [...new Set([...experiment.objectives, ...Object.keys(experiment.spec.budgets), "macs"])];
  /** @param {string} name */
  const by = (name) => setQuery({ sort: name, order: sort === name && order === "asc" ? "desc" : "asc", offset: null });
  const Head = (/** @type {any} */ { name, number }) => html`<th scope="col" class=${number ? "number" : ""} aria-sort=${sort === name ? (order === "asc" ? "ascending" : "descending") : undefined}>
    <button type="button" onClick=${() => by(name)}>${title(name)}<span aria-hidden="true">${sort === name ? (order === "asc" ? " ↑" : " ↓") : ""}</span></button></th>`;
  return html`<${Card} title="Trials" wide id="trials" note=${page ? (Object.values(filters).some(Boolean) ? `${page.total} matching` : String(page.total)) : ""}
    aside=${html`<span class="small"><a href=${`./experiments/${experiment.id}/trials?format=csv`} download>CSV of all</a> · <a href=${`./pareto/${experiment.id}?format=csv`} download>CSV of the front</a></span>`}>
    <div class="controls">
      <${Pick} label="State" value=${filters.state} options=${[["", "any"], "queued", "running", "completed", "infeasible", "failed", "stopped"]} onChange=${(/** @type {string} */ state) => setQuery({ state, offset: null })} />
      <${Pick} label="Round" value=${filters.round} options=${[["", "any"], ...Object.keys(experiment.rounds).map((name) => [name, roundName(experiment, name)])]} onChange=${(/** @type {string} */ round) => setQuery({ round, offset: null })} />
      <${Pick} label="Origin" value=${filters.origin} options=${[["", "any"], ...new Set(columns.rows.map((/** @type {any} */ row) => row.origin))]} onChange=${(/** @type {string} */ origin) => setQuery({ origin, offset: null })} />
    </div>
    <${Problem} error=${error} />
    ${page && page.total === 0 && html`<p class="dim">${Object.values(filters).some(Boolean) ? "No matching trials." : "No trials yet: the first ones are being chosen."}</p>`}
    ${page && page.total > 0 && html`<div class="scroll" tabindex="0" role="group" aria-label="Table of trials"><table>
      <thead><tr><${Head} name="index" /><${Head} name="state" /><${Head} name="round" /><${Head} name="origin" />${metrics.map((name) => html`<${Head} key=${name} name=${name} number />`)}<${Head} name="trained_epochs" number /><${Head} name="finished_at" /></tr></thead>
      <tbody>${page.items.map((/** @type {any} */ trial) => html`<tr key=${trial.index} class=${picked?.index === trial.index ? "on" : ""}>
        <td><a href=${`#/experiments/${experiment.id}/trials/${trial.index}`}>${trial.index}</a></td><td><${State} state=${trial.state} />${trial.kept && html` <${Kept} />`}</td>
        <td>${trial.candidate.round}</td><td>${trial.candidate.origin}${trial.candidate.parent === null ? "" : html`<span class="dim"> of ${trial.candidate.parent}</span>`}</td>
        ${metrics.map((name) => html`<td class="number" key=${name}>${show(name, value(trial, name))}</td>`)}
        <td class="number">${trial.trained_epochs ? show("", trial.trained_epochs) : "–"}</td><td><${Clock}>${(/** @type {number} */ now) => ago(trial.finished_at, now)}<//></td></tr>`)}
      </tbody></table></div>
      <nav class="pages" aria-label="Pages of trials"><button type="button" disabled=${offset === 0} onClick=${() => setQuery({ offset: Math.max(0, offset - PAGE) || null })}>Previous</button>
        <span class="dim">${offset + 1}–${Math.min(offset + PAGE, page.total)} of ${page.total}</span>
        <button type="button" disabled=${offset + PAGE >= page.total} onClick=${() => setQuery({ offset: offset + PAGE })}>Next</button></nav>`}
  <//>`;
}

/** The measured value, else the cost known before training. @param {any} trial @param {string} metric */
export const value = (trial, metric) =>
  trial.measurements.find((/** @type {any} */ m) => m.metric === metric && m.split !== "test")?.value ?? trial.costs[metric];
