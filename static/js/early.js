// Sets the chosen theme before the first paint. Not a module, since modules wait for the document.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("holdall.theme");
  } catch {
    // Storage may be forbidden; the system's theme does then.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
