// The Pareto scatter: any two quantities, coloured by a third. Regions over a budget are shaded, trials over a budget dimmed.
import { html, useMemo } from "../../lib/ui.js";
import { phrase, plural, show, tick, title } from "../../lib/format.js";
import { colour, palette } from "../../lib/look.js";
import { roundColour, roundName } from "../../lib/rounds.js";
import { setQuery, queryValue } from "../../lib/route.js";
import { valueOf } from "../../lib/selection.js";
import { Card, Pick } from "../../parts/bits.js";
import { axisLook, Chart, safe, step, tipLook } from "../../parts/chart.js";

const RAMP = ["#3b4cc0", "#2a788e", "#22a884", "#a8c41a", "#f0a30a"];

/** The ramp's colour at `share`, 0 to 1. @param {number} share */
export const ramp = (share) => RAMP[Math.max(0, Math.min(RAMP.length - 1, Math.round(share * (RAMP.length - 1))))];

/** @param {any} properties */
export function Scatter({ experiment, columns, version, front, selection, picked }) {
  const { budgets, objectives } = experiment;
  const kinds = queryValue("axes", "objectives' own");
  const kind = (/** @type {string} */ name) => (kinds === "log" || kinds === "linear" ? kinds : experiment.scales[name]?.kind ?? "linear");
  const numeric = useMemo(() => columns.parameters.filter((/** @type {string} */ name) => columns.rows.some((/** @type {any} */ row) => typeof row.parameters[name] === "number")), [columns, version]);
  /** @type {[string, string][]} */
  const axes = [...new Set([...objectives, ...columns.metrics]), "index", "epochs", ...numeric].map((name) => [name, title(name)]);
  const colours = /** @type {[string, string][]} */ ([["round", "Round"], ["origin", "Origin"], ...columns.metrics.map((/** @type {string} */ n) => [n, title(n)]), ...columns.parameters.map((/** @type {string} */ n) => [n, title(n)])]);
  /** The choice in the address if it is an option; without trials the options are unknown, so accept any. @param {string} name @param {string} otherwise @param {[string, string][]} options */
  const choice = (name, otherwise, options) => (columns.rows.length === 0 || options.some(([one]) => one === queryValue(name)) ? queryValue(name, otherwise) : otherwise);
  const x = choice("x", objectives[1] ?? "index", axes);
  const y = choice("y", objectives[0], axes);
  const by = choice("c", "round", colours);
  const drawn = useMemo(() => points(columns, front, x, y), [columns, version, front, x, y]);
  const paint = painter(experiment, columns, by);
  const on = { click: (/** @type {any} */ event) => indexOf(event.data) !== undefined && setQuery({ t: indexOf(event.data) }, { push: true }) };
  const label = `${title(y)} against ${title(x)} of ${plural(drawn.good.length, "completed trial")}; ${plural(front.members.length, "point")} on the Pareto front. The table of trials below lists the numbers.`;
  return html`<${Card} title="Pareto front" id="scatter" note=${drawn.untrained ? `${plural(drawn.untrained, "infeasible trial")} never trained: marks at the edge, if in range` : drawn.good.length + drawn.over.length === 0 ? "no trial has a result yet" : ""}>
    ${front.nearest.length > 0 && html`<p class="note" role="note">No completed trial meets every budget yet. Nearest: ${front.nearest.map((/** @type {any} */ row, /** @type {number} */ place) => html`${place ? "; " : ""}<a href=${`#/experiments/${experiment.id}/trials/${row.index}`}>trial ${row.index}</a> with ${missed(row, budgets)}`)}.</p>`}
    <div class="controls">
      <${Pick} label="Across" value=${x} options=${axes} onChange=${(/** @type {string} */ v) => setQuery({ x: v })} />
      <${Pick} label="Up" value=${y} options=${axes} onChange=${(/** @type {string} */ v) => setQuery({ y: v })} />
      <${Pick} label="Colour" value=${by} options=${colours} onChange=${(/** @type {string} */ v) => setQuery({ c: v })} />
      <${Pick} label="Axes" value=${kinds} options=${["objectives' own", "linear", "log"]} onChange=${(/** @type {string} */ v) => setQuery({ axes: v === "objectives' own" ? null : v })} />
    </div>
    <${Chart} name="scatter" size="tall" label=${label} on=${on} depends=${[version, x, y, by, kinds, picked?.index, selection, JSON.stringify(budgets)]}
      option=${() => options({ x, y, kind, drawn, paint, budgets, objectives, selection, picked, columns })} />
    <ul class="legend">${paint.legend.map(([text, fill]) => html`<li key=${text}><span class="swatch" style=${{ background: fill }}></span>${text}</li>`)}
      <li><span class="swatch ring"></span>on the front</li><li><span class="swatch hollow"></span>over a budget</li></ul>
  <//>`;
}

/** The budgets that a trial misses, with its values. @param {any} row @param {Record<string, number>} budgets */
const missed = (row, budgets) => Object.entries(budgets).filter(([name, limit]) => row.values[name] > limit).map(([name, limit]) => `${phrase(name)} ${show(name, row.values[name])} (at most ${show(name, limit)})`).join(", ");

/** The points to draw. @param {any} columns @param {any} front @param {string} x @param {string} y */
function points(columns, front, x, y) {
  const members = new Set(front.members.map((/** @type {any} */ member) => member.row));
  /** @type {any[]} */
  const good = [];
  /** @type {any[]} */
  const over = [];
  let untrained = 0;
  /** @type {any[]} */
  const edge = [];
  for (const row of columns.rows) {
    const px = valueOf(row, x);
    const py = valueOf(row, y);
    if (row.state !== "completed" && row.state !== "infeasible") continue;
    if (typeof px === "number" && typeof py === "number") {
      const item = { value: [px, py], index: row.index, row, front: members.has(row.index) };
      const feasible = row.state === "completed" && front.feasible((/** @type {string} */ metric) => row.values[metric] ?? null);
      (feasible ? good : over).push(item);
    } else if (row.state === "infeasible") {
      untrained += 1;
      if (typeof px === "number" && typeof py !== "number") edge.push({ px, index: row.index, row });
    }
  }
  return { good, over, edge, untrained };
}

/** The colours of points, and their legend. @param {any} experiment @param {any} columns @param {string} by */
function painter(experiment, columns, by) {
  if (by === "round") {
    const used = Object.keys(experiment.rounds).filter((name) => columns.rows.some((/** @type {any} */ row) => row.round === name));
    const of = (/** @type {string} */ name) => roundColour(experiment, name);
    return { of: (/** @type {any} */ row) => of(row.round), legend: /** @type {[string, string][]} */ (used.map((name) => [roundName(experiment, name), of(name)])) };
  }
  if (by === "origin") {
    const names = /** @type {string[]} */ ([...new Set(columns.rows.map((/** @type {any} */ row) => row.origin))]);
    const shades = ["c1", "c2", "c3", "c4", "c6", "c5"];
    const of = (/** @type {string} */ name) => colour(shades[names.indexOf(name) % shades.length]);
    return { of: (/** @type {any} */ row) => of(row.origin), legend: /** @type {[string, string][]} */ (names.map((name) => [name, of(name)])) };
  }
  const values = columns.rows.map((/** @type {any} */ row) => valueOf(row, by)).filter((/** @type {any} */ value) => value !== undefined);
  if (values.every((/** @type {any} */ value) => typeof value === "number")) {
    const low = values.reduce((/** @type {number} */ a, /** @type {number} */ b) => Math.min(a, b), Infinity);
    const high = values.reduce((/** @type {number} */ a, /** @type {number} */ b) => Math.max(a, b), -Infinity);
    const share = (/** @type {number} */ value) => (high > low ? (value - low) / (high - low) : 0.5);
    return {
      of: (/** @type {any} */ row) => (valueOf(row, by) === undefined ? colour("faint") : ramp(share(valueOf(row, by)))),
      legend: /** @type {[string, string][]} */ ([[show(by, low), ramp(0)], [show(by, (low + high) / 2), ramp(0.5)], [show(by, high), ramp(1)]]),
    };
  }
  const names = [...new Set(values.map(String))].sort().slice(0, 6);
  const of = (/** @type {any} */ value) => palette()[names.indexOf(String(value))] ?? colour("faint");
  return { of: (/** @type {any} */ row) => of(valueOf(row, by)), legend: /** @type {[string, string][]} */ (names.map((name) => [name, of(name)])) };
}

/** The range of the values, with a margin. @param {number[]} values @param {number | undefined} limit @param {boolean} log */
function extent(values, limit, log) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) [low, high] = [0, limit ?? 1];
  if (limit !== undefined && limit > high && limit < high * 1.6) high = limit * 1.02;
  if (log) return { min: low > 0 ? low / 1.15 : 1e-6, max: Math.max(high, 1e-5) * 1.15 };
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return { min: low >= 0 && low - room < 0.35 * (high - low) ? 0 : low - room, max: high + room };
}

/** The lower left staircase of points. @param {any[]} good */
function staircase(good) {
  /** @type {number[][]} */
  const steps = [];
  let best = Infinity;
  for (const { value: [px, py] } of [...good].sort((a, b) => a.value[0] - b.value[0] || a.value[1] - b.value[1])) {
    if (py < best) {
      steps.push([px, py]);
      best = py;
    }
  }
  return steps;
}

/** The trial's index of a point; in large series points are plain arrays. @param {any} data @returns {number | undefined} */
const indexOf = (data) => (Array.isArray(data) ? data[2] : data?.index);

const MANY = 2000;

/**
 * Points as series. Beyond MANY points, the symbols are small and all points of one style share a series, which paints ten times faster.
 * @param {string} id @param {any[]} items @param {any} more @param {(item: any) => string} fill @param {(item: any) => number} opacity
 */
function dots(id, items, more, fill, opacity) {
  const common = { type: "scatter", progressive: 0, ...more };
  if (items.length <= MANY) return [{ id, ...common, data: items.map((item) => ({ ...item, itemStyle: { color: fill(item), opacity: opacity(item) } })) }];
  /** @type {Map<string, any>} */
  const looks = new Map();
  for (const item of items) {
    const itemStyle = { color: fill(item), opacity: opacity(item) };
    const look = `${itemStyle.color} ${itemStyle.opacity}`;
    if (!looks.has(look)) looks.set(look, { id: `${id} ${look}`, ...common, symbol: "rect", symbolSize: 3.5, large: true, largeThreshold: 0, itemStyle, data: [] });
    looks.get(look).data.push([...item.value, item.index]);
  }
  return [...looks.values()];
}

/** @param {any} properties */
function options({ x, y, kind, drawn, paint, budgets, objectives, selection, picked, columns }) {
  const all = [...drawn.good, ...drawn.over];
  const across = extent(all.map((item) => item.value[0]), budgets[x], kind(x) === "log");
  const up = extent(all.map((item) => item.value[1]), budgets[y], kind(y) === "log");
  const axis = (/** @type {string} */ name, /** @type {any} */ range, /** @type {any} */ more) => {
    const log = kind(name) === "log";
    const narrow = log && range.max < 8 * range.min;
    return {
      type: log ? "log" : "value", logBase: range.max < 100 * range.min ? 2 : 10, name: title(name), nameLocation: "middle", ...range, interval: log ? undefined : step(name, range), ...axisLook(), ...more,
      axisLabel: { ...axisLook().axisLabel, formatter: (/** @type {number} */ value) => tick(name, value), hideOverlap: true, showMinLabel: narrow, showMaxLabel: narrow },
    };
  };
  const faded = (/** @type {any} */ item) => selection && !selection.has(item.index);
  const shade = { silent: true, itemStyle: { color: colour("bad"), opacity: 0.06 }, data: /** @type {any[]} */ ([]) };
  const limit = { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: colour("bad"), opacity: 0.55, type: "dashed", width: 1 }, data: /** @type {any[]} */ ([]) };
  if (budgets[x] !== undefined && budgets[x] < across.max) {
    shade.data.push([{ xAxis: budgets[x] }, { xAxis: across.max }]);
    limit.data.push({ xAxis: budgets[x] });
  }
  if (budgets[y] !== undefined && budgets[y] < up.max) {
    shade.data.push([{ yAxis: budgets[y] }, { yAxis: up.max }]);
    limit.data.push({ yAxis: budgets[y] });
  }
  const chosen = picked && all.find((item) => item.index === picked.index);
  return {
    grid: { left: 72, right: 18, top: 12, bottom: 46 },
    xAxis: axis(x, across, { nameGap: 28 }), yAxis: axis(y, up, { nameGap: 56 }),
    tooltip: { ...tipLook(), formatter: (/** @type {any} */ { data }) => (indexOf(data) === undefined ? "" : tip(columns.row(indexOf(data)), objectives, x, y)) },
    series: [
      { id: "limits", type: "scatter", data: [], markArea: shade, markLine: limit },
      ...dots("over", drawn.over, { z: 2, symbol: "emptyCircle", symbolSize: 6 }, () => colour("faint"), (item) => (faded(item) ? 0.15 : 0.6)),
      { id: "edge", type: "scatter", symbol: "rect", symbolSize: [1.5, 8], z: 1, data: drawn.edge.filter((/** @type {any} */ item) => item.px >= across.min && item.px <= across.max).map((/** @type {any} */ item) => ({ value: [item.px, up.max], index: item.index, row: item.row, itemStyle: { color: colour("faint") } })) },
      { id: "stairs", type: "line", step: "end", symbol: "none", silent: true, z: 2, data: staircase(drawn.good), lineStyle: { color: colour("dim"), width: 1, opacity: 0.7 } },
      ...dots("good", drawn.good.filter((/** @type {any} */ item) => !item.front), { z: 3, symbolSize: 8 }, (item) => paint.of(item.row), (item) => (faded(item) ? 0.12 : 0.55)),
      { id: "front", type: "scatter", symbolSize: 11, z: 4, data: drawn.good.filter((/** @type {any} */ item) => item.front).map((/** @type {any} */ item) => ({ ...item, itemStyle: { color: paint.of(item.row), borderColor: colour("text"), borderWidth: 1.6, opacity: faded(item) ? 0.2 : 1 } })) },
      { id: "picked", type: "scatter", symbolSize: 22, z: 5, silent: true, data: chosen ? [{ value: chosen.value }] : [], itemStyle: { color: "transparent", borderColor: colour("accent"), borderWidth: 2.5 } },
    ],
  };
}

/** @param {any} row @param {string[]} objectives @param {string} x @param {string} y */
function tip(row, objectives, x, y) {
  const names = [...new Set([...objectives, x, y])].filter((name) => name !== "index" && valueOf(row, name) !== undefined);
  return `<b>Trial ${row.index}</b> · ${safe(row.round)} ${safe(row.origin)}${row.state === "completed" ? "" : ` · ${safe(row.state)}`}<br>${names.map((name) => `${safe(title(name))}: ${safe(show(name, valueOf(row, name)))}`).join("<br>")}`;
}
