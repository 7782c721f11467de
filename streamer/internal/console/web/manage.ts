// What a technician changes of a relay or loudspeaker: its name, its place, and that it is there at all.
import { call, Equipment, Trouble } from "./api";
import { need, setText } from "./dom";
import { PlaceChoice } from "./places";
import { t } from "./texts";

/** Manage is the lower part of the panel. */
export class Manage {
  private readonly name = need<HTMLInputElement>("edit-name");
  private readonly save = need<HTMLButtonElement>("edit-save");
  private readonly box = need<HTMLInputElement>("remove-box");
  private readonly button = need<HTMLButtonElement>("remove-go");
  private readonly places: PlaceChoice;
  private node: Equipment | null = null;

  /** say tells how it went; changed takes the node as it is now, removed the one that is gone. */
  constructor(
    places: Record<string, string>,
    private readonly say: (text: string, kind?: string) => void,
    private readonly changed: (n: Equipment) => void,
    private readonly removed: (n: Equipment) => void,
  ) {
    this.places = new PlaceChoice("edit", places);
    this.save.addEventListener("click", () => void this.change());
    this.name.addEventListener("keydown", (e) => {
      if (e.key !== "Enter") return;
      e.preventDefault(); // which would close the panel
      void this.change();
    });
    this.box.addEventListener("change", () => (this.button.disabled = !this.box.checked));
    this.button.addEventListener("click", () => void this.remove());
  }

  /** open shows another node; whatever was typed of the one before is gone. */
  open(n: Equipment): void {
    this.node = n;
    for (const id of ["edit", "remove"]) need<HTMLDetailsElement>(id).open = false;
    this.fill(n);
    this.box.checked = false;
    this.button.disabled = true;
    const relay = n.kind === "relay";
    setText(need("remove-what"), t(relay ? "manage.relay_gone" : "manage.speaker_gone", n.name, this.places.name(n.zone)));
    setText(this.button, t("manage.remove_go", n.name));
  }

  private fill(n: Equipment): void {
    this.name.value = n.name;
    this.places.choose(n.zone);
  }

  private async change(): Promise<void> {
    const n = this.node!;
    const name = this.name.value.trim();
    const zone = this.places.chosen();
    if (name === "") {
      this.name.focus();
      this.say(t("manage.no_name"), "bad");
      return;
    }
    const wish = { ...(name !== n.name && { name }), ...(zone !== n.zone && { zone }) };
    if (Object.keys(wish).length === 0) {
      this.say(t("manage.same"));
      return;
    }
    this.save.disabled = true;
    try {
      const now = await call<Equipment>("PATCH", `/nodes/${n.id}`, wish);
      if (this.node?.id === n.id) {
        this.node = now;
        this.fill(now);
        const moved = t(n.state === "offline" ? "manage.moved_later" : "manage.moved", this.places.name(now.zone));
        this.say(now.zone !== n.zone ? moved : t("manage.saved"), "good");
      }
      this.changed(now);
    } catch (e) {
      this.fail(e);
    }
    this.save.disabled = false;
  }

  private async remove(): Promise<void> {
    const n = this.node!;
    this.button.disabled = true;
    try {
      await call("DELETE", `/nodes/${n.id}`);
      this.removed(n);
    } catch (e) {
      this.button.disabled = !this.box.checked;
      this.fail(e);
    }
  }

  private fail(e: unknown): void {
    if (!(e instanceof Trouble)) throw e;
    this.say(e.text, "bad");
  }
}
