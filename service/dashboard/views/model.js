// One uploaded model: its costs layer by layer, the devices that it fits, and the search that starts from it.
import { html, useEffect, useState } from "../lib/ui.js";
import { get, mayChange, request, requestKey } from "../lib/api.js";
import { bytes, count, plural, show, title } from "../lib/format.js";
import { returns } from "../lib/live.js";
import { go } from "../lib/route.js";
import { Card, Dialog, Problem } from "../parts/bits.js";
import { ModelState } from "./models.js";
import { DeviceTable } from "./trial/fits.js";

/** The costs in the head of the page. */
const COSTS = ["flash", "ram", "latency", "energy", "instructions", "macs", "parameters"];

/** @param {{id: number}} properties */
export function Model({ id }) {
  const [model, setModel] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [deleting, setDeleting] = useState(false);
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    let ended = false;
    const load = () => get(`/models/${id}`).then((result) => {
      if (ended) return;
      setModel(result);
      setError(null);
      if (result.state === "queued" || result.state === "running") timer = setTimeout(load, 700);
    }, (problem) => ended || setError(problem));
    load();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [id, returns.value]);
  const report = model?.report;
  return html`<div class="view-head"><h1>${model?.name ?? `Model ${id}`}</h1>${model && html`<${ModelState} state=${model.state} />`}
      ${report && html`<span class="dim">${report.format}, ${report.shape.join(" × ")} in, ${report.outputs.join(" × ")} out, for ${report.device}</span>`}
      <span class="grow"></span><div class="actions"><a class="button" href="#/models">All models</a>
        ${model && html`<a class="button" href=${`./artifacts/${model.digest}`} download=${model.name}>Download</a>`}
        ${model && mayChange(model.owner) && html`<button type="button" class="danger" onClick=${() => setDeleting(true)}>Delete</button>`}</div></div>
    <${Problem} error=${error} what="The model" />
    ${deleting && html`<${Delete} model=${model} onClose=${() => setDeleting(false)} />`}
    ${model?.failure && html`<${Problem} error=${{ message: model.failure }} />`}
    ${model && !report && !model.failure && html`<p class="dim" role="status">The model is being read and measured…</p>`}
    ${report && html`<div class="grid">
      <${Card} title="Costs" wide><dl class="figures">${COSTS.map((metric) => {
        const one = report.measurements.find((/** @type {any} */ m) => m.metric === metric);
        return one && html`<div class="figure" key=${metric} title=${one.method}><dt>${title(metric)}</dt><dd>${show(metric, one.value)}</dd></div>`;
      })}</dl>
        ${report.notes.map((/** @type {string} */ note) => html`<p class="dim small" key=${note}>${note}</p>`)}
        <p class="dim small">${report.measurements.find((/** @type {any} */ m) => m.metric === "flash")?.method}</p><//>
      <${Card} title="Layers" wide note=${`${plural(report.layers.length, "layer")}; instructions: ${report.layer_method}`}><${Layers} layers=${report.layers} /><//>
      <${Card} title="Devices it fits"><${DeviceTable} devices=${report.fits} target=${report.device} /><//>
      ${mayChange() && html`<${Start} model=${model} />`}
    </div>`}`;
}

/** @param {{layers: any[]}} properties */
function Layers({ layers }) {
  /** @param {string} name */
  const most = (name) => Math.max(1, ...layers.map((layer) => layer[name]));
  const [macs, size, memory, instructions] = ["macs", "bytes", "memory", "instructions"].map(most);
  const Meter = (/** @type {any} */ { share }) => html`<span class="meter" aria-hidden="true"><i style=${{ width: `${100 * share}%` }}></i></span>`;
  /** A number with its share of the largest one; a dash for 0. @param {number} value @param {number} largest @param {(value: number) => string} text */
  const cell = (value, largest, text) => html`<td class="number">${value ? html`${text(value)}<${Meter} share=${value / largest} />` : "–"}</td>`;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Table of layers"><table class="layers">
    <thead><tr><th scope="col">Layer</th><th scope="col">Kind</th><th scope="col">Output</th><th scope="col" class="number">Weights</th><th scope="col" class="number">Multiply-adds</th>
      <th scope="col" class="number">Bytes</th><th scope="col" class="number">Working memory</th><th scope="col" class="number">Instructions</th><th scope="col" class="number">Time</th></tr></thead>
    <tbody>${layers.map((layer) => html`<tr key=${layer.name}><th scope="row">${layer.name}</th><td>${layer.kind.replaceAll("_", " ")}</td><td>${layer.output.join(" × ")}</td>
      <td class="number">${layer.weights ? count(layer.weights) : "–"}</td>${cell(layer.macs, macs, count)}${cell(layer.bytes, size, bytes)}${cell(layer.memory, memory, bytes)}
      ${cell(layer.instructions, instructions, count)}<td class="number">${layer.milliseconds ? show("latency", layer.milliseconds) : "–"}</td></tr>`)}</tbody></table></div>`;
}

/** The search that starts from the model's weights. @param {{model: any}} properties */
function Start({ model }) {
  const [form, setForm] = useState({ dataset: "", path: "", budgets: "", methods: "magnitude, filters, alds", trials: 20, epochs: 5 });
  const [datasets, setDatasets] = useState(/** @type {any[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const [key] = useState(requestKey);
  useEffect(() => {
    get("/catalogue").then((result) => {
      setDatasets(result.datasets);
      const fitting = result.datasets.find((/** @type {any} */ one) => String(one.shape) === String(model.report.shape));
      setForm((form) => ({ ...form, dataset: form.dataset || (fitting?.name ?? "npz") }));
    }, setError);
  }, []);
  if (!model.report.trainable) {
    return html`<${Card} title="Start a search"><p class="dim">This is an int8 model. A search trains on the weights: upload the float model.</p><//>`;
  }
  /** @param {string} name */
  const field = (name) => ({ value: /** @type {any} */ (form)[name], onInput: (/** @type {any} */ event) => setForm({ ...form, [name]: event.target.value }) });
  /** @param {string} text */
  const words = (text) => text.split(/[,\n]/).map((part) => part.trim()).filter(Boolean);
  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    const options = form.dataset === "npz" ? { path: form.path, normalization: "none" } : {};
    const json = { dataset: { name: form.dataset, options }, budgets: words(form.budgets), methods: words(form.methods), trials: Number(form.trials), epochs: Number(form.epochs) };
    try {
      const made = await request(`/models/${model.id}/experiments`, { json, key });
      go(`#/experiments/${made.id}`);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return html`<${Card} title="Start a search" note="Every network starts from the model's weights, is pruned, trained on and measured.">
    <form onSubmit=${send}>
      <div class="fields">
        <label class="field"><span>Dataset</span><select value=${form.dataset} onChange=${(/** @type {any} */ event) => setForm({ ...form, dataset: event.target.value })}>
          ${datasets.map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}</select></label>
        ${form.dataset === "npz" && html`<label class="field"><span>Path on the server, samples as the model reads them</span><input ...${field("path")} required placeholder="samples.npz" /></label>`}
        <label class="field"><span>Budgets, separated by commas</span><input ...${field("budgets")} placeholder="flash <= 64 KB, ram <= 16 KB" /></label>
        <label class="field"><span>Pruning methods</span><input ...${field("methods")} /></label>
        <label class="field"><span>Networks to train</span><input type="number" min="2" max="10000" ...${field("trials")} /></label>
        <label class="field"><span>Epochs after pruning</span><input type="number" min="1" max="100000" ...${field("epochs")} /></label>
      </div>
      <${Problem} error=${error} />
      <div class="buttons"><button type="submit" class="main" disabled=${busy || !form.dataset}>Start the search</button></div>
    </form><//>`;
}

/** @param {{model: any, onClose: () => void}} properties */
function Delete({ model, onClose }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const send = async () => {
    try {
      await request(`/models/${model.id}`, { method: "DELETE" });
      onClose();
      go("#/models");
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<${Dialog} title=${`Delete ${model.name}?`} onClose=${onClose}>
    <p>This deletes the file and its report. It cannot be undone.</p>
    <${Problem} error=${error} what="Deleting models" />
    <div class="buttons"><button type="button" onClick=${onClose}>Keep it</button>
      <button type="button" class="danger" onClick=${send}>Delete model ${model.id}</button></div><//>`;
}
