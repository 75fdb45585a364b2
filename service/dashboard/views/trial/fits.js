// The devices that the network fits: the server compares its measurements with each device's flash and RAM.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { bytes, show } from "../../lib/format.js";
import { returns } from "../../lib/live.js";
import { Card, Problem } from "../../parts/bits.js";

/** @param {any} properties */
export function Fits({ trial, experiment }) {
  const [devices, setDevices] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  useEffect(() => {
    get(`/experiments/${trial.experiment}/trials/${trial.index}/devices`).then((result) => (setDevices(result), setError(null)), setError);
  }, [trial.experiment, trial.index, trial.state, returns.value]);
  return html`<${Card} title="Devices it fits">
    <${Problem} error=${error} what="The list of devices" />
    ${devices?.length === 0 && html`<p class="dim">Its size and memory are not known yet.</p>`}
    ${devices && devices.length > 0 && html`<${DeviceTable} devices=${devices} target=${experiment.spec.target.device} />`}<//>`;
}

/** A network on each device, the target first. @param {{devices: any[], target: string}} properties */
export function DeviceTable({ devices, target }) {
  // The method is the same for all devices, except on cores whose latency is predicted.
  const basis = devices.find((one) => one.device === target)?.basis ?? devices[0]?.basis;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Devices"><table>
      <thead><tr><th scope="col">Device</th><th scope="col">Fits</th><th scope="col" class="number">Flash</th><th scope="col" class="number">RAM</th><th scope="col" class="number">Latency</th></tr></thead>
      <tbody>${devices.map((one) => html`<tr key=${one.device} class=${one.device === target ? "on" : ""}><th scope="row" title=${one.title}>${one.device}${one.device === target ? html` <span class="dim">(target)</span>` : ""}</th>
          <td class=${one.fits ? "good" : "bad"}>${one.fits ? "yes" : `no: ${Object.entries(one.over).map(([region, over]) => `${region} by ${bytes(/** @type {number} */ (over))}`).join(", ")}`}</td>
          <td class="number"><${Share} of=${one.flash} all=${one.flash_available} /></td><td class="number"><${Share} of=${one.ram} all=${one.ram_available} /></td>
          <td class="number" title=${one.basis}>${one.milliseconds === null ? "–" : show("latency", one.milliseconds)}</td></tr>`)}</tbody></table></div>
      <p class="dim small">${basis}.</p>`;
}

/** @param {{of: number, all: number}} properties */
const Share = ({ of, all }) => html`<span class=${of <= all ? "" : "bad"}>${(100 * of) / all < 0.1 ? "<0.1" : ((100 * of) / all).toFixed(1)} % of ${bytes(all)}</span>`;
