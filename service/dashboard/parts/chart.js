// ECharts and uPlot as elements of the page. They follow its size and theme, and have a text description.
import * as echarts from "echarts";
import uPlot from "uplot";
import { html, useEffect, useRef } from "../lib/ui.js";
import { colour, dark } from "../lib/look.js";

/** Style of all axes. */
export const axisLook = () => ({
  axisLine: { lineStyle: { color: colour("faint") } },
  axisTick: { lineStyle: { color: colour("faint") } },
  axisLabel: { color: colour("dim"), fontSize: 11 },
  nameTextStyle: { color: colour("dim"), fontSize: 12 },
  splitLine: { lineStyle: { color: colour("sunk") } },
});

/** A step between the ticks of an axis of bytes that is round in bytes; undefined leaves it to ECharts. @param {string} metric @param {{min: number, max: number}} range */
export function step(metric, { min, max }) {
  if (metric !== "model_size" && metric !== "working_memory") return undefined;
  const rough = (max - min) / 5;
  return rough < 128 ? undefined : 2 ** Math.ceil(Math.log2(rough));
}

/** Style of tooltips. */
export const tipLook = () => ({
  backgroundColor: colour("card"), borderColor: colour("line"), textStyle: { color: colour("text"), fontSize: 12 }, confine: true,
});

/** Text for a tooltip, which takes HTML. @param {unknown} text */
export const safe = (text) =>
  String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

/**
 * @param {{option: () => any, on?: Record<string, (event: any, chart: any) => void>, label: string, size?: string, depends: unknown[], after?: (chart: any) => void, name?: string}} properties
 * `option` is called again when something in `depends` changes; `after` is called when the chart has applied it
 */
export function Chart({ option, on = {}, label, size = "", depends, after, name }) {
  /** @type {{current: HTMLElement | null}} */
  const place = useRef(null);
  /** @type {{current: any}} */
  const chart = useRef(null);
  /** @type {{current: Record<string, (event: any, chart: any) => void>}} */
  const handlers = useRef(on);
  handlers.current = on;
  useEffect(() => {
    if (!place.current) return undefined;
    const instance = echarts.init(place.current, null, { renderer: "canvas" });
    chart.current = instance;
    for (const event of Object.keys(handlers.current)) instance.on(event, (/** @type {any} */ details) => handlers.current[event](details, instance));
    instance.on("finished", () => place.current && (place.current.dataset.drawn = "yes"));
    const observer = new ResizeObserver(() => instance.resize());
    observer.observe(place.current);
    return () => {
      observer.disconnect();
      instance.dispose();
      chart.current = null;
    };
  }, []);
  useEffect(() => {
    if (place.current) place.current.dataset.drawn = "no"; // ECharts paints later, in the next frame or over several
    chart.current?.setOption({ animation: false, textStyle: { fontFamily: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif" }, ...option() }, { replaceMerge: ["series", "xAxis", "yAxis"] });
    if (chart.current) after?.(chart.current);
  }, [...depends, dark.value]);
  return html`<div class=${`chart ${size}`} ref=${place} role="img" aria-label=${label} data-chart=${name}></div>`;
}

/**
 * Lines over a common x. New data update the plot; a change in `depends` creates a new one.
 * @param {{data: any[], series: {label: string, colour: string, dash?: number[], scale?: string, value?: (v: number) => string, points?: boolean, stepped?: boolean, width?: number, fill?: string}[],
 *   label: string, height?: number, x: (v: number) => string, y: (v: number) => string, right?: (v: number) => string, marks?: {at: number, text: string}[], depends?: unknown[], name?: string, log?: boolean, zero?: boolean}} properties
 */
export function Lines({ data, series, label, height = 220, x, y, right, marks = [], depends = [], name, log = false, zero = false }) {
  /** @type {{current: HTMLElement | null}} */
  const place = useRef(null);
  /** @type {{current: any}} */
  const plot = useRef(null);
  const shown = useRef(marks);
  shown.current = marks;
  useEffect(() => {
    if (!place.current) return undefined;
    const axis = { stroke: colour("dim"), grid: { stroke: colour("sunk"), width: 1 }, ticks: { stroke: colour("faint"), width: 1, size: 4 }, font: "11px system-ui" };
    /** @param {(v: number) => string} format */
    const texts = (format) => (/** @type {any} */ _, /** @type {number[]} */ values) => values.map((value) => (value === null ? "" : format(value)));
    const instance = new uPlot(
      {
        width: place.current.clientWidth || 300, height, cursor: { y: false, points: { size: 6 } }, legend: { live: true },
        scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: zero ? (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [0, (high || 1) * 1.08] : undefined }, right: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [0, (high || 1) * 1.08] } },
        axes: [
          { ...axis, values: texts(x) },
          { ...axis, values: texts(y), size: 62 },
          ...(right ? [{ ...axis, side: 1, scale: "right", values: texts(right), size: 56, grid: { show: false } }] : []),
        ],
        series: [
          { label: label.split(" over ")[1] ?? "x", value: (/** @type {any} */ _, /** @type {number} */ v) => (v === null || v === undefined ? "" : x(v)) },
          ...series.map((one) => ({
            label: one.label, stroke: one.colour, width: one.width ?? 1.8, dash: one.dash, scale: one.scale ?? "y", fill: one.fill, spanGaps: true,
            points: { show: one.points ?? false, size: 5, fill: one.colour },
            paths: one.stepped ? uPlot.paths.stepped?.({ align: 1 }) : undefined,
            value: (/** @type {any} */ _, /** @type {number} */ v) => (v === null || v === undefined ? "" : (one.value ?? (one.scale === "right" && right ? right : y))(v)),
          })),
        ],
        hooks: { draw: [(/** @type {any} */ u) => drawMarks(u, shown.current)] },
      },
      data,
      place.current,
    );
    plot.current = instance;
    const observer = new ResizeObserver(() => place.current && instance.setSize({ width: place.current.clientWidth, height }));
    observer.observe(place.current);
    return () => {
      observer.disconnect();
      instance.destroy();
      plot.current = null;
    };
  }, [dark.value, series.length, log, ...depends]);
  useEffect(() => {
    plot.current?.setData(data);
  }, [data]);
  return html`<div class="plot" ref=${place} role="img" aria-label=${label} data-plot=${name}></div>`;
}

/** Thin upright lines with a word beside each. @param {any} plot @param {{at: number, text: string}[]} marks */
function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour("faint");
  ctx.fillStyle = colour("dim");
  ctx.font = `${11 * devicePixelRatio}px system-ui`;
  ctx.textAlign = "left";
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const { at, text } of marks) {
    const left = plot.valToPos(at, "x", true);
    if (left < bbox.left || left > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    // Outline the text, so that it stays readable over a line.
    const place = [left + 4 * devicePixelRatio, bbox.top + 12 * devicePixelRatio];
    ctx.save();
    ctx.setLineDash([]);
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.strokeStyle = colour("card");
    ctx.strokeText(text, place[0], place[1]);
    ctx.restore();
    ctx.fillText(text, place[0], place[1]);
  }
  ctx.restore();
}
