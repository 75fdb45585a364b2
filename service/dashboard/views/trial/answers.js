// What the finished network answers on the validation data: confusion matrix and errors of classes, differences of values, scores, and
// the facts about sequences.
import { html } from "../../lib/ui.js";
import { count, quality, show, title } from "../../lib/format.js";
import { Card } from "../../parts/bits.js";

const WIDTH = 320, HEIGHT = 96;

/** @param {{trial: any, spec: any}} properties */
export function Answers({ trial, spec }) {
  const measured = trial.measurements.find((/** @type {any} */ m) => m.metric === quality(spec) && m.split === "validation");
  const detail = measured?.detail ?? {};
  if (!detail.errors && !detail.outputs && !detail.scores && !detail.sequences) return null;
  return html`<${Card} title="Answers on the validation data" wide note=${`${title(measured.metric)} ${show(measured.metric, measured.value)}`}>
    ${detail.macro_error !== undefined && html`<${Means} detail=${detail} />`}
    ${detail.sequences && html`<${Sequences} facts=${detail.sequences} metric=${measured.metric} />`}
    ${detail.confusion && html`<${Confusion} detail=${detail} />`}
    ${detail.errors && !detail.confusion && html`<${Shares} detail=${detail} />`}
    ${detail.outputs?.map((/** @type {any} */ output) => html`<${Differences} key=${output.name} output=${output} />`)}
    ${detail.scores && html`<${Scores} scores=${detail.scores} />`}<//>`;
}

/** @param {number | null} share */
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);

/** Least, mean and most of a number. @param {number[]} spread */
const spread = ([least, mean, most]) => (least === most ? count(least) : `${count(least)} to ${count(most)}, mean ${Number(mean.toPrecision(3))}`);

/** Means over the classes, in which each class counts alike. @param {{detail: any}} properties */
const Means = ({ detail }) => html`<dl class="pairs"><dt>Macro error</dt><dd>${show("error", detail.macro_error)}</dd>
  <dt>Macro F1</dt><dd>${show("error", detail.macro_f1)}</dd></dl>`;

/** @param {{facts: any, metric: string}} properties */
const Sequences = ({ facts, metric }) => html`<h3>Sequences</h3><dl class="pairs">
  ${facts.windows !== undefined && html`<dt>Sequences</dt><dd>${count(facts.sequences)}, ${count(facts.voting)} of them by votes of several windows</dd>
    <dt>Windows</dt><dd>${count(facts.windows)}; of one sequence ${spread(facts.windows_each)}</dd>
    <dt>${title(metric)} of sequences</dt><dd>${show(metric, facts.value)}</dd>
    <dt>${title(metric)} of single windows</dt><dd>${show(metric, facts.window_value)}</dd>`}
  ${facts.lengths && html`<dt>Valid steps of a ${facts.windows === undefined ? "sample" : "window"}</dt><dd>${spread(facts.lengths)}</dd>`}</dl>`;

/** @param {{detail: any}} properties */
function Confusion({ detail }) {
  const rows = /** @type {number[][]} */ (detail.confusion);
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Confusion matrix"><table class="confusion">
    <caption class="dim small">Rows: the true class. Columns: the network's answer.</caption>
    <thead><tr><th scope="col">True class</th>${detail.classes.map((/** @type {string} */ name) => html`<th scope="col" class="number" key=${name}>${name}</th>`)}<th scope="col" class="number">Wrong</th></tr></thead>
    <tbody>${rows.map((row, i) => {
      const all = row.reduce((sum, one) => sum + one, 0) || 1;
      return html`<tr key=${i}><th scope="row">${detail.classes[i]}</th>${row.map((one, j) => html`<td key=${j} class=${`number ${i === j ? "right" : one ? "wrong" : "dim"}`}
        style=${one ? `--share: ${(100 * one / all).toFixed(0)}%` : ""}>${count(one)}</td>`)}<td class="number">${percent(detail.errors[i])}</td></tr>`;
    })}</tbody></table></div>`;
}

/** @param {{detail: any}} properties */
const Shares = ({ detail }) => html`<div class="scroll" tabindex="0" role="group" aria-label="Errors of the classes"><table>
  <thead><tr><th scope="col">Class</th><th scope="col" class="number">Samples</th><th scope="col" class="number">Wrong answers</th></tr></thead>
  <tbody>${detail.classes.map((/** @type {string} */ name, /** @type {number} */ i) => html`<tr key=${name}><th scope="row">${name}</th>
    <td class="number">${count(detail.counts[i])}</td><td class="number">${percent(detail.errors[i])}</td></tr>`)}</tbody></table></div>`;

/** Bars of a histogram. @param {number[]} counts @param {number} most @param {string} kind */
const bars = (counts, most, kind) => counts.map((one, i) => {
  const wide = WIDTH / counts.length, high = (one / most) * HEIGHT;
  return html`<rect key=${`${kind}${i}`} class=${kind} x=${i * wide} y=${HEIGHT - high} width=${Math.max(1, wide - 1)} height=${high} />`;
});

/** @param {number} value */
const number = (value) => Number(value.toPrecision(3)).toString();

/** @param {{output: any}} properties */
function Differences({ output }) {
  const most = Math.max(1, ...output.counts);
  const ends = output.points.flat();
  const low = Math.min(...ends), high = Math.max(...ends), size = high - low || 1;
  const place = (/** @type {number} */ value) => ((value - low) / size) * HEIGHT * 2;
  return html`<h3>${output.name} <span class="dim small">MAE ${number(output.mae)}, RMSE ${number(output.rmse)}</span></h3>
    <div class="pictures"><figure><svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${`Histogram of the differences of ${output.name}, from ${number(output.low)} to ${number(output.high)}`}>${bars(output.counts, most, "bar")}</svg>
      <figcaption class="dim small">prediction − truth: ${number(output.low)} to ${number(output.high)}</figcaption></figure>
    <figure><svg class="square" viewBox=${`0 0 ${2 * HEIGHT} ${2 * HEIGHT}`} role="img" aria-label=${`Predictions of ${output.name} over the true values`}>
      <line class="axis" x1="0" y1=${2 * HEIGHT} x2=${2 * HEIGHT} y2="0" />
      ${output.points.map((/** @type {number[]} */ [truth, found], /** @type {number} */ i) => html`<circle key=${i} class="point" cx=${place(truth)} cy=${2 * HEIGHT - place(found)} r="2" />`)}</svg>
      <figcaption class="dim small">prediction (up) over truth (right), both ${number(low)} to ${number(high)}</figcaption></figure></div>`;
}

/** @param {{scores: any}} properties */
function Scores({ scores }) {
  const most = Math.max(1, ...scores.normal, ...scores.anomalous);
  return html`<div class="pictures"><figure><svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label="Histogram of the scores of normal and of anomalous samples">
    ${bars(scores.normal, most, "bar")}${bars(scores.anomalous, most, "bar odd")}</svg>
    <figcaption class="dim small">score ${number(10 ** scores.low)} to ${number(10 ** scores.high)}, logarithmic; <span class="normal">normal</span> and <span class="odd">anomalous</span> samples</figcaption></figure></div>`;
}
