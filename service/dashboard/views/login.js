// The login, for servers that require a token.
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
      // The server rejects malformed tokens before it looks them up.
      const known = /** @type {any} */ (problem);
      setError(known.field === "token" ? { message: "This is not a token: tokens begin with sm_ and contain no spaces." } : known);
    }
  };
  return html`<section class="card login"><h1>Sign in</h1>
    <p class="dim">This server requires a token. Its administrator creates tokens with <code>sparsemod token</code>.</p>
    <form onSubmit=${send}>
      <label class="field"><span>Token</span><input type="password" autocomplete="current-password" required value=${token}
        onInput=${(/** @type {any} */ event) => setToken(event.target.value)} /></label>
      <${Problem} error=${error} />
      <div class="buttons"><button type="submit" class="main">Sign in</button></div>
    </form></section>`;
}
