// What this official has on air without this page: after the page was loaded again, or from another one.
import { call, Session, Trouble } from "./api";
import { make, need } from "./dom";
import { names } from "./zones";
import { clock, t } from "./texts";

/** Own is the list of those broadcasts, with a way back into each. */
export class Own {
  private readonly box = need("own");
  private readonly list = need("own-list");
  private shown = "";
  private readonly ends = new Map<string, number>(); // of lost ones: performance.now() when they end
  private counting = 0;

  constructor(
    private readonly place: (code: string) => string,
    private readonly speak: (s: Session) => void,
    private readonly told: (text: string, e?: Trouble) => void,
  ) {}

  /** update shows the sessions given. */
  update(sessions: Session[]): void {
    const now = JSON.stringify(sessions.map((s) => [s.id, s.state, s.source.state]));
    if (now === this.shown) return; // a list that is rebuilt takes the focus from its buttons
    this.shown = now;
    this.box.hidden = sessions.length === 0;
    const focused = (document.activeElement as HTMLElement | null)?.id;
    for (const s of sessions) {
      if (s.source.state !== "lost") this.ends.delete(s.id);
      else if (!this.ends.has(s.id)) void this.hold(s);
    }
    this.list.replaceChildren(...sessions.map((s) => this.line(s)));
    if (focused) document.getElementById(focused)?.focus();
    window.clearInterval(this.counting);
    if (this.ends.size > 0 || sessions.some((s) => s.source.state === "lost")) this.counting = window.setInterval(() => this.count(), 500);
  }

  /** hold has the server wait for whoever reads this, and learns for how long. */
  private async hold(s: Session): Promise<void> {
    try {
      const held = await call<Session>("POST", `/sessions/${s.id}/hold`);
      if (held.source.seconds_left) this.ends.set(s.id, performance.now() + 1000 * held.source.seconds_left);
      this.count();
    } catch {
      // the time that is left is not told, then
    }
  }

  private count(): void {
    for (const [id, at] of this.ends) {
      const e = document.getElementById(`own-left-${id}`);
      if (e) e.textContent = t("own.left", clock(Math.max(0, (at - performance.now()) / 1000)));
    }
  }

  private line(s: Session): HTMLElement {
    const where = names(s.zones.map((code) => ({ code, name: this.place(code) })));
    const lost = s.source.state === "lost";
    const text = make("p", "own-text", make("strong", "", t(lost ? "own.lost" : "own.elsewhere", where)));
    if (s.title) text.append(make("span", "pale", s.title));
    const left = make("span", "own-left", "");
    left.id = `own-left-${s.id}`;
    if (lost) text.append(left);
    const go = this.button(`own-go-${s.id}`, "main", t(lost ? "own.go_on" : "own.here"), where);
    go.addEventListener("click", () => this.speak(s));
    const stop = this.button(`own-stop-${s.id}`, "stop", t("live.stop"), where);
    stop.addEventListener("click", async () => {
      stop.disabled = true;
      try {
        await call("POST", `/sessions/${s.id}/stop`);
        this.told(t("live.other_stopped", where));
      } catch (e) {
        stop.disabled = false;
        this.told((e as Trouble).text, e as Trouble);
      }
    });
    if (!document.getElementById("form")) go.hidden = true; // no more the right to speak
    return make("li", lost ? "own-line lost" : "own-line", text, make("p", "row", go, stop));
  }

  private button(id: string, className: string, text: string, where: string): HTMLButtonElement {
    const b = make("button", className, text) as HTMLButtonElement;
    b.type = "button";
    b.id = id;
    b.title = where;
    return b;
  }
}
