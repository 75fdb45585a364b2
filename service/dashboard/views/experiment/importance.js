// Which parameters matter to which metric; computed by the server beside its other work.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { phrase } from "../../lib/format.js";
import { returns } from "../../lib/live.js";
import { ask, asked } from "../../lib/route.js";
import { Card, Pick, Problem } from "../../parts/bits.js";

/** @param {any} properties */
export function Importance({ experiment }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  // Anew when a tenth more trials are there, and at the end.
  const step = Math.floor(Math.log(1 + (experiment.counts.completed ?? 0)) / Math.log(1.1));
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    let ended = false;
    const load = () => get(`/experiments/${experiment.id}/importance`).then((answer) => {
      if (ended) return;
      setError(null);
      if (answer.metrics || !found) setFound(answer);
      // A newer one is under way: while trials still come, the next step asks for it. Why there is none is soon no longer true.
      if (answer.computing || (answer.current === false && (experiment.state !== "running" || answer.reason))) timer = setTimeout(load, 3000);
    }, setError);
    load();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [experiment.id, step, experiment.state, returns.value]);
  const metrics = Object.keys(found?.metrics ?? {});
  const metric = metrics.includes(asked("imp")) ? asked("imp") : metrics[0];
  const shares = Object.entries(/** @type {Record<string, number>} */ (found?.metrics?.[metric] ?? {})).sort((a, b) => b[1] - a[1]).slice(0, 12);
  const most = Math.max(...shares.map(([, share]) => share), 1e-9);
  const fit = found?.accuracy?.[metric];
  const blind = found?.unexplained?.includes(metric);
  return html`<${Card} title="What matters" note=${fit === undefined || blind ? "" : `R² of the model ${fit.toFixed(2)}`}
    aside=${metrics.length > 1 && html`<${Pick} label="for" value=${metric} options=${metrics.map((name) => [name, phrase(name)])} onChange=${(/** @type {string} */ imp) => ask({ imp })} />`}>
    <${Problem} error=${error} what="Parameter importance" />
    ${!found && !error && html`<p class="dim" role="status">Asking…</p>`}
    ${found && shares.length === 0 && html`<p class="dim" role="status">${
      (experiment.counts.completed ?? 0) === 0 ? "It begins with completed trials." : found.reason && found.current !== false ? found.reason : "The completed trials are being looked at…"}</p>`}
    ${shares.length > 0 && blind && html`<p class="dim">The model of ${found.trials} trials does not explain ${phrase(metric)} yet: it predicts trials that it has not seen no better than their mean does (R² ${fit.toFixed(2)}).</p>`}
    ${shares.length > 0 && !blind && html`<div class="bars" role="list">${shares.map(([name, share]) => html`<span role="listitem" style="display: contents" key=${name}>
      <span>${name}</span><span class="bar"><i style=${{ width: `${(100 * Math.max(share, 0)) / most}%` }}></i></span><span class="number">${(100 * share).toFixed(0)} %</span></span>`)}</div>
      <p class="dim small">Share of the metric's variance over the search space in which the parameter takes part, alone or with others${found.trials ? `; from ${found.trials} trials` : ""}.</p>`}
  <//>`;
}
