// Webhooks: the receivers, the form for a new one, and the deliveries of one.
import { html, useEffect, useState } from "../lib/ui.js";
import { get, isAdmin, me, post, request } from "../lib/api.js";
import { ago, plural } from "../lib/format.js";
import { returns } from "../lib/live.js";
import { queryValue, setQuery } from "../lib/route.js";
import { Card, Clock, Dialog, Problem } from "../parts/bits.js";

const EVENTS = ["trial.completed", "trial.failed", "experiment.finished", "experiment.failed", "front.changed"];

/** The states of deliveries as the styles of experiments' states. @type {Record<string, string>} */
const LOOKS = { waiting: "running", delivered: "done", failed: "failed" };

/** What a webhook reports on, as text. @param {any} hook */
const subject = (hook) =>
  hook.experiment !== null ? html`<a href=${`#/experiments/${hook.experiment}`}>experiment ${hook.experiment}</a>` : hook.everything ? "everything" : hook.owner ? `experiments of ${hook.owner}` : "all experiments";

export function Webhooks() {
  const [hooks, setHooks] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [made, setMade] = useState(/** @type {any} */ (null));
  const [leaving, setLeaving] = useState(/** @type {any} */ (null));
  const load = () => get("/webhooks").then((result) => (setHooks(result), setError(null)), setError);
  useEffect(() => {
    load();
    const timer = setInterval(load, 5000);
    return () => clearInterval(timer);
  }, [returns.value]);
  const chosen = hooks?.find((hook) => String(hook.id) === queryValue("webhook"));
  /** @param {any} hook @param {string} what */
  const act = (hook, what) => post(`/webhooks/${hook.id}/${what}`).then(() => (setQuery({ webhook: hook.id }), load()), setError);
  return html`<div class="view-head"><h1>Webhooks</h1>${hooks && html`<span class="dim">${plural(hooks.length, "webhook")}</span>`}</div>
    <${Problem} error=${error} what="The list of webhooks" />
    <${Add} onMade=${(/** @type {any} */ hook) => (setMade(hook), load())} />
    ${made && html`<div class="card below" role="status"><h2>Secret of webhook ${made.id}</h2>
      <p><code class="break">${made.secret}</code></p><p class="dim small">The receiver needs it to check signatures. It is not shown again.</p></div>`}
    ${hooks?.length === 0 && html`<div class="card empty below"><h2>No webhooks yet</h2><p>A webhook sends a signed request to an address when a trial, an experiment or a front changes.</p></div>`}
    ${hooks && hooks.length > 0 && html`<div class="card scroll below" tabindex="0" role="group" aria-label="Table of webhooks"><table>
      <thead><tr><th scope="col">Webhook</th><th scope="col">Address</th><th scope="col">State</th><th scope="col">Reports on</th><th scope="col">Events</th><th scope="col">Created</th><th scope="col"><span class="dim">Actions</span></th></tr></thead>
      <tbody>${hooks.map((hook) => html`<tr key=${hook.id} class=${chosen?.id === hook.id ? "on" : ""}><th scope="row">${hook.id}</th><td class="address">${hook.url}</td>
        <td class="address"><${HookState} hook=${hook} /></td><td>${subject(hook)}</td><td class="wrap events">${hook.events.length === EVENTS.length ? "all" : hook.events.join(", ")}</td>
        <td><${Clock}>${(/** @type {number} */ now) => ago(hook.created_at, now)}<//></td>
        <td><div class="actions"><button type="button" aria-label=${`Deliveries of webhook ${hook.id}`} aria-pressed=${chosen?.id === hook.id} onClick=${() => setQuery({ webhook: chosen?.id === hook.id ? null : hook.id })}>Deliveries</button>
          <button type="button" aria-label=${`Ping webhook ${hook.id}`} onClick=${() => act(hook, "ping")}>Ping</button>
          ${(hook.disabled || hook.retry_at) && html`<button type="button" aria-label=${`${hook.disabled ? "Enable" : "Retry"} webhook ${hook.id}`} onClick=${() => act(hook, "enable")}>${hook.disabled ? "Enable" : "Retry now"}</button>`}
          ${hook.managed ? html`<span class="dim small">from the server's settings</span>` : html`<button type="button" class="danger" aria-label=${`Delete webhook ${hook.id}`} onClick=${() => setLeaving(hook)}>Delete</button>`}</div></td></tr>`)}</tbody></table></div>`}
    ${chosen && html`<${Deliveries} key=${chosen.id} hook=${chosen} />`}
    ${leaving && html`<${Delete} hook=${leaving} onClose=${() => setLeaving(null)} onDelete=${load} />`}`;
}

/** @param {{hook: any}} properties */
function HookState({ hook }) {
  const waiting = hook.waiting > 0 && html`<p class="dim small">${plural(hook.waiting, "delivery", "deliveries")} waiting${
    hook.retry_at && !hook.disabled ? html`, <${Clock}>${(/** @type {number} */ now) => (Date.parse(hook.retry_at) > now ? `next try in ${Math.ceil((Date.parse(hook.retry_at) - now) / 1000)} s` : "next try now")}<//>` : ""}</p>`;
  if (hook.disabled) return html`<span class="state failed">disabled</span><p class="bad small">${hook.disabled}</p>${waiting}`;
  return html`<span class="state done">active</span>${waiting}`;
}

/** The form for a new webhook. @param {{onMade: (hook: any) => void}} properties */
function Add({ onMade }) {
  const [url, setUrl] = useState("");
  const [events, setEvents] = useState(EVENTS);
  const [experiment, setExperiment] = useState("");
  const [everything, setEverything] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  /** @param {string} name */
  const toggle = (name) => setEvents(EVENTS.filter((one) => (one === name) !== events.includes(one)));
  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      onMade(await post("/webhooks", { url, events, experiment: experiment ? Number(experiment) : null, everything }));
      setUrl("");
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return html`<${Card} title="New webhook"><form onSubmit=${send}>
    <div class="fields"><label class="field"><span>Address, with https:// or http://</span><input type="text" inputmode="url" required maxlength="2000" value=${url} onInput=${(/** @type {any} */ event) => setUrl(event.target.value)} /></label>
      <label class="field"><span>Experiment (a number; empty: all of yours)</span><input type="text" inputmode="numeric" pattern="[1-9][0-9]{0,14}" title="The number of an experiment" disabled=${everything} value=${experiment} onInput=${(/** @type {any} */ event) => setExperiment(event.target.value)} /></label></div>
    <fieldset><legend>Events</legend><div class="checks">${EVENTS.map((name) => html`<label key=${name}><input type="checkbox" checked=${events.includes(name)} onChange=${() => toggle(name)} />${name}</label>`)}</div></fieldset>
    ${me.value?.login && isAdmin() && html`<div class="checks"><label><input type="checkbox" checked=${everything} onChange=${() => (setEverything(!everything), setExperiment(""))} />Also experiments of other owners</label></div>`}
    <${Problem} error=${error} />
    <div class="buttons"><button type="submit" class="main" disabled=${busy || !url || events.length === 0}>Add webhook</button></div></form><//>`;
}

/** The newest deliveries of a webhook. @param {{hook: any}} properties */
function Deliveries({ hook }) {
  const [list, setList] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  useEffect(() => {
    const load = () => get(`/webhooks/${hook.id}/deliveries?limit=50`).then((result) => (setList(result), setError(null)), setError);
    load();
    const timer = setInterval(load, 2000);
    return () => clearInterval(timer);
  }, [returns.value]);
  return html`<div class="below"><${Card} title=${`Deliveries of webhook ${hook.id}`} note="the newest 50">
    <${Problem} error=${error} />
    ${list?.length === 0 && html`<p class="dim">Nothing was sent yet. A ping tests the receiver.</p>`}
    ${list && list.length > 0 && html`<div class="scroll" tabindex="0" role="group" aria-label="Table of deliveries"><table>
      <thead><tr><th scope="col">Event</th><th scope="col">State</th><th scope="col">Experiment</th><th scope="col" class="number">Attempts</th><th scope="col">Last answer</th><th scope="col">Created</th></tr></thead>
      <tbody>${list.map((one) => html`<tr key=${one.id}><th scope="row">${one.event}</th><td><span class=${`state ${LOOKS[one.state] ?? ""}`}>${one.state}</span></td>
        <td>${one.experiment === null ? "–" : html`<a href=${`#/experiments/${one.experiment}`}>${one.experiment}</a>`}</td><td class="number">${one.attempts}</td>
        <td class=${one.failure ? "wrap bad" : ""}>${one.failure ?? one.status ?? "–"}</td><td><${Clock}>${(/** @type {number} */ now) => ago(one.created_at, now)}<//></td></tr>`)}</tbody></table></div>`}<//></div>`;
}

/** @param {{hook: any, onClose: () => void, onDelete: () => void}} properties */
function Delete({ hook, onClose, onDelete }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const send = () =>
    request(`/webhooks/${hook.id}`, { method: "DELETE" }).then(() => {
      onClose();
      onDelete();
    }, setError);
  return html`<${Dialog} title=${`Delete webhook ${hook.id}?`} onClose=${onClose}>
    <p>Nothing more is sent to <span class="break">${hook.url}</span>. Its deliveries and its secret are deleted too.</p>
    <${Problem} error=${error} />
    <div class="buttons"><button type="button" onClick=${onClose}>Keep it</button><button type="button" class="danger" onClick=${send}>Delete webhook ${hook.id}</button></div><//>`;
}
