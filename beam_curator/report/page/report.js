"use strict";
(function () {
  const number = new Intl.NumberFormat("en-US");
  const root = document.documentElement;
  root.classList.add("scripted");

  document.addEventListener("click", function (event) {
    const veil = event.target.closest && event.target.closest(".veil");
    if (veil) {
      veil.closest(".veiled").classList.remove("veiled");
    }
    const copy = event.target.closest && event.target.closest("[data-copy]");
    if (copy) {
      copyText(document.getElementById(copy.dataset.copy), copy);
    }
  });

  function copyText(element, button) {
    const told = function (text) {
      button.textContent = text;
      setTimeout(function () { button.textContent = "Copy"; }, 1600);
    };
    const select = function () {
      const range = document.createRange();
      range.selectNodeContents(element);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      let done = false;
      try { done = document.execCommand("copy"); } catch (error) { done = false; }
      told(done ? "Copied" : "Selected");
    };
    if (navigator.clipboard && isSecureContext) {
      navigator.clipboard.writeText(element.textContent).then(function () { told("Copied"); }, select);
    } else {
      select();
    }
  }

  const data = JSON.parse(document.getElementById("joint").textContent);
  const sliders = Array.from(document.querySelectorAll("input[data-axis]"));
  if (!sliders.length) {
    return;
  }
  const bytes = function (text) {
    return Uint8Array.from(atob(text), function (one) { return one.charCodeAt(0); });
  };
  const places = bytes(data.places);
  const counts = new Uint32Array(bytes(data.counts).buffer);
  const cells = data.cells;
  const axes = data.axes;
  const positions = axes.map(function (axis) { return axis.position; });

  function passes(axis, place, position) {
    return axis.keeps === ">=" ? place >= position : place <= position;
  }

  function counted(at) {
    const found = [0, 0, 0];
    for (let cell = 0; cell < cells; cell += 1) {
      let all = true;
      for (let index = 0; index < axes.length && all; index += 1) {
        all = passes(axes[index], places[index * cells + cell], at[index]);
      }
      if (all) {
        found[0] += counts[cell];
        found[1] += counts[cells + cell];
        found[2] += counts[2 * cells + cell];
      }
    }
    return found;
  }

  function isStricter(at) {
    return axes.some(function (axis, index) {
      return axis.keeps === ">=" ? at[index] > axis.position : at[index] < axis.position;
    });
  }

  /* Whether samples that other rules dropped may be kept: duplicates only where one that stands for them goes. */
  function mayComeBack(stillKept, at) {
    const others = data.unknown.some(function (name) {
      return name !== "duplicates";
    });
    return isStricter(at) && (others || stillKept < standing);
  }

  /* From how many to how many samples would be kept. */
  function keptAt(at) {
    const found = counted(at);
    if (!data.unknown.length) {
      const all = found[0] + found[1];
      return [all, all];
    }
    return [found[0], found[0] + found[1] + (mayComeBack(found[0], at) ? found[2] : 0)];
  }

  function plain(value) {
    return String(parseFloat(value.toPrecision(15)));
  }

  function edgeAt(axis, position) {
    if (position === axis.off) {
      return null;
    }
    return axis.keeps === ">=" ? axis.edges[position - 1] : axis.edges[position];
  }

  function told(axis, position) {
    const edge = edgeAt(axis, position);
    if (edge === null) {
      return "no threshold";
    }
    const words = { ">=": "at least ", "<": "below ", "<=": "at most " };
    return words[axis.keeps] + plain(edge);
  }

  function flagOf(axis, position) {
    const edge = edgeAt(axis, position);
    if (edge === null) {
      return axis.flag === "--min_aesthetic" || axis.flag === "--max_nsfw" ? axis.flag + " none" : "";
    }
    if (axis.flag) {
      return axis.flag + " " + plain(edge);
    }
    if (axis.column === "aspect_ratio") {
      return "--max_aspect_ratio " + plain(edge);
    }
    const column = /^[A-Za-z_][A-Za-z0-9_]*$/.test(axis.column) ? axis.column : '"' + axis.column + '"';
    return "--where '" + column.replace(/'/g, "'\\''") + " " + axis.keeps + " " + plain(edge) + "'";
  }

  function signed(value) {
    return (value < 0 ? "\u2212" : "+") + number.format(Math.abs(value));
  }

  function range(found) {
    return found[0] === found[1] ? number.format(found[0]) : number.format(found[0]) + " to " + number.format(found[1]);
  }

  const result = document.getElementById("what-if-kept");
  const change = document.getElementById("what-if-change");
  const flags = document.getElementById("what-if-flags");
  const bound = document.getElementById("what-if-bound");
  const live = document.getElementById("what-if-live");
  const standing = Number(result.dataset.standing);
  const seen = Number(result.dataset.seen);

  function show(moved) {
    const found = keptAt(positions);
    result.textContent = range(found);
    result.dataset.low = found[0];
    result.dataset.high = found[1];
    const same = positions.every(function (position, index) { return position === axes[index].position; });
    const part = (100 * found[0] / Math.max(seen, 1)).toFixed(1) + " %";
    const moved_by = found[0] === found[1] ? signed(found[0] - standing)
      : signed(found[0] - standing) + " to " + signed(found[1] - standing);
    change.textContent = same ? "kept, as in the ledger (" + part + ")" : "would be kept: " + moved_by;
    flags.textContent = axes.map(function (axis, index) { return flagOf(axis, positions[index]); })
      .filter(Boolean).join(" ") || "no threshold";
    axes.forEach(function (axis, index) {
      const slider = document.querySelector('input[data-axis="' + index + '"]');
      if (!slider) {
        return;
      }
      slider.value = String(positions[index]);
      slider.setAttribute("aria-valuetext", told(axis, positions[index]));
      document.getElementById("told-" + index).textContent = told(axis, positions[index]);
      move(slider.closest(".measure"), index, edgeAt(axis, positions[index]), positions[index] === axis.position);
    });
    bound.textContent = moved === undefined ? "" : boundAt(moved, found);
    if (moved !== undefined) {
      live.textContent = range(found) + " samples would be kept";
    }
  }

  /* A threshold between two positions keeps between what they keep. */
  function boundAt(index, found) {
    const axis = axes[index];
    const next = positions[index] + 1;
    if (next > axis.edges.length) {
      return "Exact at this position.";
    }
    const other = positions.slice();
    other[index] = next;
    const then = keptAt(other);
    const most = Math.max(Math.abs(then[0] - found[0]), Math.abs(then[1] - found[1]));
    return "Exact at this position" + (found[0] === found[1] ? "" : " for the thresholds; other rules decide the rest")
      + ". A threshold between it and the next one (" + told(axis, next) + ") differs by at most "
      + number.format(most) + ".";
  }

  function move(measure, index, edge, same) {
    const line = measure.querySelector('.moving[data-axis="' + index + '"]');
    if (!line) {
      return;
    }
    line.setAttribute("display", edge === null || same ? "none" : "inline");
    if (edge === null) {
      return;
    }
    const plot = measure.querySelector("svg.plot").dataset;
    const low = Number(plot.low), high = Number(plot.high), inset = Number(plot.inset);
    const left = Number(plot.left), right = Number(plot.right);
    let part = 0.5;
    if (high > low) {
      part = plot.growing === "true" ? Math.log(edge / low) / Math.log(high / low) : (edge - low) / (high - low);
    }
    const x = left + inset + part * (right - left - 2 * inset);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }

  sliders.forEach(function (slider) {
    slider.addEventListener("input", function () {
      const index = Number(slider.dataset.axis);
      positions[index] = Number(slider.value);
      show(index);
    });
  });
  document.getElementById("what-if-reset").addEventListener("click", function () {
    axes.forEach(function (axis, index) { positions[index] = axis.position; });
    show();
    live.textContent = "thresholds as in the ledger";
  });
  show();
})();
