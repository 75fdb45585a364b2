// All experiments: state, rounds, best points, rate, time left.
import { effect, html, signal, useEffect, useState } from "../lib/ui.js";
import { get, mayChange } from "../lib/api.js";
import { ago, duration, phrase, plural, show } from "../lib/format.js";
import { throttled, follow, resets } from "../lib/live.js";
import { setQuery, queryValue, offset as place } from "../lib/route.js";
import { roundName, roundShade, roundsOf } from "../lib/rounds.js";
import { Actions } from "../parts/actions.js";
import { Clock, Kept, Pick, Problem, Progress, SpecError, State } from "../parts/bits.js";

const PAGE = 20;
const STATES = ["running", "stopped", "done", "failed"];
/** The state filter in the address; "" for an unknown state. */
const wanted = () => (STATES.includes(queryValue("state")) ? queryValue("state") : "");
/** @type {import("../lib/ui.js").Signal<{items: any[], total: number} | null>} */
const list = signal(null);
/** Fronts by experiment, with their revision. @type {import("../lib/ui.js").Signal<Record<number, any>>} */
const fronts = signal({});

/** Remove fronts newer than the server's revision: its database was replaced. @param {Record<string, number>} revisions by experiment */
function forget(revisions) {
  fronts.value = Object.fromEntries(Object.entries(fronts.peek()).filter(([id, front]) => front.revision <= (revisions[id] ?? -1)));
}

effect(() => {
  if (resets.value > 0) fronts.value = {};
});

/** The rate of finished trials, and the estimated remaining time. @param {any} experiment @param {number} now */
export function pace(experiment, now) {
  let total = 0;
  let done = 0;
  for (const round of /** @type {any[]} */ (Object.values(experiment.rounds))) {
    if (!round.planned) continue;
    total += round.trials;
    done += Math.min(round.trials, over(round));
  }
  const end = experiment.finished_at ? Date.parse(experiment.finished_at) : now;
  const seconds = (end - Date.parse(experiment.created_at)) / 1000;
  // Until the server knows the rate, use the average so far.
  const rate = experiment.trials_per_minute ?? (seconds > 0 ? (60 * done) / seconds : 0);
  const left = experiment.state === "running" && rate > 0 ? (60 * (total - done)) / rate : null;
  return { total, done, rate, left };
}

/** Finished trials that count for a round. @param {any} round */
const over = ({ done }) => done;

async function load() {
  const offset = place();
  const state = wanted();
  const page = await get(`/experiments?limit=${PAGE}&offset=${offset}${state ? `&state=${encodeURIComponent(state)}` : ""}`);
  if (page.total > 0 && offset >= page.total) {
    // An old link, or the last experiment of this page was deleted.
    setQuery({ offset: PAGE * Math.floor((page.total - 1) / PAGE) || null });
    return;
  }
  list.value = page;
  for (const experiment of page.items) {
    const known = fronts.peek()[experiment.id];
    if (!experiment.counts.completed || known?.revision === experiment.revision || (known?.state === experiment.state && Date.now() < known.next)) continue;
    try {
      const pareto = await get(`/pareto/${experiment.id}`);
      fronts.value = { ...fronts.peek(), [experiment.id]: { revision: experiment.revision, state: experiment.state, next: Date.now() + Math.max(5000, 20 * experiment.counts.completed), ...best(pareto) } };
    } catch (error) {
      if (/** @type {any} */ (error).status !== 404) throw error; // it was deleted in the meantime
    }
  }
}

/** Summary of a front: best value of each objective, number of points, hypervolume. @param {any} pareto */
function best(pareto) {
  const values = pareto.points.map((/** @type {any} */ point) =>
    Object.fromEntries(point.measurements.filter((/** @type {any} */ m) => m.split !== "test").map((/** @type {any} */ m) => [m.metric, m.value])),
  );
  return {
    points: pareto.points.length,
    hypervolume: pareto.hypervolume,
    best: pareto.objectives.map((/** @type {string} */ name) => [name, Math.min(...values.map((/** @type {any} */ v) => v[name]))]),
  };
}

export function Experiments() {
  const [error, setError] = useState(/** @type {any} */ (null));
  const offset = place();
  const state = wanted();
  useEffect(() => {
    const refresh = throttled(() => load().then(() => setError(null), setError), 2500);
    refresh();
    const end = follow("/stream", {
      onEvent: (event) => {
        if (event.kind === "revisions") forget(event.data);
        refresh();
      },
      onReturn: refresh,
    });
    return () => {
      end();
      refresh.cancel();
    };
  }, [offset, state]);
  const page = list.value;
  return html`<div class="view-head"><h1>Experiments</h1>
      ${page && html`<span class="dim">${plural(page.total, "experiment")}</span>`}<span class="grow"></span>
      <${Pick} label="Show" value=${state} options=${[["", "all"], ...STATES]} onChange=${(/** @type {string} */ next) => setQuery({ state: next, offset: null })} />
      ${mayChange() && html`<a class="button main" href="#/new">New experiment</a>`}</div>
    <${Problem} error=${error} />
    ${!page && !error && html`<p class="dim" role="status">Loading…</p>`}
    ${page && !error && page.total === 0 && state && html`<p class="dim">No experiment is ${state}.</p>`}
    ${page && !error && page.total === 0 && !state && html`<div class="empty card"><h2>Nothing here yet</h2>
      <p>An experiment searches networks for a dataset and a device's budget. <a href="#/new">Create the first one</a>, or run <code>sparsemod submit spec.yaml</code>.</p></div>`}
    <ul class="plain">${(page?.items ?? []).map((item) => html`<li key=${item.id}><${Item} experiment=${item} front=${fronts.value[item.id]} /></li>`)}</ul>
    ${page && page.total > PAGE && html`<${Pages} offset=${offset} total=${page.total} />`}`;
}

/** @param {{experiment: any, front: any}} properties */
function Item({ experiment, front }) {
  const change = (/** @type {any} */ view) => {
    const known = list.peek();
    if (known) list.value = { ...known, items: known.items.map((item) => (item.id === view.id ? { ...item, ...view } : item)) };
  };
  const { counts } = experiment;
  return html`<article class="card item">
    <div class="card-head"><h2><a href=${`#/experiments/${experiment.id}`}>${experiment.name}</a></h2><span class="dim">#${experiment.id}</span>
      <${State} state=${experiment.state} />${experiment.kept && html`<${Kept} />`}${experiment.owner && html`<span class="dim small">${experiment.owner}</span>`}
      <span class="grow"></span>
      <${Actions} experiment=${experiment} onChange=${change} onDelete=${load} /></div>
    ${experiment.reason && experiment.state !== "running" && html`<p class="dim small">${experiment.reason}</p>`}
    ${experiment.paused && html`<p class="bad small">paused: ${experiment.paused}</p>`}
    <${SpecError} experiment=${experiment} />
    <div class="item-body">
      <div class="rounds">${roundsOf(experiment).map(([name, round]) => html`<${Progress} key=${name} shade=${roundShade(experiment, name)} label=${roundName(experiment, name)} done=${over(round)} total=${round.trials} />`)}</div>
      <dl class="figures">
        ${front?.points > 0 && front.best.map((/** @type {any} */ [name, value]) => html`<div class="figure" key=${name}><dt>Best ${phrase(name)}</dt><dd>${Number.isFinite(value) ? show(name, value) : "–"}</dd></div>`)}
        ${front?.points > 0 && html`<div class="figure"><dt>Front</dt><dd>${plural(front.points, "point")}</dd></div>`}
      </dl>
    </div>
    <p class="dim small foot"><${Clock}>${(/** @type {number} */ now) => {
      const { rate, left } = pace(experiment, now);
      const parts = [`started ${ago(experiment.created_at, now)}`, `${counts.completed ?? 0} completed`];
      if (counts.infeasible) parts.push(`${counts.infeasible} infeasible`);
      if (counts.failed) parts.push(`${counts.failed} failed`);
      if (counts.running) parts.push(`${counts.running} running`);
      if (rate) parts.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} trials a minute`);
      if (left !== null && experiment.state === "running") parts.push(`about ${duration(left)} left`);
      return parts.join(" · ");
    }}<//></p>
  </article>`;
}

/** @param {{offset: number, total: number}} properties */
const Pages = ({ offset, total }) => html`<nav class="pages" aria-label="Pages">
  <button type="button" disabled=${offset === 0} onClick=${() => setQuery({ offset: Math.max(0, offset - PAGE) || null })}>Newer</button>
  <span class="dim">${offset + 1}–${Math.min(offset + PAGE, total)} of ${total}</span>
  <button type="button" disabled=${offset + PAGE >= total} onClick=${() => setQuery({ offset: offset + PAGE })}>Older</button></nav>`;
