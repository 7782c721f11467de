// The pages that plain http gets. Whether this browser trusts the streamer's certificate only trying can tell: if it
// does, one page goes on to https by itself, the other says that nothing is left to do.
const link = document.getElementById("secure") as HTMLAnchorElement | null;
const trusted = document.getElementById("trusted");
const probe = (link ?? trusted)?.dataset.probe;

if (probe) {
  // Without CORS the answer cannot be read; that there is one is all that is asked.
  fetch(probe, { mode: "no-cors", cache: "no-store", credentials: "omit" }).then(
    () => {
      if (link) location.replace(link.href);
      if (trusted) trusted.hidden = false;
    },
    () => undefined, // not trusted yet: the page says what to do
  );
}
