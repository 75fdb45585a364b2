// The learning curve, updated during training.
import { html, useEffect, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { phrase, quality, show, tick, title } from "../../lib/format.js";
import { colour } from "../../lib/look.js";
import { setQuery, queryValue } from "../../lib/route.js";
import { Card, Pick, Problem } from "../../parts/bits.js";
import { Lines } from "../../parts/chart.js";

/** Losses that are infinite or NaN are sent as text. @param {unknown} value */
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** @param {any} properties */
export function Curve({ id, index, reports, trial, spec }) {
  const [points, setPoints] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  useEffect(() => {
    let ended = false;
    get(`/experiments/${id}/trials/${index}/curve`).then((result) => ended || (setPoints(result), setError(null)), (problem) => ended || setError(problem));
    return () => {
      ended = true;
    };
  }, [id, index, reports, trial.state]);
  /** Whether the training rule measures the angle of its gradient. */
  const measured = (points ?? []).some((point) => point.angle !== null);
  const asked = queryValue("curve", "error");
  const what = asked === "angle" && !measured ? "error" : asked;
  const last = points?.at(-1);
  const column = (/** @type {string} */ name) => (points ?? []).map((point) => number(point[name]));
  const loss = what === "loss", metric = quality(spec), words = phrase(metric);
  const percent = (/** @type {number} */ v) => `${(100 * v).toPrecision(3)} %`;
  const plain = (/** @type {number} */ v) => Number(v.toPrecision(3)).toString();
  const follows = what === "angle", name = title("gradient_angle");
  const data = follows ? [column("epoch"), column("angle")] : loss ? [column("epoch"), column("train_loss"), column("validation_loss")] : [column("epoch"), column("validation_error"), column("sparsity")];
  const stopped = trial.state === "stopped", main = colour(stopped ? "dim" : "accent");
  const few = (points?.length ?? 0) < 60;
  const series = follows ? [{ label: name, colour: main, points: few }] : loss
    ? [{ label: "training loss", colour: colour("c1"), points: few }, { label: "validation loss", colour: main, points: few }]
    : [{ label: `validation ${words}`, colour: main, points: few }, { label: "sparsity", colour: colour("c1"), dash: [4, 4], scale: "right", value: percent }];
  return html`<${Card} title="Learning curve" note=${last ? `${stopped ? "stopped after " : ""}epoch ${last.epoch} of ${trial.epochs}${number(last.validation_error) === null ? "" : `, ${words} ${show(metric, last.validation_error)}`}` : ""}
    aside=${html`<${Pick} label="Show" value=${what} options=${[["error", `${words} and sparsity`], ["loss", "losses"], ...(measured ? [["angle", name.toLowerCase()]] : [])]} onChange=${(/** @type {string} */ v) => setQuery({ curve: v === "error" ? null : v })} />`}>
    <${Problem} error=${error} />
    ${points && points.length === 0 && html`<p class="dim">${trial.state === "infeasible" ? "Not trained: its costs exceed a budget." : "The first epoch has not finished yet."}</p>`}
    ${points && points.length > 0 && html`<div data-epochs=${points.length} data-stopped=${stopped}><${Lines} name="curve" data=${data} series=${series} depends=${[what, few, stopped]} zero
      label=${follows ? `${name} over epoch` : loss ? "Losses over epoch" : `Validation ${words} and sparsity over epoch`} x=${(/** @type {number} */ v) => (Number.isInteger(v) ? String(v) : "")} y=${follows ? (/** @type {number} */ v) => show("gradient_angle", v) : loss ? plain : (/** @type {number} */ v) => tick(metric, v)} right=${loss || follows ? undefined : percent} /></div>`}<//>`;
}
