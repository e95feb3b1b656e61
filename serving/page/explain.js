// Why? In: what POST explain answered, how much each part of the image matters. Out: a heat map over the image.

import { $ } from "./elements.js";

const OPACITY = 0.75; // of the part that matters most

/** `grid`: for each cell the probability that the class loses when that cell is covered. */
export function showHeat({ grid }) {
  const canvas = $("heat");
  canvas.width = grid[0].length;
  canvas.height = grid.length;
  const context = canvas.getContext("2d");
  const most = Math.max(...grid.flat(), 1e-6);
  grid.forEach((row, y) =>
    row.forEach((loss, x) => {
      context.fillStyle = `rgb(255 60 0 / ${OPACITY * Math.max(0, loss / most)})`;
      context.fillRect(x, y, 1, 1);
    }),
  );
  canvas.hidden = false;
  $("why").setAttribute("aria-pressed", "true");
}

export function hideHeat() {
  $("heat").hidden = true;
  $("why").setAttribute("aria-pressed", "false");
}
