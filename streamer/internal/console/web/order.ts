// What every broadcast asks of the server, wherever its sound comes from: to begin, and to stop.
import { call, Session, Trouble } from "./api";
import { Sound } from "./source";

export interface Plan {
  zones: string[];
  priority: string;
  title: string;
  chime: boolean;
}

const stopAttempts = 4;
export const pause = (ms: number) => new Promise<void>((done) => window.setTimeout(done, ms));

/** begin takes the zones. An answer that is lost is asked for once more, without beginning twice. */
export async function begin(plan: Plan, source: Sound): Promise<Session> {
  const body = { ...plan, delay: "auto", source };
  const key = { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) };
  try {
    return await call<Session>("POST", "/sessions", body, key);
  } catch (e) {
    if (!(e instanceof Trouble) || e.kind !== "network") throw e;
    return await call<Session>("POST", "/sessions", body, key); // the same session, should the first have arrived
  }
}

/** end stops a session, however often the network must be asked; failed is called after each time in vain. */
export async function end(id: string, failed: () => void): Promise<Session> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call<Session>("POST", `/sessions/${id}/stop`);
    } catch (e) {
      if (attempt === stopAttempts || !(e instanceof Trouble) || e.kind !== "network") throw e;
      failed();
      await pause(700);
    }
  }
}
