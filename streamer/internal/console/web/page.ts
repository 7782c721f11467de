// Every page with a script: what it shows if that script fails.
import { need, show } from "./dom";
import { t } from "./texts";

/** run starts a page. Whatever goes wrong in it later is told in the page instead of being lost in a console. */
export function run(main: () => void): void {
  const crashed = () => show(need("crash"), t("trouble.script"), reload());
  // Browsers report a failed font or a picture's error on the element, never here.
  window.addEventListener("error", crashed);
  window.addEventListener("unhandledrejection", crashed);
  main();
  need("boot").remove(); // it asks to reload a page whose script does not get this far
}

function reload(): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "second";
  button.textContent = t("common.reload");
  button.addEventListener("click", () => location.reload());
  return button;
}
