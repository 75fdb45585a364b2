// Runs before the first paint: sets the stored theme, and preloads the modules and data that the address needs. Without it, the browser would
// load the modules one after another, because they import one another, and request the data last.
(() => {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be blocked; then the system's theme applies.
  }

  // The direct and indirect imports of app.js, then those of the view of an experiment. A test compares both with the files.
  const page = [
    "lib/api.js", "lib/format.js", "lib/live.js", "lib/look.js", "lib/rounds.js", "lib/route.js", "lib/time.js", "lib/ui.js",
    "parts/actions.js", "parts/bits.js",
    "vendor/htm-3.1.1.mjs", "vendor/preact-11.2.0.mjs", "vendor/preact-hooks-11.2.0.mjs", "vendor/preact-signals-2.11.4.mjs",
    "vendor/preact-signals-core-1.14.5.mjs", "views/experiments.js", "views/login.js",
  ];
  const experiment = [
    "vendor/echarts-6.1.0.mjs", "views/experiment.js", "lib/columns.js", "lib/selection.js", "lib/yaml.js", "parts/chart.js",
    "vendor/uplot-1.6.32.mjs", "views/experiment/history.js", "views/experiment/importance.js", "views/experiment/membership.js", "views/experiment/parallel.js", "views/experiment/repetitions.js",
    "views/experiment/scatter.js", "views/experiment/selected.js", "views/experiment/spec.js", "views/experiment/study.js", "views/experiment/timeline.js",
    "views/experiment/trials.js",
  ];
  const match = /^#\/experiments\/(\d+)(?:$|\?)/.exec(location.hash);
  // Addresses are relative to the page, because a reverse proxy may serve the page under a sub-path.
  // Request the data first: a browser sends at most six requests to a server at a time.
  for (const path of match ? [`/experiments/${match[1]}/points`, `/experiments/${match[1]}`] : []) {
    const answer = fetch(`.${path}`, { headers: { accept: "application/json" } });
    answer.catch(() => null); // lib/api.js, which uses the response, reports the error
    window.begun = { ...window.begun, [path]: answer };
  }
  for (const name of match ? [...page, ...experiment] : page) {
    const link = document.createElement("link");
    link.rel = "modulepreload";
    link.href = `./dashboard/${name}`;
    document.head.append(link);
  }
})();
