// The panel that tells whether this page is on air, and who hears it.
import { Equipment, Level, Listeners, Session, Silent } from "./api";
import { make, need, setText } from "./dom";
import { Judge, Meter, ofListeners } from "./loudness";
import { clock, t, timeOfDay } from "./texts";

export type Phase = "idle" | "starting" | "live" | "stopping" | "ended" | "failed";

const answerMS = 4000; // loudspeakers report every 2 s: before this nobody is called silent
const mostNames = 12;
const chimeSlackMS = 200; // the page may learn that it is live a moment before the server's first packet is out
const speakMS = 4000; // how long the page asks the official to speak

/** Air is the panel. It claims nothing that the server has not told. */
export class Air {
  private readonly stage = need("stage");
  private readonly state = need("state");
  private readonly hearing = need("hearing");
  private readonly elapsed = need("elapsed");
  private readonly note = need("air-note");
  private readonly body = need("air-body");
  private readonly where = need("air-where");
  private readonly missing = need("missing");
  private readonly missingList = need("missing-list");
  private readonly meter = new Meter(need("air-meter"), need("air-word"));
  private readonly title = document.title;
  private judge = new Judge(ofListeners);
  private liveAt = 0; // performance.now() when the session was first seen live
  private timer = 0;
  private listeners: Listeners = { expected: 0, hearing: 0, silent: [] };
  private best: Listeners = this.listeners;
  private linked = true;
  private until = 0; // performance.now() when the session ends without a microphone; 0: its sound gets through
  private gone = false; // the microphone itself
  private chimeMS = 0;

  constructor(private readonly place: (code: string) => string) {}

  phase(): Phase {
    return this.stage.dataset.phase as Phase;
  }

  /**
   * starting shows that somebody has pressed the button. While the chime plays, chimeSeconds from the start of the
   * sound, nobody hears the microphone.
   */
  starting(where: string, hint: string, chimeSeconds: number): void {
    this.chimeMS = chimeSeconds > 0 ? 1000 * chimeSeconds + chimeSlackMS : 0;
    this.note.setAttribute("aria-live", chimeSeconds > 0 ? "assertive" : "off"); // the word to speak must be heard
    this.liveAt = 0;
    this.until = 0;
    this.gone = false;
    this.best = this.listeners = { expected: 0, hearing: 0, silent: [] };
    this.judge = new Judge(ofListeners);
    setText(this.where, t("air.where", where));
    this.turn("starting", t("air.starting"), hint);
  }

  /** live is called whenever the server has said that the session is live. */
  live(): void {
    if (this.liveAt > 0 || this.phase() !== "starting") return;
    this.liveAt = performance.now();
    this.turn("live", t("air.live"), "");
    this.timer = window.setInterval(() => this.tick(), 250);
    this.tick();
  }

  /** resumed tells that the session has been on air for so long already. */
  resumed(seconds: number): void {
    this.live();
    this.liveAt = performance.now() - 1000 * Math.max(0, seconds);
    this.tick();
  }

  /** gap tells that no sound gets through, and when (performance.now()) the session ends of it; 0: it does again. */
  gap(until: number): void {
    this.until = until;
    if (this.phase() === "live") this.tick();
  }

  /** unplugged tells whether there is no microphone to connect. */
  unplugged(gone: boolean): void {
    this.gone = gone;
    if (this.phase() === "live") this.tick();
  }

  /** moved tells that another page of this official speaks now. */
  moved(): void {
    this.turn("ended", t("air.moved"), t("air.moved_hint"));
  }

  stopping(): void {
    this.turn("stopping", t("air.stopping"), "");
  }

  /** ended tells how it was; of a broadcast that never sounded there is nothing to sum up. */
  ended(failed: boolean, s: Session | null): void {
    this.turn(failed ? "failed" : "ended", t(failed ? "air.failed" : s?.end_reason === "source_end" ? "air.done" : "air.stopped"), this.summary(s));
  }

  /** idle takes back what was shown. */
  idle(): void {
    this.turn("idle", t("air.idle"), "");
  }

  /** unsure tells that the microphone, if there was one, is off here, and no more: the server has not said that it is silent. */
  unsure(microphone: boolean): void {
    this.turn("failed", t(microphone ? "air.mic_off" : "air.unsure"), "");
  }

  private summary(s: Session | null): string {
    if (this.liveAt === 0) return "";
    const expected = Math.max(this.best.expected, s?.listeners.expected ?? 0);
    const hearing = Math.max(this.best.hearing, s?.listeners.hearing ?? 0);
    return t("air.summary", clock((performance.now() - this.liveAt) / 1000), hearing, expected);
  }

  private turn(phase: Phase, state: string, note: string): void {
    this.stage.dataset.phase = phase;
    setText(this.state, state);
    setText(this.note, note);
    this.body.hidden = phase !== "live";
    this.where.hidden = phase !== "starting" && phase !== "live";
    this.elapsed.hidden = phase !== "live";
    if (phase !== "live") {
      window.clearInterval(this.timer);
      this.meter.clear();
      this.missing.hidden = true;
      setText(this.hearing, "");
      document.title = this.title;
    }
  }

  private tick(): void {
    const text = clock((performance.now() - this.liveAt) / 1000);
    setText(this.elapsed, text);
    const lost = this.until > 0 || this.gone;
    this.stage.dataset.sound = lost ? "lost" : "good";
    setText(this.state, t(this.gone ? "air.mic_gone" : lost ? "air.lost" : "air.live"));
    document.title = lost ? `⚠ ${t("air.lost_short")}` : `● ${t("air.live")} ${text}`;
    this.draw();
  }

  level(l: Level): void {
    const at = performance.now();
    const db = Math.max(l.momentary_lufs, -70);
    this.meter.draw(db, this.judge.add(db, at), at);
  }

  /** link tells whether what was counted last may be old. */
  link(up: boolean): void {
    this.linked = up;
    this.draw();
  }

  /** hear takes who hears the session now. */
  hear(l: Listeners, nodes: Map<string, Equipment>): void {
    this.listeners = l;
    this.best = { expected: Math.max(this.best.expected, l.expected), hearing: Math.max(this.best.hearing, l.hearing), silent: [] };
    this.nameMissing(l.silent, nodes);
    this.draw();
  }

  private draw(): void {
    if (this.phase() !== "live") return;
    const l = this.listeners;
    const early = performance.now() - this.liveAt < answerMS;
    if (!this.linked) {
      setText(this.hearing, t("air.hearing_lost"));
    } else {
      setText(this.hearing, t("air.hearing", l.hearing, l.expected));
    }
    let note = "";
    if (this.linked) {
      if (l.expected === 0) note = early ? "" : t("air.no_speakers");
      else if (l.hearing < l.expected && early) note = t("air.hearing_wait");
      else if (l.hearing === 0) note = t("air.hearing_nobody");
      else if (l.hearing === l.expected) note = t("air.all_hear");
    }
    const cue = this.silence() || this.cue();
    setText(this.note, cue || note);
    this.note.classList.toggle("cue", cue !== "");
    this.stage.dataset.heard = !this.linked ? "unknown" : early ? "early" : l.hearing === 0 ? "nobody" : l.hearing < l.expected ? "some" : "all";
    this.missing.hidden = early || !this.linked || l.silent.length === 0;
  }

  /** silence tells what the loudspeakers do without a microphone, and for how long still. */
  private silence(): string {
    if (this.until === 0) return this.gone ? t("air.lost_silent") : "";
    const left = (this.until - performance.now()) / 1000;
    return left > 0 ? t("air.lost_left", clock(left)) : t("air.lost_over");
  }

  /** cue tells whether to speak, if there was a chime. */
  private cue(): string {
    const since = performance.now() - this.liveAt;
    if (this.chimeMS === 0 || since > this.chimeMS + speakMS) return "";
    return t(since < this.chimeMS ? "air.chime" : "air.speak");
  }

  private nameMissing(silent: Silent[], nodes: Map<string, Equipment>): void {
    const lines = silent.slice(0, mostNames).map(({ node, since }) => {
      const n = nodes.get(node);
      const line = make("li", "", make("b", "", n?.name ?? node));
      if (n) line.append(" ", make("span", "pale", this.place(n.zone)));
      const offline = n?.state === "offline";
      const why = since ? t(offline ? "air.missing_off" : "air.missing_since", timeOfDay(since)) : offline ? t("air.missing_never") : "";
      if (why) line.append(" ", make("span", offline ? "tag offline" : "tag", why));
      return line;
    });
    if (silent.length > mostNames) lines.push(make("li", "pale", t("air.missing_more", silent.length - mostNames)));
    const before = this.missingList.textContent;
    const now = lines.map((l) => l.textContent).join("");
    if (before !== now) this.missingList.replaceChildren(...lines);
  }
}
