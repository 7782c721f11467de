// A token for a new relay or loudspeaker, with what to type at the machine.
import { call, Trouble } from "./api";
import { need, setText, show } from "./dom";
import { PlaceChoice } from "./places";
import { t, timeOfDay } from "./texts";

interface Token {
  token: string;
  expires_at: string;
}

// Where the sample configurations have nodes connect: a loudspeaker to a relay, a relay to the streamer.
const ports: Record<string, number> = { client: 7543, relay: 7443 };

/** Adding is the form beneath the filter. It is there for whoever may manage equipment. */
export class Adding {
  private readonly form = need<HTMLFormElement>("add");
  private readonly name = need<HTMLInputElement>("add-name");
  private readonly button = need<HTMLButtonElement>("add-go");
  private readonly said = need("add-said");
  private readonly box = need("add-token");
  private readonly command = need("add-command");
  private readonly places: PlaceChoice;

  constructor(places: Record<string, string>) {
    this.places = new PlaceChoice("add", places);
    this.places.choose(Object.keys(places)[0] ?? "");
    this.form.addEventListener("submit", (e) => {
      e.preventDefault();
      void this.ask();
    });
    const copy = need("add-copy");
    copy.hidden = !navigator.clipboard; // browsers give it to safe pages alone
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(this.command.textContent ?? "").then(
        () => this.say(t("add.copied"), "good"),
        () => getSelection()?.selectAllChildren(this.command),
      );
    });
  }

  private async ask(): Promise<void> {
    const kind = (new FormData(this.form).get("kind") as string | null) ?? "client";
    const name = this.name.value.trim();
    if (name === "") {
      this.name.focus();
      this.say(t("manage.no_name"), "bad");
      return;
    }
    this.button.disabled = true;
    this.box.hidden = true;
    try {
      const made = await call<Token>("POST", "/tokens", { kind, name, zone: this.places.chosen() });
      this.say("");
      setText(need("add-hint"), t(kind === "relay" ? "add.relay_hint" : "add.client_hint", name, timeOfDay(made.expires_at)));
      const enrol = `runuser -u dongthanh -- ${kind} enrol --upstream https://${location.hostname}:${ports[kind]} --token ${made.token} --dir /var/lib/dongthanh/${kind}`;
      setText(this.command, `${enrol}\nsystemctl enable --now dongthanh-${kind}`);
      this.box.hidden = false;
      this.name.value = "";
      this.box.focus();
    } catch (e) {
      if (!(e instanceof Trouble)) throw e;
      this.say(e.text, "bad");
    }
    this.button.disabled = false;
  }

  private say(text: string, kind = ""): void {
    this.said.className = kind ? "note " + kind : "note";
    show(this.said, text);
  }
}
