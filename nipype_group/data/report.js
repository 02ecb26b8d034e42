"use strict";
(function () {
  function raw(cell) { return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v; }
  function compare(a, b) {
    const x = Number(a), y = Number(b);
    if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b, undefined, { numeric: true });
  }
  function sort(header) {
    const table = header.closest("table"), body = table.tBodies[0];
    const column = header.cellIndex, down = header.getAttribute("aria-sort") === "ascending";
    const rows = Array.from(body.rows).map(function (row) { return [raw(row.cells[column]), row]; });
    rows.sort(function (one, other) {
      // What is missing comes last in both directions.
      const gone = (one[0] === "n/a") - (other[0] === "n/a");
      return gone || (down ? compare(other[0], one[0]) : compare(one[0], other[0]));
    });
    rows.forEach(function (pair) { body.appendChild(pair[1]); });
    table.querySelectorAll("th").forEach(function (th) { th.setAttribute("aria-sort", "none"); });
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
  }
  document.querySelectorAll("th button").forEach(function (button) {
    button.addEventListener("click", function () { sort(button.closest("th")); });
  });
  // Printed are pictures and results; what was folded is folded again afterwards.
  let opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (details) { details.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (details) { details.open = false; });
    opened = [];
  });
})();
