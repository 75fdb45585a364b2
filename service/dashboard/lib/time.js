// The time of the server. Everything that the page shows as an age was stamped by the server's clock; the reader's may be minutes off.

/** What the reader's clock lacks, in milliseconds. */
let behind = 0;

/** Now, as the server sees it. */
export const now = () => Date.now() + behind;

/**
 * Learn from an answer how far the clocks are apart. Its header is whole seconds and the answer took its time, so a little is no difference; one
 * that took long (the laptop slept, perhaps) teaches nothing.
 * @param {Response} response
 * @param {number} asked when, by the reader's clock
 */
export function learn(response, asked) {
  const said = Date.parse(response.headers.get("date") ?? "");
  const heard = Date.now();
  if (Number.isNaN(said) || heard < asked || heard - asked > 5000) return;
  const apart = said + 500 - (asked + heard) / 2;
  behind = Math.abs(apart) < 3000 ? 0 : apart;
}
