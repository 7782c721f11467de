// One broadcast whose sound the server has itself, a text or a file: it goes on without this page, which only follows it.
import { call, Level, over, Session, Trouble } from "./api";
import { begin, end, Plan } from "./order";
import { Sound } from "./source";

const followMS = 500;

export interface Follower {
  level(l: Level): void; // only while the session is live
  ended(s: Session): void;
}

/** Playback is used once. */
export class Playback {
  session: Session | null = null;
  private done = false; // stopped, failed or ended
  private timer = 0;

  constructor(private readonly follower: Follower) {}

  /** start goes on air. It throws Trouble. */
  async start(plan: Plan, source: Sound): Promise<void> {
    const s = await begin(plan, source);
    this.session = s;
    if (this.done) {
      this.abandon(); // stopped before the answer came
      return;
    }
    this.timer = window.setInterval(() => void this.look(), followMS);
  }

  private async look(): Promise<void> {
    try {
      const s = await call<Session>("GET", `/sessions/${this.session!.id}`);
      if (!this.done && s.state === "live" && s.level) this.follower.level(s.level);
      this.over(s);
    } catch (e) {
      if (!(e instanceof Trouble)) throw e; // the page tells of a lost link
    }
  }

  /** over takes the news, from wherever they come first, that the session has ended. */
  over(s: Session): void {
    if (this.done || s.id !== this.session?.id || !over(s)) return;
    this.leave();
    this.follower.ended(s);
  }

  /** stop silences the loudspeakers. It returns the session, null if there was none yet, and throws Trouble. */
  async stop(): Promise<Session | null> {
    this.leave();
    return this.session ? await end(this.session.id, () => undefined) : null;
  }

  /** abandon stops the session without waiting. */
  abandon(): void {
    this.leave();
    if (this.session) void call("POST", `/sessions/${this.session.id}/stop`).catch(() => undefined);
  }

  /** leave only stops following it. */
  leave(): void {
    this.done = true;
    window.clearInterval(this.timer);
  }

  /** quiet tells that the server does not talk to this page any more, which only a microphone's way can tell. */
  quiet(): boolean {
    return false;
  }
}
