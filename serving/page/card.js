// The model's card. In: what GET model answered. Out: name, classes and samples of the page, and the list `card`.

import { $, copy, count, make, makeButton, percent } from "./elements.js";

const NAMED = 12; // classes that are written out

export function showModel(model) {
  document.title = `${model.name}: what is in the image?`;
  $("name").textContent = model.name;
  const named = model.classes.slice(0, NAMED).join(", ");
  const more = model.classes.length - NAMED;
  $("classes").textContent =
    `This model tells ${model.classes.length} classes apart: ${named}${more > 0 ? ` and ${more} more` : ""}.`;
  const [height, width] = model.image_size;
  $("stage").style.setProperty("--side", Math.max(height, width));
  $("stage").style.aspectRatio = `${width} / ${height}`;
  $("card-link").hidden = !model.card;
  showCard(model);
}

function showCard(model) {
  const { provider, threads, degraded } = model.runtime;
  const processor = provider.replace("ExecutionProvider", "");
  const where = make("span", "", processor === "CPU" ? `CPU, ${threads} thread${threads === 1 ? "" : "s"}` : processor);
  where.title = provider;
  const [height, width] = model.image_size;
  const { test, photos, validation } = model;
  const rows = [
    ["Name", model.name],
    ["SHA-256 of its file", ...digest(model.sha256)],
    ...(test ? [[`Accuracy on ${count(test.images)} test images of ${test.dataset}`, percent(test.accuracy)]] : []),
    ...(photos ? [[`Accuracy on ${count(photos.images)} photos`, percent(photos.accuracy)]] : []),
    ...(!test && validation ? [["Accuracy on its validation images", percent(validation.accuracy)]] : []),
    ...(Number.isFinite(model.temperature) ? [["Calibrated at temperature", model.temperature.toFixed(2)]] : []),
    ...(Number.isFinite(model.unknown_threshold)
      ? [["None of the classes from an OOD score of", model.unknown_threshold.toFixed(2)]]
      : []),
    ...(model.license ? [["Licence of the weights", model.license]] : []),
    ["Runs on", where],
    ["Sees", `${width} × ${height} pixels`],
  ];
  $("card").replaceChildren(...rows.map(row));
  $("degraded").hidden = !degraded;
}

export function showNoCard(reason) {
  $("card").replaceChildren(row(["Not known", reason]));
  $("degraded").hidden = true;
}

/** A button for each sample, which `act` is told the name of. */
export function showSamples(names, act) {
  const buttons = names.map((name) => {
    const image = make("img", "");
    image.src = samplePath(name);
    image.alt = "";
    const button = makeButton("", "", () => act(name));
    button.value = name;
    button.append(image, name);
    return button;
  });
  $("samples").replaceChildren(...buttons);
  $("samples").hidden = !names.length;
}

export function samplePath(name) {
  return `ui/samples/${encodeURIComponent(name)}`;
}

function row([term, ...value]) {
  return make("div", "", make("dt", "", term), make("dd", "", ...value));
}

function digest(sha256) {
  const code = make("code", "", sha256.slice(0, 10), "…");
  code.title = sha256;
  const button = makeButton("link", "Copy", () => copy(sha256, button, code));
  button.setAttribute("aria-label", "Copy the SHA-256");
  return [code, " ", button];
}
