// A list of places to choose one from, with a box to search as soon as there are many.
import { need, show } from "./dom";
import { fold, t } from "./texts";

const searchFrom = 12; // taste: what is seen at a glance
const mostShown = 200;

/** PlaceChoice is a select with the id NAME-zone and its search with the id NAME-search. */
export class PlaceChoice {
  private readonly select: HTMLSelectElement;
  private readonly note: HTMLElement;
  private readonly list: { code: string; text: string; words: string }[];

  /** places names the zones by their codes, in the order of the tree. */
  constructor(
    name: string,
    private readonly places: Record<string, string>,
  ) {
    this.select = need<HTMLSelectElement>(name + "-zone");
    this.note = need(name + "-found");
    this.list = Object.keys(places).map((code) => {
      const text = this.path(code);
      return { code, text, words: fold(text) };
    });
    const search = need<HTMLInputElement>(name + "-search");
    need(name + "-find").hidden = this.list.length < searchFrom;
    search.addEventListener("input", () => this.fill(search.value, this.select.value));
    search.addEventListener("keydown", (e) => e.key === "Enter" && e.preventDefault()); // which would close a panel
  }

  /** path is a place with those around it, the nearest first: hamlets of many communes have the same name. */
  private path(code: string): string {
    const names = [];
    for (let c = code; c !== "" && this.places[c] !== undefined; c = c.slice(0, Math.max(0, c.lastIndexOf("/")))) names.push(this.places[c]);
    return names.join(", ");
  }

  name(code: string): string {
    return this.places[code] ?? code;
  }

  choose(code: string): void {
    this.fill("", code);
  }

  chosen(): string {
    return this.select.value;
  }

  /** fill lists the places that have all words, and the one that is chosen however it is called. */
  private fill(text: string, chosen: string): void {
    const words = fold(text).split(" ").filter(Boolean);
    const hits = this.list.filter((p) => words.every((w) => p.words.includes(w)));
    const shown = hits.slice(0, mostShown);
    const options = shown.map((p) => new Option(p.text, p.code));
    if (!shown.some((p) => p.code === chosen)) options.unshift(new Option(this.path(chosen) || chosen, chosen));
    this.select.replaceChildren(...options);
    this.select.value = chosen;
    if (words.length === 0) show(this.note, "");
    else show(this.note, hits.length === 0 ? t("manage.none") : hits.length > mostShown ? t("manage.many", hits.length) : t("manage.found", hits.length));
  }
}
