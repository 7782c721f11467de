// The panel of one relay or loudspeaker: what it is, and of a loudspeaker how loud it plays and a button to hear it.
import { call, Equipment, Trouble } from "./api";
import { need, setText } from "./dom";
import { Manage } from "./manage";
import { decibels, t, timeOfDay } from "./texts";

const stepDB = 1;
const calmMS = 350; // one press of + after another is one change
const toneSeconds = 3;

/** since tells in words since when a node is what it is. */
export function since(n: Equipment): string {
  if (n.state !== "offline") return t("node.online_since", n.since ? timeOfDay(n.since) : "–");
  return n.since ? t("node.offline_since", timeOfDay(n.since)) : t("node.never");
}

/** modal tells whether a browser knows what a dialog is; older ones show it at the end of the page. */
function modal(d: HTMLDialogElement): boolean {
  return typeof d.showModal === "function";
}

/** Speaker is the panel. It is there for whoever may manage equipment. */
export class Speaker {
  private readonly dialog = need<HTMLDialogElement>("speaker");
  private readonly slider = need<HTMLInputElement>("volume");
  private readonly said = need("speaker-said");
  private readonly toneButton = need<HTMLButtonElement>("tone");
  private readonly manage: Manage;
  private node: Equipment | null = null;
  private wish: number | null = null; // not known to the server yet
  private sending = false;
  private later = 0;

  /** closed is called with the id of the node whose panel was closed, removed with one that is no more. */
  constructor(
    private readonly places: Record<string, string>,
    closed: (id: string) => void,
    removed: (n: Equipment) => void,
  ) {
    this.manage = new Manage(
      places,
      (text, kind) => this.say(text, kind),
      (n) => n.id === this.node?.id && this.update([n]),
      (n) => {
        if (n.id === this.node?.id) this.close();
        removed(n);
      },
    );
    this.slider.addEventListener("input", () => this.turn(Number(this.slider.value)));
    need("volume-down").addEventListener("click", () => this.turn(Math.round(this.wished()) - stepDB));
    need("volume-up").addEventListener("click", () => this.turn(Math.round(this.wished()) + stepDB));
    this.toneButton.addEventListener("click", () => void this.tone());
    this.dialog.addEventListener("click", (e) => e.target === this.dialog && modal(this.dialog) && this.close()); // beside the panel
    this.dialog.addEventListener("close", () => {
      const id = this.node?.id;
      this.flush();
      this.node = null;
      if (id) closed(id);
    });
    if (!modal(this.dialog)) {
      this.dialog.querySelector("form")!.addEventListener("submit", (e) => {
        e.preventDefault();
        this.close();
      });
    }
  }

  private close(): void {
    if (modal(this.dialog)) {
      this.dialog.close();
      return;
    }
    this.dialog.removeAttribute("open");
    this.dialog.dispatchEvent(new Event("close"));
  }

  open(n: Equipment): void {
    this.wish = null;
    this.node = n;
    this.say("");
    need("speaker-sound").hidden = n.kind !== "client";
    this.manage.open(n);
    this.draw();
    if (modal(this.dialog)) this.dialog.showModal();
    else this.dialog.setAttribute("open", "");
  }

  /** update takes the news of all nodes. */
  update(list: Equipment[]): void {
    const n = list.find((x) => x.id === this.node?.id);
    if (!n) return; // none is open, or it was removed: what was known stays until the panel is closed
    this.node = n;
    this.draw();
  }

  private wished(): number {
    return this.wish ?? this.node?.volume_db ?? 0;
  }

  private draw(): void {
    const n = this.node!;
    setText(need("speaker-name"), n.name);
    setText(need("speaker-zone"), this.places[n.zone] ?? n.zone);
    const badge = need("speaker-state");
    badge.className = "state " + n.state;
    setText(badge, t("node." + n.state));
    setText(need("speaker-since"), since(n));
    if (n.kind !== "client") return; // the rest is about sound
    const db = this.wished();
    this.slider.value = String(db);
    this.slider.setAttribute("aria-valuetext", decibels(db));
    setText(need("volume-now"), decibels(db));
    need<HTMLButtonElement>("volume-down").disabled = db <= Number(this.slider.min);
    need<HTMLButtonElement>("volume-up").disabled = db >= Number(this.slider.max);
    setText(need("volume-applied"), this.applied(n, db));
    this.toneButton.disabled = n.state === "offline";
  }

  /** applied tells what the loudspeaker itself says it plays at. */
  private applied(n: Equipment, wish: number): string {
    if (n.state === "offline") return t(n.applied_volume_db === wish ? "volume.kept" : "volume.when_back");
    if (n.applied_volume_db === null) return t("volume.unknown");
    return n.applied_volume_db === wish ? t("volume.applied", decibels(wish)) : t("volume.waiting", decibels(n.applied_volume_db));
  }

  private turn(db: number): void {
    this.wish = Math.min(Number(this.slider.max), Math.max(Number(this.slider.min), db));
    this.draw();
    window.clearTimeout(this.later);
    this.later = window.setTimeout(() => this.flush(), calmMS);
  }

  /** flush sends the wish, if there is one, after the one before has been answered. */
  private flush(): void {
    window.clearTimeout(this.later);
    if (this.wish !== null && this.node && !this.sending) void this.send(this.node.id, this.wish);
  }

  private async send(id: string, db: number): Promise<void> {
    this.sending = true;
    try {
      const n = await call<Equipment>("PATCH", `/nodes/${id}`, { volume_db: db });
      if (this.node?.id === id) this.node = n;
      this.say("");
    } catch (e) {
      if (this.wish === db) this.wish = null; // back to what is in force
      this.fail(e);
    }
    this.sending = false;
    if (!this.node || this.node.id !== id) {
      this.wish = this.node ? this.wish : null;
      return;
    }
    if (this.wish === db) this.wish = null;
    this.draw();
    if (this.wish !== null) this.flush();
  }

  private async tone(): Promise<void> {
    const id = this.node?.id;
    if (!id) return;
    this.toneButton.disabled = true;
    this.say(t("tone.sending"));
    try {
      await call("POST", `/nodes/${id}/tone`, { seconds: toneSeconds });
      this.say(t("tone.sent", toneSeconds), "good");
    } catch (e) {
      this.fail(e);
    }
    this.toneButton.disabled = this.node?.state === "offline";
  }

  private fail(e: unknown): void {
    if (!(e instanceof Trouble)) throw e;
    this.say(e.text, "bad");
  }

  private say(text: string, kind = ""): void {
    this.said.className = kind ? "note " + kind : "note";
    this.said.hidden = text === "";
    setText(this.said, text);
    if (text) this.said.scrollIntoView({ block: "nearest" }); // the panel may be longer than the screen
  }
}
