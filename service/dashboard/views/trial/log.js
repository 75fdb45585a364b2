// The log, line by line as it is written.
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { Card, Problem } from "../../parts/bits.js";

const KEPT = 2000;

/** @param {any} properties */
export function Log({ id, index, reports, running }) {
  const [lines, setLines] = useState(/** @type {any[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const known = useRef(0);
  /** @type {{current: HTMLElement | null}} */
  const place = useRef(null);
  useEffect(() => {
    let ended = false;
    const load = () => get(`/experiments/${id}/trials/${index}/log?after=${known.current}`).then((found) => {
      if (ended || found.length === 0) return;
      known.current += found.length;
      setLines((before) => [...before, ...found].slice(-KEPT));
    }, setError);
    load();
    // Lines between two epochs are no events.
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
  return html`<${Card} title="Log" note=${lines.length ? `${known.current} lines` : ""}>
    <${Problem} error=${error} />
    ${lines.length === 0 ? html`<p class="dim">It wrote nothing.</p>` : html`<div class="log" ref=${place} tabindex="0" role="log" aria-label="Log lines">${lines.map(
      (line, number) => html`<div key=${number} class=${line.level}><span class="when">${new Date(1000 * line.time).toLocaleTimeString([], { hour12: false })}</span> ${line.message}</div>`)}</div>`}<//>`;
}
