// The attempts of each worker over time. One path per state and worker draws ten thousand attempts quickly.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { duration, moments } from "../../lib/format.js";
import { throttled, returns } from "../../lib/live.js";
import { setQuery, queryValue, go } from "../../lib/route.js";
import { now } from "../../lib/time.js";
import { Card, Pick, Problem } from "../../parts/bits.js";

/** @type {Record<string, string>} */
const FILL = { completed: "var(--accent)", running: "var(--c2)", failed: "var(--bad)", lost: "var(--bad)", released: "var(--c6)", stopped: "var(--c1)" };
const SPANS = /** @type {[string, string][]} */ ([["900", "15 minutes"], ["3600", "hour"], ["43200", "12 hours"], ["0", "whole run"]]);

/** @param {any} properties */
export function Timeline({ experiment, version }) {
  const [timeline, setTimeline] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [hint, setHint] = useState("");
  const span = Number(queryValue("span", "3600"));
  const finished = experiment.finished_at ? Date.parse(experiment.finished_at) / 1000 : null;
  const [refresh] = useState(() => ({ call: /** @type {any} */ (null) }));
  useEffect(() => {
    const since = () => Math.max(0, (finished ?? now() / 1000) - span).toFixed(0);
    refresh.call = throttled(() => get(`/experiments/${experiment.id}/timeline${span ? `?since=${since()}` : ""}`).then((answer) => (setTimeline(answer), setError(null)), setError), 10000);
    refresh.call();
    return () => refresh.call.cancel();
  }, [experiment.id, span, finished]);
  useEffect(() => refresh.call?.(), [version, experiment.state, returns.value]);
  const lanes = timeline ? lanesOf(timeline, span) : null;
  const used = [...new Set(timeline?.state ?? [])];
  return html`<${Card} title="Workers' timeline" wide note=${hint} aside=${html`<${Pick} label="Last" value=${String(span)} options=${SPANS} onChange=${(/** @type {string} */ value) => setQuery({ span: value === "3600" ? null : value })} />`}>
    <${Problem} error=${error} what="The timeline" />
    ${lanes && lanes.rows.length === 0 && html`<p class="dim">No worker ran trials of this experiment in this period.</p>`}
    ${lanes && lanes.rows.length > 0 && html`<div class="timeline">${lanes.rows.map((/** @type {any} */ lane) => html`<div class="lane" key=${lane.name}>
        <span title=${lane.name}>${lane.name}<span class="dim"> ${lane.device}</span></span>
        <svg viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=${`${lane.name}: ${lane.items.length} attempts, busy ${Math.round(100 * lane.busy)} % of the time`}
          onMouseMove=${(/** @type {any} */ event) => setHint(describe(at(event, lane, lanes)))} onMouseLeave=${() => setHint("")}
          onClick=${(/** @type {any} */ event) => {
            const item = at(event, lane, lanes);
            if (item) go(`/experiments/${experiment.id}/trials/${item.trial}`);
          }}>
          ${Object.entries(lane.paths).map(([state, path]) => html`<path key=${state} d=${path} stroke=${FILL[state] ?? "var(--dim)"} stroke-width="8" fill="none" />`)}
        </svg></div>`)}
      <div class="lane"><span></span><span class="lane-ends">${moments(lanes.from * 1000, lanes.to * 1000).map((text) => html`<span>${text}</span>`)}</span></div></div>
      <ul class="legend">${used.map((state) => html`<li key=${state}><span class="swatch square" style=${{ background: FILL[String(state)] ?? "var(--dim)" }}></span>${state}</li>`)}</ul>`}
  <//>`;
}

/** Convert the columns to one lane per worker. @param {any} timeline @param {number} span */
function lanesOf(timeline, span) {
  const ends = timeline.ended.map((/** @type {number | null} */ end) => end ?? timeline.now);
  const to = timeline.started.length ? ends.reduce((/** @type {number} */ a, /** @type {number} */ b) => Math.max(a, b), 0) : timeline.now;
  const first = timeline.started.reduce((/** @type {number} */ a, /** @type {number} */ b) => Math.min(a, b), to - 1);
  const from = span ? Math.max(first, to - span) : first;
  const place = (/** @type {number} */ time) => (1000 * (Math.max(time, from) - from)) / Math.max(to - from, 1e-9);
  const rows = timeline.workers.map((/** @type {string} */ name, /** @type {number} */ worker) => ({
    name, device: timeline.devices[worker], paths: /** @type {Record<string, string>} */ ({}), items: /** @type {any[]} */ ([]), busy: 0, worker,
  }));
  timeline.started.forEach((/** @type {number} */ start, /** @type {number} */ i) => {
    if (ends[i] < from) return; // it has left the span since the request
    const lane = rows[timeline.worker[i]];
    const state = timeline.state[i];
    lane.items.push({ start, end: ends[i], trial: timeline.trial[i], state });
    lane.busy += (ends[i] - Math.max(start, from)) / Math.max(to - from, 1e-9);
    const left = place(start);
    lane.paths[state] = `${lane.paths[state] ?? ""}M${left.toFixed(1)} 5H${Math.max(place(ends[i]) - 0.8, left + 0.8).toFixed(1)}`;
  });
  return { rows: rows.filter((/** @type {any} */ lane) => lane.items.length), from, to };
}

/** The attempt under the mouse. @param {MouseEvent} event @param {any} lane @param {any} lanes */
function at(event, lane, lanes) {
  const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
  const time = lanes.from + ((event.clientX - box.left) / box.width) * (lanes.to - lanes.from);
  return lane.items.find((/** @type {any} */ item) => item.start <= time && time <= item.end);
}

/** @param {any} item */
const describe = (item) => (item ? `trial ${item.trial}, ${item.state}, ${duration(item.end - item.start)}` : "");
