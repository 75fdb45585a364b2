// What the experiment was asked to do.
import { html } from "../../lib/ui.js";
import { phrase, show } from "../../lib/format.js";
import { write } from "../../lib/yaml.js";
import { Card } from "../../parts/bits.js";

/** @param {any} properties */
export function Spec({ experiment }) {
  const { spec } = experiment;
  const budgets = Object.entries(experiment.budgets).map(([name, limit]) => `${phrase(name)} ≤ ${show(name, limit)}${name in spec.budgets ? "" : ` (all that ${spec.target.device} has)`}`);
  return html`<${Card} title="Spec" wide aside=${html`<a class="small" href=${`./experiments/${experiment.id}/ax`} download>Experiment for Ax</a>`}>
    <p class="small">${budgets.length ? `Budgets: ${budgets.join(", ")}.` : "No budgets."}</p>
    <details><summary>${experiment.spec_error ? "As far as it can be read, as YAML" : "As YAML, everything filled in"}</summary><pre class="log" tabindex="0">${write(spec)}</pre></details>
    ${experiment.spec_error && html`<details><summary>As it is stored</summary><pre class="log" tabindex="0">${JSON.stringify(experiment.stored_spec, null, 2)}</pre></details>`}<//>`;
}
