// Asks the admin API, with the token that the operator has given.

const TOKEN = "tcpbalance.token";

const ANSWER_WITHIN = 15_000; // Milliseconds.

/** An answer that is none: refused by the balancer, or not there. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  get needsToken() {
    return this.status === 401;
  }
}

/** Keeps a token for as long as the tab is open. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

/** Looks at something. */
export async function get(path) {
  return json(await request(path, { signal: AbortSignal.timeout(ANSWER_WITHIN) }));
}

/** Changes something. */
export async function change(method, path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  const signal = AbortSignal.timeout(ANSWER_WITHIN);
  return json(await request(path, { method, headers, body: JSON.stringify(body), signal }));
}

/** Gives an answer whose body is still to be read. */
export async function request(path, options) {
  const headers = new Headers(options.headers);
  if (hasToken()) {
    headers.set("Authorization", `Bearer ${sessionStorage.getItem(TOKEN)}`);
  }
  let response;
  try {
    response = await fetch(`api/v1/${path}`, { ...options, headers, cache: "no-store" });
  } catch {
    throw new ApiError(0, "the balancer does not answer");
  }
  if (!response.ok) {
    throw await refusal(response);
  }
  return response;
}

async function json(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError(0, "the answer of the balancer was cut short");
  }
}

async function refusal(response) {
  try {
    return new ApiError(response.status, (await response.json()).error.message);
  } catch {
    return new ApiError(response.status, `the answer has status ${response.status}`);
  }
}

/** Writes a path of names, and the parameters behind it; those that are empty are left out. */
export function pathOf(names, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value != null);
  const query = new URLSearchParams(given).toString();
  return names.map(encodeURIComponent).join("/") + (query && `?${query}`);
}
