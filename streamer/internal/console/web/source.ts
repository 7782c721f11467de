// Where a broadcast's sound comes from: the microphone, a text that the server reads aloud, or a file.
import { call, Trouble } from "./api";
import { need, setText, show } from "./dom";
import { clock, t } from "./texts";
import { Upload } from "./upload";

/** Sound is the source of a session as the API takes it. */
export type Sound = { kind: "browser" } | { kind: "tts"; text: string } | { kind: "file"; audio: string };

/** Stored is a file of the server's library. */
export interface Stored {
  id: string;
  name: string;
  seconds: number;
}

const ofMicrophone = "browser";
const fetchMS = 120_000; // the server decodes all of a recording before it answers

/** SourceChoice is the second step of the form. */
export class SourceChoice {
  private readonly text = need<HTMLTextAreaElement>("text");
  private readonly file = need<HTMLInputElement>("file");
  private readonly progress = need("upload");
  private readonly bar = need<HTMLProgressElement>("upload-bar");
  private readonly note = need("upload-note");
  private readonly ready = need("file-ready");
  private upload: Upload | null = null;
  private stored: Stored | null = null;

  /** changed is called when another source is chosen; say shows what is wrong with a file, null: nothing. */
  constructor(
    private readonly form: HTMLFormElement,
    private readonly changed: () => void,
    private readonly say: (e: Trouble | null) => void,
  ) {
    form.querySelectorAll<HTMLInputElement>("input[name=source]").forEach((i) => i.addEventListener("change", () => this.choose(i.value)));
    this.text.addEventListener("input", () => this.count());
    this.file.addEventListener("change", () => void this.take());
    need("upload-stop").addEventListener("click", () => this.drop());
    this.draw();
  }

  kind(): string {
    return (new FormData(this.form).get("source") as string | null) ?? ofMicrophone;
  }

  /** sound is what to broadcast. It throws Trouble, with the focus where something is missing. */
  sound(): Sound {
    switch (this.kind()) {
      case "tts": {
        const text = this.text.value.trim();
        if (text === "") throw lacking("source.no_text", this.text);
        return { kind: "tts", text };
      }
      case "file":
        if (this.upload) throw new Trouble(t("source.uploading"));
        if (!this.stored) throw lacking("source.no_file", this.file);
        return { kind: "file", audio: this.stored.id };
    }
    return { kind: "browser" };
  }

  /** draft is what was filled in, and restore fills it in again. */
  draft(): { kind: string; text: string; stored: Stored | null } {
    return { kind: this.kind(), text: this.text.value, stored: this.stored };
  }

  restore(d: { kind: string; text: string; stored: Stored | null }): void {
    this.text.value = d.text;
    this.keep(d.stored);
    this.choose(d.kind);
  }

  /** replay chooses the recording of a session. */
  async replay(session: string): Promise<void> {
    this.choose("file");
    show(this.ready, t("source.fetching"));
    try {
      const kept = await call<{ id: string; seconds: number }>("POST", `/sessions/${encodeURIComponent(session)}/recording/audio`, undefined, {}, fetchMS);
      if (!this.upload && !this.file.files?.length) this.keep({ id: kept.id, name: t("source.recording"), seconds: kept.seconds });
    } catch (e) {
      this.keep(this.stored);
      this.say(e as Trouble);
    }
  }

  private choose(kind: string): void {
    this.form.querySelectorAll<HTMLInputElement>("input[name=source]").forEach((i) => (i.checked = i.value === kind));
    this.draw();
    this.changed();
  }

  private draw(): void {
    const kind = this.kind();
    this.form.querySelectorAll<HTMLElement>("[data-source]").forEach((e) => (e.hidden = e.dataset.source !== kind));
    const seconds = need("stage").dataset.chimeSeconds ?? "";
    setText(need("chime-hint"), t(kind === ofMicrophone ? "live.chime_hint" : "live.chime_first", seconds));
    this.count();
  }

  private count(): void {
    const most = Number(this.text.maxLength);
    const length = [...this.text.value].length;
    setText(need("text-count"), length === 0 ? "" : t("source.text_count", length.toLocaleString(document.documentElement.lang), most.toLocaleString(document.documentElement.lang)));
  }

  /** take sends the file that was just chosen to the server, which says whether it can be heard. */
  private async take(): Promise<void> {
    const f = this.file.files?.[0];
    this.drop();
    if (!f) return;
    this.say(null);
    const most = Number(this.file.dataset.most);
    if (f.size > most) {
      this.say(new Trouble(t("source.too_large", Math.floor(most / (1 << 20)))));
      this.file.value = "";
      return;
    }
    const u = new Upload(f, (share) => this.tell(f.name, share));
    this.upload = u;
    this.tell(f.name, 0);
    try {
      const kept = await u.done;
      if (this.upload === u) this.keep({ id: kept.id, name: f.name, seconds: kept.seconds });
    } catch (e) {
      if (this.upload !== u) return; // another one was chosen meanwhile
      this.say(e as Trouble);
      this.file.value = ""; // so that the same one can be chosen once more
    }
    this.upload = null;
    this.progress.hidden = true;
  }

  private tell(name: string, share: number): void {
    this.progress.hidden = false;
    const percent = Math.round(100 * share);
    if (share < 1) this.bar.value = share;
    else this.bar.removeAttribute("value"); // the server looks at it, for as long as it takes
    setText(this.note, share < 1 ? t("source.sending", name, percent) : t("source.checking", name));
  }

  private keep(s: Stored | null): void {
    this.stored = s;
    show(this.ready, s ? t("source.ready", s.name, clock(s.seconds)) : "");
  }

  /** drop forgets the file, and stops sending it. */
  private drop(): void {
    this.upload?.stop();
    if (this.upload && this.file.files?.length) this.file.focus();
    this.upload = null;
    this.progress.hidden = true;
    this.keep(null);
  }
}

function lacking(key: string, field: HTMLElement): Trouble {
  field.focus();
  return new Trouble(t(key));
}
