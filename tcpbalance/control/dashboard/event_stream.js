// Follows the stream of events for as long as it is wanted. Not by EventSource, which cannot send a token.

import { ApiError, pathOf, request } from "./api.js";

const SILENT_FOR = 40_000; // Milliseconds; a comment comes every 15 seconds where nothing else does.

const PAUSES = [500, 1_000, 2_000, 4_000]; // Milliseconds before each further try; the last one stays.

export class EventStream {
  #on;
  #since = 0;
  #wanted = null;

  /** `on.event`, `on.missed`, `on.live` and `on.lost` are called with what happens. */
  constructor(on) {
    this.#on = on;
  }

  start() {
    if (this.#wanted === null) {
      this.#wanted = new AbortController();
      this.#follow(this.#wanted.signal);
    }
  }

  stop() {
    this.#wanted?.abort();
    this.#wanted = null;
  }

  async #follow(wanted) {
    let failures = 0;
    while (!wanted.aborted) {
      let reason = new ApiError(0, "it has ended");
      try {
        await this.#read(wanted, () => {
          failures = 0;
        });
      } catch (error) {
        reason = error instanceof ApiError ? error : new ApiError(0, "the connection has ended");
      }
      if (wanted.aborted) {
        return;
      }
      this.#on.lost(reason);
      await pause(PAUSES[Math.min(failures, PAUSES.length - 1)]);
      failures += 1;
    }
  }

  async #read(wanted, onLive) {
    const silent = new AbortController();
    let watch = setTimeout(() => silent.abort(), SILENT_FOR);
    try {
      const response = await request(pathOf(["events"], { since: this.#since }), {
        headers: { Accept: "text/event-stream" },
        signal: AbortSignal.any([wanted, silent.signal]),
      });
      onLive();
      this.#on.live();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        clearTimeout(watch);
        watch = setTimeout(() => silent.abort(), SILENT_FOR);
        const messages = (text + part.value).split("\n\n");
        text = messages.pop();
        messages.forEach((message) => this.#take(message));
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #take(message) {
    const fields = new Map(
      message.split("\n").map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
      }),
    );
    if (fields.get("event") === "missed") {
      this.#on.missed();
    } else if (fields.has("data")) {
      const event = JSON.parse(fields.get("data"));
      this.#since = event.number;
      this.#on.event(event);
    }
  }
}

/** Waits; what is not wanted any more ends after that. */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
