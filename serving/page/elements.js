// The elements of the page: those that are there by their id, and new ones.

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
