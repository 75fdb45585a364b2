// Importance of the parameters for each metric, computed by the server in the background.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { phrase } from "../../lib/format.js";
import { returns } from "../../lib/live.js";
import { setQuery, queryValue } from "../../lib/route.js";
import { Card, Pick, Problem } from "../../parts/bits.js";

/** @param {any} properties */
export function Importance({ experiment }) {
  const [result, setResult] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  // Load again when the completed trials have grown by a tenth, and at the end.
  const step = Math.floor(Math.log(1 + (experiment.counts.completed ?? 0)) / Math.log(1.1));
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    let ended = false;
    const load = () => get(`/experiments/${experiment.id}/importance`).then((answer) => {
      if (ended) return;
      setError(null);
      if (answer.metrics || !result) setResult(answer);
      // The server computes a newer result. While the experiment runs, the next step requests it; a reason for no result is outdated soon.
      if (answer.computing || (answer.current === false && (experiment.state !== "running" || answer.reason))) timer = setTimeout(load, 3000);
    }, setError);
    load();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [experiment.id, step, experiment.state, returns.value]);
  const metrics = Object.keys(result?.metrics ?? {});
  const metric = metrics.includes(queryValue("imp")) ? queryValue("imp") : metrics[0];
  const shares = Object.entries(/** @type {Record<string, number>} */ (result?.metrics?.[metric] ?? {})).sort((a, b) => b[1] - a[1]).slice(0, 12);
  const most = Math.max(...shares.map(([, share]) => share), 1e-9);
  const fit = result?.accuracy?.[metric];
  const blind = result?.unexplained?.includes(metric);
  return html`<${Card} title="Parameter importance" note=${fit === undefined || blind ? "" : `R² of the model ${fit.toFixed(2)}`}
    aside=${metrics.length > 1 && html`<${Pick} label="for" value=${metric} options=${metrics.map((name) => [name, phrase(name)])} onChange=${(/** @type {string} */ imp) => setQuery({ imp })} />`}>
    <${Problem} error=${error} what="Parameter importance" />
    ${!result && !error && html`<p class="dim" role="status">Loading…</p>`}
    ${result && shares.length === 0 && html`<p class="dim" role="status">${
      (experiment.counts.completed ?? 0) === 0 ? "Shown after the first completed trials." : result.reason && result.current !== false ? result.reason : "Analysing the completed trials…"}</p>`}
    ${shares.length > 0 && blind && html`<p class="dim">The model of ${result.trials} trials does not explain ${phrase(metric)} yet: it predicts unseen trials no better than their mean does (R² ${fit.toFixed(2)}).</p>`}
    ${shares.length > 0 && !blind && html`<div class="bars" role="list">${shares.map(([name, share]) => html`<span role="listitem" style="display: contents" key=${name}>
      <span>${name}</span><span class="bar"><i style=${{ width: `${(100 * Math.max(share, 0)) / most}%` }}></i></span><span class="number">${(100 * share).toFixed(0)} %</span></span>`)}</div>
      <p class="dim small">Share of the metric's variance over the search space that involves the parameter, alone or with others${result.trials ? `; from ${result.trials} trials` : ""}.</p>`}
  <//>`;
}
