// What others have on air.
import { call, Session, Trouble } from "./api";
import { make, need } from "./dom";
import { Ear } from "./ear";
import { names, within } from "./zones";
import { t, timeOfDay } from "./texts";

/** Others is the list of broadcasts that are not this page's. */
export class Others {
  private readonly list = need("others-list");
  private readonly none = need("others-none");
  private readonly stage = need("stage");
  private shown = "";

  constructor(
    private readonly place: (code: string) => string,
    private readonly told: (text: string, e?: Trouble) => void,
    private readonly ear: Ear,
  ) {}

  /** update shows the sessions given. */
  update(sessions: Session[]): void {
    const now = JSON.stringify([this.ear.session, ...sessions.map((s) => [s.id, s.state, s.source.state, s.listeners.hearing, s.listeners.expected])]);
    if (now === this.shown) return; // a list that is rebuilt takes the focus from its buttons
    this.shown = now;
    const focus: DOMStringMap = (document.activeElement as HTMLElement | null)?.dataset ?? {};
    this.none.hidden = sessions.length > 0;
    if (document.getElementById("form")) need("others").hidden = sessions.length === 0; // in the way of who wants to speak
    this.list.replaceChildren(...sessions.map((s) => this.line(s)));
    for (const kind of ["session", "ear"]) {
      const id = focus[kind];
      if (id) this.list.querySelector<HTMLElement>(`[data-${kind}="${CSS.escape(id)}"]`)?.focus();
    }
  }

  private line(s: Session): HTMLElement {
    const where = names(s.zones.map((code) => ({ code, name: this.place(code) })));
    const live = s.state === "live";
    const text = make("p", "other-text", make("strong", "", t(live ? "live.other" : "live.other_starting", where, s.created_by)));
    const more = [s.title, s.started_at ? t("live.other_since", timeOfDay(s.started_at)) : ""];
    if (live) more.push(t("air.hearing", s.listeners.hearing, s.listeners.expected));
    text.append(make("span", "pale", more.filter(Boolean).join(" · ")));
    if (s.source.state === "lost" && s.source.lost_at) text.append(make("span", "tag offline", t("live.other_lost", timeOfDay(s.source.lost_at))));
    const line = make("li", "other", text);
    if (live) line.append(this.ear.button(s.id, t("live.other_stop_of", where, s.created_by)));
    if (this.stage.dataset.mayStop === "true" && s.zones.some((z) => within(z, this.stage.dataset.within ?? ""))) {
      line.append(this.stopButton(s, where));
    }
    return line;
  }

  private stopButton(s: Session, where: string): HTMLElement {
    const button = make("button", "stop", t("live.other_stop"), make("span", "unseen", t("live.other_stop_of", where, s.created_by)));
    button.dataset.session = s.id;
    button.addEventListener("click", async () => {
      if (!window.confirm(t("live.other_sure", where, s.created_by))) return;
      button.toggleAttribute("disabled", true);
      try {
        await call("POST", `/sessions/${s.id}/stop`);
        this.told(t("live.other_stopped", where));
      } catch (e) {
        button.toggleAttribute("disabled", false);
        this.told((e as Trouble).text, e as Trouble);
      }
    });
    return button;
  }
}
