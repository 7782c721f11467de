// How loud a microphone is, in words and as a bar.
import { setText } from "./dom";
import { t } from "./texts";

export type Word = "none" | "low" | "good" | "high";

/** Bounds of a loudness in dB below which it is no sound, too low, and above which it is too loud. */
export interface Bounds {
  none: number;
  low: number;
  high: number;
}

// Of the microphone itself, dBFS of 50 ms: speech into a headset has -30 to -15; lifting what is far lower lifts the
// noise of the room with it. From -8 on, a voice's peaks are cut off before anybody could help it.
export const ofMicrophone: Bounds = { none: -58, low: -40, high: -8 };

// Of what listeners get, LUFS of 400 ms: a broadcast has about -23, the limiter keeps all below -1.5 dBTP.
export const ofListeners: Bounds = { none: -58, low: -36, high: -10 };

const holdMS = 2500; // people pause between sentences; the loudest of this long is what counts

/** Judge finds the word for what was heard lately. */
export class Judge {
  private heard: { at: number; db: number }[] = [];

  constructor(private readonly bounds: Bounds) {}

  /** add takes a loudness at a time in ms and returns the word of now. */
  add(db: number, at: number): Word {
    this.heard.push({ at, db });
    this.heard = this.heard.filter((h) => at - h.at <= holdMS);
    const loudest = Math.max(...this.heard.map((h) => h.db));
    const b = this.bounds;
    return loudest < b.none ? "none" : loudest < b.low ? "low" : loudest < b.high ? "good" : "high";
  }
}

const floor = -60;

/** Meter draws a loudness into a bar with role meter, and its word beside it. */
export class Meter {
  private readonly fill: HTMLElement;
  private told = 0;
  private drawn = 0;

  constructor(
    private readonly bar: HTMLElement,
    private readonly word: HTMLElement,
  ) {
    this.fill = bar.querySelector<HTMLElement>(".fill")!;
  }

  /** draw shows db with a quick rise and a slow fall, so that the eye can follow. */
  draw(db: number, word: Word, at: number): void {
    const now = Math.min(1, Math.max(0, 1 - db / floor));
    this.drawn = Math.max(now, this.drawn * 0.85);
    this.fill.style.transform = `scaleX(${this.drawn.toFixed(3)})`;
    this.bar.dataset.word = word;
    if (at - this.told < 500 && at >= this.told) return; // words and numbers that flicker cannot be read
    this.told = at;
    this.bar.setAttribute("aria-valuenow", String(Math.round(Math.max(floor, Math.min(0, db)))));
    this.bar.setAttribute("aria-valuetext", t("mic." + word));
    this.word.dataset.word = word;
    setText(this.word, t("mic." + word));
  }

  clear(): void {
    this.drawn = 0;
    this.told = 0;
    this.fill.style.transform = "scaleX(0)";
    this.bar.setAttribute("aria-valuenow", String(floor));
    this.bar.removeAttribute("aria-valuetext");
    delete this.bar.dataset.word;
    setText(this.word, "");
  }
}
