// Requests to the server. Every error is an ApiError whose message a person can act on.
import { setClockOffset } from "./time.js";
import { signal } from "./ui.js";

/** Whether the server requires a login. */
export const loginWanted = signal(false);

/** The user, according to the server. @type {import("./ui.js").Signal<{open: boolean, login: {owner: string, scopes: string[]} | null} | null>} */
export const me = signal(/** @type {any} */ (null));

/** Whether the user is an administrator; false until the server has answered. */
export const isAdmin = () => Boolean(me.value?.open || me.value?.login?.scopes.includes("admin"));

/** Whether the user may change an object of `owner`; every writer may change one without an owner. The server checks again; this only hides buttons. @param {string | null} [owner] */
export function mayChange(owner = null) {
  const login = me.value?.login;
  return isAdmin() || Boolean(login?.scopes.includes("write") && (owner === null || owner === login.owner));
}

/** An error response, or no response (`status` 0). */
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
    /** All mistakes in the request: field and message. @type {{field: string | null, message: string}[]} */
    this.mistakes = [{ field: this.field, message: detail.message }, ...(detail.others ?? [])];
    /** @type {any} */
    this.detail = detail;
  }
}

/** Take the request that early.js has started, once and only while the page is loading: later its response is outdated. @param {string} path */
function begun(path) {
  const answer = performance.now() < 10_000 ? window.begun?.[path] : undefined;
  delete window.begun?.[path];
  return answer;
}

/**
 * @param {string} path
 * @param {{method?: string, json?: unknown, yaml?: string, file?: Blob, key?: string, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} the JSON of the response, null without one
 */
export async function request(path, { method, json, yaml, file, key, signal: abort } = {}) {
  /** @type {Record<string, string>} */
  const headers = { accept: "application/json" };
  if (json !== undefined) headers["content-type"] = "application/json";
  if (yaml !== undefined) headers["content-type"] = "application/yaml";
  if (file !== undefined) headers["content-type"] = "application/octet-stream";
  if (key) headers["idempotency-key"] = key;
  const body = json !== undefined ? JSON.stringify(json) : (yaml ?? file);
  let response;
  const begin = Date.now();
  try {
    const verb = method ?? (body === undefined ? "GET" : "POST");
    const early = verb === "GET" ? begun(path) : undefined;
    response = await (early ?? fetch(`.${path}`, { method: verb, headers, body, signal: abort }));
    if (!early) setClockOffset(response, begin);
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

/** A random text for the Idempotency-Key of a request. */
export const requestKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
