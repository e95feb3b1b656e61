// Many images. In: files. Out: a tile for each, with thumbnail, verdict and score or its error; and all of them as CSV.

import { $, make, percent } from "./elements.js";
import { NONE } from "./answer.js";
import { Failure, send } from "./service.js";
import { shrink } from "./shrink.js";

const AT_ONCE = 8; // images in a request: the first answers come early
const MOST = 500;

let rows = [];

/** Classify `files`, some at a time. `open` is told the file whose tile is chosen. */
export async function classifyAll(files, side, open, options) {
  if (files.length > MOST) throw new Failure("too_many", `At most ${MOST} images at once; \`alexnet predict\` takes any number.`);
  rows = files.map((file) => ({ file, tile: makeTile(file, open), result: null }));
  for (const image of $("tiles").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  $("tiles").replaceChildren(...rows.map((row) => row.tile));
  $("gallery").hidden = false;
  $("csv").hidden = true;
  for (let first = 0; first < rows.length; first += AT_ONCE) {
    showStatus(`${first} of ${rows.length} images`);
    await classifySome(rows.slice(first, first + AT_ONCE), side, options);
    options.signal.throwIfAborted();
  }
  const failed = rows.filter((row) => row.result.error).length;
  showStatus(`${rows.length} images${failed ? `, ${failed} of them not classified` : ""}.`);
  $("csv").hidden = false;
}

export function hideGallery() {
  $("gallery").hidden = true;
}

/** Offer all results as a file. */
export function downloadCsv() {
  const text = ["file,label,score,unknown,error", ...rows.map(csvLine)].map((line) => `${line}\r\n`).join("");
  const link = make("a", "");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function classifySome(some, side, options) {
  const small = await Promise.all(some.map((row) => shrink(row.file, side)));
  let results;
  try {
    results = (await send("classify_batch?top_k=1", "json", "images", small, options)).body.results;
  } catch (error) {
    if (!(error instanceof Failure) || error.code === "unauthorized") throw error;
    results = some.map(() => ({ error }));
  }
  some.forEach((row, place) => showResult(row, results[place]));
}

function showResult(row, result) {
  row.result = result;
  const verdict = row.tile.querySelector(".tile-verdict");
  if (result.error) {
    verdict.textContent = result.error.message;
    row.tile.classList.add("tile-failed");
    return;
  }
  const [best] = result.predictions;
  verdict.textContent = result.unknown ? `${NONE} (${best.label}?)` : `${best.label} ${percent(best.score)}`;
  row.tile.classList.toggle("tile-unknown", result.unknown ?? false);
}

function makeTile(file, open) {
  const image = make("img", "");
  image.src = URL.createObjectURL(file);
  image.alt = "";
  image.onerror = () => (image.hidden = true);
  const button = make("button", "", image, make("span", "tile-name", file.name), make("span", "tile-verdict", "…"));
  button.type = "button";
  button.onclick = () => open(file);
  return make("li", "tile", button);
}

function showStatus(text) {
  $("gallery-status").textContent = text;
}

function csvLine({ file, result }) {
  const { error, predictions: [best] = [{ label: "", score: "" }], unknown = "" } = result;
  return [file.name, best.label, best.score, unknown, error?.code ?? ""].map(csvField).join(",");
}

/** Quoted where RFC 4180 asks for it. What a spreadsheet would take for a formula begins with an apostrophe. */
function csvField(value) {
  const text = /^[=+@\t\r-]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
