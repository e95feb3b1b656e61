// The answer to one image. In: what the service said. Out: the verdict, what it is worth, and a bar for each class.

import { $, count, duration, make, percent } from "./elements.js";

export const NONE = "None of the classes";

const NEAREST = 3; // classes that are named where it is none of them

/** The verdict is the headline: a class, or that it is none of them. Then the nearest ones are named below. */
export function showAnswer({ predictions, unknown = false }, model, classifying, decoding) {
  const [best, second] = predictions;
  $("answer").dataset.unknown = unknown;
  $("label").textContent = unknown ? NONE : best.label;
  $("score").textContent = unknown ? "" : percent(best.score);
  const worth = unknown ? worthOfUnknown(model) : worthOfKnown(model);
  $("worth").textContent = worth;
  $("worth").hidden = !worth;
  showBars(unknown ? predictions.slice(0, NEAREST) : predictions);
  $("timing").textContent = `${duration(classifying)} to classify, after ${duration(decoding)} to upload and decode`;
  $("actions").hidden = false;
  const runnerUp = second ? `; then ${second.label}, ${percent(second.score)}` : "";
  const nearest = `${best.label}, ${percent(best.score)}${runnerUp}.`;
  $("announcement").textContent = unknown ? `${NONE}. The nearest: ${nearest}` : nearest;
}

/** A bar for each class; a score of null is none yet. */
export function showBars(predictions) {
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

/** How often such a verdict is right, as far as it was measured of this very model. */
function worthOfUnknown({ photos }) {
  if (photos?.others_unknown == null) return "The image looks like nothing that the model was trained on. The nearest:";
  const found = `The model says so of ${percent(photos.others_unknown)} of ${count(photos.others)} photos of other things`;
  const missed = photos.unknown == null ? "" : `, and wrongly of ${percent(photos.unknown)} of photos of its classes`;
  return `${found}${missed}. The nearest:`;
}

function worthOfKnown({ photos, test }) {
  if (photos) return `Of ${count(photos.images)} photos of its classes the model names ${percent(photos.accuracy)} correctly.`;
  if (test) return `Of ${count(test.images)} test images of ${test.dataset} the model names ${percent(test.accuracy)} correctly.`;
  return "";
}
