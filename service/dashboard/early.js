// Before anything is drawn: the theme that was chosen here, and a head start for what the address will want. Modules import one another, so
// they would come one after the other, and the data after the last of them.
(() => {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; the system's theme holds then.
  }

  // What app.js imports, directly or not; then what the view of an experiment adds. A test compares both with the files.
  const page = [
    "lib/api.js", "lib/format.js", "lib/live.js", "lib/look.js", "lib/rounds.js", "lib/route.js", "lib/time.js", "lib/ui.js",
    "parts/actions.js", "parts/bits.js",
    "vendor/htm-3.1.1.mjs", "vendor/preact-11.2.0.mjs", "vendor/preact-hooks-11.2.0.mjs", "vendor/preact-signals-2.11.4.mjs",
    "vendor/preact-signals-core-1.14.5.mjs", "views/experiments.js", "views/login.js",
  ];
  const experiment = [
    "vendor/echarts-6.1.0.mjs", "views/experiment.js", "lib/columns.js", "lib/selection.js", "lib/yaml.js", "parts/chart.js",
    "vendor/uplot-1.6.32.mjs", "views/experiment/history.js", "views/experiment/importance.js", "views/experiment/parallel.js", "views/experiment/repetitions.js",
    "views/experiment/scatter.js", "views/experiment/selected.js", "views/experiment/spec.js", "views/experiment/timeline.js",
    "views/experiment/trials.js",
  ];
  const found = /^#\/experiments\/(\d+)(?:$|\?)/.exec(location.hash);
  // Addresses are relative to the page: behind a reverse proxy the server may be shown under a sub-path.
  // The data come first: a browser asks a server for six things at a time.
  for (const path of found ? [`/experiments/${found[1]}/points`, `/experiments/${found[1]}`] : []) {
    const answer = fetch(`.${path}`, { headers: { accept: "application/json" } });
    answer.catch(() => null); // whoever takes it, see lib/api.js, is told
    window.begun = { ...window.begun, [path]: answer };
  }
  for (const name of found ? [...page, ...experiment] : page) {
    const link = document.createElement("link");
    link.rel = "modulepreload";
    link.href = `./dashboard/${name}`;
    document.head.append(link);
  }
})();
