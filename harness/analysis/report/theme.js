(function () {
  var root = document.documentElement;
  root.className = "js";
  var kept = null;
  try { kept = localStorage.getItem("theme"); } catch (error) { /* a page may have no storage */ }
  if (kept === "light" || kept === "dark") root.setAttribute("data-theme", kept);
})();
