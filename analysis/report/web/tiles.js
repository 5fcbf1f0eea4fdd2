// Shows one tile of one trial: the three panels of its logged picture side by side.
"use strict";
(() => {
  const { trials, legend } = JSON.parse(document.getElementById("Data").textContent);
  const [arm, trial, tile] = ["Arm", "Trial", "Tile"].map((id) => document.getElementById(id));
  const panes = [...document.querySelectorAll(".pane")];
  const words = document.getElementById("Words");
  const several = new Set(trials.map((its) => its.study)).size > 1;
  const named = (its) => (several ? `${its.study}: ${its.arm}` : its.arm);
  const arms = [...new Set(trials.map(named))];
  let ofArm = [];

  const fill = (select, names, wanted) => {
    select.replaceChildren(...names.map((name, place) => new Option(name, place)));
    select.selectedIndex = Math.max(0, names.indexOf(wanted)); // stays on a tile while trials change
  };
  const chosen = (select) => select.selectedOptions[0]?.text;

  const show = () => {
    const its = ofArm[trial.selectedIndex];
    const picture = its.tiles[tile.selectedIndex];
    const width = (picture.width - 2 * its.gap) / 3; // the gap is px between the panels
    panes.forEach((pane, place) => {
      pane.style.aspectRatio = `${width} / ${picture.height}`;
      const image = pane.firstElementChild;
      image.style.left = `${(-100 * place * (width + its.gap)) / width}%`;
      image.style.width = `${(100 * picture.width) / width}%`;
      image.alt = `${["Image", "Truth", "Prediction"][place]} of ${picture.tile}`;
      image.src = picture.path;
    });
    words.textContent = [picture.tile, picture.words].filter(Boolean).join(": ");
  };
  const fillTiles = () => {
    fill(tile, ofArm[trial.selectedIndex].tiles.map((picture) => picture.tile), chosen(tile));
    show();
  };
  const fillTrials = () => {
    ofArm = trials.filter((its) => named(its) === arms[arm.selectedIndex]);
    fill(trial, ofArm.map((its) => its.trial));
    fillTiles();
  };
  const step = (by) => {
    tile.selectedIndex = (tile.selectedIndex + by + tile.length) % tile.length;
    show();
  };

  arm.addEventListener("change", fillTrials);
  trial.addEventListener("change", fillTiles);
  tile.addEventListener("change", show);
  document.getElementById("Before").addEventListener("click", () => step(-1));
  document.getElementById("Next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLSelectElement) return; // there the arrows choose
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  document.getElementById("Legend").append(...legend.map(([name, colour]) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.style.background = colour;
    item.append(swatch, name);
    return item;
  }));
  fill(arm, arms);
  fillTrials();
})();
