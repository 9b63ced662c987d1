"use strict";
(() => {
  // Inside Airflow the page is a frame: it follows the theme that people have chosen there.
  const follow = () => {
    let theme = null;
    try {
      theme = window.parent === window ? null : window.localStorage.getItem("theme");
    } catch {
      // A file, or a frame of another origin: the system's theme is right.
    }
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  follow();
  window.addEventListener("storage", follow);

  document.addEventListener("DOMContentLoaded", () => {
    const field = document.getElementById("filter");
    if (field) {
      const rows = [...document.querySelectorAll("[data-index] tbody tr")];
      const texts = rows.map((row) => row.textContent.toLowerCase());
      const count = document.getElementById("count");
      const filter = () => {
        const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        rows.forEach((row, index) => {
          row.hidden = !words.every((word) => texts[index].includes(word));
          if (!row.hidden) shown += 1;
        });
        count.textContent = words.length ? `${shown} of ${rows.length}` : "";
      };
      field.addEventListener("input", filter);
      field.closest("[hidden]").hidden = false;
      filter();
    }
    // Airflow's frame may open nothing outside itself, but its own page may: the link is followed there.
    for (const link of document.querySelectorAll("a[data-outside]")) {
      link.addEventListener("click", (event) => {
        // There, no policy of ours stops a URL that is a script.
        if (window.parent === window || !["http:", "https:"].includes(link.protocol)) return;
        try {
          const outer = window.parent.document.createElement("a");
          outer.href = link.href;
          if (link.dataset.outside === "tab" || event.ctrlKey || event.metaKey) {
            outer.target = "_blank";
            outer.rel = "noopener noreferrer";
          }
          window.parent.document.body.append(outer);
          event.preventDefault();
          outer.click();
          outer.remove();
        } catch {
          // A frame of another origin: the browser follows the link as it can.
        }
      });
    }
    for (const button of document.querySelectorAll(".copy")) {
      const source = button.parentElement.querySelector("code");
      button.hidden = false;
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(source.textContent);
          button.textContent = "Copied";
        } catch {
          // Without HTTPS browsers give no clipboard; what is selected can be copied by keyboard.
          window.getSelection().selectAllChildren(source);
          button.textContent = "Selected";
        }
        window.setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
    }
  });
})();
