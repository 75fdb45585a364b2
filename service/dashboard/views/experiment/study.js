// A study: error or loss against a cost for each method, and the smallest network within a level of error. Hidden for other experiments.
import { html, useEffect, useMemo, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { phrase, show, title } from "../../lib/format.js";
import { colour } from "../../lib/look.js";
import { go } from "../../lib/route.js";
import { throttled, returns } from "../../lib/live.js";
import { Card, Problem } from "../../parts/bits.js";
import { axisLook, Chart, safe, tipLook } from "../../parts/chart.js";

const COSTS = ["nonzeros", "macs", "flash", "ram", "instructions"];
const SHADES = ["#3b7dd8", "#d9822b", "#2f9e5f", "#b04fc4", "#c0392b", "#7a6a4f", "#1a9aa8", "#8a8f00"];

/** @param {any} properties */
export function Study({ experiment, version }) {
  const [study, setStudy] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [cost, setCost] = useState("nonzeros");
  const [measure, setMeasure] = useState("");
  const [level, setLevel] = useState(0.005);
  const [refresh] = useState(() => ({ call: /** @type {any} */ (null) }));
  const mine = experiment.spec.source.name === "study";
  useEffect(() => {
    if (!mine) return undefined;
    const abort = new AbortController();
    refresh.call = throttled(() => get(`/experiments/${experiment.id}/study`, abort.signal).then((result) => {
      setError(null);
      setStudy(result);
    }, (problem) => abort.signal.aborted || setError(problem)), 5000);
    refresh.call();
    return () => {
      refresh.call.cancel();
      abort.abort();
    };
  }, [experiment.id, mine]);
  useEffect(() => mine && refresh.call?.(), [version, returns.value]);
  const points = study?.points ?? [];
  const costs = COSTS.filter((name) => points.length > 0 && points.every((/** @type {any} */ point) => name in point.mean));
  const methods = useMemo(() => [...new Set(points.map((/** @type {any} */ point) => point.method))].filter((name) => name !== "none"), [study]);
  if (!mine || points.length === 0) return html`<${Problem} error=${error} />`;
  const shown = costs.includes(cost) ? cost : costs[0];
  const measures = [study.quality, "loss"].filter((name) => points.some((/** @type {any} */ point) => name in point.mean));
  const drawn = measures.includes(measure) ? measure : measures[0];
  const levels = [...new Set(study.prunability.map((/** @type {any} */ best) => best.level))];
  const rows = study.prunability.filter((/** @type {any} */ best) => best.level === level);
  const damage = [...new Set(points.flatMap((/** @type {any} */ point) => Object.keys(point.damage)))].filter((name) => name !== study.quality);
  const id = experiment.id;
  return html`<${Card} title="Study" wide id="study" note="mean over networks and repetitions; bars show the range, the dashed line the reference"
    aside=${html`<a class="small" href=${`experiments/${id}/study?csv=true`} download>CSV</a>`}>
    <${Problem} error=${error} />
    <p class="small"><label>Measure <select value=${drawn} onChange=${(/** @type {any} */ event) => setMeasure(event.target.value)}>${measures.map((name) => html`<option key=${name} value=${name}>${title(name)}</option>`)}</select></label>${" "}
      <label>Cost <select value=${shown} onChange=${(/** @type {any} */ event) => setCost(event.target.value)}>${costs.map((name) => html`<option key=${name} value=${name}>${title(name)}</option>`)}</select></label></p>
    <${Chart} name="study" label=${`${title(drawn)} against ${title(shown)} of ${methods.length} methods`} depends=${[study, shown, drawn]} option=${() => option(study, methods, shown, drawn)}
      on=${{ click: (/** @type {any} */ event) => event.data?.trial !== undefined && go(`/experiments/${id}/trials/${event.data.trial}`) }} />
    <p class="small"><label>Smallest network whose error minus the reference's is at most <select value=${String(level)} onChange=${(/** @type {any} */ event) => setLevel(Number(event.target.value))}>
      ${levels.map((one) => html`<option key=${one} value=${String(one)}>${one > 0 ? "+" : ""}${(100 * Number(one)).toFixed(2)} %</option>`)}</select></label></p>
    <div class="scroll" tabindex="0" role="group" aria-label="Table of prunability"><table>
      <thead><tr><th scope="col">Method</th><th scope="col">Trials</th><th scope="col" class="number">Error</th>${costs.map((name) => html`<th scope="col" class="number" key=${name}>${title(name)}</th>`)}</tr></thead>
      <tbody>${rows.map((/** @type {any} */ best) => html`<tr key=${best.method}><td>${best.method}</td><td>${links(id, best.trials)}</td>
        <td class="number">${best.error === null ? "none" : show(study.quality, best.error)}</td>
        ${costs.map((name) => html`<td class="number" key=${name}>${name in best.costs ? `${show(name, best.costs[name])} (${change(best.removed[name])})` : ""}</td>`)}</tr>`)}</tbody></table></div>
    <div class="scroll" tabindex="0" role="group" aria-label="Table of the study's networks"><table>
      <thead><tr><th scope="col">Method</th><th scope="col" class="number">Removed</th><th scope="col">Trials</th><th scope="col" class="number">Error</th>${damage.map((name) => html`<th scope="col" class="number" key=${name}>${title(name)}</th>`)}<th scope="col">Layers, share that stays</th></tr></thead>
      <tbody>${points.map((/** @type {any} */ point) => html`<tr key=${`${point.method} ${point.sparsity}`}><td>${point.method === "none" ? "reference" : point.method}</td>
        <td class="number">${(100 * point.sparsity).toFixed(1)} %</td><td>${links(id, point.trials)}</td><td class="number">${show(study.quality, point.mean[study.quality])}</td>
        ${damage.map((name) => html`<td class="number" key=${name}>${name in point.damage ? show(name, point.damage[name]) : ""}</td>`)}
        <td>${Object.entries(point.layers).map(([name, share]) => html`<span key=${name} title=${`${name}: ${(100 * share).toFixed(1)} %`} class="dim">${Math.round(100 * share)} </span>`)}</td></tr>`)}</tbody></table></div>
  <//>`;
}

/** The change of a cost of which a share was removed. @param {number} removed */
const change = (removed) => {
  const percent = Math.round(100 * removed);
  return percent === 0 ? "±0 %" : percent > 0 ? `−${percent} %` : `+${-percent} %`;
};

/** Links to the first trials. @param {number} id @param {number[]} trials */
const links = (id, trials) =>
  html`${trials.slice(0, 6).map((index, i) => html`${i ? ", " : ""}<a href=${`#/experiments/${id}/trials/${index}`}>${index}</a>`)}${trials.length > 6 ? `, … (${trials.length})` : ""}`;

/** @param {any} study @param {string[]} methods @param {string} cost @param {string} measure */
function option(study, methods, cost, measure) {
  const look = axisLook();
  const share = measure.endsWith("error");
  const scale = share ? 100 : 1;
  const there = study.points.filter((/** @type {any} */ point) => measure in point.mean);
  const reference = there.find((/** @type {any} */ point) => point.method === "none")?.mean[measure];
  const text = (/** @type {number} */ value) => show(measure, value / scale);
  const dashed = scale * reference; // the axis also holds the reference
  const places = study.points.map((/** @type {any} */ point) => point.mean[cost]).filter((/** @type {number} */ value) => value > 0);
  const wide = Math.max(...places) > 8 * Math.min(...places); // a logarithmic axis has a tick at each power of ten only
  const series = methods.map((method, place) => {
    const own = there.filter((/** @type {any} */ point) => point.method === method);
    return {
      type: "line", name: method, symbolSize: 7, itemStyle: { color: SHADES[place % SHADES.length] }, lineStyle: { width: 2 },
      data: own.map((/** @type {any} */ point) => ({ value: [point.mean[cost], scale * point.mean[measure], scale * point.least[measure], scale * point.most[measure]], trial: point.trials[0], name: `${method}, ${(100 * point.sparsity).toFixed(1)} % removed` })),
      ...(place === 0 && reference !== undefined
        ? { markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { type: "dashed", color: colour("dim") }, data: [{ yAxis: dashed }] } }
        : {}),
    };
  });
  const ranges = methods.map((method, place) => ({
    type: "custom", name: method, silent: true, itemStyle: { color: SHADES[place % SHADES.length] }, encode: { x: 0, y: [1, 2] },
    data: there.filter((/** @type {any} */ point) => point.method === method).map((/** @type {any} */ point) => [point.mean[cost], scale * point.least[measure], scale * point.most[measure]]),
    renderItem: (/** @type {any} */ _, /** @type {any} */ api) => {
      const [x, low] = api.coord([api.value(0), api.value(1)]);
      const [, high] = api.coord([api.value(0), api.value(2)]);
      return { type: "line", shape: { x1: x, y1: low, x2: x, y2: high }, style: { stroke: api.visual("color"), lineWidth: 1.5, opacity: 0.6 } };
    },
  }));
  return {
    grid: { left: 56, right: 20, top: 36, bottom: 44 },
    legend: { top: 0, textStyle: { color: colour("text") }, data: methods },
    tooltip: { ...tipLook(), trigger: "item", formatter: (/** @type {any} */ item) => `${safe(item.name)}<br>${safe(title(cost))}: ${safe(show(cost, item.value[0]))}<br>${safe(title(measure))}: ${safe(text(item.value[1]))} (${safe(text(item.value[2]))} to ${safe(text(item.value[3]))})` },
    xAxis: { ...look, type: wide ? "log" : "value", scale: true, name: title(cost), nameLocation: "middle", nameGap: 28, axisLabel: { ...look.axisLabel, formatter: (/** @type {number} */ value) => show(cost, value) } },
    yAxis: { ...look, type: "value", name: share ? `${phrase(measure)}, %` : phrase(measure), scale: true,
      min: (/** @type {{ min: number }} */ own) => (dashed < own.min ? dashed : null), max: (/** @type {{ max: number }} */ own) => (dashed > own.max ? dashed : null) },
    series: [...ranges, ...series],
  };
}
