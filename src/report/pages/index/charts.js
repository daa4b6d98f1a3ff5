
// Charts that are linked as files have a dark look, which follows the switch of the page as it does the system.

(() => {
  const dark = document.querySelectorAll("figure source");
  const media = { light: "not all", dark: "screen" };
  const follow = () => dark.forEach((source) => (source.media = media[document.documentElement.dataset.theme] ?? "screen and (prefers-color-scheme: dark)"));
  new MutationObserver(follow).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  follow();
})();

// Thumbnails of charts open in a dialog. Without script they link to the files.

(() => {
  const links = document.querySelectorAll(".charts .enlarge");
  if (!links.length || !window.HTMLDialogElement) return;
  const title = make("h2", { id: "chart-title" });
  const close = make("button", { type: "button" }, "Close");
  const picture = make("div", { class: "scroll", role: "group", tabindex: "0" });
  const caption = make("p", { class: "quiet" });
  const dialog = make("dialog", { class: "chart", "aria-labelledby": "chart-title" }, make("div", { class: "title" }, title, close), picture, caption);
  const tips = byId("tip");
  document.body.append(dialog);
  // The chart itself goes into the dialog and back: a page holds it once.
  let back = () => {};
  const open = (link) => {
    const home = link.querySelector(".picture");
    const words = link.parentElement.querySelector("figcaption");
    title.textContent = link.querySelector("strong").textContent;
    picture.replaceChildren(...home.children);
    // In a thumbnail the link's words say it.
    picture.querySelectorAll("img").forEach((image) => (image.alt = title.textContent));
    caption.replaceChildren(...words.childNodes);
    // Only what is in an open dialog shows above it.
    dialog.append(tips);
    back = () => {
      home.replaceChildren(...picture.children);
      words.replaceChildren(...caption.childNodes);
      tips.hidden = true;
      document.body.append(tips);
      back = () => {};
    };
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  links.forEach((link) =>
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      open(link);
    }),
  );
  dialog.addEventListener("close", () => back());
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  addEventListener("beforeprint", () => dialog.open && dialog.close());
})();
