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

/**
 * The body of the answer, read `as` blob or json, and the milliseconds until it was there. Throws `Failure`.
 *
 * `body` makes it a POST; `progress` is told the fraction of it that has been sent, which `fetch` does not know.
 */
export function request(path, as, { body = null, signal = null, progress = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const asking = new XMLHttpRequest();
    asking.open(body ? "POST" : "GET", path);
    asking.responseType = "blob";
    if (key) asking.setRequestHeader("Authorization", `Bearer ${key}`);
    asking.upload.onprogress = (event) => progress(event.lengthComputable ? event.loaded / event.total : 0);
    asking.onerror = () =>
      reject(new Failure("network", "There was no answer. Is the service running, and the network there?"));
    asking.onabort = () => reject(new DOMException("A newer image came.", "AbortError"));
    asking.onload = async () => {
      const milliseconds = performance.now() - started;
      try {
        if (asking.status >= 400) throw await refusal(asking);
        resolve({ body: as === "json" ? JSON.parse(await asking.response.text()) : asking.response, milliseconds });
      } catch (error) {
        reject(error);
      }
    };
    signal?.addEventListener("abort", () => asking.abort());
    if (signal?.aborted) asking.onabort();
    else asking.send(body);
  });
}

/** `request` with images in the form field `field`. A busy service is asked again; `wait` is told the seconds. */
export async function send(path, as, field, images, { signal, wait, progress }) {
  const body = new FormData();
  for (const image of images) body.append(field, image, image.name ?? "image.png");
  for (let attempt = 1; ; attempt++) {
    try {
      return await request(path, as, { body, signal, progress });
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

async function refusal(asking) {
  const seconds = Number(asking.getResponseHeader("retry-after")) || 1;
  try {
    const { error } = JSON.parse(await asking.response.text());
    return new Failure(error.code, error.message, error.request_id, seconds);
  } catch {
    return new Failure("unknown", `The answer is ${asking.status} and says no more.`, "", seconds); // of a proxy
  }
}
