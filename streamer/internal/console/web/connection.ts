// One connection of a microphone to the server: what is heard goes by WebRTC, what is said about it by a WebSocket.
import { Level, Problem, problemText, Session, Trouble } from "./api";
import { t } from "./texts";

/** Hears is what a connection tells. */
export interface Hears {
  level(l: Level): void; // only while the session is live
  /** sound tells how the way of the sound is, as this browser sees it. */
  sound(s: "good" | "unstable" | "gone"): void;
  /** lost tells that the server gets no sound, and how long it still waits. */
  lost(seconds: number): void;
  back(): void;
  taken(): void; // by another page of the same official
  ended(s: Session): void;
  /** cut tells that the WebSocket is gone although nobody has hung up. */
  cut(): void;
}

interface Signal {
  type: "answer" | "level" | "lost" | "back" | "taken" | "ended" | "error";
  sdp?: string;
  gap_seconds?: number;
  level?: Level;
  error?: Problem;
  session?: Session;
}

const quietMS = 3000; // loudness comes ten times a second
const connectMS = 8000;
const youngMS = 1500;
const goodbye = 1000; // the server takes it for that of a page that leaves, …
const again = 4000; // … and this for one that comes again

/** Connection is used once. */
export class Connection {
  private readonly pc = new RTCPeerConnection();
  private readonly sender = this.pc.addTransceiver("audio", { direction: "sendonly" }).sender;
  private socket: WebSocket | null = null;
  private closed = false;
  private madeAt = 0; // performance.now() when sound could first flow; 0: not yet
  private heardAt = 0; // performance.now() of the server's last word; 0: none yet
  private fail: (e: Trouble) => void = () => undefined; // while it is being made

  constructor(private readonly hears: Hears) {
    this.pc.onconnectionstatechange = () => {
      if (this.closed) return;
      const state = this.pc.connectionState;
      if (state === "connected") {
        this.madeAt ||= performance.now();
        this.hears.sound("good");
      }
      if (state === "disconnected") this.hears.sound("unstable");
      if (state === "failed") this.hears.sound("gone");
    };
  }

  /** use gives the connection its sound; another one takes its place at any time. */
  async use(track: MediaStreamTrack): Promise<void> {
    await this.sender.replaceTrack(track);
  }

  /**
   * offer makes the offer without waiting for this machine's addresses: the server sends to where this browser's own
   * checks come from, so it has no use for them, and finding them all can take half a second.
   */
  async offer(): Promise<string> {
    const offer = await this.pc.createOffer();
    await this.pc.setLocalDescription(offer);
    return this.pc.localDescription!.sdp;
  }

  /** signal exchanges offer and answer, and returns for how many seconds the session would outlive this connection. */
  signal(session: Session, sdp: string): Promise<number> {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/sessions/${session.id}/microphone`);
    this.socket = socket;
    return new Promise((answered, failed) => {
      this.fail = failed;
      const refused = () => failed(new Trouble(t("trouble.connect"))); // no effect once answered
      socket.onopen = () => socket.send(JSON.stringify({ type: "offer", sdp }));
      socket.onclose = () => {
        refused();
        if (!this.closed) this.hears.cut();
      };
      socket.onmessage = (e: MessageEvent<string>) => {
        if (this.closed) return;
        const m = JSON.parse(e.data) as Signal;
        if (m.type !== "answer") this.heardAt = performance.now(); // until the session is live there is nothing more to say
        switch (m.type) {
          case "answer":
            this.pc.setRemoteDescription({ type: "answer", sdp: m.sdp! }).then(() => answered(m.gap_seconds ?? 0), refused);
            return;
          case "level":
            if (m.level) this.hears.level(m.level);
            return;
          case "lost":
            return this.hears.lost(m.gap_seconds ?? 0);
          case "back":
            return this.hears.back();
          case "taken":
            return this.hears.taken();
          case "error":
            return failed(new Trouble(problemText(m.error ?? {})));
          case "ended":
            refused();
            if (m.session) this.hears.ended(m.session);
        }
      };
    });
  }

  /** connected returns once sound can flow, or throws Trouble. */
  async connected(): Promise<void> {
    if (this.pc.connectionState === "connected") return;
    await new Promise<void>((done, failed) => {
      this.fail = failed;
      const late = () => failed(new Trouble(t("trouble.connect")));
      const timer = window.setTimeout(late, connectMS);
      this.pc.addEventListener("connectionstatechange", () => {
        if (this.pc.connectionState === "connected") done();
        else if (this.pc.connectionState === "failed") late();
        else return;
        window.clearTimeout(timer);
      });
    });
  }

  /** well tells whether sound and words go through, as far as this browser sees. */
  well(): boolean {
    return this.pc.connectionState === "connected" && this.socket?.readyState === WebSocket.OPEN && !this.quiet();
  }

  /** flows tells whether the sound may still get through. */
  flows(): boolean {
    return this.pc.connectionState === "connected";
  }

  /** young tells that sound has not had the time to get through yet. */
  young(): boolean {
    return this.flows() && performance.now() - this.madeAt < youngMS;
  }

  /** quiet tells that the server has stopped talking although nobody has hung up: the network is gone. */
  quiet(): boolean {
    return this.heardAt > 0 && performance.now() - this.heardAt > quietMS;
  }

  /** close hangs up; with leave the server is told that nobody comes again at once. */
  close(leave: boolean): void {
    this.closed = true;
    this.fail(new Trouble(t("trouble.connect")));
    this.socket?.close(leave ? goodbye : again);
    this.pc.close();
  }
}
