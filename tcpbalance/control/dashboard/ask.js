// Asks the operator before something is done, and says why it could not be done.

import { ApiError } from "./api.js";
import { byId } from "./elements.js";

const dialog = byId("question");
const form = byId("question-form");
const fields = byId("question-fields");
const error = byId("question-error");
const confirm = byId("question-confirm");
const cancel = byId("question-cancel");

let act = null;
let isBusy = false; // While it is done; nothing closes the question then, because it may fail.

/**
 * Asks; where it is confirmed, does it.
 *
 * `lines` say what will happen, and `warning` what an operator may not want. Each of `inputs` has a `name`, a `label`, perhaps a `hint`, `options`, and attributes
 * of its field. `act` is called with the values by their names; the question stays where it fails.
 */
export function ask({ title, lines, warning = "", inputs = [], confirmed, isGrave = false, act: wanted }) {
  act = wanted;
  byId("question-title").textContent = title;
  byId("question-text").replaceChildren(...lines.filter(Boolean).map(paragraph));
  byId("question-warning").textContent = warning;
  fields.replaceChildren(...inputs.flatMap(inputOf));
  error.textContent = "";
  confirm.textContent = confirmed;
  confirm.className = isGrave ? "grave" : "strong";
  setBusy(false);
  dialog.showModal();
  const first = fields.querySelector("input, select") ?? (isGrave ? cancel : confirm);
  first.focus();
}

function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

function inputOf({ name, label, hint, options, ...attributes }) {
  const input = document.createElement(options ? "select" : "input");
  for (const [attribute, value] of Object.entries({ ...attributes, name, id: `question-${name}` })) {
    input.setAttribute(attribute, value);
  }
  for (const option of options ?? []) {
    input.append(new Option(option, option));
  }
  if (options && attributes.value) {
    input.value = attributes.value;
  }
  const title = document.createElement("label");
  title.htmlFor = input.id;
  title.textContent = label;
  if (!hint) {
    return [title, input];
  }
  const more = document.createElement("small");
  more.textContent = hint;
  more.id = `${input.id}-hint`;
  input.setAttribute("aria-describedby", more.id);
  return [title, input, more];
}

function setBusy(busy) {
  isBusy = busy;
  confirm.disabled = cancel.disabled = busy;
  form.setAttribute("aria-busy", String(isBusy));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.textContent = "";
  setBusy(true);
  try {
    const done = await act(Object.fromEntries(new FormData(form)));
    setBusy(false);
    dialog.close();
    // Only now, because a dialog that closes gives the focus back to where it was.
    done?.();
  } catch (failure) {
    setBusy(false);
    if (!(failure instanceof ApiError)) {
      throw failure;
    }
    error.textContent = failure.message;
    confirm.focus();
  }
});

document.addEventListener("keydown", (event) => {
  const isHeld = event.key === "Enter" && event.repeat;
  // Enter that is held down has opened a question or confirmed one, and does no more.
  if (isHeld || (isBusy && event.key === "Escape")) {
    event.preventDefault();
  }
});

dialog.addEventListener("cancel", (event) => {
  if (isBusy) {
    event.preventDefault();
  }
});

// A browser closes it all the same where it is asked to several times.
dialog.addEventListener("close", () => {
  if (isBusy) {
    dialog.showModal();
  }
});

cancel.addEventListener("click", () => dialog.close());
