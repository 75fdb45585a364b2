// One experiment: its head and its cards. One stream and one set of columns feed all of them.
import { html, signal, useEffect, useMemo, useState } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { Columns } from "../lib/columns.js";
import { ago, duration, phrase, plural } from "../lib/format.js";
import { throttled, follow } from "../lib/live.js";
import { queryValue, go } from "../lib/route.js";
import { roundName, roundShade, roundsOf } from "../lib/rounds.js";
import { brushed, rangesOf } from "../lib/selection.js";
import { Actions } from "../parts/actions.js";
import { Boundary, Clock, Figure, Kept, Problem, Progress, SpecError, State } from "../parts/bits.js";
import { pace } from "./experiments.js";
import { History } from "./experiment/history.js";
import { Importance } from "./experiment/importance.js";
import { Membership } from "./experiment/membership.js";
import { Parallel } from "./experiment/parallel.js";
import { Repetitions } from "./experiment/repetitions.js";
import { Scatter } from "./experiment/scatter.js";
import { Selected } from "./experiment/selected.js";
import { Spec } from "./experiment/spec.js";
import { Study } from "./experiment/study.js";
import { Timeline } from "./experiment/timeline.js";
import { Trials } from "./experiment/trials.js";

const PARTS = [Scatter, Selected, Study, History, Membership, Repetitions, Importance, Parallel, Timeline, Trials, Spec];

/** Call `work` after the next frame is painted; return a function that cancels the call. @param {() => void} work */
function afterPaint(work) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const frame = requestAnimationFrame(() => (timer = setTimeout(work, 0)));
  return () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
}

/**
 * The data of an experiment, updated by its stream.
 * @param {number} id
 */
function useExperiment(id) {
  const source = useMemo(() => ({ view: signal(/** @type {any} */ (null)), columns: new Columns(id), version: signal(0), error: signal(/** @type {any} */ (null)) }), [id]);
  useEffect(() => {
    const fail = (/** @type {any} */ error) => (source.error.value = error);
    const loadView = throttled(() => get(`/experiments/${id}`).then((view) => ((source.view.value = view), (source.error.value = null)), fail), () => (source.columns.rows.length > 500 ? 5000 : 1500));
    const loadPoints = throttled(() => source.columns.update().then((changed) => changed && (source.version.value += 1), fail), 1000);
    const all = () => {
      loadView();
      loadPoints();
    };
    all();
    const end = follow(`/experiments/${id}/stream`, {
      after: null,
      onEvent: (event) => {
        if (event.kind !== "points") all();
      },
      onReturn: all,
    });
    return () => {
      end();
      loadView.cancel();
      loadPoints.cancel();
    };
  }, [id]);
  return source;
}

/** @param {{id: number}} properties */
export function Experiment({ id }) {
  const source = useExperiment(id);
  const [rows, setRows] = useState(0);
  const [parts, setParts] = useState(1);
  const view = source.view.value;
  const version = source.version.value;
  const { columns } = source;
  // Render one part after another, each after the previous one is painted, so that the first plot appears early.
  useEffect(() => (version > 0 && parts < PARTS.length ? afterPaint(() => setParts(parts + 1)) : undefined), [version > 0, parts, !view]);
  const ranges = rangesOf(queryValue("b"));
  const selection = useMemo(() => brushed(columns.rows, ranges), [version, queryValue("b")]);
  if (!view) {
    return html`<nav class="small" aria-label="Breadcrumb"><a href="#/">Experiments</a></nav>
      <div class="view-head"><h1>Experiment ${id}</h1></div><${Problem} error=${source.error.value} />${!source.error.value && html`<p class="dim" role="status">Loading…</p>`}`;
  }
  const front = columns.frontOf(view);
  const picked = queryValue("t") === "" ? null : columns.row(Number(queryValue("t"))) ?? null;
  const common = { experiment: view, columns, version, front, selection, picked, ranges };
  if (rows !== columns.rows.length) setRows(columns.rows.length);
  document.title = `${view.name} – sparsemod`;
  return html`<${Head} experiment=${view} front=${front} onChange=${(/** @type {any} */ change) => (source.view.value = { ...view, ...change })} />
    <${Problem} error=${source.error.value} />
    <div class="grid" data-version=${version} data-trials=${columns.rows.length}>
      ${PARTS.slice(0, parts).map((Part) => html`<${Boundary} key=${Part.name}><${Part} ...${common} /><//>`)}
    </div>`;
}

/** @param {{experiment: any, front: import("../lib/columns.js").Front, onChange: (view: any) => void}} properties */
function Head({ experiment, front, onChange }) {
  const { counts, spec } = experiment;
  const volume = front.history.at(-1)?.hypervolume ?? 0;
  return html`<nav class="small" aria-label="Breadcrumb"><a href="#/">Experiments</a></nav>
    <div class="view-head"><h1>${experiment.name}</h1><span class="dim">#${experiment.id}</span><${State} state=${experiment.state} />
      ${experiment.kept && html`<${Kept} />`}
      ${experiment.reason && experiment.state !== "running" && html`<span class="dim small">${experiment.reason}</span>`}
      ${experiment.paused && html`<span class="bad small" role="status">paused: ${experiment.paused}</span>`}
      <span class="grow"></span>
      <a class="button" href=${`#/compare?ids=${experiment.id}`}>Compare</a>
      <${Actions} experiment=${experiment} onChange=${onChange} onDelete=${() => go("/")} /></div>
    <${SpecError} experiment=${experiment} />
    <section class="card head" aria-label="Progress"><div class="item-body">
      <div class="rounds">${roundsOf(experiment).map(([name, { done, trials }]) =>
        html`<${Progress} key=${name} shade=${roundShade(experiment, name)} label=${roundName(experiment, name)} done=${done} total=${trials} />`)}</div>
      <dl class="figures"><${Figure} name="Hypervolume" title="Share of the box up to the reference point, on the scales of the objectives">${volume.toFixed(4)}<//>
        <${Figure} name="Front">${plural(front.members.length, "point")}<//>
        <${Figure} name="Completed">${counts.completed ?? 0}<//>
        <${Figure} name="Infeasible" title="Over a budget, or stopped before training because of it">${counts.infeasible ?? 0}<//>
        ${counts.stopped > 0 && html`<${Figure} name="Stopped">${counts.stopped}<//>`}
        ${counts.failed > 0 && html`<${Figure} name="Failed">${counts.failed}<//>`}</dl></div>
      <p class="dim small foot"><${Clock}>${(/** @type {number} */ now) => {
        const { rate, left } = pace(experiment, now);
        return [`${spec.dataset.name}, ${spec.network.family}, ${spec.target.device}`, `started ${ago(experiment.created_at, now)}`,
          rate ? `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} trials a minute` : "",
          experiment.state === "running" && left !== null ? `about ${duration(left)} left` : "",
          `objectives: ${spec.objectives.map(phrase).join(", ")}`].filter(Boolean).join(" · ");
      }}<//></p>
    </section>`;
}
