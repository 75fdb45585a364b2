// The experiment's spec and budgets.
import { html } from "../../lib/ui.js";
import { phrase, show } from "../../lib/format.js";
import { write } from "../../lib/yaml.js";
import { Card } from "../../parts/bits.js";

/** @param {any} properties */
export function Spec({ experiment }) {
  const { spec } = experiment;
  const budgets = Object.entries(experiment.budgets).map(([name, limit]) => `${phrase(name)} ≤ ${show(name, limit)}${name in spec.budgets ? "" : ` (all of ${spec.target.device})`}`);
  return html`<${Card} title="Spec" wide aside=${html`<a class="small" href=${`./experiments/${experiment.id}/ax`} download>Experiment for Ax</a>`}>
    <p class="small">${budgets.length ? `Budgets: ${budgets.join(", ")}.` : "No budgets."}</p>
    <details><summary>${experiment.spec_error ? "YAML, as far as it can be read" : "YAML, with all defaults"}</summary><pre class="log" tabindex="0">${write(spec)}</pre></details>
    ${experiment.spec_error && html`<details><summary>As stored</summary><pre class="log" tabindex="0">${JSON.stringify(experiment.stored_spec, null, 2)}</pre></details>`}<//>`;
}
