// Requests to the server. Every error is an ApiError that says what a person can do with it.
import { learn } from "./time.js";
import { signal } from "./ui.js";

/** Whether the server wants a login first. */
export const loginWanted = signal(false);

/** Who looks, as the server says. @type {import("./ui.js").Signal<{open: boolean, login: {owner: string, scopes: string[]} | null} | null>} */
export const me = signal(/** @type {any} */ (null));

/** Whether who looks may do everything; not as long as nobody knows. */
export const isAdmin = () => Boolean(me.value?.open || me.value?.login?.scopes.includes("admin"));

/** Whether who looks may change what belongs to `owner`; what belongs to nobody, every writer may. The server decides; this spares the attempt. @param {string | null} [owner] */
export function mayChange(owner = null) {
  const login = me.value?.login;
  return isAdmin() || Boolean(login?.scopes.includes("write") && (owner === null || owner === login.owner));
}

/** An answer that is an error, or no answer (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{type?: string, message: string, field?: string | null, value?: string | null, allowed?: string | null, others?: {field: string, message: string}[]}} detail
   */
  constructor(status, detail) {
    super(detail.message);
    this.status = status;
    this.type = detail.type ?? "";
    this.field = detail.field ?? null;
    this.value = detail.value ?? null;
    this.allowed = detail.allowed ?? null;
    /** Every mistake that the server found: field and message. @type {{field: string | null, message: string}[]} */
    this.mistakes = [{ field: this.field, message: detail.message }, ...(detail.others ?? [])];
    /** @type {any} */
    this.detail = detail;
  }
}

/** A request that early.js has begun, once, and only while the page is loading: later its answer is old. @param {string} path */
function begun(path) {
  const answer = performance.now() < 10_000 ? window.begun?.[path] : undefined;
  delete window.begun?.[path];
  return answer;
}

/**
 * @param {string} path
 * @param {{method?: string, json?: unknown, yaml?: string, key?: string, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} the JSON of the answer, null without one
 */
export async function request(path, { method, json, yaml, key, signal: abort } = {}) {
  /** @type {Record<string, string>} */
  const headers = { accept: "application/json" };
  if (json !== undefined) headers["content-type"] = "application/json";
  if (yaml !== undefined) headers["content-type"] = "application/yaml";
  if (key) headers["idempotency-key"] = key;
  const body = json !== undefined ? JSON.stringify(json) : yaml;
  let response;
  const begin = Date.now();
  try {
    const verb = method ?? (body === undefined ? "GET" : "POST");
    const early = verb === "GET" ? begun(path) : undefined;
    response = await (early ?? fetch(`.${path}`, { method: verb, headers, body, signal: abort }));
    if (!early) learn(response, begin);
  } catch (error) {
    if (abort?.aborted) throw error;
    throw new ApiError(0, { type: "NoAnswer", message: "The server does not answer." });
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch((error) => {
    if (abort?.aborted) throw error;
    // An error page of a proxy has no JSON. A successful answer without JSON was cut off.
    if (response.ok) throw new ApiError(0, { type: "NoAnswer", message: "The server's answer was cut off." });
    return null;
  });
  if (response.ok) return response.status === 202 && !Array.isArray(answer) ? { ...answer, computing: true } : answer;
  if (response.status === 401) loginWanted.value = true;
  throw new ApiError(response.status, answer?.error ?? { message: `${path}: the server answered ${response.status}` });
}

/** @param {string} path @param {AbortSignal} [abort] */
export const get = (path, abort) => request(path, { signal: abort });

/** @param {string} path @param {unknown} [json] */
export const post = (path, json = {}) => request(path, { method: "POST", json });

/** Text that no other request has, for the Idempotency-Key. */
export const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
