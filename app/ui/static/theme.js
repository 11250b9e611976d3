// Before anything is painted: the colours that the viewer has chosen, if any.
const chosen = localStorage.getItem("theme");
if (chosen) document.documentElement.dataset.theme = chosen;
