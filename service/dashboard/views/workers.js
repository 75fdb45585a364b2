// The workers: their states, devices, trials and heartbeats, and the button to drain one.
import { html, useEffect, useState } from "../lib/ui.js";
import { get, isAdmin, me, post } from "../lib/api.js";
import { ago, plural } from "../lib/format.js";
import { throttled, follow } from "../lib/live.js";
import { Clock, Problem } from "../parts/bits.js";

/** The style of each state. @type {Record<string, string>} */
const LOOKS = { "no heartbeat": "lost", draining: "infeasible", busy: "running", paused: "stopped", idle: "done" };

/** @param {any} worker */
const stateOf = (worker) =>
  !worker.alive ? "no heartbeat" : worker.draining ? "draining" : worker.trials.length ? "busy" : worker.pauses.length ? "paused" : "idle";

export function Workers() {
  const [workers, setWorkers] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const load = () => get("/workers").then((result) => (setWorkers(result), setError(null)), setError);
  useEffect(() => {
    const refresh = throttled(load, 1500);
    refresh();
    const timer = setInterval(refresh, 5000); // heartbeats cause no events
    const end = follow("/stream", { onEvent: refresh, onReturn: refresh });
    return () => {
      end();
      clearInterval(timer);
      refresh.cancel();
    };
  }, []);
  /** @param {any} worker */
  const drain = (worker) => post(`/workers/${encodeURIComponent(worker.name)}/drain`, { drain: !worker.draining }).then(load, setError);
  /** End the worker's pauses. @param {any} worker */
  const undo = (worker) => post(`/workers/${encodeURIComponent(worker.name)}/drain`, { drain: false }).then(load, setError);
  const alive = workers?.filter((worker) => worker.alive) ?? [];
  return html`<div class="view-head"><h1>Workers</h1>${workers && html`<span class="dim">${plural(alive.length, "worker")} alive, ${plural(alive.reduce((sum, worker) => sum + worker.slots, 0), "slot")}</span>`}</div>
    <${Problem} error=${error} what="Draining workers" />
    ${workers?.length === 0 && html`<div class="card empty"><h2>No workers yet</h2><p>Start one: <code>worker --cpu --server ${location.origin}</code>${me.value?.login ? html`, with a token of the scope worker in <code>SPARSEMOD_TOKEN</code>` : ""}</p></div>`}
    ${workers && workers.length > 0 && html`<div class="card scroll" tabindex="0" role="group" aria-label="Table of workers"><table>
      <thead><tr><th scope="col">Worker</th><th scope="col">State</th><th scope="col">Device</th><th scope="col" class="number">Slots</th><th scope="col">Runs</th>
        <th scope="col">Last heartbeat</th><th scope="col">First seen</th><th scope="col"><span class="dim">Drain</span></th></tr></thead>
      <tbody>${workers.map((worker) => html`<tr key=${worker.name}>
        <th scope="row">${worker.name}</th>
        <td><span class=${`state ${LOOKS[stateOf(worker)]}`}>${stateOf(worker)}</span>${worker.pauses.map((/** @type {any} */ pause) => html`<p class="bad small wrap" key=${pause.experiment}>${
          pause.experiment === null ? "" : html`<a href=${`#/experiments/${pause.experiment}`}>experiment ${pause.experiment}</a>: `}${pause.reason}</p>`)}</td>
        <td>${worker.device}</td><td class="number">${worker.slots}</td>
        <td>${worker.trials.length === 0 ? "–" : worker.trials.map((/** @type {number[]} */ [experiment, index], /** @type {number} */ place) =>
          html`${place > 0 && ", "}<a key=${`${experiment}/${index}`} href=${`#/experiments/${experiment}/trials/${index}`}>experiment ${experiment}, trial ${index}</a>`)}</td>
        <td><${Clock}>${(/** @type {number} */ now) => ago(worker.last_seen, now)}<//></td>
        <td><${Clock}>${(/** @type {number} */ now) => ago(worker.first_seen, now)}<//></td>
        <td>${worker.alive && isAdmin() && worker.pauses.length > 0 && !worker.draining && html`<button type="button" aria-label=${`Try again on ${worker.name}`} onClick=${() => undo(worker)}>Try again</button>`}
          ${worker.alive && isAdmin() && html`<button type="button" aria-label=${worker.draining ? `Undo draining ${worker.name}` : `Drain ${worker.name}`} onClick=${() => drain(worker)}>${worker.draining ? "Undo" : "Drain"}</button>`}</td>
      </tr>`)}</tbody></table></div>`}`;
}
