// The page from which an official speaks.
import { Air } from "./air";
import { call, Equipment, over, Session, Trouble } from "./api";
import { Broadcast, Link } from "./broadcast";
import { Desk } from "./desk";
import { make, need, show } from "./dom";
import { Ear } from "./ear";
import { listen } from "./events";
import { allowed, fillDevices, open, usable, Wish } from "./microphone";
import { Others } from "./others";
import { Plan } from "./order";
import { Own } from "./own";
import { Playback } from "./playback";
import { run } from "./page";
import { Sound } from "./source";
import { t } from "./texts";
import { names, Zone, ZoneTree } from "./zones";

class Live {
  private readonly alertBox = need("alert");
  private readonly linkBox = need("link");
  private readonly air = new Air((code) => this.tree.name(code));
  private readonly tree = new ZoneTree(need("zones"), () => this.showChosen());
  private readonly ear = new Ear(
    () => this.onSessions(this.sessions),
    (text, e) => this.say(text, e),
  );
  private readonly others = new Others(
    (code) => this.tree.name(code),
    (text, e) => this.say(text, e, !e),
    this.ear,
  );
  private readonly own = new Own(
    (code) => this.tree.name(code),
    (s) => void this.resume(s),
    (text, e) => this.say(text, e, !e),
  );
  private readonly device = document.getElementById("air-device") as HTMLSelectElement | null;
  private gap = false; // the sound of the broadcast does not get through
  private nodes = new Map<string, Equipment>();
  private sessions: Session[] = [];
  private broadcast: Broadcast | Playback | null = null;
  private desk: Desk | null = null;
  private seen = false; // the broadcast of this page, among the sessions on air
  private linked = true;
  private wake: WakeLockSentinel | null = null;

  constructor() {
    if (document.getElementById("form")) this.desk = new Desk(this.tree, () => void this.start(), () => void this.stop(), (e) => this.say(e?.text ?? "", e ?? undefined));
    const reopen = listen({
      sessions: (list) => this.onSessions(list),
      nodes: (list) => this.onNodes(list),
      ended: (s) => this.broadcast?.over(s),
      link: (up) => this.onLink(up),
      signedOut: () => this.say(t("trouble.sign_in"), new Trouble(t("trouble.sign_in"), "signed_out")),
    });
    window.setInterval(() => {
      if (!this.broadcast?.quiet()) return;
      this.onLink(false);
      reopen();
    }, 1000);
    window.addEventListener("pagehide", () => this.leave());
    window.addEventListener("pageshow", (e) => e.persisted && location.reload()); // what it shows is over
    this.device?.addEventListener("change", () => void this.choose());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => void this.listDevices());
    document.addEventListener("visibilitychange", () => void this.stayAwake());
    if (this.desk) this.checkBrowser();
    this.showChosen();
  }

  private checkBrowser(): void {
    try {
      usable();
    } catch (e) {
      this.say((e as Trouble).text);
    }
  }

  /** say shows what went wrong, or well; empty: nothing. Where a new login helps, it keeps what was filled in. */
  private say(text: string, e?: Trouble, good = false): void {
    this.alertBox.className = good ? "note good" : "note bad";
    if (e?.kind === "signed_out") {
      const link = make("a", "button", t("trouble.sign_in_link")) as HTMLAnchorElement;
      link.href = "/login?next=/live";
      link.addEventListener("click", () => this.desk?.saveDraft());
      show(this.alertBox, text + " ", link);
    } else {
      show(this.alertBox, text);
    }
    if (text && !good) this.alertBox.scrollIntoView({ block: "nearest" }); // whoever pressed a button far below must see it
  }

  private showChosen(): void {
    this.desk?.showChosen(this.nodes);
  }

  private onNodes(list: Equipment[]): void {
    this.nodes = new Map(list.map((n) => [n.id, n]));
    this.tree.countSpeakers(list);
    this.showChosen();
    this.onSessions(this.sessions); // names of the silent
  }

  private onSessions(list: Session[]): void {
    this.sessions = list;
    const b = this.broadcast;
    if (b && !b.session) return; // ours may be among them, under an id that we do not know yet
    const mine = list.find((s) => s.id === b?.session?.id);
    const own = list.filter((s) => s !== mine && s.mine && s.source.kind === "browser");
    this.own.update(own);
    this.others.update(list.filter((s) => s !== mine && !own.includes(s)));
    this.ear.onAir(
      list.map((s) => s.id),
      mine?.state === "live" ? mine.id : "",
    );
    if (!b) return;
    if (!mine) {
      if (this.seen) void this.lookUp(b);
      return;
    }
    this.seen = true;
    if (mine.state === "live") this.air.live();
    this.air.hear(mine.listeners, this.nodes);
  }

  /** lookUp asks what became of a session that is on air no more: the news may have been lost with the link. */
  private async lookUp(b: Broadcast | Playback): Promise<void> {
    try {
      const s = await call<Session>("GET", `/sessions/${b.session!.id}`);
      if (over(s)) b.over(s);
    } catch {
      // the next events ask again
    }
  }

  private onLink(up: boolean): void {
    this.linked = up;
    show(this.linkBox, up ? "" : t(this.broadcast && !this.gap ? "air.link_lost" : "trouble.link"));
    this.air.link(up);
  }

  private async start(): Promise<void> {
    const desk = this.desk!;
    const plan = desk.plan();
    const zones = this.tree.chosen();
    this.say("");
    const sound = desk.source.sound(); // there, or the button would not have got this far
    if (sound.kind !== "browser") {
      await this.play(plan, sound, zones);
      return;
    }
    const chime = plan.chime ? Number(need("stage").dataset.chimeSeconds) : 0;
    this.turnOn(zones, desk.check.isOpen() ? "air.starting_hint" : "air.allow", chime);
    const b = this.newBroadcast();
    try {
      const atOnce = desk.check.isOpen() || (await allowed());
      if (atOnce) this.air.starting(names(zones), t("air.starting_hint"), chime);
      await b.start(plan, desk.check.handOver(), atOnce);
    } catch (e) {
      if (this.broadcast !== b) return; // it has ended meanwhile, and that was told
      this.turnOff();
      this.air.ended(true, null);
      this.say((e as Trouble).text, e as Trouble);
      return;
    }
    this.onSessions(this.sessions);
    void this.listDevices();
  }

  /** play broadcasts what the server has itself. It goes on without this page, so nothing keeps anybody from leaving it. */
  private async play(plan: Plan, sound: Sound, zones: Zone[]): Promise<void> {
    this.air.starting(names(zones), t(sound.kind === "tts" ? "air.reading" : "air.opening"), 0);
    need("stage").dataset.from = "server";
    this.desk!.onAir(true);
    const b: Playback = new Playback({
      level: (l) => {
        this.air.live();
        this.air.level(l);
      },
      ended: (s) => this.finish(b, s, false),
    });
    this.adopt(b);
    try {
      await b.start(plan, sound);
    } catch (e) {
      if (this.broadcast !== b) return;
      this.turnOff();
      this.air.ended(true, null);
      this.say((e as Trouble).text, e as Trouble);
      return;
    }
    this.onSessions(this.sessions);
  }

  private adopt(b: Broadcast | Playback): void {
    this.broadcast = b;
    this.seen = false;
    this.gap = false;
  }

  private newBroadcast(): Broadcast {
    const b: Broadcast = new Broadcast({
      level: (l) => {
        this.air.live();
        this.air.level(l);
      },
      ended: (s) => this.finish(b, s, false),
      link: (l) => this.onSound(l),
      silent: (kind) => void this.onSilent(b, kind),
      taken: () => {
        if (this.broadcast !== b) return;
        this.turnOff();
        this.air.moved();
      },
      trouble: (e) => this.say(e.text, e),
    });
    this.adopt(b);
    return b;
  }

  /** resume speaks in a session of this official that is on air without this page. */
  private async resume(s: Session): Promise<void> {
    if (this.broadcast || !this.desk) return;
    this.say("");
    this.turnOn(s.zones.map((code) => ({ code, name: this.tree.name(code) })), "air.starting_hint", 0);
    const b = this.newBroadcast();
    const on = s.started_at ? (Date.now() - Date.parse(s.started_at)) / 1000 : 0;
    try {
      await b.resume(s, this.desk.check.handOver());
    } catch (e) {
      if (this.broadcast !== b) return;
      this.turnOff();
      this.air.idle();
      this.say((e as Trouble).text, e as Trouble);
      return;
    }
    if (this.broadcast !== b) return;
    this.air.resumed(on);
    this.onSessions(this.sessions);
    void this.listDevices();
  }

  /** onSound shows whether the sound gets to the server. */
  private onSound(l: Link): void {
    this.gap = l.state === "lost";
    this.air.gap(l.state === "lost" ? l.until : 0);
    this.say(l.state === "unstable" ? t("air.unstable") : "");
    this.onLink(this.linked);
  }

  /** leave lets the broadcast go with the page, which may only be loaded again: one that was heard is not stopped. */
  private leave(): void {
    if (this.air.phase() === "starting" && this.broadcast instanceof Broadcast) this.broadcast.abandon();
    else this.broadcast?.leave();
  }

  private turnOn(zones: Zone[], hint: string, chime: number): void {
    this.air.starting(names(zones), t(hint), chime);
    need("stage").dataset.from = "microphone";
    this.desk!.onAir(true);
    window.addEventListener("beforeunload", warn);
    void this.stayAwake(true);
  }

  private turnOff(): void {
    this.broadcast = null;
    window.removeEventListener("beforeunload", warn);
    void this.wake?.release();
    this.wake = null;
    this.desk!.onAir(false);
    this.onLink(this.linked);
    this.onSessions(this.sessions);
  }

  /** stayAwake keeps a phone's screen on while on air: one that sleeps may take the microphone with it. */
  private async stayAwake(begin = false): Promise<void> {
    if (!(begin || this.broadcast instanceof Broadcast) || document.hidden || !("wakeLock" in navigator)) return;
    try {
      this.wake = await navigator.wakeLock.request("screen");
      if (!this.broadcast && !begin) await this.wake.release();
    } catch {
      // an empty battery may refuse; the broadcast goes on
    }
  }

  private async stop(): Promise<void> {
    const b = this.broadcast;
    if (!b || this.air.phase() === "stopping") return;
    this.air.stopping();
    this.desk!.stopping();
    try {
      const s = await b.stop();
      this.finish(b, s, true);
    } catch (e) {
      this.finish(b, null, true);
      this.air.unsure(b instanceof Broadcast);
      const trouble = e as Trouble;
      this.say(trouble.kind === "signed_out" ? trouble.text : t(b instanceof Broadcast ? "air.stop_unsure" : "air.stop_lost"), trouble);
    }
  }

  /** finish shows how a broadcast ended. */
  private finish(b: Broadcast | Playback, s: Session | null, byUs: boolean): void {
    if (this.broadcast !== b) return;
    this.sessions = this.sessions.filter((x) => x.id !== b.session?.id);
    this.turnOff();
    this.air.ended(s?.state === "failed" && !byUs, s);
    this.say(s && !byUs && s.end_reason !== "source_end" ? ending(s) : ""); // the panel tells that it was played to the end
  }

  /** listDevices fills the choice of microphones on air. */
  private async listDevices(): Promise<void> {
    const b = this.broadcast;
    if (b instanceof Broadcast && this.device) await fillDevices(this.device, b.microphone());
  }

  /** choose puts the microphone that was just chosen in the place of the one that is heard. */
  private async choose(): Promise<void> {
    const b = this.broadcast;
    if (b instanceof Broadcast) await this.take(b, { ...this.desk!.check.wish(), device: this.device!.value });
  }

  private async take(b: Broadcast, wish: Wish): Promise<boolean> {
    try {
      await b.replace(await open(wish));
    } catch (e) {
      if (this.broadcast === b) this.say((e as Trouble).text, e as Trouble);
      return false;
    }
    void this.listDevices();
    return true;
  }

  /** onSilent deals with a microphone that was pulled out: the next one that can be had takes its place. */
  private async onSilent(b: Broadcast, kind: "gone" | "muted" | ""): Promise<void> {
    if (this.broadcast !== b) return;
    this.air.unplugged(kind === "gone");
    if (kind !== "gone") {
      this.say(kind === "muted" ? t("mic.muted") : "");
      return;
    }
    this.say(t("mic.gone"));
    void this.listDevices();
    const again = async () => {
      if (this.broadcast !== b || b.microphone() !== "") return; // another one was chosen
      if (await this.take(b, this.desk!.check.wish())) this.say(t("mic.other"), undefined, true);
      else {
        if (this.broadcast === b) this.say(t("mic.gone"));
        navigator.mediaDevices.addEventListener("devicechange", () => void again(), { once: true });
      }
    };
    await again();
  }
}

/** ending says why a session is over that this page did not stop. */
function ending(s: Session): string {
  if (s.end_reason === "stop") return t("end.stopped_by", s.ended_by);
  const keys = ["source_lost", "no_sound", "no_microphone", "shutdown", "interrupted", "busy", "failed"];
  return t("end." + (keys.includes(s.end_reason) ? s.end_reason : "other"));
}

function warn(e: BeforeUnloadEvent): void {
  e.preventDefault();
  e.returnValue = t("live.leave"); // browsers show a text of their own
}

run(() => void new Live());
