// The trial's files, and the exports that make more of them: C, ONNX, TensorFlow Lite, each checked by the server.
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
  const [made, setMade] = useState(/** @type {any[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const path = `/experiments/${trial.experiment}/trials/${trial.index}`;
  const network = trial.artifacts.some((/** @type {any} */ one) => one.kind === "network");
  const busy = made.some(waits);
  useEffect(() => {
    if (network) get(`${path}/exports`).then((found) => (setMade(found), setError(null)), setError);
  }, [path, network, returns.value]);
  useEffect(() => {
    if (!busy) return undefined;
    const timer = setInterval(() => get(`${path}/exports`).then((found) => {
      setMade(found);
      setError(null);
      if (!found.some(waits)) get(path).then(onChange, setError);
    }, setError), PAUSE);
    return () => clearInterval(timer);
  }, [path, busy]);
  /** @param {string} format */
  const start = (format) => post(`${path}/exports`, { formats: [format] }).then(() => get(`${path}/exports`)).then((found) => (setError(null), setMade(found)), setError);
  return html`<${Card} title="Files">
    ${trial.artifacts.length === 0 ? html`<p class="dim">A completed trial leaves its weights and its integer network here.</p>` : html`<div class="scroll" tabindex="0" role="group" aria-label="Files"><table>
      <thead><tr><th scope="col">File</th><th scope="col">Kind</th><th scope="col" class="number">Size</th><th scope="col">SHA-256</th></tr></thead>
      <tbody>${trial.artifacts.map((/** @type {any} */ one) => html`<tr key=${`${one.kind}/${one.name}`}><td><a href=${`.${one.url}`} download=${`trial-${trial.index}-${one.name}`}>${one.name}</a></td><td>${one.kind}</td>
        <td class="number">${bytes(one.size)}</td><td><code title=${one.digest}>${one.digest.slice(7, 19)}…</code></td></tr>`)}</tbody></table></div>`}
    ${network && html`<h3>Exports</h3><div class="scroll" tabindex="0" role="group" aria-label="Exports"><table><tbody>${FORMATS.map(([format, words]) => {
      const one = made.find((other) => other.format === format);
      return html`<tr key=${format}><th scope="row">${words}</th>${one && waits(one) ? html`<td class="wrap dim" role="status">${one.state === "queued" ? "waits for its turn…" : "is being made…"}</td><td></td>`
        : html`<td class=${`wrap small ${one?.state === "failed" ? "bad" : "dim"}`}>${one ? said(one).map((line) => html`<div key=${line}>${line}</div>`) : "not made yet"}</td>
          <td class="number">${mayChange(owner) && html`<button type="button" aria-label=${`Export ${words}`} onClick=${() => start(format)}>Export</button>`}</td>`}</tr>`;
    })}</tbody></table></div>`}
    <${Problem} error=${error} what="Exporting" /><//>`;
}

/** What the server found out about an export. @param {any} one @returns {string[]} */
function said({ state, report }) {
  if (state === "failed") return [report?.failure ?? "failed"];
  const checks = report.verifications.map((/** @type {any} */ check) => {
    const same = check.largest_difference === 0 ? "equal to the integer network" : `off by at most ${plural(check.largest_difference, "step")}${check.agreement === null ? "" : `, same class for ${(100 * check.agreement).toFixed(1)} %`}`;
    return `${same} on ${check.samples} samples (${check.runtime})`;
  });
  const missing = report.missing.map((/** @type {string} */ what) => `not checked: ${what}`);
  return checks.length + missing.length ? [...checks, ...missing] : ["made, not checked"];
}
