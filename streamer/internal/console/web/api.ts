// Calls of the API, with errors as sentences.
import { has, language, t } from "./texts";

/** Silent is a loudspeaker that is meant to hear a session and does not; since is null if it was never connected. */
export interface Silent {
  node: string;
  since: string | null;
}

export interface Listeners {
  expected: number;
  hearing: number;
  silent: Silent[];
}

export interface Level {
  rms_dbfs: number;
  peak_dbfs: number;
  momentary_lufs: number;
}

/** Source is where a session's sound comes from; of a microphone on air, whether it is there. */
export interface Source {
  kind: string;
  state?: "connected" | "lost";
  lost_at?: string;
  seconds_left?: number; // until the session ends without it; not in events
}

export interface Session {
  id: string;
  state: "starting" | "live" | "ended" | "failed";
  title: string;
  zones: string[];
  priority: string;
  created_by: string;
  mine: boolean; // begun by whoever is signed in
  source: Source;
  started_at: string | null;
  ended_by: string;
  end_reason: string;
  listeners: Listeners;
  level?: Level; // while on air; not in events
}

export interface Health {
  rtt_seconds: number;
  loss_ratio: number;
  clock_error_seconds: number;
}

/** Equipment is a relay or a loudspeaker: what the API calls a node (the DOM has that word). */
export interface Equipment {
  id: string;
  name: string;
  kind: "relay" | "client" | "streamer";
  zone: string;
  state: "offline" | "online" | "playing";
  upstream: string;
  standby: string[];
  since: string | null; // connected since; offline: not connected since
  session: string;
  health: Health | null;
  volume_db: number | null;
  applied_volume_db: number | null;
}

export const over = (s: Session): boolean => s.state === "ended" || s.state === "failed";

/** Trouble is an error with a sentence for the official. */
export class Trouble extends Error {
  constructor(
    readonly text: string,
    readonly kind: "" | "network" | "signed_out" | "microphone" = "",
  ) {
    super(text);
  }
}

export interface Problem {
  code?: string;
  detail?: string;
}

/** problemText is the sentence of a problem document; the server writes it in Vietnamese, and names things in it. */
export function problemText(p: Problem): string {
  if (language === "vi" && p.detail) return p.detail;
  const key = "problem." + (p.code ?? "");
  return has(key) ? t(key) : p.detail || t("problem.internal");
}

const patienceMS = 8000;

/** call asks the API and returns what it answers, or throws Trouble. */
export async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}, waitMS = patienceMS): Promise<T> {
  const patience = new AbortController(); // a network that is gone answers nothing, for minutes
  const timer = window.setTimeout(() => patience.abort(), waitMS);
  try {
    return await ask<T>(patience.signal, method, path, body, headers);
  } finally {
    window.clearTimeout(timer);
  }
}

async function ask<T>(signal: AbortSignal, method: string, path: string, body: unknown, headers: Record<string, string>): Promise<T> {
  let response: Response;
  try {
    response = await fetch("/api/v1" + path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      keepalive: method !== "GET", // a stop must arrive although the page is going
      cache: "no-store",
      signal,
    });
  } catch {
    throw new Trouble(t("trouble.gone"), "network");
  }
  if (response.ok) {
    if (response.status === 204) return undefined as T;
    return (await response.json().catch(() => {
      throw new Trouble(t("trouble.gone"), "network"); // cut off half way
    })) as T;
  }
  if (response.status === 401) throw new Trouble(t("trouble.sign_in"), "signed_out");
  // A proxy before a server that is down answers with a page, not with a problem document.
  const problem: Problem = await response.json().catch(() => ({ detail: t("trouble.gone") }));
  throw new Trouble(problemText(problem));
}
