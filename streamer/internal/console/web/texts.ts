// The texts that the server has put into the page, in the language that it was asked for.

const table: Record<string, string> = JSON.parse(document.getElementById("texts")?.textContent || "{}");

/** language is "vi" or "en". */
export const language = document.documentElement.lang;

/** t returns a text with {0}, {1}, … filled in. A test on the server's side holds every key to the tables. */
export function t(key: string, ...args: (string | number)[]): string {
  return (table[key] ?? key).replace(/\{(\d)\}/g, (whole, i) => String(args[Number(i)] ?? whole));
}

/** has tells whether a text is there, for keys made of what the server answers. */
export function has(key: string): boolean {
  return key in table;
}

/** fold reduces Vietnamese text to what people type when they search: no case, no marks, đ as d. */
export function fold(s: string): string {
  return s.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "").replace(/đ/g, "d").replace(/\s+/g, " ").trim();
}

/** clock writes seconds as mm:ss, with hours before it where there are any. */
export function clock(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  const rest = `${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  return s < 3600 ? rest : `${Math.floor(s / 3600)}:${rest}`;
}

/** timeOfDay writes an instant as hh:mm of Viet Nam, with the day before it if that is not today. */
export function timeOfDay(iso: string): string {
  const zone = "Asia/Ho_Chi_Minh";
  const at = new Date(iso);
  const day = (d: Date) => d.toLocaleDateString("vi-VN", { timeZone: zone, day: "2-digit", month: "2-digit" });
  const time = at.toLocaleTimeString("vi-VN", { timeZone: zone, hour: "2-digit", minute: "2-digit", hour12: false });
  return day(at) === day(new Date()) ? time : `${time} ${day(at)}`;
}

/** decibels writes a volume: 0 is full, a proper minus before the rest. */
export function decibels(db: number): string {
  const digits = Math.abs(db).toLocaleString(language, { maximumFractionDigits: 2 });
  return `${db < 0 ? "−" : ""}${digits} dB`;
}
