// The theme at once, without loading the page anew. The cookie is the one that the server's form would set.

const YEAR_S = 31_536_000;

export function switchThemeHere() {
  for (const form of document.querySelectorAll(".theme-form")) {
    form.addEventListener("submit", (event) => {
      const theme = event.submitter?.value;
      if (!theme) return;
      event.preventDefault();
      document.documentElement.dataset.theme = theme;
      const secure = location.protocol === "https:" ? "; Secure" : "";
      document.cookie = `millwright_theme=${theme}; Path=/; Max-Age=${YEAR_S}; SameSite=Lax${secure}`;
      for (const button of form.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.value === theme));
      }
    });
  }
}
