// The YAML functions of the form for new experiments: write a spec, and find the line of a field in a text.

/** @param {unknown} value */
function scalar(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  return /^[A-Za-z][A-Za-z0-9 _./-]*$/.test(value) && !/^(true|false|yes|no|on|off|null|none|y|n)$/i.test(value) ? value : JSON.stringify(value);
}

/**
 * A mapping as YAML; flat nested mappings take one line.
 * @param {Record<string, any>} data
 * @param {string} [indent]
 * @returns {string}
 */
export function write(data, indent = "") {
  return Object.entries(data)
    .map(([name, value]) => {
      if (Array.isArray(value)) return `${indent}${name}: [${value.map(scalar).join(", ")}]\n`;
      if (value && typeof value === "object") {
        const flat = Object.values(value).every((inner) => typeof inner !== "object" || inner === null);
        if (flat) return `${indent}${name}: {${Object.entries(value).map(([key, inner]) => `${key}: ${scalar(inner)}`).join(", ")}}\n`;
        return `${indent}${name}:\n${write(value, `${indent}  `)}`;
      }
      return `${indent}${name}: ${scalar(value)}\n`;
    })
    .join("");
}

/**
 * The line (from 0) of `field` ("rounds.r1.trials"), or of its innermost part in the text; -1 without one.
 * @param {string} text
 * @param {string} field
 */
export function lineOf(text, field) {
  const lines = text.split("\n");
  let from = 0;
  let end = lines.length;
  let indent = -1;
  let line = -1;
  for (const part of field.split(".")) {
    let hit = -1;
    for (let i = from; i < end; i += 1) {
      const match = /^(\s*)(?:- )?["']?([^"':#]+)["']?\s*:/.exec(lines[i]);
      if (match && match[1].length > indent && match[2].trim() === part) {
        hit = i;
        indent = match[1].length;
        break;
      }
    }
    if (hit < 0) break;
    line = hit;
    from = hit + 1;
    for (let i = from; i < end; i += 1) {
      if (lines[i].trim() && lines[i].search(/\S/) <= indent) {
        end = i;
        break;
      }
    }
  }
  return line;
}
