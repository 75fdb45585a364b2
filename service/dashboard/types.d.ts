// As much of the vendored libraries' types as the page uses.
declare module "preact" {
  export const h: any;
  export const render: any;
  export const Fragment: any;
  export class Component {
    constructor(properties: any);
    props: any;
    state: any;
    setState(change: any): void;
  }
}
declare module "preact/hooks" {
  export function useEffect(work: () => void | (() => void), depends?: unknown[]): void;
  export function useLayoutEffect(work: () => void | (() => void), depends?: unknown[]): void;
  export function useMemo<T>(make: () => T, depends: unknown[]): T;
  export function useRef<T>(first: T): { current: T };
  export function useState<T>(first: T | (() => T)): [T, (next: T | ((before: T) => T)) => void];
}
declare module "@preact/signals" {
  export interface Signal<T> {
    value: T;
    peek(): T;
  }
  export function signal<T>(first: T): Signal<T>;
  export function computed<T>(make: () => T): Signal<T>;
  export function effect(work: () => void): () => void;
  export function batch(work: () => void): void;
  export function untracked<T>(work: () => T): T;
  export function useSignal<T>(first: T): Signal<T>;
  export function useComputed<T>(make: () => T): Signal<T>;
}
declare module "htm" {
  const htm: { bind(make: any): (parts: TemplateStringsArray, ...values: any[]) => any };
  export default htm;
}
declare module "echarts" {
  export const init: any;
}
declare module "uplot" {
  const uPlot: any;
  export default uPlot;
}
interface Window {
  /** Requests that early.js began, by path. */
  begun?: Record<string, Promise<Response>>;
}
