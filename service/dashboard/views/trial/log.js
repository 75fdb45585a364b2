// The log, updated line by line.
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { plural } from "../../lib/format.js";
import { Card, Problem } from "../../parts/bits.js";

const KEPT = 2000;
const AT_ONCE = 1000;

/** @param {any} properties */
export function Log({ id, index, reports, running }) {
  const [lines, setLines] = useState(/** @type {any[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const known = useRef(0);
  /** @type {{current: HTMLElement | null}} */
  const place = useRef(null);
  useEffect(() => {
    let ended = false;
    const load = () => {
      const after = known.current;
      get(`/experiments/${id}/trials/${index}/log?after=${after}&limit=${AT_ONCE}`).then((added) => {
        if (ended) return;
        setError(null);
        // Ignore a second response to the same request.
        if (added.length === 0 || known.current !== after) return;
        known.current += added.length;
        setLines((before) => [...before, ...added].slice(-KEPT));
        if (added.length === AT_ONCE) load();
      }, (problem) => ended || setError(problem));
    };
    load();
    // Log lines between two epochs cause no events, so poll.
    const timer = running ? setInterval(load, 2000) : undefined;
    return () => {
      ended = true;
      clearInterval(timer);
    };
  }, [id, index, reports, running]);
  useEffect(() => {
    const box = place.current;
    if (box && box.scrollHeight - box.scrollTop - box.clientHeight < 120) box.scrollTop = box.scrollHeight;
  }, [lines]);
  return html`<${Card} title="Log" note=${lines.length ? `${plural(known.current, "line")}${known.current > KEPT ? `, the last ${KEPT} shown` : ""}` : ""}>
    <${Problem} error=${error} />
    ${lines.length === 0 ? html`<p class="dim">${running ? "No log lines yet." : "No log lines."}</p>` : html`<div class="log" ref=${place} tabindex="0" role="log" aria-label="Log lines">${lines.map(
      (line, number) => html`<div key=${number} class=${line.level}><span class="when">${new Date(1000 * line.time).toLocaleTimeString([], { hour12: false })}</span> ${line.message}</div>`)}</div>`}<//>`;
}
