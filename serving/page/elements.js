// The elements of the page: those that are there by their id, and new ones. Numbers as people read them.

export const $ = (id) => document.getElementById(id);

/** An element of a class, with texts and elements inside. */
export function make(tag, className, ...inside) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...inside);
  return element;
}

export function makeButton(className, text, act) {
  const button = make("button", className, text);
  button.type = "button";
  button.onclick = act;
  return button;
}

/** Copies `text`; without https there is no clipboard: then `element` shows it, selected. */
export async function copy(text, button, element) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 2000);
  } catch {
    element.textContent = text;
    element.hidden = false;
    getSelection().selectAllChildren(element);
  }
}

/** A softmax is never certain, and never finds anything impossible. */
export function percent(score) {
  if (score >= 0.9995) return ">99.9%";
  if (score < 0.0005) return "<0.1%";
  return `${(score * 100).toFixed(1)}%`;
}

export function count(number) {
  return number.toLocaleString("en");
}

export function bytes(size) {
  if (size < 1e3) return `${size} bytes`;
  return size < 1e6 ? `${Math.round(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

export function duration(milliseconds) {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}
