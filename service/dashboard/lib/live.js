// Server-sent events. After any interruption, the stream continues after the last received event.
import { signal } from "./ui.js";

const KINDS = ["experiment", "trial", "attempt", "points", "revisions", "reset", "message"];

/** What the header shows: "live", "reconnecting", or "" without a stream. */
export const connection = signal("");

/** How often a server has not known the page's event counter, because its database was replaced or restored from an older copy. The page's data
 * may then be wrong: views redraw and caches reload when this changes. */
export const resets = signal(0);

/** How often the server has answered again after an outage: retry requests that failed during it. */
export const returns = signal(0);

/**
 * @typedef {{counter: number, kind: string, data: any}} LiveEvent
 */

/** Milliseconds without an event after which a page that becomes visible opens a new stream. */
const SILENCE = 30_000;
/** Milliseconds after which a hidden page closes its stream. */
const HIDDEN = 5_000;

/**
 * Follow a stream from the event after `after`. The browser reconnects by itself while the server is reachable (with Last-Event-ID); when it
 * gives up, this opens a new stream with the same counter in its query. A server that does not know the counter sends a reset, see `resets`.
 * @param {string} path
 * @param {{after?: number | string | null, onEvent: (event: LiveEvent) => void, onReturn?: () => void}} options
 * @returns {() => void} a function that closes the stream
 */
export function follow(path, { after = null, onEvent, onReturn }) {
  /** @type {EventSource | null} */
  let source = null;
  let last = after === null ? "" : String(after);
  let pause = 500;
  let ended = false;
  let broken = false;
  let heard = Date.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** @param {MessageEvent} message */
  const hear = (message) => {
    heard = Date.now();
    if (message.lastEventId) last = message.lastEventId;
    if (message.type === "reset") {
      resets.value += 1;
      return;
    }
    let data = {};
    try {
      data = message.data ? JSON.parse(message.data) : {};
    } catch {
      return; // not our event, such as a comment from a proxy
    }
    onEvent({ counter: Number(message.lastEventId || 0), kind: message.type, data });
  };

  const open = () => {
    timer = undefined;
    if (ended || document.hidden) return; // `look` opens it again when the page becomes visible
    const mine = new EventSource(last === "" ? `.${path}` : `.${path}?after=${encodeURIComponent(last)}`);
    source = mine;
    mine.onopen = () => {
      heard = Date.now();
      connection.value = "live";
      pause = 500;
      if (broken) returns.value += 1;
      broken = false;
      onReturn?.(); // also on the first connection: load what changed before the stream started
    };
    mine.onerror = async () => {
      if (ended) return;
      broken = true;
      connection.value = "reconnecting";
      if (mine.readyState !== EventSource.CLOSED) return;
      const gone = await missing(path);
      if (ended || source !== mine) return;
      if (gone) {
        connection.value = ""; // the object does not exist, or was deleted
        return;
      }
      timer = setTimeout(open, pause);
      pause = Math.min(pause * 1.6, 8000);
    };
    for (const kind of KINDS) mine.addEventListener(kind, hear);
  };
  const close = () => {
    clearTimeout(timer);
    timer = undefined;
    source?.close();
    source = null;
  };
  open();
  // A browser may notice late that a connection died while the machine slept, so open a new one.
  const wake = () => {
    if (ended || document.hidden || timer !== undefined || (source && Date.now() - heard < SILENCE)) return;
    close();
    broken = true;
    heard = Date.now();
    open();
  };
  // A browser has six connections to a server for all of its tabs, so hidden tabs close theirs.
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let leaving;
  const look = () => {
    clearTimeout(leaving);
    if (document.hidden) leaving = setTimeout(close, HIDDEN);
    else wake();
  };
  let beat = Date.now();
  const pulse = setInterval(() => {
    if (Date.now() - beat > SILENCE) wake();
    beat = Date.now();
  }, 5000);
  addEventListener("online", wake);
  document.addEventListener("visibilitychange", look);
  return () => {
    ended = true;
    clearInterval(pulse);
    removeEventListener("online", wake);
    document.removeEventListener("visibilitychange", look);
    clearTimeout(leaving);
    close();
    connection.value = "";
  };
}

/** Whether the server answers but does not know the stream. @param {string} path */
async function missing(path) {
  const abort = new AbortController();
  try {
    const response = await fetch(`.${path}`, { signal: abort.signal });
    return response.status === 404;
  } catch {
    return false;
  } finally {
    abort.abort();
  }
}

/**
 * Call `work` soon, but not more often than every `pause` milliseconds, and never twice at the same time. The last call always runs.
 * @param {() => Promise<unknown> | unknown} work
 * @param {number | (() => number)} pause
 */
export function throttled(work, pause) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let busy = false;
  let again = false;
  let before = -Infinity;
  const run = async () => {
    timer = undefined;
    busy = true;
    before = performance.now();
    try {
      await work();
    } finally {
      busy = false;
      if (again) {
        again = false;
        call();
      }
    }
  };
  const call = () => {
    if (busy) again = true;
    else if (timer === undefined) timer = setTimeout(run, Math.max(0, before + (typeof pause === "number" ? pause : pause()) - performance.now()));
  };
  return Object.assign(call, { cancel: () => clearTimeout(timer) });
}
