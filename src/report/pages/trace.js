document.querySelectorAll("table").forEach((table) => {
  makeSortable(table);
  nameCells(table);
});
