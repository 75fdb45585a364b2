// The server's time. The server's clock made all timestamps that the page shows as ages; the browser's clock may be minutes off.

/** Milliseconds by which the browser's clock is behind the server's. */
let behind = 0;

/** The server's current time. */
export const now = () => Date.now() + behind;

/**
 * Compute the difference of the clocks from a response. Its header has whole seconds and the response takes time, so small differences are
 * ignored, and so is a response that took long (for example because the laptop slept).
 * @param {Response} response
 * @param {number} sent time of the request by the browser's clock
 */
export function setClockOffset(response, sent) {
  const stamp = Date.parse(response.headers.get("date") ?? "");
  const received = Date.now();
  if (Number.isNaN(stamp) || received < sent || received - sent > 5000) return;
  const difference = stamp + 500 - (sent + received) / 2;
  behind = Math.abs(difference) < 3000 ? 0 : difference;
}
