// One broadcast from this machine's microphone: from the press to the release of everything that it took. When its
// connection breaks, another one takes its place in the same session.
import { call, Level, over, Session, Trouble } from "./api";
import { Connection } from "./connection";
import { close } from "./microphone";
import { begin, end, pause, Plan } from "./order";
import { t } from "./texts";

/** Link is how the sound gets to the server; of "lost", until is when (performance.now()) the session ends without it. */
export type Link = { state: "good" | "unstable" } | { state: "lost"; until: number };

export interface Watcher {
  level(l: Level): void; // only while the session is live
  ended(s: Session): void;
  link(l: Link): void;
  /** silent tells that the microphone went away or was muted by the machine, and false when it is back. */
  silent(kind: "gone" | "muted" | ""): void;
  taken(): void; // another page of this official speaks now
  /** trouble tells why the connection cannot be made anew. */
  trouble(e: Trouble): void;
}

const lookMS = 500;
const pauseMS = 500; // before the second attempt to connect, and twice as long before each that follows, up to
const longestMS = 4000;
const patienceMS = 7000; // for an answer

/** Broadcast is used once. */
export class Broadcast {
  session: Session | null = null;
  private current: Connection;
  private next: Connection | null = null; // that is to take its place
  private stream: MediaStream | null = null;
  private done = false; // stopped, failed or ended
  private gapMS = 0; // for so long the session outlives its microphone
  private until = 0; // performance.now() when it is over; 0: the sound gets through, as far as known
  private unheard = false; // the server gets no sound
  private again = false; // connecting anew
  private hurry: () => void = () => undefined; // ends a pause between attempts
  private readonly timer = window.setInterval(() => this.look(), lookMS);
  private readonly online = () => this.hurry();

  constructor(private readonly watcher: Watcher) {
    this.current = this.connection();
    window.addEventListener("online", this.online);
  }

  /** connection makes one, whose word counts as long as it is the current one. */
  private connection(): Connection {
    const mine = () => !this.done && c === this.current;
    const c: Connection = new Connection({
      level: (l) => mine() && this.watcher.level(l),
      sound: (s) => {
        if (!mine()) return;
        if (s === "good") this.settle();
        else this.reconnect();
      },
      lost: (seconds) => {
        if (!mine()) return;
        this.unheard = true;
        this.until = performance.now() + 1000 * seconds;
        this.reconnect();
      },
      back: () => {
        if (!mine()) return;
        this.unheard = false;
        this.settle();
      },
      taken: () => {
        if (!mine() || this.next) return; // by this page itself
        this.release(false);
        this.watcher.taken();
      },
      ended: (s) => mine() && this.over(s),
      cut: () => mine() && this.reconnect(),
    });
    return c;
  }

  /**
   * start goes on air and returns once the server has answered the offer; the sound follows. What can be done at the
   * same time is: the microphone opens (which takes Chromium 0.3 s the first time) while the server is asked, the offer
   * answered and the connection made. But where the browser may ask the official first (atOnce is false), the zone is
   * not taken before there is an answer. It throws Trouble, with everything released.
   */
  async start(plan: Plan, microphone: Promise<MediaStream>, atOnce: boolean): Promise<void> {
    try {
      const opened = microphone.then((stream) => this.take(stream));
      const offered = this.current.offer();
      for (const p of [opened, offered]) p.catch(() => undefined); // awaited below, after what may fail before
      if (!atOnce) await opened;
      if (this.done) return;
      const session = await this.ask(plan);
      const sdp = await offered;
      if (this.done) return;
      const [gap] = await Promise.all([this.current.signal(session, sdp), opened]);
      this.gapMS = 1000 * gap;
    } catch (e) {
      this.release(true);
      if (this.session) this.abandon();
      throw e instanceof Trouble ? e : new Trouble(t("trouble.connect"));
    }
  }

  /** resume speaks in a session that is on air without this page. It throws Trouble, and the session goes on. */
  async resume(session: Session, microphone: Promise<MediaStream>): Promise<void> {
    this.session = session;
    try {
      await this.take(await microphone);
      const gap = await this.current.signal(session, await this.current.offer());
      this.gapMS = 1000 * gap;
      await this.current.connected();
    } catch (e) {
      this.release(false);
      throw e instanceof Trouble ? e : new Trouble(t("trouble.connect"));
    }
  }

  private async ask(plan: Plan): Promise<Session> {
    const session = await begin(plan, { kind: "browser" });
    this.session = session;
    if (this.done) this.abandon(); // stopped, or failed, before the answer came
    return session;
  }

  /** take gives the connections their sound. */
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
    await Promise.all([this.current.use(track), this.next?.use(track)]);
  }

  /** replace puts another microphone in the place of the one that there is, or was. */
  async replace(stream: MediaStream): Promise<void> {
    close(this.stream);
    await this.take(stream);
    if (!this.done) this.watcher.silent("");
    this.hurry();
  }

  /** microphone is the id of the device that is heard; empty: none. */
  microphone(): string {
    const track = this.stream?.getAudioTracks()[0];
    return track?.readyState === "live" ? (track.getSettings().deviceId ?? "") : "";
  }

  /** quiet tells that the server does not talk to this page any more. */
  quiet(): boolean {
    return this.current.quiet();
  }

  private look(): void {
    if (this.gapMS > 0 && this.current.quiet()) this.reconnect();
  }

  /** settle notes that the sound gets through after all. */
  private settle(): void {
    if (this.unheard || !this.current.flows()) return;
    this.until = 0;
    this.watcher.link({ state: "good" });
  }

  /** reconnect makes another connection, at once and then in longer and longer intervals, until sound gets through. */
  private async reconnect(): Promise<void> {
    if (this.done || this.gapMS === 0) return; // the first connection is start's
    const lost = this.unheard || !this.current.flows();
    if (lost && this.until === 0) this.until = performance.now() + this.gapMS;
    this.watcher.link(lost ? { state: "lost", until: this.until } : { state: "unstable" });
    if (this.again) return;
    this.again = true;
    for (let wait = pauseMS; !this.done && !(this.current.well() && !this.unheard); wait = Math.min(2 * wait, longestMS)) {
      if (!this.current.young() && (await this.attempt())) break;
      if (this.done) break;
      await Promise.race([pause(wait * (0.5 + Math.random() / 2)), new Promise<void>((done) => (this.hurry = done))]);
    }
    this.again = false;
  }

  /** attempt makes one connection and puts it in the place of the current one; false: it did not come about. */
  private async attempt(): Promise<boolean> {
    const track = this.stream?.getAudioTracks()[0];
    if (track?.readyState !== "live") return false; // first a microphone, then its way
    const c = this.connection();
    this.next = c;
    const late = window.setTimeout(() => c.close(false), patienceMS);
    try {
      await c.use(track);
      await c.signal(this.session!, await c.offer());
      window.clearTimeout(late);
      await c.connected();
    } catch {
      window.clearTimeout(late);
      c.close(false);
      this.next = null;
      if (!this.done) await this.inquire();
      return false;
    }
    this.next = null;
    if (this.done) {
      c.close(true);
      return false;
    }
    const old = this.current;
    this.current = c;
    this.unheard = false;
    old.close(false);
    this.settle();
    return true;
  }

  /** inquire learns whether there is still a session to speak in, and whether this page may. */
  private async inquire(): Promise<void> {
    try {
      this.over(await call<Session>("GET", `/sessions/${this.session!.id}`));
    } catch (e) {
      if (e instanceof Trouble && e.kind !== "network") this.watcher.trouble(e);
    }
  }

  /** over takes the news, from wherever they come first, that the session has ended. */
  over(s: Session): void {
    if (this.done || s.id !== this.session?.id || !over(s)) return;
    this.release(true);
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
      this.release(true);
      return null;
    }
    try {
      return await end(this.session.id, () => close(this.stream));
    } finally {
      this.release(true);
    }
  }

  /** abandon stops the session without waiting: it has failed before it was heard. */
  abandon(): void {
    this.release(true);
    if (this.session) void call("POST", `/sessions/${this.session.id}/stop`).catch(() => undefined); // it loses its source anyway
  }

  /** leave lets go of everything: the page is going, and perhaps only being loaded again. The server waits some seconds. */
  leave(): void {
    this.release(true);
  }

  private release(leave: boolean): void {
    this.done = true;
    window.clearInterval(this.timer);
    window.removeEventListener("online", this.online);
    this.hurry();
    close(this.stream);
    this.stream = null;
    this.next?.close(leave);
    this.current.close(leave);
  }
}
