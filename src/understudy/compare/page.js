
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const prompt = $("pick-prompt"), decoder = $("pick-decoder"), differ = $("show-difference");
  const all = document.querySelectorAll(".card").length;
  const fits = (wanted, value) => wanted === "" || wanted === value;

  const filter = () => {
    let shown = 0;
    for (const talk of document.querySelectorAll(".talk")) {
      talk.hidden = !fits(prompt.value, talk.dataset.prompt);
      for (const row of talk.querySelectorAll(".decoder")) {
        row.hidden = !fits(decoder.value, row.dataset.decoder);
        if (!talk.hidden && !row.hidden) shown += row.querySelectorAll(".card").length;
      }
    }
    $("count").value = shown === all ? `${all} samples` : `${shown} of ${all} samples`;
  };
  const difference = () => {
    document.documentElement.classList.toggle("differ", differ.checked);
    $("legend").hidden = !differ.checked;
  };
  const reveal = () => {
    const card = location.hash.startsWith("#sample-") && $(location.hash.slice(1));
    if (!card || card.offsetParent) return;
    prompt.value = decoder.value = "";
    filter();
    card.scrollIntoView();
  };

  $("controls").hidden = false;
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  prompt.addEventListener("change", filter);
  decoder.addEventListener("change", filter);
  differ.addEventListener("change", difference);
  window.addEventListener("hashchange", reveal);
  filter();
  difference();
})();
