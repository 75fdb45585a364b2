// Server-sent events with a memory: whatever breaks, the stream goes on after the last event that was seen.
import { signal } from "./ui.js";

const KINDS = ["experiment", "trial", "attempt", "points", "revisions", "reset", "message"];

/** What the header shows: "live", "reconnecting", or "" while nothing is followed. */
export const connection = signal("");

/** How often a server has said that it never reached the counter that the page came with: its database is another one than before, or an older
 * copy. Nothing that the page holds is sure then; whoever draws a view or keeps something draws or asks anew when this changes. */
export const resets = signal(0);

/** How often the server has come back after it did not answer: what failed meanwhile is worth another try. */
export const returns = signal(0);

/**
 * @typedef {{counter: number, kind: string, data: any}} LiveEvent
 */

/** Milliseconds without a word after which a page that is looked at again opens a new stream. */
const SILENCE = 30_000;
/** Milliseconds after which a page that is not looked at follows no stream any more. */
const HIDDEN = 5_000;

/**
 * Follow a stream from the event after `after`. The browser reconnects by itself while the server is reachable (with Last-Event-ID); when it
 * gives up, a new stream is opened with the same counter in its query. A server that knows no such counter says so, see `resets`.
 * @param {string} path
 * @param {{after?: number | string | null, onEvent: (event: LiveEvent) => void, onReturn?: () => void}} options
 * @returns {() => void} ends it
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
      return; // a comment of a proxy in between is no event of ours
    }
    onEvent({ counter: Number(message.lastEventId || 0), kind: message.type, data });
  };

  const open = () => {
    timer = undefined;
    if (ended || document.hidden) return; // opened again by who looks
    const mine = new EventSource(last === "" ? `.${path}` : `.${path}?after=${encodeURIComponent(last)}`);
    source = mine;
    mine.onopen = () => {
      heard = Date.now();
      connection.value = "live";
      pause = 500;
      if (broken) returns.value += 1;
      broken = false;
      onReturn?.(); // also the first time: what happened between the first look and the stream's begin
    };
    mine.onerror = async () => {
      if (ended) return;
      broken = true;
      connection.value = "reconnecting";
      if (mine.readyState !== EventSource.CLOSED) return;
      const gone = await missing(path);
      if (ended || source !== mine) return;
      if (gone) {
        connection.value = ""; // what was looked at is not there, or no more
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
  // Of a connection that died while the machine slept, a browser may know nothing for long; nobody looked meanwhile, so a new one costs nothing.
  const wake = () => {
    if (ended || document.hidden || timer !== undefined || (source && Date.now() - heard < SILENCE)) return;
    close();
    broken = true;
    heard = Date.now();
    open();
  };
  // A browser has six connections to a server for all of its tabs: those that nobody looks at give theirs back.
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

/** Whether the server is there and knows no such stream. @param {string} path */
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
 * Call `work` soon, but not more often than every `pause` milliseconds, and never twice at once; the last call is never lost.
 * @param {() => Promise<unknown> | unknown} work
 * @param {number | (() => number)} pause
 */
export function calmly(work, pause) {
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
