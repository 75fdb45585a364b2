// The trial's files, and its exports to C, ONNX and TensorFlow Lite, each checked by the server.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get, mayChange, post } from "../../lib/api.js";
import { bytes, plural } from "../../lib/format.js";
import { returns } from "../../lib/live.js";
import { Card, Problem } from "../../parts/bits.js";

const FORMATS = /** @type {[string, string][]} */ ([["c", "C"], ["onnx", "ONNX"], ["tflite", "TensorFlow Lite"]]);
const PAUSE = 1500;

/** @param {any} one an export */
const waits = (one) => one.state === "queued" || one.state === "running";

/** @param {{trial: any, owner: string | null, onChange: (trial: any) => void}} properties */
export function Files({ trial, owner, onChange }) {
  const [exported, setExported] = useState(/** @type {any[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const path = `/experiments/${trial.experiment}/trials/${trial.index}`;
  const network = trial.artifacts.some((/** @type {any} */ one) => one.kind === "network");
  const busy = exported.some(waits);
  useEffect(() => {
    if (network) get(`${path}/exports`).then((exports) => (setExported(exports), setError(null)), setError);
  }, [path, network, returns.value]);
  useEffect(() => {
    if (!busy) return undefined;
    const timer = setInterval(() => get(`${path}/exports`).then((exports) => {
      setExported(exports);
      setError(null);
      if (!exports.some(waits)) get(path).then(onChange, setError);
    }, setError), PAUSE);
    return () => clearInterval(timer);
  }, [path, busy]);
  /** @param {string} format */
  const start = (format) => post(`${path}/exports`, { formats: [format] }).then(() => get(`${path}/exports`)).then((exports) => (setError(null), setExported(exports)), setError);
  return html`<${Card} title="Files">
    ${trial.artifacts.length === 0 ? html`<p class="dim">The weights and the integer network appear here when the trial has completed.</p>` : html`<div class="scroll" tabindex="0" role="group" aria-label="Files"><table>
      <thead><tr><th scope="col">File</th><th scope="col">Kind</th><th scope="col" class="number">Size</th><th scope="col">SHA-256</th></tr></thead>
      <tbody>${trial.artifacts.map((/** @type {any} */ one) => html`<tr key=${`${one.kind}/${one.name}`}><td><a href=${`.${one.url}`} download=${`trial-${trial.index}-${one.name}`}>${one.name}</a></td><td>${one.kind}</td>
        <td class="number">${bytes(one.size)}</td><td><code title=${one.digest}>${one.digest.slice(7, 19)}…</code></td></tr>`)}</tbody></table></div>`}
    ${network && html`<h3>Exports</h3><div class="scroll" tabindex="0" role="group" aria-label="Exports"><table><tbody>${FORMATS.map(([format, words]) => {
      const one = exported.find((other) => other.format === format);
      return html`<tr key=${format}><th scope="row">${words}</th>${one && waits(one) ? html`<td class="wrap dim" role="status">${one.state === "queued" ? "queued…" : "exporting…"}</td><td></td>`
        : html`<td class=${`wrap small ${one?.state === "failed" ? "bad" : "dim"}`}>${one ? checksOf(one).map((line) => html`<div key=${line}>${line}</div>`) : "not exported yet"}</td>
          <td class="number">${mayChange(owner) && html`<button type="button" aria-label=${`Export ${words}`} onClick=${() => start(format)}>Export</button>`}</td>`}</tr>`;
    })}</tbody></table></div>`}
    <${Problem} error=${error} what="Exporting" /><//>`;
}

/** The server's checks of an export, as text. @param {any} one @returns {string[]} */
function checksOf({ state, report }) {
  if (state === "failed") return [report?.failure ?? "failed"];
  const checks = report.verifications.map((/** @type {any} */ check) => {
    const same = check.largest_difference === 0 ? "equal to the integer network" : `off by at most ${plural(check.largest_difference, "step")}${check.agreement === null ? "" : `, same class for ${(100 * check.agreement).toFixed(1)} %`}`;
    return `${same} on ${check.samples} samples (${check.runtime})`;
  });
  const missing = report.missing.map((/** @type {string} */ what) => `not checked: ${what}`);
  return checks.length + missing.length ? [...checks, ...missing] : ["exported, not checked"];
}
