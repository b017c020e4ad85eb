// Menus are <details>: a click elsewhere or Escape closes them, as people expect of a menu.

export function closeMenusOutside() {
  const menus = () => document.querySelectorAll("details.user-menu[open], details.places-menu[open]");
  document.addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}
