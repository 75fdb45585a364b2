// Hypervolume after each completed trial, relative to the fixed reference point, with marks where rounds begin.
import { html, useMemo } from "../../lib/ui.js";
import { boxText } from "../../lib/format.js";
import { colour } from "../../lib/look.js";
import { roundTitle } from "../../lib/rounds.js";
import { Card } from "../../parts/bits.js";
import { Lines } from "../../parts/chart.js";

/** @param {any} properties */
export function History({ experiment, columns, version, front }) {
  const { data, marks } = useMemo(() => {
    /** @type {{at: number, text: string}[]} */
    const starts = [];
    const order = Object.keys(experiment.rounds).filter((name) => experiment.rounds[name].planned);
    let before = -1;
    front.history.forEach((/** @type {any} */ point, /** @type {number} */ place) => {
      const round = order.indexOf(columns.row(point.row)?.round ?? "");
      // A late manual trial, or a slow trial of an earlier round, does not start a round.
      if (round > before) {
        starts.push({ at: place + 1, text: roundTitle(experiment, order[round]) });
        before = round;
      }
    });
    return { data: [front.history.map((/** @type {any} */ _, /** @type {number} */ place) => place + 1), front.history.map((/** @type {any} */ point) => point.hypervolume)], marks: starts };
  }, [version, front]);
  return html`<${Card} title="Hypervolume" note=${`against ${boxText(experiment.scales)}`}>
    ${data[0].length === 0 ? html`<p class="dim">Shown after the first completed trial.</p>` : html`<${Lines} name="history" data=${data} marks=${marks} label="Hypervolume over completed trials"
      series=${[{ label: "hypervolume", colour: colour("accent"), stepped: true, fill: colour("wash"), points: data[0].length === 1 }]} depends=${[data[0].length === 1]} zero
      x=${(/** @type {number} */ v) => (Number.isInteger(v) ? String(v) : "")} y=${(/** @type {number} */ v) => String(Number(v.toPrecision(3)))} />`}
  <//>`;
}
