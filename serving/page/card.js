// The model's card. In: what GET /model answered. Out: rows of the list `card`, and the note `degraded`.

import { $, make, makeButton } from "./elements.js";

export function showCard(model) {
  const { provider, threads, degraded } = model.runtime;
  const processor = provider.replace("ExecutionProvider", "");
  const where = make("span", "", processor === "CPU" ? `CPU, ${threads} thread${threads === 1 ? "" : "s"}` : processor);
  where.title = provider;
  const accuracy = model.metrics?.validation_accuracy;
  const [height, width] = model.image_size;
  const rows = [
    ["Name", model.name],
    ["SHA-256 of its file", ...digest(model.sha256)],
    ...(Number.isFinite(accuracy) ? [["Accuracy in validation", `${(accuracy * 100).toFixed(2)}%`]] : []),
    ...(Number.isFinite(model.temperature) ? [["Calibrated at temperature", model.temperature.toFixed(2)]] : []),
    ...(Number.isFinite(model.unknown_threshold) ? [["Unknown from a score of", model.unknown_threshold.toFixed(2)]] : []),
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

function row([term, ...value]) {
  return make("div", "", make("dt", "", term), make("dd", "", ...value));
}

function digest(sha256) {
  const code = make("code", "", sha256.slice(0, 10), "…");
  code.title = sha256;
  const copy = makeButton("link", "Copy", async () => {
    try {
      await navigator.clipboard.writeText(sha256);
      copy.textContent = "Copied";
    } catch {
      code.textContent = sha256; // without https there is no clipboard: here it is, selected
      getSelection().selectAllChildren(code);
    }
  });
  copy.setAttribute("aria-label", "Copy the SHA-256");
  return [code, " ", copy];
}
