// Small pieces that several views use.
import { Component } from "preact";
import { now as serverNow } from "../lib/time.js";
import { html, useEffect, useRef, useState } from "../lib/ui.js";

/** A state as a word with a dot. @param {{state: string}} properties */
export const State = ({ state }) => html`<span class=${`state ${state}`}>${state}</span>`;

/** The mark of an experiment or a trial of which retention deletes nothing. @param {{children?: any}} properties */
export const Kept = ({ children = "kept" }) => html`<span class="dim small" title="Retention deletes nothing of it">${children}</span>`;

/** An error and its remedy. @param {{error: any, what?: string}} properties */
export function Problem({ error, what }) {
  if (!error) return null;
  const missing = error.status === 404 || error.status === 405;
  return html`<p class=${missing ? "note" : "problem"} role=${missing ? "note" : "alert"}>${
    what && missing ? `${what} is not offered by this server.` : error.message
  }</p>`;
}

/** Why the stored spec of an experiment is not valid on this server, and the remedy. @param {{experiment: any}} properties */
export const SpecError = ({ experiment }) => experiment.spec_error && html`<p class="problem" role="note">
  No trials are suggested or handed out: the stored spec is not valid. ${experiment.spec_error}. <code>sparsemod mend ${experiment.id} SPEC</code> replaces it.</p>`;

/** A headline number. @param {{name: string, children?: any, title?: string}} properties */
export const Figure = ({ name, children, title }) =>
  html`<div class="figure" title=${title}><dt>${name}</dt><dd>${children}</dd></div>`;

/** @param {{title: string, id?: string, aside?: any, wide?: boolean, children?: any, note?: string}} properties */
export const Card = ({ title, id, aside, wide, note, children }) =>
  html`<section class=${`card ${wide ? "wide" : ""}`} aria-label=${title} id=${id}>
    <div class="card-head"><h2>${title}</h2>${note && html`<span class="dim small">${note}</span>`}<span class="grow"></span>${aside}</div>
    ${children}
  </section>`;

/**
 * A labelled choice.
 * @param {{label: string, value: string, options: (string | [string, string])[], onChange: (value: string) => void}} properties
 */
export const Pick = ({ label, value, options, onChange }) =>
  html`<label class="pick"><span>${label}</span><select value=${value} onChange=${(/** @type {any} */ event) => onChange(event.target.value)}>
    ${options.map((option) => {
      const [name, text] = Array.isArray(option) ? option : [option, option];
      return html`<option key=${name} value=${name} selected=${name === value}>${text}</option>`;
    })}
  </select></label>`;

/** Progress of a round; `shade` names its colour. @param {{label: string, done: number, total: number, shade?: string}} properties */
export const Progress = ({ label, done, total, shade = "" }) =>
  html`<div class="progress"><span class="progress-label"><span>${label}</span><span class="dim">${done} / ${total}</span></span>
    <progress class=${shade} value=${done} max=${Math.max(total, 1)} aria-label=${`${label}: ${done} of ${total}`}></progress></div>`;

/**
 * A dialog over the page; the element provides Escape and the handling of the focus.
 * @param {{title: string, onClose: () => void, children?: any}} properties
 */
export function Dialog({ title, onClose, children }) {
  /** @type {{current: HTMLDialogElement | null}} */
  const element = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return html`<dialog ref=${element} aria-label=${title} onClose=${onClose}><h2>${title}</h2>${children}</dialog>`;
}

/** Renders its children with the server's time, every second. @param {{children: (now: number) => any}} properties */
export function Clock({ children }) {
  const [now, setNow] = useState(serverNow());
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), 1000);
    return () => clearInterval(timer);
  }, []);
  return children(now);
}

/** Contains an error in a part of the page; a part that is the whole page has a `title`. */
export class Boundary extends Component {
  /** @param {any} properties */
  constructor(properties) {
    super(properties);
    /** @type {{error: any}} */
    this.state = { error: null };
  }

  /** @param {any} error */
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }

  render() {
    const { error } = /** @type {any} */ (this.state);
    const { title, children } = /** @type {any} */ (this.props);
    return error ? html`${title && html`<h1>${title}</h1>`}<${Problem} error=${error} />` : children;
  }
}
