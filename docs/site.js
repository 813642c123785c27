// A click on a figure shows it as large as the window, or as it was drawn where that is larger: then
// it can be moved with a finger, so that its labels can be read on a phone. Esc or a click closes it.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.enlarge");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const dialog = document.createElement("dialog");
  const image = new Image();
  image.src = link.href;
  image.alt = link.querySelector("img").alt;
  image.className = link.querySelector("img").className;
  dialog.className = "enlarged";
  dialog.append(image);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    link.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
});
