// The front over seeds: mean errors and the probability of being on the front. Hidden until a candidate was trained again.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { show, title } from "../../lib/format.js";
import { throttled, returns } from "../../lib/live.js";
import { Card, Problem } from "../../parts/bits.js";

const SHOWN = 50;

/** @param {any} properties */
export function Membership({ experiment, version }) {
  const [page, setPage] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [refresh] = useState(() => ({ call: /** @type {any} */ (null) }));
  useEffect(() => {
    const abort = new AbortController();
    refresh.call = throttled(() => get(`/experiments/${experiment.id}/membership?limit=${SHOWN}`, abort.signal).then((result) => {
      setError(null);
      setPage(result);
    }, (problem) => abort.signal.aborted || setError(problem)), 5000);
    refresh.call();
    return () => {
      refresh.call.cancel();
      abort.abort();
    };
  }, [experiment.id]);
  useEffect(() => refresh.call?.(), [version, returns.value]);
  const members = page?.items ?? [];
  if (!members.some((/** @type {any} */ one) => one.trials.length > 1)) return html`<${Problem} error=${error} />`;
  const metrics = [...new Set([...experiment.objectives, ..."error" in members[0].metrics ? ["error"] : []])];
  return html`<${Card} title="Front over seeds" wide id="membership"
    note="mean error ± its standard error over trainings with different seeds, and the probability that the candidate is on the front">
    <${Problem} error=${error} />
    <div class="scroll" tabindex="0" role="group" aria-label="Table of the front over seeds"><table>
      <thead><tr><th scope="col">Trial</th><th scope="col" class="number">Trainings</th><th scope="col" class="number">On the front</th>${metrics.map((name) => html`<th scope="col" class="number" key=${name}>${title(name)}</th>`)}</tr></thead>
      <tbody>${members.map((/** @type {any} */ one) => html`<tr key=${one.trials[0]} class=${one.probability < 0.5 ? "dim" : undefined}>
        <td><a href=${`#/experiments/${experiment.id}/trials/${one.trials[0]}`}>${one.trials[0]}</a></td>
        <td class="number">${one.trials.length}</td><td class="number">${Math.round(100 * one.probability)} %</td>
        ${metrics.map((name) => html`<td class="number" key=${name}>${show(name, one.metrics[name])}${name === "error" && one.standard_error !== null ? ` ± ${show(name, one.standard_error)}` : ""}</td>`)}</tr>`)}
      </tbody></table></div>
    ${page.total > SHOWN && html`<p class="dim small">The first ${SHOWN} of ${page.total}; <code>sparsemod finalize ${experiment.id} --trials 0</code> prints all.</p>`}
  <//>`;
}
