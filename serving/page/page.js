// The page of the service: hands it images and shows what it answers.
//
// In: images that were dropped, pasted, chosen, photographed, or are samples. One image: a browser does not decode
// exactly as the service does, so the service is asked for the pixels that the model sees (POST preview). They are what
// is shown and what is classified (POST classify): what you see is what was judged, and a photo is uploaded once. Many
// images: a tile for each. All that the page says about the model comes from GET model.

import { showAnswer, showBars } from "./answer.js";
import { setUpCamera } from "./camera.js";
import { samplePath, showModel, showNoCard, showSamples } from "./card.js";
import { $, bytes, copy, make, makeButton } from "./elements.js";
import { hideHeat, showHeat } from "./explain.js";
import { classifyAll, downloadCsv, hideGallery } from "./gallery.js";
import { Failure, hasKey, request, send, setKey } from "./service.js";
import { shrink } from "./shrink.js";
import { asCurl, asPython } from "./snippets.js";

const MOST_BARS = 10; // the most that classify names
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
  no_camera: "There is no camera",
  too_many: "These are too many images",
};

let model = null; // what GET model answered
let running = new AbortController();
let latest = null; // does again what was asked last
let shown = null; // the pixels on the page, and the name of their file

// An image on its way

/** Show an image, a file or the name of a sample, as the model sees it, and what the model says. The newest wins. */
async function classify(source, caption) {
  const options = begin(() => classify(source, caption), caption, typeof source === "string" ? source : "");
  try {
    const file = typeof source === "string" ? await fetchSample(source, options.signal) : source;
    const readable = await file.slice(0, 1).arrayBuffer().catch(() => null);
    if (!readable) throw new Failure("unreadable", "It was moved or changed, or is a folder. Choose it again.");
    const image = await shrink(file, side());
    if (image !== file) $("caption").textContent += `, shrunk to ${bytes(image.size)}`;
    const preview = await send("preview", "blob", "image", [image], options);
    showProgress(1);
    await showPixels(preview.body);
    shown = { pixels: preview.body, name: file.name };
    const count = Math.min(MOST_BARS, model?.classes.length ?? MOST_BARS);
    const answer = await send(`classify?top_k=${count}`, "json", "image", [preview.body], { ...options, progress() {} });
    if (answer.body.model.sha256 !== model?.sha256) await loadModel();
    showAnswer(answer.body, model ?? {}, answer.milliseconds, preview.milliseconds);
    $("main").dataset.state = "done";
    bringIntoView();
  } catch (error) {
    if (!options.signal.aborted) showFailure(error);
  }
}

async function classifyMany(files) {
  const options = begin(() => classifyMany(files), `${files.length} images`);
  $("main").dataset.state = "many";
  try {
    await classifyAll(files, side(), (file) => classify(file, describe(file)), options);
  } catch (error) {
    if (!options.signal.aborted) showFailure(error);
  }
}

/** `holder` is what was dropped, pasted or chosen. */
function take(holder) {
  const files = [...holder.files];
  if (files.length > 1) {
    classifyMany(files);
  } else if (files.length === 1) {
    hideGallery();
    classify(files[0], describe(files[0]));
  } else {
    running.abort();
    showFailure(new Failure("no_image", "Give the image itself. Text is not read, and addresses are not fetched."));
  }
}

async function explain() {
  if (!$("heat").hidden) return hideHeat();
  const { signal } = running;
  try {
    showHeat((await send("explain", "json", "image", [shown.pixels], { signal, wait: showWait, progress() {} })).body);
  } catch (error) {
    if (!signal.aborted) showFailure(error);
  }
}

async function loadModel() {
  try {
    const known = (await request("model", "json")).body;
    if (known.sha256 !== model?.sha256) {
      showSamples(known.samples, (name) => {
        hideGallery();
        classify(name, `${name}, a sample`);
      });
    }
    model = known;
    $("key").hidden = true;
    $("forget").hidden = !hasKey();
    showModel(model);
    if ($("main").dataset.state === "empty") {
      showBars(model.classes.slice(0, MOST_BARS).map((label) => ({ label, score: null })));
      if (model.samples.length) $("timing").textContent = "Choose a sample, or an image of your own.";
    }
    return true;
  } catch (error) {
    if (error.code === "unauthorized") askForKey();
    else showNoCard(error.message);
    return false;
  }
}

async function fetchSample(name, signal) {
  const { body } = await request(samplePath(name), "blob", { signal });
  return new File([body], `${name}.png`, { type: body.type });
}

function side() {
  return Math.max(...(model?.image_size ?? [32]));
}

function describe(file) {
  return `${file.name}, ${bytes(file.size)}`;
}

// What is seen

/** Nothing of the last answer stays. The newest request wins: what runs is given up. */
function begin(again, caption, sample = "") {
  running.abort();
  running = new AbortController();
  latest = again;
  shown = null;
  $("main").dataset.state = "busy";
  $("caption").textContent = caption;
  $("failure").replaceChildren();
  $("pixels").hidden = true;
  $("label").textContent = "…";
  $("score").textContent = "";
  $("timing").textContent = "Uploading.";
  for (const id of ["worth", "actions", "snippet"]) $(id).hidden = true;
  $("answer").dataset.unknown = false;
  hideHeat();
  showBars([...$("bars").children].map((bar) => ({ label: bar.firstChild.textContent, score: null })));
  for (const button of $("samples").children) button.setAttribute("aria-pressed", String(button.value === sample));
  showProgress(0);
  return { signal: running.signal, wait: showWait, progress: showProgress };
}

/** The fraction that has been sent. */
function showProgress(fraction) {
  $("progress").value = fraction;
  $("progress").hidden = fraction >= 1;
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

function showFailure(error) {
  if (error.code === "unauthorized") askForKey();
  $("main").dataset.state = "failed";
  $("pixels").hidden = true;
  $("announcement").textContent = "";
  showProgress(1);
  $("failure").replaceChildren(
    make("h3", "", TITLES[error.code] ?? "This cannot be classified"),
    make("p", "", error.message),
    make("p", "code", error.requestId ? `${error.code} · request ${error.requestId}` : (error.code ?? error.name)),
    ...(error.passes ? [makeButton("button", "Try again", () => latest())] : []),
  );
  bringIntoView();
}

/** On a small screen: the image and, under it, what was said of it. */
function bringIntoView() {
  const { top, bottom } = $("answer").getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) $("stage").scrollIntoView();
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
  if ((await loadModel()) && latest) latest();
}

function forgetKey() {
  setKey("");
  loadModel();
}

// Ways in

$("file").onchange = () => {
  take($("file"));
  $("file").value = ""; // so that the same file can be chosen again
};
document.onpaste = (event) => {
  if (event.target === $("key-field")) return;
  event.preventDefault();
  take(event.clipboardData);
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
  take(event.dataTransfer);
};
setUpCamera(
  (file) => take({ files: [file] }),
  (error) => showFailure(new Failure("no_camera", `The browser does not give it: ${error.message}`)),
);
$("why").onclick = explain;
$("copy-curl").onclick = () => copy(asCurl(shown.name, hasKey()), $("copy-curl"), $("snippet"));
$("copy-python").onclick = () => copy(asPython(shown.name, hasKey()), $("copy-python"), $("snippet"));
$("csv").onclick = downloadCsv;
$("key").onsubmit = useKey;
$("forget").onclick = forgetKey;

loadModel();
