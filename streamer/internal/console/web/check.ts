// The microphone's card: choosing it, and hearing how loud it is before anybody else does.
import { Trouble } from "./api";
import { need, setText } from "./dom";
import { Judge, Meter, ofMicrophone, Word } from "./loudness";
import { close, fillDevices, open, watch, Wish } from "./microphone";
import { t } from "./texts";

const remembered = "microphone"; // in localStorage: this machine's choice, no person's
const sayAfterMS = 1500; // advice must not change at each breath
const atMostMS = 3 * 60 * 1000; // nobody likes a microphone left open

/** Check is the card. */
export class Check {
  private readonly button = need<HTMLButtonElement>("mic-check");
  private readonly box = need("mic-test");
  private readonly advice = need("mic-advice");
  private readonly hint = need("mic-hint");
  private readonly device = need<HTMLSelectElement>("mic-device");
  private readonly denoise = need<HTMLInputElement>("denoise");
  private readonly meter = new Meter(need("mic-meter"), need("mic-word"));
  private stream: MediaStream | null = null;
  private unwatch: (() => void) | null = null;
  private limit = 0;
  private turn = 0; // of opening: an older one that comes late is closed

  constructor(private readonly failed: (e: Trouble | null) => void) {
    let device = "";
    try {
      device = localStorage.getItem(remembered) ?? "";
    } catch {
      // storage is forbidden: nothing is remembered
    }
    this.button.addEventListener("click", () => (this.stream ? this.end() : void this.begin()));
    this.device.addEventListener("change", () => {
      try {
        localStorage.setItem(remembered, this.device.value);
      } catch {
        // as above
      }
      if (this.stream) void this.begin();
    });
    this.denoise.addEventListener("change", () => {
      if (this.stream) void this.begin();
    });
    const list = () => void fillDevices(this.device, this.device.value || device);
    if (navigator.mediaDevices) {
      list();
      navigator.mediaDevices.addEventListener?.("devicechange", list);
    }
  }

  wish(): Wish {
    return { device: this.device.value, denoise: this.denoise.checked };
  }

  /** handOver returns the open microphone, which is the caller's from then on, or a new one. */
  handOver(): Promise<MediaStream> {
    const stream = this.stream;
    this.stream = null;
    this.end();
    if (stream?.getAudioTracks().some((track) => track.readyState === "live")) return Promise.resolve(stream);
    return open(this.wish());
  }

  /** isOpen tells whether handOver has a microphone at hand. */
  isOpen(): boolean {
    return this.stream !== null;
  }

  private async begin(): Promise<void> {
    this.end();
    this.failed(null);
    const turn = ++this.turn;
    let stream: MediaStream;
    try {
      stream = await open(this.wish());
    } catch (e) {
      this.failed(e as Trouble);
      return;
    }
    if (turn !== this.turn) {
      close(stream);
      return;
    }
    this.stream = stream;
    stream.getAudioTracks()[0].onended = () => this.end();
    this.box.hidden = false;
    this.hint.hidden = true;
    setText(this.button, t("mic.check_end"));
    setText(this.advice, t("mic.say"));
    this.limit = window.setTimeout(() => this.end(), atMostMS);
    this.follow(stream);
    await fillDevices(this.device, stream.getAudioTracks()[0].getSettings().deviceId ?? this.device.value);
  }

  private follow(stream: MediaStream): void {
    const judge = new Judge(ofMicrophone);
    let last: Word | "" = "";
    let since = performance.now();
    this.unwatch = watch(stream, (db, at) => {
      const word = judge.add(db, at);
      this.meter.draw(db, word, at);
      if (word !== last) {
        last = word;
        since = at;
      } else if (at - since > sayAfterMS) {
        setText(this.advice, t(`mic.${word}_hint`));
      }
    });
  }

  /** end lets go of the microphone; what was learnt about it stays in sight. */
  end(): void {
    this.turn++;
    window.clearTimeout(this.limit);
    this.unwatch?.();
    this.unwatch = null;
    close(this.stream);
    this.stream = null;
    this.box.hidden = true;
    this.hint.hidden = false;
    this.meter.clear();
    setText(this.button, t("mic.check"));
  }
}
