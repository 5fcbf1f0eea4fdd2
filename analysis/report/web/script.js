// Lets a reader sort and save the tables, compare pictures, and choose the theme; the report is complete without it.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const KEY = "fewtile-theme";

  const remembered = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // some browsers keep nothing for pages from disk
    }
  };
  const remember = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // then it holds until the page is left
    }
  };
  const chosen = remembered();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen; // before anything is painted

  const setUpTheme = (button) => {
    const theme = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
    const name = () => { button.textContent = theme() === "dark" ? "Light theme" : "Dark theme"; };
    button.addEventListener("click", () => {
      root.dataset.theme = theme() === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
      name();
    });
    dark.addEventListener("change", name);
    name();
  };

  const collator = new Intl.Collator("en", { numeric: true });
  const compare = (one, other) => typeof one === "number" ? one - other : collator.compare(one, other);

  const setUpSorting = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headers = [...table.tHead.rows[0].cells];

    const sort = (column, direction) => {
      const isText = headers[column].dataset.type === "text";
      const key = (row) => {
        const cell = row.cells[column];
        if ("missing" in cell.dataset || !(isText || "value" in cell.dataset)) return null;
        return isText ? cell.textContent : Number(cell.dataset.value);
      };
      const keyed = original.map((row) => [key(row), row]);
      const known = keyed.filter(([value]) => value !== null);
      known.sort(([one], [other]) => direction * compare(one, other)); // stable, so equal rows keep their order
      const missing = keyed.filter(([value]) => value === null);
      body.append(...[...known, ...missing].map(([, row]) => row));
    };

    headers.forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[header.getAttribute("aria-sort")];
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        if (next === null) {
          body.append(...original);
          return;
        }
        header.setAttribute("aria-sort", next ?? "ascending");
        sort(column, next === "descending" ? -1 : 1);
      });
    });
  };

  const setUpDownload = (button) => {
    const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    button.addEventListener("click", () => {
      const table = button.closest("figure").querySelector("table");
      const types = [...table.tHead.rows[0].cells].map((header) => header.dataset.type);
      const text = (cell, column) => {
        if ("missing" in cell.dataset) return "";
        return types[column] === "number" ? cell.dataset.value ?? cell.textContent : cell.textContent;
      };
      const lines = [...table.rows].map((row) => [...row.cells].map((...cell) => quoted(text(...cell))).join(","));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
      link.download = button.dataset.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  };

  const setUpSlider = (input) => {
    const show = () => {
      const { before, after } = input.dataset;
      input.parentElement.style.setProperty("--split", `${input.value}%`);
      input.setAttribute("aria-valuetext", `${input.value} % ${before}, ${100 - input.value} % ${after}`);
    };
    input.addEventListener("input", show);
    show();
  };

  const setUpScroller = (scroller) => {
    const look = () => {
      const hidden = scroller.scrollWidth - scroller.clientWidth;
      scroller.classList.toggle("more", hidden - scroller.scrollLeft > 1);
      scroller.classList.toggle("scrolled", scroller.scrollLeft > 1);
      scroller.tabIndex = hidden > 1 ? 0 : -1; // no stop for the keyboard where nothing scrolls
    };
    new ResizeObserver(look).observe(scroller);
    scroller.addEventListener("scroll", look, { passive: true });
  };

  document.addEventListener("DOMContentLoaded", () => {
    setUpTheme(document.getElementById("Theme"));
    document.querySelectorAll("table").forEach(setUpSorting);
    document.querySelectorAll("button.download").forEach(setUpDownload);
    document.querySelectorAll(".compare input").forEach(setUpSlider);
    document.querySelectorAll(".scroller").forEach(setUpScroller);
  });
})();
