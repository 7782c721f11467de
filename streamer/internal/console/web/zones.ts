// The tree of zones as check boxes: a ticked zone covers all beneath it.
import { Equipment } from "./api";
import { setText } from "./dom";
import { fold, t } from "./texts";

export interface Zone {
  code: string;
  name: string;
}

interface Box extends Zone {
  input: HTMLInputElement;
  item: HTMLElement;
  count: HTMLElement;
  button: HTMLButtonElement | null; // of a branch that can be folded
  list: HTMLElement | null; // what it folds
  folded: boolean; // as the official left it
  words: string; // own name
  path: string; // own name and those above
  parent: Box | null;
  children: Box[];
}

/** within tells whether a zone is another one or lies beneath it; the empty zone holds all. */
export function within(code: string, top: string): boolean {
  return top === "" || code === top || code.startsWith(top + "/");
}

/** ZoneTree is the tree in the page. */
export class ZoneTree {
  private readonly boxes = new Map<string, Box>();
  private readonly roots: Box[] = [];

  constructor(
    root: HTMLElement,
    private readonly changed: () => void,
  ) {
    root.querySelectorAll<HTMLInputElement>("input[name=zone]").forEach((input) => this.adopt(input));
    root.addEventListener("change", (e) => {
      const box = this.boxes.get((e.target as HTMLInputElement).value);
      if (!box) return;
      this.tick(box, box.input.checked);
      this.changed();
    });
    root.addEventListener("click", (e) => {
      const button = (e.target as Element).closest<HTMLButtonElement>("button.fold");
      const box = button && [...this.boxes.values()].find((b) => b.button === button);
      if (box) this.foldBox(box, (box.folded = button.getAttribute("aria-expanded") === "true"));
    });
  }

  private adopt(input: HTMLInputElement): void {
    const item = input.closest("li")!;
    const parent = this.boxes.get(item.parentElement!.closest("li")?.querySelector("input")?.value ?? "") ?? null;
    const button = item.querySelector<HTMLButtonElement>(":scope > .zone > button.fold");
    const words = fold(input.dataset.name!);
    const box: Box = {
      code: input.value, name: input.dataset.name!, input, item, button, parent, words, children: [],
      count: item.querySelector<HTMLElement>(":scope > .zone > .count")!,
      list: item.querySelector<HTMLElement>(":scope > ul"),
      folded: button !== null,
      path: parent ? `${words} ${parent.path}` : words,
    };
    this.boxes.set(box.code, box);
    (parent ? parent.children : this.roots).push(box);
    if (box.folded) this.foldBox(box, true);
  }

  private foldBox(box: Box, folded: boolean): void {
    if (!box.button || !box.list) return;
    box.button.setAttribute("aria-expanded", String(!folded));
    box.list.hidden = folded;
  }

  /**
   * tick ticks a zone with all beneath it. Unticking one beneath a ticked zone leaves its neighbours ticked. A zone
   * whose parts are all ticked stays half ticked: there may be loudspeakers of the zone itself.
   */
  private tick(box: Box, on: boolean): void {
    const down = (b: Box) => {
      b.input.checked = on;
      b.input.indeterminate = false;
      b.children.forEach(down);
    };
    down(box);
    for (let up = box.parent; up; up = up.parent) {
      if (!on) up.input.checked = false;
      up.input.indeterminate = !up.input.checked && up.children.some((c) => c.input.checked || c.input.indeterminate);
    }
  }

  /** choose ticks the zones with the given codes and no others; codes that are none are left out. */
  choose(codes: string[]): void {
    this.roots.forEach((r) => this.tick(r, false));
    codes.forEach((c) => {
      const box = this.boxes.get(c);
      if (box) this.tick(box, true);
    });
    this.changed();
  }

  /** chosen returns what is ticked, each branch by its top alone. */
  chosen(): Zone[] {
    const out: Zone[] = [];
    const collect = (b: Box) => (b.input.checked ? out.push(b) : b.children.forEach(collect));
    this.roots.forEach(collect);
    return out;
  }

  /** name is what people call a zone; its code if it is none of this tree. */
  name(code: string): string {
    return this.boxes.get(code)?.name ?? code;
  }

  /** first is the box to go to when none is ticked. */
  first(): HTMLInputElement | null {
    return this.roots[0]?.input ?? null;
  }

  /** countSpeakers shows at each zone how many loudspeakers it has. */
  countSpeakers(nodes: Equipment[]): void {
    const all = new Map<string, number>();
    const off = new Map<string, number>();
    for (const n of nodes) {
      if (n.kind !== "client") continue;
      for (let code = n.zone; code !== ""; code = code.slice(0, Math.max(0, code.lastIndexOf("/")))) {
        all.set(code, (all.get(code) ?? 0) + 1);
        if (n.state === "offline") off.set(code, (off.get(code) ?? 0) + 1);
      }
    }
    for (const b of this.boxes.values()) {
      setText(b.count, speakers(all.get(b.code) ?? 0, off.get(b.code) ?? 0));
      b.count.classList.toggle("lacking", off.has(b.code));
    }
  }

  /** search shows only zones whose names hold all words, with those above and beneath them, and returns how many. */
  search(text: string): number {
    const words = fold(text).split(" ").filter(Boolean);
    if (words.length === 0) {
      for (const b of this.boxes.values()) {
        b.item.hidden = false;
        this.foldBox(b, b.folded);
      }
      return this.boxes.size;
    }
    let found = 0;
    const visit = (b: Box, above: boolean): boolean => {
      const hit = words.every((w) => b.path.includes(w)) && words.some((w) => b.words.includes(w));
      if (hit) found++;
      let beneath = false;
      for (const c of b.children) beneath = visit(c, above || hit) || beneath;
      b.item.hidden = !(hit || beneath || above);
      this.foldBox(b, b.folded && !beneath);
      return hit || beneath;
    };
    this.roots.forEach((r) => visit(r, false));
    return found;
  }
}

/** speakers says how many loudspeakers a place has and how many of them are out of reach. */
export function speakers(all: number, off: number): string {
  if (all === 0) return t("zone.no_speakers");
  return off > 0 ? t("zone.speakers_off", all, off) : t("zone.speakers", all);
}

/** names joins the names of zones, of many only the first. */
export function names(zones: Zone[], most = 3): string {
  if (zones.length <= most) return zones.map((z) => z.name).join(", ");
  return t("live.chosen_more", zones.slice(0, most).map((z) => z.name).join(", "), zones.length - most);
}
