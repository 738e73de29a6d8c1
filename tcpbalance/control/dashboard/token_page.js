// Asks for the token, where one is needed.

import { hasToken, keepToken } from "./api.js";
import { byId, hide, show } from "./elements.js";

const form = byId("token-form");
const field = byId("token");
const error = byId("token-error");

const PRINTABLE = /^[\x21-\x7e]+$/;

/** Asks, because a request was refused; begins anew with what is given. */
export function askForToken(refusal) {
  hide(byId("page"), true);
  hide(byId("jumps"), true);
  hide(byId("token-page"), false);
  show(byId("live"), "Token needed");
  show(error, hasToken() ? `This token is refused: ${refusal.message}.` : "");
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const token = field.value.trim();
  if (PRINTABLE.test(token)) {
    keepToken(token);
    location.reload();
  } else {
    show(error, "A token has no spaces, and no characters beyond ASCII.");
  }
});
