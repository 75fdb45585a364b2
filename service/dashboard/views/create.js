// A new experiment, from a form for the built-in choices or from YAML. Errors are shown at their field.
import { html, useEffect, useMemo, useRef, useState } from "../lib/ui.js";
import { requestKey, get, mayChange, me, request } from "../lib/api.js";
import { bytes, title } from "../lib/format.js";
import { setQuery, queryValue, go } from "../lib/route.js";
import { lineOf, write } from "../lib/yaml.js";
import { Problem } from "../parts/bits.js";

const OBJECTIVES = ["error", "model_size", "working_memory", "latency", "flash", "ram", "energy", "training_memory"];
const BUDGETS = [["error", "none, or for example 30 %"], ["flash", "all of the device's, or for example 64 KB"], ["ram", "all of the device's, or for example 16 KB"], ["latency", "none, or for example 20 ms"]];

/** Initial values of the form; keys are the fields' paths in a spec. @type {Record<string, any>} */
const START = {
  name: "digits search", task: "classification", "dataset.name": "digits", "network.family": "cnn", "target.device": "stm32f446",
  objectives: ["error", "model_size", "working_memory"],
  "source.name": "search",
};

/** The spec of a form. @param {Record<string, any>} form */
export function specOf(form) {
  /** @type {Record<string, any>} */
  const spec = {};
  for (const [path, value] of Object.entries(form)) {
    if (value === "" || value === null) continue;
    const parts = path.split(".");
    let inner = spec;
    for (const part of parts.slice(0, -1)) inner = inner[part] ??= {};
    inner[parts[parts.length - 1]] = value instanceof Lists ? value.lists() : value instanceof Choices ? value.values() : value;
  }
  return { version: 2, ...spec };
}

/** Text of lines "name: value, value", and its mapping of name to list. */
class Lists {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  lists() {
    return Object.fromEntries(this.text.split("\n").filter((line) => line.trim()).map((line) => {
      const [name, values = ""] = line.split(/:(.*)/s);
      return [name.trim(), values.split(",").map((word) => word.trim()).filter(Boolean).map(plain)];
    }));
  }
}

/** Text "value, value": one value, or a list of which the search chooses. */
class Choices {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  values() {
    const values = this.text.split(",").map((word) => word.trim()).filter(Boolean).map(plain);
    return values.length === 1 ? values[0] : values;
  }
}

/** Convert a word to a number or a boolean if possible. @param {string} word */
const plain = (word) => (word === "true" || word === "false" ? word === "true" : Number.isFinite(Number(word)) ? Number(word) : word);

/** The settings of a source that a form can show: their paths under `source`, and their defaults. @param {any} settings @param {string} [within] @returns {[string, any][]} */
const leaves = (settings, within = "") => Object.entries(settings).flatMap(([name, value]) => {
  const path = within ? `${within}.${name}` : name;
  if (value === null || (!within && (name === "name" || name === "version"))) return [];
  if (typeof value !== "object") return [[path, value]];
  return Object.keys(value).length === 0 ? [[path, new Lists("")]] : leaves(value, path);
});

/** A source's settings as fields of the form, with all defaults, because a spec contains them in full. @param {any} catalogue @param {string} name @returns {Record<string, any>} */
const settingsOf = (catalogue, name) =>
  Object.fromEntries(leaves(catalogue?.sources.find((/** @type {any} */ one) => one.name === name)?.defaults ?? {}).map(([path, value]) => [`source.${path}`, value instanceof Lists ? "" : value]));

/** A sample's shape, its layout and the number of classes, where they are known before loading. @param {any} dataset */
const samples = (dataset) => (dataset?.shape ? `Samples ${dataset.shape.join(" × ")}, ${dataset.layout}; ${dataset.classes} classes.` : "");

/** Whether a family's networks are for a task. @param {any} family @param {string} task */
const serves = (family, task) => !family?.task || family.task === task;

/**
 * Whether a family reads a dataset: false only if the server knows the dataset's shape and the family has no space for it.
 * @param {any} family @param {any} dataset
 */
const reads = (family, dataset) => !dataset?.shape || Object.keys(family?.spaces ?? {}).length === 0 || dataset.name in family.spaces;

/** Whether a dataset may hold signals: a front end reads no images and no features. @param {any} dataset */
const isSignal = (dataset) => !dataset?.shape || dataset.shape.length === 2;

/** The first sentence. @param {string | undefined} text */
const sentence = (text) => text?.split(/(?<=\.)\s|;/)[0].replace(/`/g, "");

/** The mistakes of an error. @param {any} error @returns {{field: string | null, message: string}[]} */
const mistakes = (error) => error?.mistakes ?? (error ? [{ field: null, message: error.message }] : []);

/** The mistake of a field, else null. @param {any} error @param {string} field */
const at = (error, field) => mistakes(error).find((one) => one.field === field || one.field?.startsWith(`${field}.`)) ?? null;

export function Create() {
  /** null until it arrives: its defaults would change the text under the cursor of a user who already types. */
  const [catalogue, setCatalogue] = useState(/** @type {any} */ (null));
  const [form, setForm] = useState(START);
  /** The edited YAML; null while it follows the form. */
  const [typed, setTyped] = useState(/** @type {string | null} */ (null));
  const yaml = typed ?? write(specOf(form));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const tab = queryValue("from", "form");
  const key = useMemo(requestKey, [form, yaml]);
  useEffect(() => {
    get("/catalogue").then((result) => {
      setCatalogue(result);
      setForm((form) => ({ ...settingsOf(result, form["source.name"]), ...form }));
    }, () => setCatalogue({ tasks: [], families: [], front_ends: [], datasets: [], devices: [], sources: [] }));
  }, []);

  /** @param {string} name */
  const choose = (name) => {
    setError(null);
    setQuery({ from: name === "form" ? null : name });
  };
  /** Arrow keys switch between tabs. @param {KeyboardEvent} event */
  const turn = (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = tab === "yaml" ? "form" : "yaml";
    choose(other);
    document.getElementById(`tab-${other}`)?.focus();
  };
  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const created = await request("/experiments", tab === "yaml" ? { yaml, key } : { json: { spec: specOf(form) }, key });
      go(`/experiments/${created.id}`);
    } catch (problem) {
      setError(problem);
      setBusy(false);
      const field = /** @type {any} */ (problem).field;
      if (field) queueMicrotask(() => /** @type {any} */ (document.querySelector('[aria-invalid="true"]'))?.focus());
    }
  };
  return html`<div class="view-head"><h1>New experiment</h1><span class="grow"></span>
      <div class="tabs" role="tablist" aria-label="Input format">${[["form", "Form"], ["yaml", "YAML"]].map(
        ([name, text]) => html`<button key=${name} type="button" role="tab" tabindex=${tab === name ? 0 : -1} onKeyDown=${turn} id=${`tab-${name}`} aria-selected=${String(tab === name)} aria-controls="create-panel"
          onClick=${() => choose(name)}>${text}</button>`,
      )}</div></div>
    <div id="create-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>${catalogue === null ? html`<p class="dim" role="status">Loading…</p>` : html`<form class="card" onSubmit=${send} novalidate>
      ${tab === "yaml" ? html`<${Yaml} text=${yaml} error=${error} onChange=${setTyped} />` : html`<${Form} form=${form} error=${error} catalogue=${catalogue}
        onChange=${(/** @type {any} */ change) => setForm((form) => ({ ...form, ...change }))} />`}
      ${me.value && !mayChange() && html`<p class="note" role="note">Your token may only read. Creating experiments needs the scope write.</p>`}
      <div class="buttons"><a class="button" href="#/">Cancel</a><button type="submit" class="main" disabled=${busy || !mayChange()}>Start experiment</button></div>
    </form>`}</div>`;
}

/** @param {{form: any, error: any, catalogue: any, onChange: (change: any) => void}} properties */
function Form({ form, error, catalogue, onChange }) {
  const family = catalogue?.families.find((/** @type {any} */ one) => one.name === form["network.family"]);
  const task = catalogue?.tasks.find((/** @type {any} */ one) => one.name === form.task);
  const device = catalogue?.devices.find((/** @type {any} */ one) => one.name === form["target.device"]);
  const dataset = catalogue?.datasets.find((/** @type {any} */ one) => one.name === form["dataset.name"]);
  const source = catalogue?.sources.find((/** @type {any} */ one) => one.name === form["source.name"]);
  const front = catalogue?.front_ends.find((/** @type {any} */ one) => one.name === form["network.front_end.name"]);
  /** The shown fields; mistakes in other fields are listed below the form. */
  const drawn = ["objectives"];
  const families = catalogue?.families.map((/** @type {any} */ one) => {
    // behind a front end, a family reads features and not the samples
    const unfit = !serves(one, form.task) ? form.task : !front && !reads(one, dataset) ? dataset.name : null;
    return { ...one, disabled: unfit !== null, note: unfit === null ? "" : `: not for ${unfit}` };
  });
  /** Changes with another task: a family that serves it, first one made for it. @param {string} name */
  const retasked = (name) => {
    const own = catalogue.families.find((/** @type {any} */ one) => one.task === name);
    const other = own ?? (serves(family, name) ? null : catalogue.families.find((/** @type {any} */ one) => serves(one, name) && reads(one, dataset)));
    return other && other !== family ? { ...options("network.options."), "network.family": other.name } : {};
  };
  /** Changes with another dataset: its options, and a family that reads it. @param {string} name */
  const changes = (name) => {
    const chosen = catalogue?.datasets.find((/** @type {any} */ one) => one.name === name);
    const other = reads(family, chosen) || (front && isSignal(chosen)) ? null : catalogue.families.find((/** @type {any} */ one) => serves(one, form.task) && chosen.name in one.spaces);
    return { ...options("dataset.options."), ...(isSignal(chosen) ? {} : options("network.front_end.")), ...(other && { ...options("network.options."), "network.family": other.name }) };
  };
  /** A family that reads the dataset's samples, when it is chosen for the features of a front end. */
  const fitting = () => {
    const other = reads(family, dataset) ? null : catalogue.families.find((/** @type {any} */ one) => serves(one, form.task) && reads(one, dataset));
    return other ? { ...options("network.options."), "network.family": other.name } : {};
  };
  const field = (/** @type {any} */ properties) => drawn.push(properties.name) && html`<${Field} ...${properties} form=${form} error=${error} onChange=${onChange} />`;
  /** @param {string} prefix */
  const options = (prefix) => Object.fromEntries(Object.keys(form).filter((name) => name.startsWith(prefix)).map((name) => [name, ""]));
  return html`
    <div class="fields">
      ${field({ name: "name", label: "Name", placeholder: "experiment" })}
      ${field({ name: "target.device", label: "Device", listed: true, choices: catalogue?.devices, hint: device && `${device.core}, ${bytes(device.flash)} flash, ${bytes(device.ram)} RAM` })}
      ${field({ name: "task", label: "Task", listed: true, choices: catalogue?.tasks, hint: sentence(task?.description), reset: retasked })}
      ${field({ name: "dataset.name", label: "Dataset", listed: true, choices: catalogue?.datasets, hint: [sentence(dataset?.description), samples(dataset)].filter(Boolean).join(" "), reset: changes })}
      ${field({ name: "network.family", label: "Network family", listed: true, choices: families, hint: sentence(family?.description), reset: () => options("network.options.") })}
    </div>
    ${family?.options?.length > 0 && html`<fieldset><legend>Options of ${family.name}</legend><div class="fields three">${family.options.map(
      (/** @type {any} */ option) => field({ key: option.name, name: `network.options.${option.name}`, label: title(option.name), like: option.default }),
    )}</div></fieldset>`}
    ${dataset?.options?.length > 0 && html`<fieldset><legend>Options of ${dataset.name}</legend><div class="fields three">${dataset.options.map(
      (/** @type {any} */ option) => field({ key: option.name, name: `dataset.options.${option.name}`, label: title(option.name), like: option.default }),
    )}</div></fieldset>`}
    ${isSignal(dataset) && html`<fieldset><legend>Signal processing in front of the network</legend><div class="fields three">
      ${field({ name: "network.front_end.name", label: "Front end", listed: true, choices: [{ name: "", title: "none: the network reads the samples" }, ...(catalogue?.front_ends ?? [])], hint: sentence(front?.description), reset: () => ({ ...options("network.front_end."), ...fitting() }) })}
      ${front?.settings.map((/** @type {any} */ setting) => field({ key: setting.name, name: `network.front_end.${setting.name}`, label: title(setting.name), like: setting.many ? new Choices(setting.default.join(", ")) : setting.default,
        hint: setting.many ? `${setting.description} Several numbers, as in 128, 256, are searched.` : setting.description }))}</div></fieldset>`}
    <fieldset><legend>Candidates</legend><div class="fields">
      ${field({ name: "source.name", label: "Source", listed: true, choices: catalogue?.sources, hint: sentence(source?.description), reset: (/** @type {string} */ chosen) => ({ ...options("source."), ...settingsOf(catalogue, chosen) }) })}
      ${leaves(source?.defaults ?? {}).map(([path, like]) => field({ key: path, name: `source.${path}`, label: settingName(source, path), like }))}</div></fieldset>
    <fieldset aria-describedby="e-objectives"><legend>Objectives, one to four, all minimized</legend><div class="checks">${OBJECTIVES.map(
      (name) => html`<label key=${name}><input type="checkbox" checked=${form.objectives.includes(name)}
        onChange=${(/** @type {any} */ event) => onChange({ objectives: OBJECTIVES.filter((other) => (other === name ? event.target.checked : form.objectives.includes(other))) })} />
        ${title(name)}</label>`,
    )}</div>${at(error, "objectives") && html`<p class="field-error" id="e-objectives" role="alert">${at(error, "objectives")?.message}</p>`}</fieldset>
    <fieldset><legend>Budgets</legend><div class="fields">${BUDGETS.map(([name, hint]) =>
      field({ key: name, name: `budgets.${name}`, label: `${title(name)} at most`, placeholder: hint }),
    )}</div></fieldset>
    ${mistakes(error).filter(({ field: place }) => !drawn.some((name) => place === name || place?.startsWith(`${name}.`))).map((one) => html`<${Problem} key=${one.message} error=${one} />`)}`;
}

/** The label of a setting, with a round's title in place of its label. @param {any} source @param {string} path */
function settingName(source, path) {
  const words = path.split(".").filter((part) => part !== "rounds").map((part) => source.rounds[part] ?? part.replaceAll("_", " "));
  return words.join(": ").replace(/^./, (letter) => letter.toUpperCase());
}

/**
 * One field of the form. With `choices` it is a list; `like` (a default) determines its type.
 * @param {{name: string, label: string, form: any, error: any, onChange: (change: any) => void, choices?: any[], listed?: boolean, hint?: string, like?: unknown, placeholder?: string, reset?: (chosen: string) => any}} properties
 */
function Field({ name, label, form, error, onChange, choices, listed, hint, like, placeholder, reset }) {
  const wrong = at(error, name);
  const id = `f-${name}`;
  const common = { id, name, "aria-invalid": wrong ? "true" : undefined, "aria-describedby": [wrong && `${id}-error`, hint && `${id}-hint`].filter(Boolean).join(" ") || undefined };
  const value = form[name] ?? "";
  const set = (/** @type {any} */ event) => {
    const text = event.target.value;
    const number = typeof like === "number" && text !== "" && Number.isFinite(Number(text));
    onChange({ ...reset?.(text), [name]: number ? Number(text) : text });
  };
  let input;
  if (typeof like === "boolean") {
    input = html`<select ...${common} value=${value === "" ? String(like) : String(value)} onChange=${(/** @type {any} */ event) => onChange({ [name]: event.target.value === "true" })}>
      <option value="true">yes</option><option value="false">no</option></select>`;
  } else if (listed) {
    const offered = choices?.some((choice) => choice.name === value) ? choices : [{ name: value }, ...(choices ?? [])];
    input = html`<select ...${common} value=${value} onChange=${set}>${offered.map((choice) => html`<option key=${choice.name} value=${choice.name} selected=${choice.name === value} disabled=${choice.disabled}>${choice.title && choice.name === "" ? choice.title : choice.name}${choice.note}</option>`)}</select>`;
  } else if (like instanceof Lists) {
    input = html`<textarea ...${common} rows="3" value=${String(value)} onInput=${(/** @type {any} */ event) => onChange({ [name]: event.target.value ? new Lists(event.target.value) : "" })}
      placeholder=${"learning_rate: 0.001, 0.01\nhead: average, flatten"}></textarea>`;
  } else if (like instanceof Choices) {
    input = html`<input ...${common} type="text" value=${String(value)} onInput=${(/** @type {any} */ event) => onChange({ [name]: event.target.value ? new Choices(event.target.value) : "" })} placeholder=${String(like)} autocomplete="off" />`;
  } else {
    input = html`<input ...${common} type="text" inputmode=${typeof like === "number" ? "decimal" : undefined} value=${String(value)} onInput=${set}
      placeholder=${placeholder ?? (like === undefined || like === null ? "" : String(like))} autocomplete="off" />`;
  }
  return html`<div class="field"><label for=${id} class="small dim">${label}</label><div>${input}</div>
    ${hint && html`<span class="dim small" id=${`${id}-hint`}>${hint}</span>`}
    ${wrong && html`<p class="field-error" id=${`${id}-error`} role="alert">${wrong.message}</p>`}</div>`;
}

/** @param {{text: string, error: any, onChange: (text: string) => void}} properties */
function Yaml({ text, error, onChange }) {
  /** @type {{current: HTMLTextAreaElement | null}} */
  const area = useRef(null);
  // The server prefixes the line if it is known: "body:3: ...".
  const located = mistakes(error).map(({ field, message }) => {
    const [, number, words] = /^body(?::(\d+))?: (.*)$/s.exec(message) ?? [null, undefined, message];
    return { line: number ? Number(number) - 1 : field ? lineOf(text, field) : -1, words };
  }).sort((a, b) => a.line - b.line);
  const line = located.find((one) => one.line >= 0)?.line ?? -1;
  useEffect(() => {
    if (line < 0 || !area.current) return;
    const before = text.split("\n").slice(0, line).join("\n").length + (line > 0 ? 1 : 0);
    area.current.focus();
    area.current.setSelectionRange(before, before + text.split("\n")[line].length);
  }, [error]);
  return html`<div class="yaml"><label class="field"><span>Spec, as for <code>sparsemod submit</code></span>
      <textarea ref=${area} class="mono" spellcheck="false" aria-invalid=${error ? "true" : undefined} aria-describedby=${error ? "yaml-error" : undefined}
        value=${text} onInput=${(/** @type {any} */ event) => onChange(event.target.value)}></textarea></label>
    ${error && html`<div class="problem" id="yaml-error" role="alert">${located.map((one) => html`<p key=${`${one.line} ${one.words}`}>${one.line >= 0 ? `Line ${one.line + 1}: ` : ""}${one.words}</p>`)}</div>`}</div>`;
}
