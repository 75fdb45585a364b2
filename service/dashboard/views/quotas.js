// The quotas of the user: what is used, and the limits.
import { html, useEffect, useState } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { bytes, count } from "../lib/format.js";
import { returns } from "../lib/live.js";
import { Problem } from "../parts/bits.js";

/** What each quota limits. @type {Record<string, [string, string]>} */
const NAMES = {
  disk: ["Disk", "files of experiments and models"],
  uploads: ["Uploads", "uploaded models"],
  experiments: ["Experiments", "stored experiments"],
  streams: ["Streams", "open pages and clients that follow events"],
};

/** @param {{unit: string}} quota @param {number} amount */
const shown = (quota, amount) => (quota.unit === "B" ? bytes(amount) : count(amount));

export function Quotas() {
  const [view, setView] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  useEffect(() => {
    const load = () => get("/quota").then((result) => (setView(result), setError(null)), setError);
    load();
    const timer = setInterval(load, 5000);
    return () => clearInterval(timer);
  }, [returns.value]);
  return html`<div class="view-head"><h1>Quotas</h1>${view?.owner && html`<span class="dim">of ${view.owner}</span>`}</div>
    <${Problem} error=${error} what="The list of quotas" />
    ${!view && !error && html`<p class="dim" role="status">Loading…</p>`}
    ${view && html`<div class="card scroll" tabindex="0" role="group" aria-label="Table of quotas"><table>
      <thead><tr><th scope="col">Quota</th><th scope="col" class="number">Used</th><th scope="col" class="number">Limit</th><th scope="col">Share</th><th scope="col">Counts</th></tr></thead>
      <tbody>${view.quotas.map((/** @type {any} */ quota) => {
        const [name, what] = NAMES[quota.quota] ?? [quota.quota, quota.unit];
        return html`<tr key=${quota.quota}><th scope="row">${name}</th><td class="number">${shown(quota, quota.used)}</td>
          <td class="number">${quota.limit === null ? "none" : shown(quota, quota.limit)}</td><td><${Share} quota=${quota} /></td><td>${what}</td></tr>`;
      })}</tbody></table></div>
      <p class="dim small">The settings of the server set the limits. At a limit, the server refuses what would exceed it. When the disk quota is used up, running experiments are paused.</p>`}`;
}

/** The used share of a limit, as a number and a bar. @param {{quota: any}} properties */
function Share({ quota }) {
  if (!quota.limit) return html`<span class="dim">–</span>`;
  const share = quota.used / quota.limit;
  return html`<span class=${share >= 0.9 ? "bad" : ""}>${Math.floor(100 * share)} %</span>
    <span class="meter" aria-hidden="true"><i style=${{ width: `${Math.min(100, 100 * share)}%` }}></i></span>`;
}
