// Parallel coordinates of the completed trials. Select ranges by brushing the axes with the mouse, or by typing.
import { html, useMemo, useState } from "../../lib/ui.js";
import { plural, read, show, tick, title } from "../../lib/format.js";
import { colour } from "../../lib/look.js";
import { roundColour } from "../../lib/rounds.js";
import { setQuery } from "../../lib/route.js";
import { textOf, valueOf } from "../../lib/selection.js";
import { Card } from "../../parts/bits.js";
import { Chart, tipLook } from "../../parts/chart.js";

const MOST_LINES = 800;
const MOST_AXES = 10;

/** A value without conversion: booleans stay words. @param {any} row @param {string} name */
const plain = (row, name) => row.values[name] ?? row.parameters[name];

/** The axes: objectives, then the parameters that vary. @param {any} columns @param {any} spec @param {any[]} rows */
function axesOf(columns, spec, rows) {
  const varying = columns.parameters.filter((/** @type {string} */ name) => new Set(rows.map((row) => row.parameters[name]).filter((value) => value !== undefined)).size > 1);
  return [...varying.slice(0, MOST_AXES - spec.objectives.length), ...[...spec.objectives].reverse()].map((name) => {
    const values = rows.map((row) => plain(row, name));
    const words = values.some((value) => typeof value === "string" || typeof value === "boolean") ? [...new Set(values.filter((value) => value !== undefined).map(String))].sort() : null;
    const numbers = values.filter((value) => typeof value === "number");
    const [low, high] = [numbers.reduce((a, b) => Math.min(a, b), Infinity), numbers.reduce((a, b) => Math.max(a, b), -Infinity)];
    return { name, words, low, high, whole: values.every((value) => value === undefined || Number.isInteger(value)) };
  });
}

/** Thin the rows: keep the front and an even selection of the others. @param {any[]} rows @param {any} front */
function thin(rows, front) {
  if (rows.length <= MOST_LINES) return rows;
  const members = new Set(front.members.map((/** @type {any} */ member) => member.row));
  const step = rows.length / MOST_LINES;
  return rows.filter((row, place) => members.has(row.index) || Math.floor(place / step) !== Math.floor((place - 1) / step));
}

/** @param {any} properties */
export function Parallel({ experiment, columns, version, front, selection, ranges }) {
  const { spec } = experiment;
  // Memoized: there may be thousands of rows, and the address changes often.
  const { completed, axes, rows } = useMemo(() => {
    const finished = columns.rows.filter((/** @type {any} */ row) => row.state === "completed");
    return { completed: finished, axes: axesOf(columns, spec, finished), rows: thin(finished, front) };
  }, [columns, version, front]);
  const axisNames = axes.map((axis) => axis.name).join(",");

  /** @param {any} event */
  const onBrush = (event) => {
    const parts = event.batch ?? [event];
    let next = ranges;
    for (const { parallelAxisId, intervals } of parts) {
      const axis = axes.find((one) => `axis-${one.name}` === parallelAxisId);
      if (!axis || axis.words) continue;
      next = next.filter((/** @type {any} */ range) => range.name !== axis.name);
      if (intervals?.length) next = [...next, { name: axis.name, low: Math.min(...intervals[0]), high: Math.max(...intervals[0]) }];
    }
    setQuery({ b: textOf(next) });
  };
  return html`<${Card} title="Parallel coordinates" wide id="parallel" note=${`${plural(completed.length, "completed trial")}${rows.length < completed.length ? `, ${rows.length} drawn` : ""}; drag along an axis to brush`}>
    ${completed.length === 0 ? html`<p class="dim">No completed trials yet.</p>` : html`
      <${Ranges} axes=${axes} ranges=${ranges} selection=${selection} />
      <div class="scroll" tabindex="0" role="group" aria-label="Parallel coordinates"><div style=${{ minWidth: `${axes.length * 5.5}rem` }}>
      <${Chart} name="parallel" label=${`Parallel coordinates of ${axes.map((axis) => title(axis.name)).join(", ")}`} on=${{ axisareaselected: onBrush }} key=${axisNames}
        depends=${[version, axisNames, textOf(ranges)]} after=${(/** @type {any} */ chart) => set(chart, axes, ranges)}
        option=${() => ({
          parallel: { left: 50, right: 50, top: 34, bottom: 22, parallelAxisDefault: { nameTextStyle: { color: colour("text"), fontSize: 11 } } },
          parallelAxis: axes.map(({ name, words, whole }, dim) => ({
            id: `axis-${name}`, dim, name: spec.objectives.includes(name) ? title(name) : name, type: words ? "category" : "value", data: words ?? undefined, scale: true, minInterval: whole ? 1 : undefined, realtime: false,
            nameTruncate: { maxWidth: 115 }, axisLine: { lineStyle: { color: colour("dim") } }, axisTick: { show: false },
            axisLabel: { color: colour("dim"), fontSize: 10, hideOverlap: true, formatter: words ? undefined : (/** @type {number} */ value) => tick(name, value) },
            areaSelectStyle: { width: 16, borderWidth: 1, borderColor: colour("accent"), color: colour("accent"), opacity: 0.25 },
          })),
          tooltip: tipLook(),
          series: [{
            id: "trials", type: "parallel", smooth: 0.05, inactiveOpacity: 0.04, activeOpacity: 0.75, lineStyle: { width: 1, opacity: rows.length > 300 ? 0.25 : 0.5 },
            data: rows.map((/** @type {any} */ row) => ({
              value: axes.map(({ name, words }) => (words ? String(plain(row, name) ?? "-") : valueOf(row, name) ?? "-")),
              lineStyle: { color: roundColour(experiment, row.round) },
            })),
          }],
        })} /></div></div>`}
  <//>`;
}

/** Set the chart's ranges from the address; the chart drops them whenever its option is set. @param {any} chart @param {any[]} axes @param {any[]} ranges */
function set(chart, axes, ranges) {
  for (const axis of axes) {
    const range = axis.words ? undefined : ranges.find((one) => one.name === axis.name);
    chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId: `axis-${axis.name}`, intervals: range ? [shown(range, axis)] : [] }, { silent: true });
  }
  chart.setOption({}); // redraws the chart, which shows the selected areas
}

/** Limit a range to what an axis can show; an open end becomes the end of the data. @param {any} range @param {any} axis */
function shown({ low, high }, axis) {
  const room = 10 * (axis.high - axis.low || Math.abs(axis.high) || 1);
  return [low <= -1e12 ? Math.min(axis.low, high) : Math.max(low, axis.low - room), high >= 1e12 ? Math.max(axis.high, low) : Math.min(high, axis.high + room)];
}

/** A form to enter ranges without a mouse. @param {any} properties */
function Ranges({ axes, ranges, selection }) {
  const numbers = axes.filter((/** @type {any} */ axis) => !axis.words);
  const [name, setName] = useState("");
  const [low, setLow] = useState("");
  const [high, setHigh] = useState("");
  const [wrong, setWrong] = useState("");
  const chosen = numbers.some((/** @type {any} */ axis) => axis.name === name) ? name : numbers[0]?.name ?? "";
  /** @param {Event} event */
  const add = (event) => {
    event.preventDefault();
    const range = { name: chosen, low: low.trim() === "" ? -1e12 : read(low), high: high.trim() === "" ? 1e12 : read(high) };
    const no = Number.isNaN(range.low) ? low : Number.isNaN(range.high) ? high : "";
    setWrong(no ? `“${no}” is not a number; examples: 0.5, 50 %, 4 KB, 200 µs` : range.low > range.high ? "“from” is larger than “to”" : "");
    if (no || range.low > range.high) return;
    setQuery({ b: textOf([...ranges.filter((/** @type {any} */ one) => one.name !== chosen), range]) });
  };
  return html`<form class="controls" onSubmit=${add} aria-label="Ranges">
    <label class="pick"><span>Range of</span><select value=${chosen} onChange=${(/** @type {any} */ event) => setName(event.target.value)}>${numbers.map((/** @type {any} */ axis) => html`<option key=${axis.name} value=${axis.name}>${axis.name}</option>`)}</select></label>
    <label class="pick"><span>from</span><input size="6" aria-invalid=${wrong ? "true" : undefined} aria-describedby="range-error" value=${low} onInput=${(/** @type {any} */ event) => setLow(event.target.value)} /></label>
    <label class="pick"><span>to</span><input size="6" aria-invalid=${wrong ? "true" : undefined} aria-describedby="range-error" value=${high} onInput=${(/** @type {any} */ event) => setHigh(event.target.value)} /></label>
    <button type="submit">Brush</button>
    <span class="field-error" id="range-error" role="alert">${wrong}</span>
    ${selection && html`<span class="chips" role="status"><strong>${plural(selection.size, "trial")} brushed</strong>${ranges.map((/** @type {any} */ range) => html`<span class="chip" key=${range.name}>${range.name}${" "}
      ${range.low > -1e12 ? show(range.name, range.low) : "…"} – ${range.high < 1e12 ? show(range.name, range.high) : "…"}
      <button type="button" aria-label=${`Remove the range of ${range.name}`} onClick=${() => setQuery({ b: textOf(ranges.filter((/** @type {any} */ one) => one !== range)) })}>×</button></span>`)}</span>`}
  </form>`;
}
