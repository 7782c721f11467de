// The form of who may speak, and the two buttons.
import { Equipment, Trouble } from "./api";
import { Check } from "./check";
import { need, setText } from "./dom";
import { usable } from "./microphone";
import { Plan } from "./order";
import { SourceChoice } from "./source";
import { t } from "./texts";
import { names, speakers, within, ZoneTree } from "./zones";

const draftKey = "draft"; // in sessionStorage, from an expired login to the next
const slipMS = 500; // the button that stops appears under a finger that has just pressed the other

/** Desk is the form and its buttons, for who may speak. */
export class Desk {
  readonly check: Check;
  readonly source: SourceChoice;
  private readonly form = need<HTMLFormElement>("form");
  private readonly title = need<HTMLInputElement>("title");
  private readonly chime = need<HTMLInputElement>("chime");
  private readonly startButton = need<HTMLButtonElement>("start");
  private readonly stopButton = need<HTMLButtonElement>("stop");
  private readonly chosenText = need("chosen");
  private readonly dialog = need<HTMLDialogElement>("confirm");
  private readonly box = need<HTMLInputElement>("confirm-box");
  private shownAt = 0;

  constructor(
    private readonly tree: ZoneTree,
    private readonly start: () => void,
    stop: () => void,
    private readonly say: (e: Trouble | null) => void,
  ) {
    this.form.reset(); // what a browser restores does not fit the tree
    this.check = new Check(say);
    this.source = new SourceChoice(this.form, () => this.check.end(), say);
    this.form.addEventListener("submit", (e) => e.preventDefault()); // Enter in the title
    this.startButton.addEventListener("click", (e) => {
      if (e.detail < 2) this.press();
    });
    this.stopButton.addEventListener("click", (e) => {
      // The second half of a double click, and of a double tap or key press, which browsers do not count as two.
      const slip = e.isTrusted && (e.detail === 0 || (e as PointerEvent).pointerType === "touch") && performance.now() - this.shownAt < slipMS;
      if (e.detail < 2 && !slip) stop();
    });
    for (const button of [this.startButton, this.stopButton]) {
      button.addEventListener("keydown", (e) => e.repeat && e.key === "Enter" && e.preventDefault()); // a key held down is one press
    }
    this.box.addEventListener("change", () => (need<HTMLButtonElement>("confirm-go").disabled = !this.box.checked));
    this.dialog.addEventListener("close", () => this.dialog.returnValue === "yes" && this.box.checked && this.start());
    this.search();
    this.restoreDraft();
    this.startButton.disabled = false;
    const again = new URLSearchParams(location.search).get("replay");
    if (!again) return;
    history.replaceState(null, "", location.pathname); // loading the page again begins anew
    void this.source.replay(again);
  }

  private search(): void {
    const input = document.getElementById("zone-search") as HTMLInputElement | null;
    if (!input) return;
    let later = 0;
    input.addEventListener("input", () => {
      const found = this.tree.search(input.value);
      window.clearTimeout(later); // told once the typing pauses
      const text = input.value.trim() === "" ? "" : found > 0 ? t("live.found", found) : t("live.found_none");
      later = window.setTimeout(() => setText(need("zone-found"), text), 400);
    });
  }

  plan(): Plan {
    return { zones: this.tree.chosen().map((z) => z.code), priority: this.priority(), title: this.title.value.trim(), chime: this.chime.checked };
  }

  private priority(): string {
    return new FormData(this.form).get("priority") as string;
  }

  /** press checks what can be checked here, and asks once more before an emergency. */
  private press(): void {
    const zones = this.tree.chosen();
    const most = Number(need("stage").dataset.maxZones);
    if (zones.length === 0 || zones.length > most) {
      this.say(new Trouble(zones.length === 0 ? t("live.choose") : t("live.too_many", zones.length, most)));
      this.tree.first()?.focus();
      return;
    }
    try {
      if (this.source.sound().kind === "browser") usable();
    } catch (e) {
      this.say(e as Trouble);
      return;
    }
    if (this.priority() !== "emergency") {
      this.start();
      return;
    }
    const text = t("live.confirm_where", names(zones, 8));
    if (typeof this.dialog.showModal !== "function") {
      if (window.confirm(`${t("live.confirm")} ${text}`)) this.start();
      return;
    }
    setText(need("confirm-where"), text);
    this.box.checked = false;
    need<HTMLButtonElement>("confirm-go").disabled = true;
    this.dialog.returnValue = "";
    this.dialog.showModal();
  }

  showChosen(nodes: Map<string, Equipment>): void {
    const zones = this.tree.chosen();
    if (zones.length === 0) {
      setText(this.chosenText, t("live.none_chosen"));
      return;
    }
    const meant = [...nodes.values()].filter((n) => n.kind === "client" && zones.some((z) => within(n.zone, z.code)));
    const off = meant.filter((n) => n.state === "offline").length;
    setText(this.chosenText, `${t("live.chosen", names(zones))} (${speakers(meant.length, off)})`);
  }

  /** onAir swaps the form for what is needed while on air, and back. The focus goes with the button. */
  onAir(on: boolean): void {
    const focused = document.activeElement === this.startButton || document.activeElement === this.stopButton || document.activeElement === document.body;
    this.form.hidden = on;
    this.startButton.hidden = on;
    this.stopButton.hidden = !on;
    this.stopButton.disabled = false;
    setText(this.stopButton, t("live.stop"));
    this.shownAt = performance.now();
    if (on) {
      window.scrollTo({ top: 0 });
    } else if (this.priority() === "emergency") {
      this.form.querySelector<HTMLInputElement>("input[name=priority][value=normal]")!.checked = true; // each one is a decision of its own
    }
    if (focused || on) (on ? this.stopButton : this.startButton).focus({ preventScroll: true });
  }

  stopping(): void {
    this.stopButton.disabled = true;
    setText(this.stopButton, t("live.stopping"));
  }

  saveDraft(): void {
    try {
      sessionStorage.setItem(draftKey, JSON.stringify({ ...this.plan(), source: this.source.draft() }));
    } catch {
      // then it has to be filled in again
    }
  }

  private restoreDraft(): void {
    try {
      const text = sessionStorage.getItem(draftKey);
      sessionStorage.removeItem(draftKey);
      if (!text) return;
      const d = JSON.parse(text) as Plan & { source: ReturnType<SourceChoice["draft"]> };
      this.title.value = d.title;
      this.chime.checked = d.chime;
      this.form.querySelectorAll<HTMLInputElement>("input[name=priority]").forEach((i) => (i.checked = i.value === d.priority));
      this.tree.choose(d.zones);
      this.source.restore(d.source);
    } catch {
      // nothing is lost that cannot be filled in again
    }
  }
}
