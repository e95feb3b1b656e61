// Asking the service. In: a path and what to send. Out: the body of the answer, or a `Failure` that says why not.

const KEY = "alexnet-key"; // of sessionStorage: a key stays in its tab and goes with it
const ATTEMPTS = 3;
const BUSY = new Set(["overloaded", "unavailable"]);
const PASSING = new Set([...BUSY, "timed_out", "upload_too_slow", "internal_error", "network"]);

let key = withStorage((storage) => storage.getItem(KEY)) ?? "";

/** Why there is no answer: what the service's error object says, or a code of the page's own. */
export class Failure extends Error {
  constructor(code, message, requestId = "", retrySeconds = 1) {
    super(message);
    Object.assign(this, { code, requestId, retrySeconds });
  }

  /** Whether the same request can succeed later. */
  get passes() {
    return PASSING.has(this.code);
  }
}

export function hasKey() {
  return key !== "";
}

/** Use `value` from now on; an empty one is none. */
export function setKey(value) {
  key = value;
  withStorage((storage) => (key ? storage.setItem(KEY, key) : storage.removeItem(KEY)));
}

/** The body of the answer, read `as` blob or json, and the milliseconds until it was there. Throws `Failure`. */
export async function request(path, as, options = {}) {
  const started = performance.now();
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const response = await fetch(path, { ...options, headers });
    if (!response.ok) throw await refusal(response);
    return { body: await response[as](), milliseconds: performance.now() - started };
  } catch (error) {
    if (error instanceof Failure || error.name === "AbortError") throw error;
    throw new Failure("network", "There was no answer. Is the service running, and the network there?");
  }
}

/** `request` with an image. While the service is busy it is asked again, a few times; `wait` is told the seconds. */
export async function send(path, as, image, signal, wait) {
  const body = new FormData();
  body.append("image", image, image.name ?? "image.png");
  for (let attempt = 1; ; attempt++) {
    try {
      return await request(path, as, { method: "POST", body, signal });
    } catch (error) {
      if (!BUSY.has(error.code) || attempt === ATTEMPTS) throw error;
      wait(error.retrySeconds);
      await new Promise((resolve) => setTimeout(resolve, error.retrySeconds * 1000));
      signal.throwIfAborted();
    }
  }
}

/** What `act` makes of the tab's storage. A browser can refuse it: then a key lasts until the page is loaded again. */
function withStorage(act) {
  try {
    return act(sessionStorage);
  } catch {
    return null;
  }
}

async function refusal(response) {
  const seconds = Number(response.headers.get("retry-after")) || 1;
  const { error } = await response.json().catch(() => ({}));
  if (error) return new Failure(error.code, error.message, error.request_id, seconds);
  return new Failure("unknown", `The answer is ${response.status} and says no more.`, "", seconds); // of a proxy
}
