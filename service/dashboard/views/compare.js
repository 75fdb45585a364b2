// Several experiments side by side: their fronts on one plot, their hypervolumes over trials and over seconds.
import { html, useEffect, useMemo, useState } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { Columns } from "../lib/columns.js";
import { TRAINED, boxText, duration, phrase, plural, show, tick, title } from "../lib/format.js";
import { throttled, follow } from "../lib/live.js";
import { colour, palette } from "../lib/look.js";
import { setQuery, queryValue } from "../lib/route.js";
import { now } from "../lib/time.js";
import { Front } from "../lib/pareto.js";
import { Card, Pick, Problem, State } from "../parts/bits.js";
import { axisLook, Chart, Lines, safe, step, tipLook } from "../parts/chart.js";

const MOST = 6;

export function Compare() {
  const [list, setList] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [data, setData] = useState(/** @type {Record<number, {view: any, columns: Columns}>} */ ({}));
  const [version, setVersion] = useState(0);
  const ids = [...new Set(queryValue("ids").split(",").map(Number))].filter((id) => Number.isSafeInteger(id) && id > 0).slice(0, MOST);
  const key = ids.join(",");
  useEffect(() => {
    const mine = Object.fromEntries(ids.map((id) => [id, data[id] ?? { view: null, columns: new Columns(id) }]));
    setData(mine);
    const load = throttled(async () => {
      const problems = await Promise.all(ids.map(async (id) => {
        try {
          const view = await get(`/experiments/${id}`);
          if (view.revision !== mine[id].columns.revision) await mine[id].columns.update();
          mine[id].view = view;
          return null;
        } catch (problem) {
          return problem;
        }
      }));
      setError(problems.find(Boolean) ?? null);
      setVersion((before) => before + 1);
    }, 3000);
    /** Ids of the listed experiments. The list is large compared with an event, so it is loaded again only for a new experiment. @type {Set<string> | null} */
    let known = null;
    const loadList = throttled(() => get("/experiments?limit=200").then((listed) => {
      known = new Set(listed.items.map((/** @type {any} */ one) => String(one.id)));
      setList(listed.items);
    }, setError), 5000);
    const all = () => {
      load();
      loadList();
    };
    all();
    const end = follow("/stream", {
      onEvent: (event) => {
        load();
        const highest = Math.max(0, ...[...(known ?? [])].map(Number));
        if (known && Object.keys(event.data).some((id) => Number(id) > highest)) loadList();
      },
      onReturn: all,
    });
    return () => {
      end();
      loadList.cancel();
      load.cancel();
    };
  }, [key]);
  const chosen = ids.map((id) => data[id]).filter((one) => one?.view);
  /** @param {number} id @param {boolean} on */
  const choose = (id, on) => setQuery({ ids: (on ? [...ids, id] : ids.filter((other) => other !== id)).join(",") });
  return html`<div class="view-head"><h1>Compare</h1><span class="dim">up to ${MOST} experiments</span></div>
    <${Problem} error=${error} />
    <section class="card head" aria-label="Experiments to compare"><div class="checks">${list?.map((one) => html`<label key=${one.id}>
      <input type="checkbox" checked=${ids.includes(one.id)} disabled=${!ids.includes(one.id) && ids.length >= MOST} onChange=${(/** @type {any} */ event) => choose(one.id, event.target.checked)} />
      ${one.name} <span class="dim">#${one.id}</span></label>`)}${list?.length === 0 && html`<span class="dim">No experiments yet.</span>`}</div></section>
    ${chosen.length === 0 ? html`<p class="dim">${ids.length === 0 ? (list?.length ? "Choose two or more." : "") : error ? "" : "Loading…"}</p>` : html`<${Plots} chosen=${chosen} version=${version} />`}`;
}

/** @param {{chosen: {view: any, columns: Columns}[], version: number}} properties */
function Plots({ chosen, version }) {
  const shared = chosen[0].view.objectives.filter((/** @type {string} */ name) => chosen.every((one) => one.view.objectives.includes(name)));
  // Hypervolumes are comparable only with the same scales and objectives.
  const scales = Object.fromEntries(shared.map((/** @type {string} */ name) => [name, common(chosen.map((one) => one.view.scales[name]).filter(Boolean))]));
  const fronts = useMemo(() => chosen.map(({ view, columns }) => {
    const front = new Front({ ...view, objectives: shared, scales });
    for (const row of columns.completed()) front.add(row.index, (metric) => row.values[metric] ?? null);
    return front;
  }), [version, chosen.length]);
  const x = shared.includes(queryValue("x")) ? queryValue("x") : shared[1] ?? shared[0];
  const y = shared.includes(queryValue("y")) ? queryValue("y") : shared[0];
  const over = queryValue("over", "trials");
  const colours = palette();
  const names = chosen.map(({ view }) => `${view.name} #${view.id}`);
  if (shared.length === 0) return html`<p class="note">These experiments have no objective in common.</p>`;
  const axes = /** @type {[string, string][]} */ (shared.map((/** @type {string} */ name) => [name, title(name)]));
  const words = boxText(scales);
  const unlike = differences(chosen.map((one) => one.view.spec), shared);
  return html`${unlike.length > 0 && html`<p class="note" role="note">Note: ${unlike.join("; ")}.</p>`}<div class="grid" data-version=${version}>
    <${Card} title="Fronts" note=${shared.length > 2 ? "points: front of all shared objectives; lines: front of the two shown" : ""} aside=${html`<${Pick} label="Across" value=${x} options=${axes} onChange=${(/** @type {string} */ v) => setQuery({ x: v })} /><${Pick} label="Up" value=${y} options=${axes} onChange=${(/** @type {string} */ v) => setQuery({ y: v })} />`}>
      ${fronts.every((front) => front.members.length === 0) ? html`<p class="dim">No completed trial meets all budgets yet.</p>` : html`<${Chart} name="fronts" size="tall" label=${`Fronts of ${names.join(", ")}: ${title(y)} against ${title(x)}`} depends=${[version, x, y, chosen.length]} option=${() => frontOptions(chosen, fronts, names, x, y, scales)} />`}
      <ul class="legend">${names.map((name, i) => html`<li key=${name}><span class="swatch" style=${{ background: colours[i] }}></span>${shortened(name)}</li>`)}</ul><//>
    <${Card} title="Hypervolume" note=${`against ${words}`} aside=${html`<${Pick} label="Over" value=${over} options=${["trials", "seconds"]} onChange=${(/** @type {string} */ v) => setQuery({ over: v === "trials" ? null : v })} />`}>
      ${fronts.every((front) => front.history.length === 0) ? html`<p class="dim">Shown after the first completed trial.</p>` : html`<${Lines} name="volumes" height=${300} data=${volumes(chosen, fronts, over)} depends=${[names.join(), over, fronts.map((front) => front.history.length === 1).join()]} label=${`Hypervolume over ${over}`}
        series=${names.map((name, i) => ({ label: shortened(name), colour: colours[i], stepped: true, points: fronts[i].history.length === 1 }))} x=${over === "seconds" ? (/** @type {number} */ v) => duration(v) : (/** @type {number} */ v) => (Number.isInteger(v) ? String(v) : "")} y=${(/** @type {number} */ v) => v.toPrecision(3)} />`}<//>
    <${Card} title="In numbers" wide><div class="scroll" tabindex="0" role="group" aria-label="Comparison in numbers"><table>
      <thead><tr><th scope="col">Experiment</th><th scope="col">State</th><th scope="col">Family</th><th scope="col">Device</th><th scope="col" class="number">Completed</th><th scope="col" class="number">Front</th><th scope="col" class="number">Hypervolume</th>
        ${shared.map((/** @type {string} */ name) => html`<th scope="col" class="number" key=${name}>Best ${phrase(name)}</th>`)}<th scope="col" class="number">Took</th></tr></thead>
      <tbody>${chosen.map(({ view, columns }, i) => {
        const members = fronts[i].members.map((member) => columns.row(member.row));
        return html`<tr key=${view.id}><th scope="row" class="wrap"><a href=${`#/experiments/${view.id}`}>${names[i]}</a></th><td><${State} state=${view.state} /></td><td>${view.spec.network.family}</td><td>${view.spec.target.device}</td>
          <td class="number">${view.counts.completed ?? 0}</td><td class="number">${plural(members.length, "point")}</td><td class="number">${(fronts[i].history.at(-1)?.hypervolume ?? 0).toFixed(4)}</td>
          ${shared.map((/** @type {string} */ name) => html`<td class="number" key=${name}>${members.length ? show(name, Math.min(...members.map((row) => row?.values[name] ?? Infinity))) : "–"}</td>`)}
          <td class="number">${duration((ended(view) - Date.parse(view.created_at)) / 1000)}</td></tr>`;
      })}</tbody></table></div><//></div>`;
}

/** One scale for all: logarithmic if any is, and wide enough for each. @param {any[]} scales */
function common(scales) {
  const chosen = scales.find((scale) => scale.kind === "log") ?? scales[0];
  return { ...chosen, low: Math.min(...scales.filter((scale) => scale.kind === chosen.kind).map((scale) => scale.low)), high: Math.max(...scales.map((scale) => scale.high)) };
}

/** Reasons why numbers of the same name are not comparable. @param {any[]} specs @param {string[]} shared the compared objectives */
function differences(specs, shared) {
  const differ = (/** @type {(spec: any) => unknown} */ of) => new Set(specs.map((spec) => JSON.stringify(of(spec)))).size > 1;
  return [
    differ((spec) => [spec.dataset.name, spec.dataset.options, spec.dataset.splits, spec.dataset.limit]) && shared.some((name) => TRAINED.has(name)) && "the networks are tested on different data",
    differ((spec) => spec.target.device) && shared.some((name) => ["latency", "flash", "ram"].includes(name)) && "each is measured for a different device",
    ...["model_size", "working_memory", "latency"].map((name) => shared.includes(name) && differ((spec) => spec.measure[name]) && `${phrase(name)} is defined differently: ${[...new Set(specs.map((spec) => spec.measure[name].replaceAll("_", " ")))].join(", ")}`),
  ].filter(Boolean);
}

/** @param {{view: any, columns: Columns}[]} chosen @param {Front[]} fronts @param {string[]} names @param {string} x @param {string} y @param {Record<string, any>} scales */
function frontOptions(chosen, fronts, names, x, y, scales) {
  const colours = palette();
  const rangeOf = (/** @type {string} */ name) => {
    const all = fronts.flatMap((front, i) => front.members.map((member) => chosen[i].columns.row(member.row)?.values[name] ?? 0));
    return { min: Math.min(...all), max: Math.max(...all) };
  };
  const logarithmic = (/** @type {string} */ name) => scales[name].kind === "log" && rangeOf(name).min > 0;
  const axis = (/** @type {string} */ name, /** @type {any} */ more) => ({ type: logarithmic(name) ? "log" : "value", logBase: rangeOf(name).max < 100 * rangeOf(name).min ? 2 : 10, scale: true, name: title(name), nameLocation: "middle", interval: logarithmic(name) ? undefined : step(name, rangeOf(name)), ...axisLook(), ...more, axisLabel: { ...axisLook().axisLabel, hideOverlap: true, showMaxLabel: false, formatter: (/** @type {number} */ v) => tick(name, v) } });
  return {
    grid: { left: 72, right: 18, top: 12, bottom: 46 }, xAxis: axis(x, { nameGap: 28 }), yAxis: axis(y, { nameGap: 56 }),
    tooltip: { ...tipLook(), formatter: (/** @type {any} */ { data }) => (data?.index === undefined ? "" : `${safe(data.of)}<br><b>Trial ${data.index}</b><br>${safe(title(x))}: ${safe(show(x, data.value[0]))}<br>${safe(title(y))}: ${safe(show(y, data.value[1]))}`) },
    series: fronts.flatMap((front, i) => {
      const points = front.members.map((member) => chosen[i].columns.row(member.row)).filter(Boolean)
        .map((row) => ({ value: [/** @type {any} */ (row).values[x], /** @type {any} */ (row).values[y]], index: /** @type {any} */ (row).index, of: names[i] })).sort((a, b) => a.value[0] - b.value[0] || a.value[1] - b.value[1]);
      let best = Infinity;
      const stairs = points.filter((point) => point.value[1] < best && ((best = point.value[1]), true)).map((point) => point.value);
      return [
        { type: "line", step: "end", symbol: "none", silent: true, data: stairs, lineStyle: { color: colours[i], width: 1.2, opacity: 0.8 } },
        { type: "scatter", symbolSize: 9, data: points, itemStyle: { color: colours[i], borderColor: colour("card"), borderWidth: 1 } },
      ];
    }),
  };
}

/** A shortened name that keeps its number. @param {string} name */
const shortened = (name) => (name.length <= 28 ? name : name.replace(/^(.{18}).*( #\d+)$/, "$1…$2"));

/** Time of the experiment's end, or of its stop. @param {any} view */
const ended = (view) => (view.state === "running" ? now() : Date.parse(view.finished_at ?? view.updated_at));

/** Hypervolumes on one axis: null where an experiment has no trial. @param {{view: any, columns: Columns}[]} chosen @param {Front[]} fronts @param {string} over */
function volumes(chosen, fronts, over) {
  const lines = fronts.map((front, i) => {
    const began = Date.parse(chosen[i].view.created_at) / 1000;
    return new Map(front.history.map((point, place) => [over === "seconds" ? Math.round(10 * ((chosen[i].columns.row(point.row)?.finishedAt ?? began) - began)) / 10 : place + 1, point.hypervolume]));
  });
  const xs = [...new Set(lines.flatMap((line) => [...line.keys()]))].sort((a, b) => a - b);
  return [xs, ...lines.map((line) => xs.map((at) => line.get(at) ?? null))];
}
