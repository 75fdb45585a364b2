// Which devices the network fits: flash for its weights, RAM for what is alive while it runs.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { bytes } from "../../lib/format.js";
import { Card, Problem } from "../../parts/bits.js";
import { value } from "../experiment/trials.js";

/** @param {any} properties */
export function Fits({ trial, experiment }) {
  const [devices, setDevices] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  useEffect(() => {
    get("/catalogue").then((found) => setDevices(found.devices), setError);
  }, []);
  const size = value(trial, "model_size");
  const memory = value(trial, "working_memory");
  const Share = (/** @type {any} */ { of, all, what }) => html`<span class=${of <= all ? "" : "bad"}>${(100 * of) / all < 0.1 ? "<0.1" : ((100 * of) / all).toFixed(1)} % of ${bytes(all)} ${what}</span>`;
  return html`<${Card} title="Devices it fits">
    <${Problem} error=${error} what="The list of devices" />
    ${size === undefined || memory === undefined ? html`<p class="dim">Its size and memory are not known yet.</p>` : devices && html`<div class="scroll" tabindex="0" role="group" aria-label="Devices"><table>
      <thead><tr><th scope="col">Device</th><th scope="col">Fits</th><th scope="col" class="number">Flash</th><th scope="col" class="number">RAM</th></tr></thead>
      <tbody>${devices.map((device) => {
        const fits = size <= device.flash && memory <= device.ram;
        return html`<tr key=${device.name} class=${device.name === experiment.spec.target.device ? "on" : ""}><th scope="row">${device.name}${device.name === experiment.spec.target.device ? html` <span class="dim">(target)</span>` : ""}</th>
          <td class=${fits ? "good" : "bad"}>${fits ? "yes" : "no"}</td><td class="number"><${Share} of=${size} all=${device.flash} what="" /></td><td class="number"><${Share} of=${memory} all=${device.ram} what="" /></td></tr>`;
      })}</tbody></table></div>
      <p class="dim small">Weights and activations only: the program around the network needs room of its own.</p>`}<//>`;
}
