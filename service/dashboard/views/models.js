// Uploaded models: the form to upload one, and the list.
import { html, useEffect, useState } from "../lib/ui.js";
import { get, mayChange, request } from "../lib/api.js";
import { ago, bytes, plural, show } from "../lib/format.js";
import { returns } from "../lib/live.js";
import { go } from "../lib/route.js";
import { Card, Clock, Problem } from "../parts/bits.js";

/** The states of models as the styles of experiments' states. @type {Record<string, string>} */
const LOOKS = { queued: "", running: "running", done: "done", failed: "failed" };

/** @param {{state: string}} properties */
export const ModelState = ({ state }) => html`<span class=${`state ${LOOKS[state] ?? ""}`}>${state === "running" ? "measuring" : state}</span>`;

/** The value of a metric in a model's report, as text. @param {any} model @param {string} metric */
const cost = (model, metric) => show(metric, model.report?.measurements.find((/** @type {any} */ one) => one.metric === metric)?.value);

export function Models() {
  const [models, setModels] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  useEffect(() => {
    const load = () => get("/models").then((result) => (setModels(result), setError(null)), setError);
    load();
    const timer = setInterval(load, 3000);
    return () => clearInterval(timer);
  }, [returns.value]);
  return html`<div class="view-head"><h1>Models</h1>${models && html`<span class="dim">${plural(models.length, "model")}</span>`}</div>
    <${Problem} error=${error} what="The list of models" />
    ${mayChange() && html`<${Upload} />`}
    ${models?.length === 0 && html`<div class="card empty below"><h2>No models yet</h2><p>Upload a trained network to see its costs layer by layer, and to start a search from it.</p></div>`}
    ${models && models.length > 0 && html`<div class="card scroll below" tabindex="0" role="group" aria-label="Table of models"><table>
      <thead><tr><th scope="col">Model</th><th scope="col">State</th><th scope="col">Format</th><th scope="col">Device</th><th scope="col" class="number">Flash</th><th scope="col" class="number">RAM</th>
        <th scope="col" class="number">Latency</th><th scope="col" class="number">File</th><th scope="col">Uploaded</th></tr></thead>
      <tbody>${models.map((model) => html`<tr key=${model.id}><th scope="row"><a href=${`#/models/${model.id}`}>${model.name}</a></th>
        <td><${ModelState} state=${model.state} /></td><td>${model.report?.format ?? "–"}</td><td>${model.device}</td>
        <td class="number">${cost(model, "flash")}</td><td class="number">${cost(model, "ram")}</td><td class="number">${cost(model, "latency")}</td>
        <td class="number">${bytes(model.size)}</td><td><${Clock}>${(/** @type {number} */ now) => ago(model.created_at, now)}<//></td></tr>`)}</tbody></table></div>`}`;
}

function Upload() {
  const [file, setFile] = useState(/** @type {File | null} */ (null));
  const [device, setDevice] = useState("stm32f446");
  const [devices, setDevices] = useState(/** @type {any[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    get("/catalogue").then((result) => setDevices(result.devices), () => setDevices([]));
  }, []);
  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    if (!file) return;
    setBusy(true);
    setError(null);
    try {
      const query = new URLSearchParams({ name: file.name, device });
      const model = await request(`/models?${query}`, { method: "POST", file });
      go(`#/models/${model.id}`);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return html`<${Card} title="Upload a model" note=".onnx or .tflite, float or int8; or .pt2 of torch.export without example inputs. At most 64 MB.">
    <form onSubmit=${send}>
      <div class="fields three">
        <label class="field"><span>File</span><input type="file" accept=".onnx,.tflite,.pt2" required onChange=${(/** @type {any} */ event) => setFile(event.target.files[0] ?? null)} /></label>
        <label class="field"><span>Device</span><select value=${device} onChange=${(/** @type {any} */ event) => setDevice(event.target.value)}>
          ${(devices.length ? devices : [{ name: device, title: device }]).map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}</select></label>
        <div class="buttons"><button type="submit" class="main" disabled=${busy || !file}>${busy ? "Uploading…" : "Upload and measure"}</button></div>
      </div>
      <${Problem} error=${error} />
    </form><//>`;
}
