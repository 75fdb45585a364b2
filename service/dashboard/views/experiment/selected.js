// Beside the scatter plot: the selected trial with its parameters and ancestors, or the brushed trials.
import { html, useEffect, useRef } from "../../lib/ui.js";
import { phrase, plural, show, showChange, title } from "../../lib/format.js";
import { setQuery } from "../../lib/route.js";
import { Card, State } from "../../parts/bits.js";

/** @param {any} properties */
export function Selected({ experiment, columns, front, selection, picked }) {
  const { spec } = experiment;
  const before = useRef(picked?.index);
  useEffect(() => {
    // The table with the chosen button was removed, and the keyboard focus with it.
    if (before.current !== picked?.index && document.activeElement === document.body) {
      /** @type {HTMLElement | null} */ (document.querySelector("#selected button"))?.focus({ preventScroll: true });
    }
    before.current = picked?.index;
  }, [picked?.index]);
  if (picked) {
    return html`<${Card} id="selected" title=${`Trial ${picked.index}`} aside=${html`<button type="button" class="quiet" onClick=${() => setQuery({ t: null })}>Close</button>`}>
      <div class="controls"><${State} state=${picked.state} /><span class="dim small">${picked.round} · ${picked.origin}</span><span class="grow"></span>
        <a href=${`#/experiments/${experiment.id}/trials/${picked.index}`}>Open trial ${picked.index}</a></div>
      <dl class="pairs">${Object.entries(picked.values).filter(([name]) => columns.metrics.includes(name)).slice(0, 6).map(([name, value]) => html`<dt key=${name}>${title(name)}</dt><dd>${show(name, value)}</dd>`)}</dl>
      <h3>Lineage</h3><${Lineage} row=${picked} columns=${columns} spec=${spec} />
      <h3>Parameters</h3><dl class="pairs">${Object.entries(picked.parameters).map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${show("", value)}</dd>`)}</dl>
    <//>`;
  }
  const rows = selection ? columns.rows.filter((/** @type {any} */ row) => selection.has(row.index))
    : front.members.map((/** @type {any} */ member) => columns.row(member.row)).filter(Boolean);
  const by = spec.objectives[0];
  const best = [...rows].sort((a, b) => (a.values[by] ?? Infinity) - (b.values[by] ?? Infinity)).slice(0, 14);
  return html`<${Card} id="selected" title=${selection ? "Brushed" : "On the front"} note=${plural(rows.length, "trial")}>
    ${best.length === 0 ? html`<p class="dim">${selection ? "No trial in these ranges." : "No completed trial meets all budgets yet."}</p>` : html`<div class="scroll" tabindex="0" role="group" aria-label="Best trials"><table>
      <thead><tr><th scope="col">Trial</th>${spec.objectives.slice(0, 3).map((/** @type {string} */ name) => html`<th scope="col" class="number" key=${name}>${title(name)}</th>`)}</tr></thead>
      <tbody>${best.map((row) => html`<tr key=${row.index}><td><button type="button" class="linkish" onClick=${() => setQuery({ t: row.index }, { push: true })} aria-label=${`Select trial ${row.index}`}>${row.index}</button></td>
        ${spec.objectives.slice(0, 3).map((/** @type {string} */ name) => html`<td class="number" key=${name}>${show(name, row.values[name])}</td>`)}</tr>`)}</tbody></table></div>`}
    <p class="dim small">${rows.length > best.length ? `The best ${best.length} by ${phrase(by)}. ` : ""}Select a point or a row to see its parameters and its lineage.</p>
  <//>`;
}

/**
 * A trial and its ancestors, with the changes and gains of each step.
 * @param {{row: any, columns: any, spec: any, link?: boolean}} properties
 */
export function Lineage({ row, columns, spec }) {
  const line = [row];
  while (line.length < 100) {
    const parent = line[line.length - 1].parent;
    const ancestor = parent === null ? undefined : columns.row(parent);
    if (!ancestor || line.includes(ancestor)) break;
    line.push(ancestor);
  }
  return html`<ol class="lineage">${line.map((one, place) => {
    const parent = line[place + 1];
    return html`<li key=${one.index}><button type="button" class="linkish" onClick=${() => setQuery({ t: one.index }, { push: true })} aria-label=${`Select trial ${one.index}`}>Trial ${one.index}</button>
      <span class="dim"> ${parent ? `from ${parent.index} by ${one.operators.join(", ") || "inheriting"}` : `${one.origin}, no parent`}</span>
      ${parent && html`<div class="gain small">${gains(one, parent, spec.objectives)}${changes(one, parent)}</div>`}</li>`;
  })}</ol>`;
}

/** The change of each objective. @param {any} child @param {any} parent @param {string[]} objectives */
const gains = (child, parent, objectives) =>
  objectives.filter((name) => child.values[name] !== undefined && parent.values[name] !== undefined).map((name) => {
    const change = child.values[name] - parent.values[name];
    const words = showChange(name, change);
    return html`<span key=${name} class=${words.startsWith("−") ? "good" : words.startsWith("+") ? "bad" : "dim"}>${phrase(name)} ${words}</span>`;
  });

/** The parameters that the operators changed. @param {any} child @param {any} parent */
function changes(child, parent) {
  const names = [...new Set([...Object.keys(child.parameters), ...Object.keys(parent.parameters)])].filter((name) => child.parameters[name] !== parent.parameters[name]);
  return names.length > 0 && html`<span class="dim changed">${names.map((name) => `${name} ${show("", parent.parameters[name])} → ${show("", child.parameters[name])}`).join("; ")}</span>`;
}
