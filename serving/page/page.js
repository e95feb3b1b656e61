// The page of the service: hands it an image and shows what it answers.
//
// In: an image that was dropped, pasted, chosen, or is one of the samples. A browser does not decode exactly as the
// service does, so the service is asked for the pixels that the model sees (POST /preview). They are what is shown and
// what is classified (POST /classify): what you see is what was judged, and a large photo is uploaded once.

import { showCard, showNoCard } from "./card.js";
import { $, make, makeButton } from "./elements.js";
import { Failure, hasKey, request, send, setKey } from "./service.js";

const CLASSES = 10; // the most that /classify names
const TITLES = {
  overloaded: "The service is busy",
  unavailable: "The service is not ready",
  timed_out: "The service took too long",
  upload_too_slow: "The upload took too long",
  internal_error: "The service made a mistake",
  unauthorized: "A key is needed",
  network: "The service cannot be reached",
  unreadable: "The file cannot be read",
  no_image: "There is no image in that",
};

const samples = document.querySelectorAll(".samples button");
let model = null; // what GET /model answered
let running = new AbortController();
let latest = null; // the arguments of the last `classify`, for another attempt

// An image on its way

/** Show an image, a file or the path of a sample, as the model sees it, and what the model says. The newest wins. */
async function classify(source, caption, sample = "") {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  latest = [source, caption, sample];
  showBegin(caption, sample);
  try {
    const image = sample ? (await request(source, "blob", { signal })).body : source;
    const readable = await image.slice(0, 1).arrayBuffer().catch(() => null);
    if (!readable) throw new Failure("unreadable", "It was moved or changed, or is a folder. Choose it again.");
    const preview = await send("preview", "blob", image, signal, showWait);
    await showPixels(preview.body);
    const count = Math.min(CLASSES, model?.classes.length ?? CLASSES);
    const answer = await send(`classify?top_k=${count}`, "json", preview.body, signal, showWait);
    showAnswer(answer.body, answer.milliseconds, preview.milliseconds);
    if (answer.body.model.sha256 !== model?.sha256) loadModel();
  } catch (error) {
    if (!signal.aborted) showFailure(error);
  }
}

/** `holder` is what was dropped, pasted or chosen. */
function classifyFirst(holder) {
  const [file] = holder.files;
  if (file) {
    classify(file, `${file.name}, ${bytes(file.size)}`);
  } else {
    running.abort();
    showFailure(new Failure("no_image", "Give the image itself. Text is not read, and addresses are not fetched."));
  }
}

async function loadModel() {
  try {
    model = (await request("model", "json")).body;
    $("key").hidden = true;
    $("forget").hidden = !hasKey();
    showCard(model);
    return true;
  } catch (error) {
    if (error.code === "unauthorized") askForKey();
    else showNoCard(error.message);
    return false;
  }
}

// What is seen

function showBegin(caption, sample) {
  $("main").dataset.state = "busy";
  $("caption").textContent = caption;
  $("unknown").hidden = true;
  $("failure").replaceChildren();
  for (const button of samples) button.setAttribute("aria-pressed", String(button.value === sample));
}

function showWait(seconds) {
  $("timing").textContent = $("announcement").textContent = `The service is busy. Trying again in ${seconds} s.`;
}

async function showPixels(blob) {
  URL.revokeObjectURL($("pixels").src);
  $("pixels").src = URL.createObjectURL(blob);
  await $("pixels").decode();
  $("pixels").hidden = false;
}

function showAnswer({ predictions, unknown = false }, classifying, decoding) {
  const [best, second] = predictions;
  $("label").textContent = best.label;
  $("score").textContent = percent(best.score);
  $("unknown").hidden = !unknown;
  showBars(predictions);
  $("timing").textContent = `${duration(classifying)} to classify, after ${duration(decoding)} to upload and decode`;
  const runnerUp = second ? `; then ${second.label}, ${percent(second.score)}` : "";
  const doubt = unknown ? " Probably none of these." : "";
  $("announcement").textContent = `${best.label}, ${percent(best.score)}${runnerUp}.${doubt}`;
  $("main").dataset.state = "done";
  bringIntoView();
}

/** A bar for each class; a score of null is none yet. */
function showBars(predictions) {
  const bars = $("bars");
  while (bars.children.length > predictions.length) bars.lastChild.remove();
  while (bars.children.length < predictions.length) bars.append(makeBar());
  predictions.forEach(({ label, score }, place) => {
    const [name, track, share] = bars.children[place].children;
    name.textContent = label;
    track.firstChild.style.transform = `scaleX(${score ?? 0})`;
    share.textContent = score === null ? "" : percent(score);
  });
}

function makeBar() {
  const track = make("span", "track", make("span", "fill"));
  track.setAttribute("aria-hidden", "true");
  return make("li", "", make("span", "name"), track, make("span", "share"));
}

function showFailure(error) {
  if (error.code === "unauthorized") askForKey();
  $("main").dataset.state = "failed";
  $("pixels").hidden = true;
  $("announcement").textContent = "";
  $("failure").replaceChildren(
    make("h3", "", TITLES[error.code] ?? "This cannot be classified"),
    make("p", "", error.message),
    make("p", "code", error.requestId ? `${error.code} · request ${error.requestId}` : error.code),
    ...(error.passes ? [makeButton("button", "Try again", () => classify(...latest))] : []),
  );
  bringIntoView();
}

/** On a small screen: the picture and, under it, what was said of it. */
function bringIntoView() {
  const { top, bottom } = $("answer").getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) $("stage").scrollIntoView();
}

/** A softmax is never certain, and never finds anything impossible. */
function percent(score) {
  if (score >= 0.9995) return ">99.9%";
  if (score < 0.0005) return "<0.1%";
  return `${(score * 100).toFixed(1)}%`;
}

function bytes(count) {
  if (count < 1e3) return `${count} bytes`;
  return count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

function duration(milliseconds) {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}

// Keys

function askForKey() {
  $("key-message").textContent = hasKey() ? "This key is not accepted." : "This service answers only with a key.";
  setKey("");
  $("forget").hidden = true;
  $("key").hidden = false;
  $("key-field").focus();
}

async function useKey(event) {
  event.preventDefault();
  setKey($("key-field").value);
  $("key-field").value = "";
  if ((await loadModel()) && latest) classify(...latest);
}

function forgetKey() {
  setKey("");
  loadModel();
}

// Ways in

for (const button of samples) {
  const name = button.value;
  button.onclick = () => classify(`ui/samples/${name}.png`, `${name}, a CIFAR-10 test image`, name);
}
$("file").onchange = () => {
  classifyFirst($("file"));
  $("file").value = ""; // so that the same file can be chosen again
};
document.onpaste = (event) => {
  if (event.target === $("key-field")) return;
  event.preventDefault();
  classifyFirst(event.clipboardData);
};
document.ondragover = (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) $("stage").classList.remove("over");
};
document.ondrop = (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  classifyFirst(event.dataTransfer);
};
$("key").onsubmit = useKey;
$("forget").onclick = forgetKey;

showBars([...samples].map((button) => ({ label: button.value, score: null })));
loadModel();
