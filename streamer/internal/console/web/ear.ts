// Hearing in the page what is on air.
import { Problem, problemText, Trouble } from "./api";
import { make, need, show } from "./dom";
import { t } from "./texts";

/**
 * Ear hears one session at a time: the sound that the loudspeakers get, some tenths of a second ahead of them: a browser
 * buffers for less than the session's delay.
 */
export class Ear {
  /** session is the id of the one that is heard; empty: none. */
  session = "";
  private pc: RTCPeerConnection | null = null;
  private place = ""; // where the server ends it
  private readonly audio = need<HTMLAudioElement>("ear");
  private readonly own = need("own-ear");
  private readonly ownListen = need("own-listen");
  private readonly ownSound = need("own-sound");
  private ownSession = "";

  constructor(
    private readonly changed: () => void,
    private readonly told: (text: string, e?: Trouble) => void,
  ) {
    this.ownListen.addEventListener("click", () => this.toggle(this.ownSession, true));
    this.ownSound.addEventListener("click", () => {
      this.audio.muted = !this.audio.muted;
      this.showOwn();
    });
    window.addEventListener("pagehide", () => this.stop());
  }

  /** button is the one for a session of somebody else. */
  button(id: string, what: string): HTMLElement {
    const on = id === this.session;
    const button = make("button", "second", t(on ? "live.deaf" : "live.hear"), make("span", "unseen", what));
    button.dataset.ear = id;
    button.setAttribute("aria-pressed", String(on));
    button.addEventListener("click", () => this.toggle(id, false));
    return button;
  }

  /** onAir tells which sessions are; mine is this page's own, empty if it has none that is live. */
  onAir(ids: string[], mine: string): void {
    this.ownSession = mine;
    if (this.session && !ids.includes(this.session)) this.stop();
    this.showOwn();
  }

  private showOwn(): void {
    const on = this.session !== "" && this.session === this.ownSession;
    this.own.hidden = this.ownSession === "";
    this.ownSound.hidden = !on;
    this.ownListen.textContent = t(on ? "live.deaf" : "live.hear");
    this.ownListen.setAttribute("aria-pressed", String(on));
    this.ownSound.textContent = t(this.audio.muted ? "live.sound_on" : "live.sound_off");
    this.ownSound.setAttribute("aria-pressed", String(!this.audio.muted));
    show(need("own-hint"), on ? t(this.audio.muted ? "live.hear_muted" : "live.hear_own") : "");
  }

  private toggle(id: string, muted: boolean): void {
    const on = id === this.session;
    this.stop();
    if (!on && id) void this.listen(id, muted);
  }

  private async listen(id: string, muted: boolean): Promise<void> {
    const pc = new RTCPeerConnection();
    this.pc = pc;
    this.session = id;
    this.audio.muted = muted; // one's own sound in the room comes back through the microphone
    this.tell();
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.ontrack = (e) => {
      this.audio.srcObject = new MediaStream([e.track]);
      void this.audio.play().catch(() => undefined); // stopped meanwhile
    };
    pc.onconnectionstatechange = () => {
      if (pc === this.pc && pc.connectionState === "failed") this.fail(new Trouble(t("trouble.connect")));
    };
    try {
      await pc.setLocalDescription(await pc.createOffer());
      const reply = await fetch(`/api/v1/sessions/${id}/listen`, {
        method: "POST",
        headers: { "Content-Type": "application/sdp" },
        body: pc.localDescription!.sdp,
      });
      if (!reply.ok) throw await trouble(reply);
      const place = reply.headers.get("Location") ?? "";
      if (pc !== this.pc) {
        end(place);
        return;
      }
      this.place = place;
      await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
    } catch (e) {
      if (pc === this.pc) this.fail(e instanceof Trouble ? e : new Trouble(t("trouble.gone"), "network"));
    }
  }

  private fail(e: Trouble): void {
    this.stop();
    this.told(e.text, e);
  }

  /** stop falls silent at once. */
  stop(): void {
    if (!this.pc) return;
    this.pc.close();
    this.pc = null;
    this.session = "";
    this.audio.srcObject = null;
    if (this.place) end(this.place);
    this.place = "";
    this.tell();
  }

  private tell(): void {
    this.showOwn();
    this.changed();
  }
}

/** end tells the server; without that it would notice by itself. */
function end(place: string): void {
  if (place) void fetch(place, { method: "DELETE", keepalive: true }).catch(() => undefined);
}

async function trouble(reply: Response): Promise<Trouble> {
  if (reply.status === 401) return new Trouble(t("trouble.sign_in"), "signed_out");
  const problem = (await reply.json().catch(() => ({}))) as Problem;
  return new Trouble(problemText(problem));
}
