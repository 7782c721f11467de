// A file on its way to the server.
import { Problem, problemText, Trouble } from "./api";
import { t } from "./texts";

/** Upload begins at once. fetch tells nothing of how far a body has come, so it is the older interface. */
export class Upload {
  /** done is what the server has kept; it throws Trouble, and settles no more once stopped. */
  readonly done: Promise<{ id: string; seconds: number }>;
  private readonly request = new XMLHttpRequest();

  /** sent is called with the share that has left this machine, 1: all of it. */
  constructor(file: File, sent: (share: number) => void) {
    const r = this.request;
    this.done = new Promise((resolve, reject) => {
      r.upload.addEventListener("progress", (e) => e.lengthComputable && e.total > 0 && sent(e.loaded / e.total));
      r.upload.addEventListener("load", () => sent(1));
      r.addEventListener("load", () => {
        if (r.status === 201) resolve(r.response as { id: string; seconds: number });
        else if (r.status === 401) reject(new Trouble(t("trouble.sign_in"), "signed_out"));
        else reject(new Trouble(problemText((r.response ?? { detail: t("trouble.gone") }) as Problem)));
      });
      r.addEventListener("error", () => reject(new Trouble(t("source.cut"), "network")));
    });
    r.open("POST", `/api/v1/audio?name=${encodeURIComponent(file.name)}`);
    r.responseType = "json";
    r.setRequestHeader("Content-Type", "application/octet-stream");
    r.send(file);
  }

  stop(): void {
    this.request.abort();
  }
}
