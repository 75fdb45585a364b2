// Actions on an experiment: stop, resume, retry failed trials, keep, extend, delete.
import { html, useState } from "../lib/ui.js";
import { requestKey, mayChange, request } from "../lib/api.js";
import { roundName } from "../lib/rounds.js";
import { Dialog, Problem } from "./bits.js";

/**
 * @param {{experiment: any, onChange: (view: any) => void, onDelete?: () => void}} properties
 */
export function Actions({ experiment, onChange, onDelete }) {
  const [open, setOpen] = useState("");
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const { id, state, name } = experiment;

  /** @param {string} what */
  const act = async (what) => {
    setBusy(true);
    setError(null);
    try {
      onChange(await request(`/experiments/${id}/${what}`, { method: "POST" }));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const retry = async () => {
    setBusy(true);
    setError(null);
    try {
      const { trials } = await request(`/experiments/${id}/retry`, { json: {} });
      if (trials.length === 0) throw new Error("No trial failed because of a fault: these networks cannot be built or trained. A trial's page can retry it.");
      onChange(await request(`/experiments/${id}`));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  /** Protect the experiment from retention, or end the protection. */
  const keep = async () => {
    setBusy(true);
    setError(null);
    try {
      await request(`/experiments/${id}/keep`, { json: { keep: !experiment.kept } });
      onChange(await request(`/experiments/${id}`));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  if (!mayChange(experiment.owner)) return null;
  return html`<div class="actions">
    ${state === "running" && html`<button type="button" disabled=${busy} onClick=${() => act("stop")} aria-label=${`Stop ${name}`}>Stop</button>`}
    ${(state === "stopped" || experiment.paused) && html`<button type="button" disabled=${busy} onClick=${() => act("resume")} aria-label=${`Resume ${name}`}>Resume</button>`}
    ${experiment.counts.failed > 0 && html`<button type="button" disabled=${busy} onClick=${retry} aria-label=${`Retry failed trials of ${name}`}>Retry failed</button>`}
    <button type="button" disabled=${busy} onClick=${keep} title=${experiment.kept ? "Let retention delete old files and events again" : "Retention then deletes nothing of it"}
      aria-label=${`${experiment.kept ? "Release" : "Keep"} ${name}`}>${experiment.kept ? "Release" : "Keep"}</button>
    <button type="button" onClick=${() => setOpen("extend")} aria-label=${`Extend ${name}`}>Extend</button>
    <button type="button" class="danger" onClick=${() => setOpen("delete")} aria-label=${`Delete ${name}`}>Delete</button>
    <${Problem} error=${error} />
    ${open === "extend" && html`<${Extend} experiment=${experiment} onClose=${() => setOpen("")} onChange=${onChange} />`}
    ${open === "delete" && html`<${Delete} experiment=${experiment} onClose=${() => setOpen("")} onDelete=${onDelete} />`}
  </div>`;
}

/** @param {{experiment: any, onClose: () => void, onChange: (view: any) => void}} properties */
function Extend({ experiment, onClose, onChange }) {
  const [rounds, setRounds] = useState(/** @type {Record<string, number>} */ (Object.fromEntries(Object.keys(experiment.rounds).filter((name) => experiment.rounds[name].planned).map((name) => [name, 0]))));
  const [budget, setBudget] = useState("");
  const [error, setError] = useState(/** @type {any} */ (null));
  const [key] = useState(requestKey);

  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    try {
      onChange(await request(`/experiments/${experiment.id}/extend`, { json: { rounds, budgets: budgets(budget) }, key }));
      onClose();
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<${Dialog} title=${`Extend ${experiment.name}`} onClose=${onClose}>
    <form onSubmit=${send}>
      <p class="dim">Add trials to rounds, or change budgets. Existing trials are kept. The reference point stays, unless a budget exceeds it.</p>
      <div class="fields three">${Object.keys(rounds).map(
        (name) => html`<label key=${name} class="field"><span>More trials in ${roundName(experiment, name)}</span>
          <input type="number" min="0" max="100000" value=${rounds[name]}
            onInput=${(/** @type {any} */ event) => setRounds({ ...rounds, [name]: Number(event.target.value) })} /></label>`,
      )}</div>
      <label class="field"><span>Budgets to change, one per line</span>
        <textarea rows="3" value=${budget} placeholder=${"model_size <= 32 KB\nlatency <= none"}
          onInput=${(/** @type {any} */ event) => setBudget(event.target.value)}></textarea></label>
      <${Problem} error=${error} />
      <div class="buttons"><button type="button" onClick=${onClose}>Cancel</button><button type="submit" class="main">Extend</button></div>
    </form><//>`;
}

/** Parse lines "metric <= limit" to the server's format; "none" removes a budget. @param {string} text */
export function budgets(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (lines.length === 0) return null;
  return Object.fromEntries(
    lines.map((line) => {
      const [metric, limit = ""] = line.split(/<=|:/).map((part) => part.trim());
      return [metric, limit === "none" ? null : limit];
    }),
  );
}

/** @param {{experiment: any, onClose: () => void, onDelete?: () => void}} properties */
function Delete({ experiment, onClose, onDelete }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const trials = Object.values(/** @type {Record<string, number>} */ (experiment.counts)).reduce((sum, n) => sum + n, 0);
  const send = async () => {
    try {
      await request(`/experiments/${experiment.id}`, { method: "DELETE" });
      onClose();
      onDelete?.();
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<${Dialog} title=${`Delete ${experiment.name}?`} onClose=${onClose}>
    <p>This deletes its ${trials} trials and every file that no other experiment uses. It cannot be undone.</p>
    <${Problem} error=${error} what="Deleting experiments" />
    <div class="buttons"><button type="button" onClick=${onClose}>Keep it</button>
      <button type="button" class="danger" onClick=${send}>Delete experiment ${experiment.id}</button></div><//>`;
}
