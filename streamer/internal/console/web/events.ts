// What happens on the server, as it happens.
import { call, Equipment, Session, Trouble } from "./api";

export interface Listener {
  sessions?(list: Session[]): void;
  nodes?(list: Equipment[]): void;
  ended?(s: Session): void;
  /** link tells whether the server is in reach; false only once it has not been for a while. */
  link(up: boolean): void;
  signedOut(): void;
}

const graceMS = 2500; // a server that restarts, or a train in a tunnel, is no alarm
const againMS = 2000;
const deadMS = 40_000; // the server sends at least a pulse every 15 s; a connection can die without a sign

/** listen follows the events for as long as the page lives. What it returns opens a stream anew that seems dead. */
export function listen(l: Listener): () => void {
  let alarm = 0;
  let watchdog = 0;
  let source: EventSource | null = null;
  const up = () => {
    window.clearTimeout(alarm);
    alarm = 0;
    window.clearTimeout(watchdog);
    watchdog = window.setTimeout(lost, deadMS);
    l.link(true);
  };
  const down = () => {
    alarm ||= window.setTimeout(() => l.link(false), graceMS);
  };
  const open = () => {
    source = new EventSource("/api/v1/events");
    const on = <T>(name: string, f?: (body: T) => void) =>
      source!.addEventListener(name, (e) => {
        up();
        f?.(JSON.parse((e as MessageEvent<string>).data) as T);
      });
    on("sessions", l.sessions);
    on("nodes", l.nodes);
    on("ended", l.ended);
    source.onopen = up;
    on("pulse");
    source.onerror = lost; // browsers differ in when they try again by themselves, and some never do
  };
  const lost = () => {
    if (!source) return; // known already
    source.close();
    source = null;
    window.clearTimeout(watchdog);
    down();
    window.setTimeout(retry, againMS);
  };
  // An event stream cannot tell why it was refused, another call can.
  const retry = () =>
    void call("GET", "/me").then(open, (e: unknown) => {
      if (e instanceof Trouble && e.kind === "signed_out") {
        window.clearTimeout(alarm);
        l.signedOut();
        return;
      }
      window.setTimeout(retry, againMS);
    });
  window.addEventListener("offline", lost);
  open();
  return lost;
}
