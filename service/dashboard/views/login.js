// Where the server wants a token first.
import { html, useState } from "../lib/ui.js";
import { loginWanted, request } from "../lib/api.js";
import { Problem } from "../parts/bits.js";

export function Login() {
  const [token, setToken] = useState("");
  const [error, setError] = useState(/** @type {any} */ (null));
  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    try {
      await request("/login", { json: { token: token.trim() } });
      loginWanted.value = false;
      location.reload();
    } catch (problem) {
      // What is no token at all was never looked for.
      const known = /** @type {any} */ (problem);
      setError(known.field === "token" ? { message: "That is no token: they begin with sm_ and hold no spaces." } : known);
    }
  };
  return html`<section class="card login"><h1>Sign in</h1>
    <p class="dim">This server wants a token. Who runs it makes one with <code>sparsemod token</code>.</p>
    <form onSubmit=${send}>
      <label class="field"><span>Token</span><input type="password" autocomplete="current-password" required value=${token}
        onInput=${(/** @type {any} */ event) => setToken(event.target.value)} /></label>
      <${Problem} error=${error} />
      <div class="buttons"><button type="submit" class="main">Sign in</button></div>
    </form></section>`;
}
