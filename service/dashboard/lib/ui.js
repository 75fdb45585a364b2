// Preact, signals and htm from one module.
import { h } from "preact";
import htm from "htm";

export { render, Fragment } from "preact";
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, useComputed, useSignal, untracked } from "@preact/signals";
/** @template T @typedef {import("@preact/signals").Signal<T>} Signal */

export const html = htm.bind(h);
