// Numbers, units and times as text.
import { now as serverNow } from "./time.js";

/** @type {Record<string, string>} */
const TITLES = {
  error: "Error", model_size: "Model size", working_memory: "Working memory", training_memory: "Training memory", latency: "Latency", energy: "Energy", macs: "Multiply-adds",
  parameters: "Parameters", nonzeros: "Nonzero weights", float_error: "Error before quantization", finetune_gain: "Gain of fine-tuning", index: "Trial", epochs: "Epochs",
  hamming_error: "Wrong labels", label_f1_error: "1 − F1 of the labels", auc_error: "1 − AUC", pixel_error: "Wrong pixels", iou_error: "1 − mean IoU", rmse: "RMSE", mae: "MAE", metric: "Own metric",
  gradient_angle: "Angle to the true gradient", flash: "Flash", ram: "RAM", stack: "Stack", instructions: "Instructions",
  trained_epochs: "Trained epochs", seconds: "Seconds", state: "State", round: "Round", origin: "Origin", finished_at: "Finished",
};

/** The title of a metric or parameter. @param {string} name */
export const title = (name) => TITLES[name] ?? (name.startsWith("float_") ? `${TITLES[name.slice(6)] ?? name.slice(6)} before quantization` : undefined) ?? name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

/** The title within a sentence. @param {string} name */
export const phrase = (name) => (CAPITALS.has(name) ? title(name) : title(name).toLowerCase());

const CAPITALS = new Set(["ram", "rmse", "mae", "auc_error", "iou_error", "label_f1_error"]);

/** The metrics of tasks, known only after training. */
export const TRAINED = new Set(["error", "hamming_error", "label_f1_error", "auc_error", "pixel_error", "iou_error", "rmse", "mae", "metric"]);

/** The metric of a spec's task. @param {any} spec */
export const quality = (spec) => [spec.training.metric.name, ...spec.objectives, ...Object.keys(spec.budgets)].find((name) => TRAINED.has(name)) ?? "error";

/** The metrics in bytes. */
const BYTES = new Set(["model_size", "working_memory", "memory", "flash", "ram", "stack", "training_memory"]);

/** @param {number} value */
const short = (value) => (Number.isInteger(value) && Math.abs(value) < 1e5 ? String(value) : Number(value.toPrecision(4)).toString());

/** @param {number} value bytes */
export function bytes(value) {
  if (Math.abs(value) < 1000) return `${Math.round(value)} B`;
  if (Math.abs(value) < 1024 * 1000) return `${(value / 1024).toFixed(Math.abs(value) < 102400 ? 1 : 0)} KB`;
  return `${(value / 1048576).toFixed(1)} MB`;
}

/** @param {number} value a count */
export function count(value) {
  if (Math.abs(value) < 1e4) return String(Math.round(value));
  if (Math.abs(value) < 1e6) return `${(value / 1e3).toFixed(1)} k`;
  return `${(value / 1e6).toFixed(2)} M`;
}

/**
 * A value with its unit, rounded for reading.
 * @param {string} metric
 * @param {unknown} value
 * @returns {string}
 */
export function show(metric, value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return String(value);
  if (metric === "error" || metric.endsWith("_error")) return `${(100 * value).toFixed(2)} %`;
  if (BYTES.has(metric)) return bytes(value);
  if (metric === "gradient_angle") return `${value.toFixed(1)}°`;
  if (metric === "latency") return value < 1 ? `${(1000 * value).toFixed(0)} µs` : value < 100 ? `${value.toFixed(2)} ms` : `${Math.round(value)} ms`;
  if (metric === "energy") return value < 1 ? `${short(1000 * value)} µJ` : `${short(value)} mJ`;
  if (metric === "macs" || metric === "parameters" || metric === "nonzeros" || metric === "instructions") return count(value);
  return short(value);
}

/** A short value for an axis. @param {string} metric @param {number} value */
export const tick = (metric, value) => (metric === "error" || metric.endsWith("_error") ? `${Number((100 * value).toPrecision(3))} %` : show(metric, value).replace(/\.0+(?= )/, ""));

/** @type {Record<string, number>} */
const UNITS = { "": 1, "%": 0.01, b: 1, kb: 1024, mb: 1024 ** 2, "µs": 0.001, us: 0.001, ms: 1, s: 1000, "µj": 0.001, uj: 0.001, mj: 1, j: 1000, k: 1e3, m: 1e6 };

/** Parse a number with an optional unit, "50 %" or "4 KB"; NaN for other text. @param {string} text */
export function read(text) {
  const [, digits, unit] = /^\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([%a-zµμ]*)\s*$/i.exec(text) ?? ["", "", "?"];
  return Number(digits) * (UNITS[unit.toLowerCase().replace("μ", "µ")] ?? NaN);
}

/** The reference point in words; objectives on logarithmic scales are marked. @param {Record<string, {kind: string, high: number}>} scales */
export const boxText = (scales) => Object.entries(scales).map(([name, scale]) => `${phrase(name)} ${show(name, scale.high)}${scale.kind === "log" ? " (log)" : ""}`).join(", ");

/** A change with its sign; a share changes by percentage points. @param {string} metric @param {number} change */
export const showChange = (metric, change) => {
  const size = show(metric, Math.abs(change));
  // Show a change that rounds to zero as no change.
  const sign = size === show(metric, 0) ? "±" : change > 0 ? "+" : "−";
  return `${sign}${size.replace(" %", " points")}`;
};

/** A measurement in its unit, not rounded. @param {{value: number, unit: string}} measurement */
export const exact = ({ value, unit }) => `${typeof value === "number" ? Number(value.toPrecision(7)) : value} ${unit === "fraction" ? "" : unit}`.trim();

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} d`;
}

/** The time since `time`, as text. @param {string | null | undefined} time @param {number} [now] */
export function ago(time, now = serverNow()) {
  if (!time) return "–";
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  return seconds < 2 ? "now" : `${duration(Math.round(seconds)).replace(".0", "")} ago`;
}

/** Start and end of a span in the reader's time zone; with the day only when the days differ. @param {number} from @param {number} to milliseconds */
export function moments(from, to) {
  const time = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit", second: to - from < 600_000 ? "2-digit" : undefined });
  const day = /** @type {const} */ ({ month: "short", day: "numeric" });
  const [first, last] = [new Date(from), new Date(to)];
  if (to - from > 7 * 86_400_000) return [first, last].map((one) => one.toLocaleDateString([], day));
  return [first, last].map((one) => (first.toDateString() === last.toDateString() ? one.toLocaleTimeString([], time) : one.toLocaleString([], { ...day, ...time })));
}

/** @param {number} amount @param {string} word @param {string} [many] */
export const plural = (amount, word, many = `${word}s`) => `${amount} ${amount === 1 ? word : many}`;
