// The frame around the views: header, navigation, login, and the choice of the view from the address.
import { html, render, signal, useEffect } from "./lib/ui.js";
import { loginWanted, mayChange, me, request } from "./lib/api.js";
import { connection, resets } from "./lib/live.js";
import { dark, toggleTheme } from "./lib/look.js";
import { place } from "./lib/route.js";
import { Boundary, Problem } from "./parts/bits.js";
import { Experiments } from "./views/experiments.js";
import { Login } from "./views/login.js";

/** Views with charts are loaded on first use. @type {Record<string, () => Promise<any>>} */
const LATER = {
  experiment: () => import("./views/experiment.js").then((module) => module.Experiment),
  trial: () => import("./views/trial.js").then((module) => module.Trial),
  compare: () => import("./views/compare.js").then((module) => module.Compare),
  workers: () => import("./views/workers.js").then((module) => module.Workers),
  models: () => import("./views/models.js").then((module) => module.Models),
  model: () => import("./views/model.js").then((module) => module.Model),
  webhooks: () => import("./views/webhooks.js").then((module) => module.Webhooks),
  quotas: () => import("./views/quotas.js").then((module) => module.Quotas),
  create: () => import("./views/create.js").then((module) => module.Create),
};
/** @type {import("./lib/ui.js").Signal<Record<string, any>>} */
const loaded = signal({});

/** @param {string} name @param {Record<string, unknown>} [properties] */
function later(name, properties = {}) {
  const View = loaded.value[name];
  if (View) return html`<${View} ...${properties} />`;
  LATER[name]().then(
    (View) => (loaded.value = { ...loaded.peek(), [name]: View }),
    (error) => (loaded.value = { ...loaded.peek(), [name]: () => html`<h1>This page cannot be shown</h1><${Problem} error=${error} />` }),
  );
  return html`<p class="dim" role="status">Loading…</p>`;
}

function View() {
  const path = place.value.split("/").filter(Boolean);
  if (path.length === 0) return html`<${Experiments} />`;
  if (path[0] === "new") return later("create");
  if (path[0] === "workers") return later("workers");
  if (path[0] === "webhooks" && path.length === 1) return later("webhooks");
  if (path[0] === "quotas" && path.length === 1) return later("quotas");
  if (path[0] === "compare") return later("compare");
  if (path[0] === "models" && path.length === 1) return later("models");
  if (path[0] === "models" && path.length === 2 && /^\d+$/.test(path[1])) return later("model", { id: Number(path[1]), key: path[1] });
  if (path[0] === "experiments" && /^\d+$/.test(path[1] ?? "")) {
    const id = Number(path[1]);
    if (path[2] === "trials" && /^\d+$/.test(path[3] ?? "")) {
      return later("trial", { id, index: Number(path[3]), key: `${id}/${path[3]}` });
    }
    if (path.length === 2) return later("experiment", { id, key: id });
  }
  return html`<h1>No such page</h1><p>No page has this address.  <a href="#/">All experiments</a></p>`;
}

/** @param {{to: string, on: boolean, children?: any}} properties */
const Tab = ({ to, on, children }) => html`<a href=${to} aria-current=${on ? "page" : undefined}>${children}</a>`;

/** Why the user is still signed in after "Sign out". @type {import("./lib/ui.js").Signal<any>} */
const signOutError = signal(/** @type {any} */ (null));

async function signOut() {
  try {
    await request("/logout", { method: "POST" });
  } catch (problem) {
    signOutError.value = { message: `You are still signed in. ${/** @type {any} */ (problem).message}` };
    return;
  }
  location.reload();
}

function Header() {
  const first = place.value.split("/")[0];
  const state = connection.value;
  return html`<header class="top">
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => {
      event.preventDefault();
      document.getElementById("main")?.focus();
    }}>Skip to content</a>
    <a class="brand" href="#/"><img src="./dashboard/icon.svg" alt="" width="22" height="22" />sparsemod</a>
    <nav aria-label="Main">
      <${Tab} to="#/" on=${first === "" || first === "experiments" || first === "new"}>Experiments<//>
      <${Tab} to="#/compare" on=${first === "compare"}>Compare<//>
      <${Tab} to="#/models" on=${first === "models"}>Models<//>
      <${Tab} to="#/workers" on=${first === "workers"}>Workers<//>
      ${mayChange() && html`<${Tab} to="#/webhooks" on=${first === "webhooks"}>Webhooks<//>`}
      <${Tab} to="#/quotas" on=${first === "quotas"}>Quotas<//>
    </nav>
    <span class="grow"></span>
    <span class=${`link-state ${state}`} role="status">${state === "reconnecting" ? "Reconnecting…" : state === "live" ? "Live" : ""}</span>
    <a class="quiet" href="./docs">API</a>
    <button type="button" class="quiet" aria-pressed=${dark.value} onClick=${toggleTheme}>${dark.value ? "Light" : "Dark"}</button>
    ${me.value?.login && html`<button type="button" class="quiet" title=${`Signed in as ${me.value.login.owner} (${me.value.login.scopes.join(", ")})`} onClick=${signOut}>Sign out <span class="dim">${me.value.login.owner}</span></button>`}
  </header>`;
}

function App() {
  useEffect(() => {
    const loadUser = () => request("/me").then(
      (user) => {
        me.value = user;
        if (!user.open && !user.login) loginWanted.value = true;
      },
      (problem) => (problem.status === 0 || problem.status >= 500) && setTimeout(loadUser, 3000),
    );
    loadUser();
  }, []);
  useEffect(() => {
    document.title = "sparsemod";
    window.scrollTo(0, 0);
  }, [place.value]);
  return html`<${Header} />
    <main id="main" tabindex="-1"><${Problem} error=${signOutError.value} />${loginWanted.value ? html`<${Login} />` : html`<${Boundary} key=${`${place.value} ${resets.value}`} title="This page cannot be shown"><${View} /><//>`}</main>`;
}

const root = document.getElementById("app");
if (root) render(html`<${App} />`, root);
