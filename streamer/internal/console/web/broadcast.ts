// One broadcast from this machine's microphone: from the press to the release of everything that it took.
import { call, Level, over, Problem, problemText, Session, Trouble } from "./api";
import { close } from "./microphone";
import { t } from "./texts";

export interface Plan {
  zones: string[];
  priority: string;
  title: string;
  chime: boolean;
}

/** Link is how the sound gets to the server. */
export type Link = "good" | "unstable" | "lost";

export interface Watcher {
  level(l: Level): void; // only while the session is live
  ended(s: Session): void;
  link(l: Link): void;
  /** silent tells that the microphone went away or was muted by the machine, and false when it is back. */
  silent(kind: "gone" | "muted" | ""): void;
}

interface Signal {
  type: "answer" | "level" | "ended" | "error";
  sdp?: string;
  level?: Level;
  error?: Problem;
  session?: Session;
}

const stopAttempts = 4;
const quietMS = 3000; // loudness comes ten times a second
const pause = (ms: number) => new Promise<void>((done) => window.setTimeout(done, ms));

/** Broadcast is used once. */
export class Broadcast {
  session: Session | null = null;
  private readonly pc = new RTCPeerConnection();
  private readonly sender = this.pc.addTransceiver("audio", { direction: "sendonly" }).sender;
  private socket: WebSocket | null = null;
  private stream: MediaStream | null = null;
  private done = false; // stopped, failed or ended
  private heardAt = 0; // performance.now() of the server's last message once live

  constructor(private readonly watcher: Watcher) {}

  /**
   * start goes on air and returns once the server has answered the offer; the sound follows. What can be done at the
   * same time is: the microphone opens (which takes Chromium 0.3 s the first time) while the server is asked, the offer
   * answered and the connection made. But where the browser may ask the official first (atOnce is false), the zone is
   * not taken before there is an answer. It throws Trouble, with everything released.
   */
  async start(plan: Plan, microphone: Promise<MediaStream>, atOnce: boolean): Promise<void> {
    this.watchConnection();
    try {
      const opened = microphone.then((stream) => this.take(stream));
      const offered = this.offer();
      for (const p of [opened, offered]) p.catch(() => undefined); // awaited below, after what may fail before
      if (!atOnce) await opened;
      if (this.done) return;
      const session = await this.ask(plan);
      const sdp = await offered;
      if (this.done) return;
      await Promise.all([opened, this.signal(session, sdp)]);
    } catch (e) {
      this.release();
      if (this.session) this.abandon();
      throw e instanceof Trouble ? e : new Trouble(t("trouble.connect"));
    }
  }

  private async ask(plan: Plan): Promise<Session> {
    const body = { zones: plan.zones, priority: plan.priority, title: plan.title, delay: "auto", chime: plan.chime, source: { kind: "browser" } };
    const key = { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) };
    let session: Session;
    try {
      session = await call<Session>("POST", "/sessions", body, key);
    } catch (e) {
      if (!(e instanceof Trouble) || e.kind !== "network") throw e;
      session = await call<Session>("POST", "/sessions", body, key); // the same session, should the first have arrived
    }
    this.session = session;
    if (this.done) this.abandon(); // stopped, or failed, before the answer came
    return session;
  }

  /** take gives the connection its sound. */
  private async take(stream: MediaStream): Promise<void> {
    if (this.done) {
      close(stream);
      return;
    }
    this.stream = stream;
    const track = stream.getAudioTracks()[0];
    track.onended = () => this.watcher.silent("gone");
    track.onmute = () => this.watcher.silent("muted");
    track.onunmute = () => this.watcher.silent("");
    track.contentHint = "speech";
    await this.sender.replaceTrack(track);
  }

  /** replace puts another microphone in the place of one that is gone. */
  async replace(stream: MediaStream): Promise<void> {
    close(this.stream);
    await this.take(stream);
    if (!this.done) this.watcher.silent("");
  }

  /**
   * offer makes the offer without waiting for this machine's addresses: the server sends to where this browser's own
   * checks come from, so it has no use for them, and finding them all can take half a second.
   */
  private async offer(): Promise<string> {
    const offer = await this.pc.createOffer();
    await this.pc.setLocalDescription(offer);
    return this.pc.localDescription!.sdp;
  }

  private watchConnection(): void {
    this.pc.onconnectionstatechange = () => {
      if (this.done) return;
      switch (this.pc.connectionState) {
        case "connected":
          return this.watcher.link("good");
        case "disconnected":
          return this.watcher.link("unstable");
        case "failed":
          return this.watcher.link("lost");
      }
    };
  }

  /** signal exchanges offer and answer, and from then on hears how loud it is, until the session ends. */
  private signal(session: Session, sdp: string): Promise<void> {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/sessions/${session.id}/microphone`);
    this.socket = socket;
    return new Promise((answered, failed) => {
      socket.onopen = () => socket.send(JSON.stringify({ type: "offer", sdp }));
      socket.onclose = () => failed(new Trouble(t("trouble.connect"))); // no effect once answered
      socket.onmessage = (e: MessageEvent<string>) => {
        const m = JSON.parse(e.data) as Signal;
        if (m.type === "level") this.heardAt = performance.now();
        switch (m.type) {
          case "answer":
            this.pc.setRemoteDescription({ type: "answer", sdp: m.sdp! }).then(answered, () => failed(new Trouble(t("trouble.connect"))));
            return;
          case "level":
            if (!this.done && m.level) this.watcher.level(m.level);
            return;
          case "error":
            failed(new Trouble(problemText(m.error ?? {})));
            return;
          case "ended":
            failed(new Trouble(t("trouble.connect")));
            if (m.session) this.over(m.session);
            return;
        }
      };
    });
  }

  /** quiet tells that the server has stopped talking although nobody has hung up: the network is gone. */
  quiet(): boolean {
    return this.heardAt > 0 && this.socket?.readyState === WebSocket.OPEN && performance.now() - this.heardAt > quietMS;
  }

  /** over takes the news, from wherever they come first, that the session has ended. */
  over(s: Session): void {
    if (this.done || s.id !== this.session?.id || !over(s)) return;
    this.release();
    this.watcher.ended(s);
  }

  /**
   * stop silences the microphone at once and the loudspeakers as soon as the server is told. It returns the session,
   * null if there was none yet, and throws Trouble if the server could not be told: it then loses the microphone.
   */
  async stop(): Promise<Session | null> {
    this.done = true;
    this.stream?.getTracks().forEach((track) => (track.enabled = false));
    if (!this.session) {
      this.release();
      return null;
    }
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          return await call<Session>("POST", `/sessions/${this.session.id}/stop`);
        } catch (e) {
          if (attempt === stopAttempts || !(e instanceof Trouble) || e.kind !== "network") throw e;
          close(this.stream);
          await pause(700);
        }
      }
    } finally {
      this.release();
    }
  }

  /** abandon stops the session without waiting: the page is going, or has failed already. */
  abandon(): void {
    this.release();
    if (this.session) void call("POST", `/sessions/${this.session.id}/stop`).catch(() => undefined); // it loses its source anyway
  }

  private release(): void {
    this.done = true;
    close(this.stream);
    this.stream = null;
    if (this.socket) {
      this.socket.onclose = null;
      this.socket.close(1000);
    }
    this.pc.close();
  }
}
