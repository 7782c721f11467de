// The page that lists relays and loudspeakers.
import { Adding } from "./adding";
import { call, Equipment, Health, Trouble } from "./api";
import { make, need, show } from "./dom";
import { listen } from "./events";
import { run } from "./page";
import { Speaker } from "./speaker";
import { decibels, fold, t, timeOfDay } from "./texts";

const figuresMS = 5000; // loudspeakers report every 2 s
const mostRows = 500;
const calmMS = 300; // a storm of changes is drawn at once

const order = { offline: 0, playing: 1, online: 2 };

class Nodes {
  private readonly places: Record<string, string> = JSON.parse(need("zone-names").textContent || "{}");
  private readonly search = need<HTMLInputElement>("node-search");
  private readonly form = need<HTMLFormElement>("filter");
  private list: Equipment[] = [];
  private figures = new Map<string, Health>();
  private readonly panel: Speaker | null; // for whoever may manage equipment
  private later = 0;

  constructor() {
    this.panel = document.getElementById("speaker") ? new Speaker(this.places, (id) => this.focus(id), (n) => this.gone(n)) : null;
    if (this.panel) new Adding(this.places);
    this.form.addEventListener("submit", (e) => e.preventDefault());
    this.form.addEventListener("input", () => this.draw());
    listen({
      nodes: (list) => {
        this.list = list;
        this.later ||= window.setTimeout(() => this.draw(), calmMS);
      },
      link: (up) => show(need("link"), up ? "" : t("trouble.link")),
      signedOut: () => {
        const link = make("a", "button", t("trouble.sign_in_link")) as HTMLAnchorElement;
        link.href = "/login?next=/nodes";
        need("alert").className = "note bad";
        show(need("alert"), t("trouble.sign_in") + " ", link);
      },
    });
    window.setInterval(() => document.hidden || void this.askFigures(), figuresMS);
    void this.askFigures();
  }

  /** askFigures gets what changes with every report, which the events leave out. */
  private async askFigures(): Promise<void> {
    try {
      const list = await call<Equipment[]>("GET", "/nodes");
      this.figures = new Map(list.flatMap((n) => (n.health ? [[n.id, n.health] as const] : [])));
      this.list = list;
      this.draw();
    } catch (e) {
      if (!(e instanceof Trouble)) throw e; // the events tell of a lost link and an ended login
    }
  }

  private draw(): void {
    window.clearTimeout(this.later);
    this.later = 0;
    const byID = new Map(this.list.map((n) => [n.id, n.name]));
    this.count();
    this.panel?.update(this.list);
    const focused = (document.activeElement as HTMLElement | null)?.dataset.node;
    for (const [kind, id] of [["client", "speakers"], ["relay", "relays"]] as const) {
      const all = this.list.filter((n) => n.kind === kind);
      const rows = all.filter((n) => this.matches(n)).sort((a, b) => order[a.state] - order[b.state]);
      need(id).replaceChildren(...rows.slice(0, mostRows).map((n) => this.row(n, byID)));
      need(id).closest("table")!.hidden = rows.length === 0;
      const note = all.length === 0 ? t("nodes.none") : rows.length === 0 ? t("nodes.none_match") : rows.length > mostRows ? t("nodes.more", rows.length - mostRows) : "";
      show(need(id + "-note"), note);
    }
    if (focused) this.focus(focused); // its row was drawn anew
  }

  /** gone takes a node off the list that was removed, and says so. */
  private gone(n: Equipment): void {
    this.list = this.list.filter((x) => x.id !== n.id);
    this.draw();
    const box = need("alert");
    box.className = "note good";
    show(box, t("manage.removed", n.name));
    box.scrollIntoView({ block: "nearest" });
  }

  /** focus puts the focus on the button of a node's row, if it is shown. */
  private focus(id: string): void {
    for (const b of document.querySelectorAll<HTMLElement>("button.opener")) {
      if (b.dataset.node === id) b.focus({ preventScroll: true });
    }
  }

  private count(): void {
    const speakers = this.list.filter((n) => n.kind === "client");
    const relays = this.list.filter((n) => n.kind === "relay");
    const off = (list: Equipment[]) => list.filter((n) => n.state === "offline").length;
    const playing = speakers.filter((n) => n.state === "playing").length;
    const tile = (text: string, bad: boolean, air = false) => make("p", `tile${bad ? " bad" : ""}${air ? " air" : ""}`, text);
    const tiles = [
      tile(t("nodes.online", speakers.length - off(speakers), speakers.length), off(speakers) > 0),
      tile(t("nodes.relays_online", relays.length - off(relays), relays.length), off(relays) > 0),
    ];
    if (playing > 0) tiles.push(tile(t("nodes.playing", playing), false, true));
    const counts = need("counts");
    if (counts.textContent !== tiles.map((x) => x.textContent).join("")) counts.replaceChildren(...tiles);
  }

  private matches(n: Equipment): boolean {
    const state = new FormData(this.form).get("show");
    const fits = !state || n.state === state || (state === "online" && n.state === "playing");
    const text = fold(`${n.name} ${this.place(n.zone)}`);
    return fits && fold(this.search.value).split(" ").every((w) => text.includes(w));
  }

  private place(code: string): string {
    return this.places[code] ?? code;
  }

  private row(n: Equipment, names: Map<string, string>): HTMLElement {
    const name = (id: string) => names.get(id) ?? t("nodes.above"); // the server itself, or a relay that is not shown to this person
    const h = this.figures.get(n.id);
    const row = make("tr", "state-" + n.state);
    const cell = (label: string, text: string, className = "") => {
      const c = make("td", text ? className : className + " empty", text || "–");
      c.dataset.label = t(label);
      row.append(c);
    };
    const state = make("td", "state-cell", make("span", "state " + n.state, t("node." + n.state)));
    state.dataset.label = t("nodes.state");
    const head = make("th", "", this.panel ? this.opener(n, this.panel) : n.name);
    head.setAttribute("scope", "row");
    head.dataset.label = t("nodes.name");
    row.append(state, head);
    cell("nodes.zone", this.place(n.zone));
    cell("nodes.upstream", n.upstream ? name(n.upstream) : "");
    cell("nodes.standby", n.standby.map(name).join(", "));
    cell("nodes.since", n.state === "offline" && !n.since ? t("node.never") : n.since ? timeOfDay(n.since) : "", "figure");
    if (n.kind !== "client") return row; // relays play nothing, and report nothing
    cell("nodes.volume", n.volume_db === null ? "" : decibels(n.volume_db), "figure");
    cell("nodes.loss", h ? number(h.loss_ratio * 100, 1) + " %" : "", "figure");
    cell("nodes.rtt", h ? number(h.rtt_seconds * 1000, 1) + " ms" : "", "figure");
    cell("nodes.clock", h ? number(h.clock_error_seconds * 1000, 2) + " ms" : "", "figure");
    return row;
  }

  private opener(n: Equipment, panel: Speaker): HTMLElement {
    const b = make("button", "opener", n.name) as HTMLButtonElement;
    b.type = "button";
    b.dataset.node = n.id;
    b.setAttribute("aria-haspopup", "dialog");
    b.addEventListener("click", () => panel.open(n));
    return b;
  }
}

function number(x: number, digits: number): string {
  const shown = Number(x.toFixed(digits)) || 0; // not −0,00
  return shown.toLocaleString(document.documentElement.lang, { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

run(() => void new Nodes());
