// Says what was done, and offers to undo it.

import { ApiError } from "./api.js";
import { byId, made, partsOf } from "./elements.js";

const MAX_RESULTS = 3;

const SHOWN_FOR = 60_000; // Milliseconds.

const list = byId("results");
const said = byId("said");

/**
 * Shows a result; `undo` does it back and gives what to say of that. It is null where nothing can be undone.
 *
 * The focus stays where it is: a second Enter would undo what the first one has confirmed.
 */
export function addResult(text, undo = null) {
  const element = made("result-template");
  const parts = partsOf(element);
  const origin = document.activeElement;
  const dismiss = () => {
    const hasFocus = element.contains(document.activeElement);
    element.remove();
    if (hasFocus) {
      (origin?.isConnected ? origin : byId("pools")).focus();
    }
  };
  say(parts, text);
  parts.dismiss.addEventListener("click", dismiss);
  if (undo === null) {
    parts.undo.remove();
  } else {
    parts.undo.addEventListener("click", () => undone(parts, undo));
  }
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      dismiss();
    }
  });
  list.append(element);
  [...list.querySelectorAll(".result")].slice(0, -MAX_RESULTS).forEach((old) => old.remove());
  setTimeout(function leave() {
    if (element.contains(document.activeElement)) {
      setTimeout(leave, SHOWN_FOR);
    } else {
      element.remove();
    }
  }, SHOWN_FOR);
}

async function undone(parts, undo) {
  const hadFocus = document.activeElement === parts.undo;
  parts.undo.disabled = true;
  try {
    say(parts, await undo());
  } catch (failure) {
    if (!(failure instanceof ApiError)) {
      throw failure;
    }
    say(parts, `This could not be undone: ${failure.message}`);
  }
  if (hadFocus && [parts.undo, document.body].includes(document.activeElement)) {
    parts.dismiss.focus();
  }
  parts.undo.remove();
}

function say(parts, text) {
  parts.text.textContent = text;
  said.textContent = text;
}
