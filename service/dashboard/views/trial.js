// One trial: its live curve and log, its network, its measurements with their methods, and its files.
import { html, useEffect, useState } from "../lib/ui.js";
import { get, mayChange, post } from "../lib/api.js";
import { ago, duration, exact, phrase, quality, show, title } from "../lib/format.js";
import { throttled, follow } from "../lib/live.js";
import { Boundary, Card, Clock, Figure, Kept, Problem, State } from "../parts/bits.js";
import { value } from "./experiment/trials.js";
import { Answers } from "./trial/answers.js";
import { Curve } from "./trial/curve.js";
import { Files } from "./trial/files.js";
import { Fits } from "./trial/fits.js";
import { Log } from "./trial/log.js";
import { Network } from "./trial/network.js";

/** @param {{id: number, index: number}} properties */
export function Trial({ id, index }) {
  const [experiment, setExperiment] = useState(/** @type {any} */ (null));
  const [trial, setTrial] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  /** Number of reports; a change reloads curve and log. */
  const [reports, setReports] = useState(0);
  useEffect(() => {
    const path = `/experiments/${id}/trials/${index}`;
    const load = throttled(() => get(path).then((result) => (setTrial(result), setError(null)), setError), 1000);
    const report = throttled(() => setReports((count) => count + 1), 700);
    const all = () => {
      load();
      report();
    };
    const loadExperiment = throttled(() => get(`/experiments/${id}`).then(setExperiment, setError), 5000);
    loadExperiment();
    load();
    const end = follow(`/experiments/${id}/stream`, {
      onEvent: (event) => {
        if (event.kind === "trial" || event.kind === "experiment") loadExperiment();
        if (event.data.index === index) (event.kind === "points" ? report : all)();
      },
      onReturn: () => {
        loadExperiment();
        all();
      },
    });
    return () => {
      end();
      loadExperiment.cancel();
      load.cancel();
      report.cancel();
    };
  }, [id, index]);
  if (!trial || !experiment) {
    return html`<nav class="small" aria-label="Breadcrumb"><a href="#/">Experiments</a> / <a href=${`#/experiments/${id}`}>experiment ${id}</a></nav>
      <div class="view-head"><h1>Trial ${index}</h1></div><${Problem} error=${error} />${!error && html`<p class="dim" role="status">Loading…</p>`}`;
  }
  const { candidate } = trial;
  document.title = `Trial ${index} – ${experiment.name} – sparsemod`;
  const retry = () => post(`/experiments/${id}/retry`, { trials: [index] }).then(() => get(`/experiments/${id}/trials/${index}`)).then(setTrial, setError);
  const keep = () => post(`/experiments/${id}/keep`, { keep: !trial.kept, trials: [index] }).then(() => get(`/experiments/${id}/trials/${index}`)).then(setTrial, setError);
  const stop = () => post(`/experiments/${id}/trials/${index}/stop`).then(setTrial, setError);
  const trials = Object.values(/** @type {Record<string, number>} */ (experiment.counts)).reduce((sum, one) => sum + one, 0);
  const running = trial.state === "running" || trial.state === "queued";
  return html`<nav class="small" aria-label="Breadcrumb"><a href="#/">Experiments</a> / <a href=${`#/experiments/${id}?t=${index}`}>${experiment.name}</a></nav>
    <div class="view-head"><h1>Trial ${index}</h1><${State} state=${trial.state} />
      ${(trial.kept || experiment.kept) && html`<${Kept}>${trial.kept ? "kept" : "kept with its experiment"}<//>`}
      <span class="dim small">${candidate.round} · ${candidate.origin}${candidate.parent !== null ? html` of <a href=${`#/experiments/${id}/trials/${candidate.parent}`}>trial ${candidate.parent}</a>${candidate.operators.length ? ` by ${candidate.operators.join(", ")}` : ""}` : ""}</span>
      <span class="grow"></span>
      ${trial.state === "failed" && mayChange(experiment.owner) && html`<button type="button" onClick=${retry}>Try again</button>`}
      ${mayChange(experiment.owner) && html`<button type="button" title=${trial.kept ? "Let retention delete its files again" : "Retention then keeps its files"} onClick=${keep}>${trial.kept ? "Release" : "Keep"}</button>`}
      ${trial.state === "stopped" && mayChange(experiment.owner) && html`<button type="button" onClick=${retry} title="From its last checkpoint if there is one, else from the start; no rule stops it again">Continue trial</button>`}
      ${running && mayChange(experiment.owner) && html`<button type="button" onClick=${stop}>Stop trial</button>`}
      ${index > 0 && html`<a class="button" href=${`#/experiments/${id}/trials/${index - 1}`} aria-label="Previous trial">←</a>`}
      ${index + 1 < trials && html`<a class="button" href=${`#/experiments/${id}/trials/${index + 1}`} aria-label="Next trial">→</a>`}</div>
    <${Problem} error=${error} />
    ${trial.failure && html`<p class="problem"><strong>${trial.failure.kind}:</strong> ${trial.failure.message}</p>`}
    ${trial.stopping && html`<p class="note" data-stopping=${trial.stopping.rule}>${trial.state === "running" ? "To be stopped" : "Stopped"} by the rule <strong>${trial.stopping.rule}</strong>: after epoch ${trial.stopping.epoch} of ${trial.stopping.epochs}, ${trial.stopping.reason}.${trial.stopping.expected === null ? "" : ` Expected ${phrase(quality(experiment.spec))} at the end: ${show(quality(experiment.spec), trial.stopping.expected)}.`}</p>`}
    <section class="card head" aria-label="Result"><dl class="figures">
      ${experiment.spec.objectives.map((/** @type {string} */ name) => html`<${Figure} key=${name} name=${title(name)}>${show(name, value(trial, name))}<//>`)}
      <${Figure} name=${candidate.parent === null ? "Epochs" : "Epochs, with its parents'"}>${trial.trained_epochs ? show("", trial.trained_epochs) : `${trial.epochs} planned`}<//>
      <${Figure} name="Time">${duration(Object.values(/** @type {Record<string, number>} */ (trial.seconds)).reduce((sum, one) => sum + one, 0) || null)}<//>
      <${Figure} name="Seed">${trial.seed}<//></dl></section>
    <div class="grid" data-reports=${reports}>
      ${[
        [Curve, { id, index, reports, trial, spec: experiment.spec }], [Log, { id, index, reports, running: trial.state === "running" }], [Network, { id, index, experiment, trial }],
        [Answers, { trial, spec: experiment.spec }], [Measurements, { trial }], [Fits, { trial, experiment }], [Parameters, { trial }], [Files, { trial, owner: experiment.owner, onChange: setTrial }], [Attempts, { trial }],
      ].map(([Part, properties]) => html`<${Boundary} key=${/** @type {any} */ (Part).name}><${Part} ...${properties} /><//>`)}
    </div>`;
}

/** Every measurement with unit and method. @param {{trial: any}} properties */
function Measurements({ trial }) {
  const costs = Object.entries(trial.costs);
  return html`<${Card} title="Measurements" wide>
    ${trial.measurements.length === 0 && html`<p class="dim">No measurements yet.${costs.length > 0 ? ` Known before training: ${costs.map(([name, one]) => `${phrase(name)} ${show(name, one)}`).join(", ")}.` : ""}</p>`}
    ${trial.measurements.length > 0 && html`<div class="scroll" tabindex="0" role="group" aria-label="Table of measurements"><table>
      <thead><tr><th scope="col">Metric</th><th scope="col" class="number">Value</th><th scope="col" class="number">Exact value</th><th scope="col">Method</th><th scope="col">Target</th><th scope="col">Data</th></tr></thead>
      <tbody>${trial.measurements.map((/** @type {any} */ m) => html`<tr key=${`${m.metric}/${m.split}`}><th scope="row">${title(m.metric)}</th>
        <td class="number">${show(m.metric, m.value)}</td><td class="number dim">${exact(m)}${m.standard_error ? ` ± ${Number(m.standard_error.toPrecision(2))}` : ""}</td>
        <td class="wrap">${m.method}</td><td>${m.target ?? "–"}</td><td>${m.split ?? "–"}</td></tr>`)}</tbody></table></div>`}
    ${trial.notes.map((/** @type {string} */ note) => html`<p class="dim small" key=${note}>${note}</p>`)}<//>`;
}

/** @param {{trial: any}} properties */
function Parameters({ trial }) {
  return html`<${Card} title="Parameters"><dl class="pairs">${Object.entries(trial.candidate.parameters).map(
    ([name, one]) => html`<dt key=${name}>${name}</dt><dd>${show("", one)}</dd>`)}</dl>
    ${Object.keys(trial.seconds).length > 0 && html`<h3>Seconds by stage</h3><dl class="pairs">${Object.entries(trial.seconds).map(
      ([name, one]) => html`<dt key=${name}>${name}</dt><dd>${duration(/** @type {number} */ (one))}</dd>`)}</dl>`}<//>`;
}

/** @param {{trial: any}} properties */
function Attempts({ trial }) {
  return html`<${Card} title="Attempts">
    ${trial.attempts.length === 0 ? html`<p class="dim">No worker has claimed it yet.</p>` : html`<div class="scroll" tabindex="0" role="group" aria-label="Attempts"><table>
      <thead><tr><th scope="col">Worker</th><th scope="col">State</th><th scope="col">Device</th><th scope="col">Started</th><th scope="col" class="number">Took</th></tr></thead>
      <tbody>${trial.attempts.map((/** @type {any} */ one) => html`<tr key=${one.attempt}><td>${one.worker}</td><td><${State} state=${one.state} /></td><td>${one.device}</td>
        <td><${Clock}>${(/** @type {number} */ now) => ago(one.started_at, now)}<//></td>
        <td class="number"><${Clock}>${(/** @type {number} */ now) => duration(((one.ended_at ? Date.parse(one.ended_at) : now) - Date.parse(one.started_at)) / 1000)}<//></td></tr>
        ${one.failure && html`<tr key=${`${one.attempt}-why`}><td colspan="5" class="wrap bad small">${one.failure.message}</td></tr>`}`)}</tbody></table></div>`}<//>`;
}
